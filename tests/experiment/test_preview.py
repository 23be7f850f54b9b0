"""Previews: what would run, word for word, and nothing that does."""

import os
import subprocess
import sys

import pytest

from smartml.errors import ArgumentValueError, UnsupportedError
from smartml.experiment import Experiment, Orchestrator
from smartml.experiment.preview import previewing
from smartml.experiment.schedulers.launchers import LAUNCHERS

RUN_COMMANDS = {"slurm": "srun", "pbs": "aprun", "pals": "mpiexec", "lsf": "jsrun", "sge": "mpirun", "local": None}


def test_a_model_is_shown_with_all_that_it_gets(exp, tmp_path):
    (tmp_path / "in put").write_text("T = ;T;")
    source = exp.create_model("source", exp.create_run_settings("true"))
    settings = exp.create_run_settings("echo", ["a b", "$c"], env_vars={"X": 1, "HOME": None})
    model = exp.create_model("model", settings, {"T": 5}, enable_key_prefixing=True)
    model.attach_generator_files(to_configure="in put")
    model.register_incoming_entity(source)
    assert exp.preview(exp.create_database(port=0), model) == (
        f"""\
=== Experiment Overview ===

Experiment Name: exp
Experiment Path: {tmp_path}/exp
Launcher: local

=== Entity Preview ===

== Orchestrators ==

= Database Identifier: orchestrator =
Path: {tmp_path}/exp/orchestrator
TCP/IP Port(s): any that is free
Type: Standalone
Nodes: 1
Replicas: 0

== Models ==

= Model Name: model =
Path: {tmp_path}/exp/model
Parameter: T = 5
Configure: {tmp_path}/in put
Key Prefix: True
Environment: SR_DB_TYPE=Standalone
Environment: SSDB=<orchestrator>
Environment: SSKEYIN=source
Environment: SSKEYOUT=model
Environment: SMARTML_ENTITY=model
Environment: X=1
Environment: HOME as it is here
Command: {settings.exe[0]} 'a b' '$c'
Output: {tmp_path}/exp/model/model.out
Error Output: {tmp_path}/exp/model/model.err
"""
    )
    assert not os.path.exists(exp.exp_path)


def test_what_a_model_waits_for_and_how_it_is_looked_after_are_shown(exp):
    settings = exp.create_run_settings("true")
    source = exp.create_ensemble("source", run_settings=settings, replicas=2)
    model = exp.create_model("model", settings, restarts=3, time_limit_s=60)
    model.start_after(source, "started")
    model.start_after("points")
    model.start_after(exp.create_database(port=0))
    text = exp.preview(model)
    assert "Starts After: source to start\nStarts After: points in database orchestrator\n" in text
    assert "Starts After: database orchestrator to answer\nPolicy: restarts = 3\nPolicy: time_limit_s = 60\n" in text


def test_a_running_database_is_shown_with_its_address(exp, program):
    db = exp.create_database(port=0)
    exp.start(db)
    text = exp.preview(program("pass"))
    assert f"== Active Infrastructure ==\n\n= Database Identifier: orchestrator =\nPath: {db.path}\n" in text
    assert f"Environment: SSDB={db.address}\n" in text
    assert "== Orchestrators ==" not in text


def test_a_batch_ensemble_is_shown_as_its_script(tmp_path, monkeypatch):
    monkeypatch.delenv("SR_LOG_FILE", raising=False)
    exp = Experiment("exp", tmp_path, launcher="slurm")
    settings = exp.create_run_settings("true", run_command="srun")
    batch = exp.create_batch_settings(2, "01:00:00")
    ensemble = exp.create_ensemble("ens", {"a": [1, 2, 3]}, batch, settings)
    text = exp.preview(ensemble)
    assert f"--parsable {tmp_path}/ens/ens.sh\nScript: {tmp_path}/ens/ens.sh\n    #!/bin/bash\n" in text
    assert f"    #SBATCH --output={tmp_path}/ens/ens.out\n" in text
    for member in ensemble:
        step = f"{settings.run_command} --output {member.path}/{member.name}.out"
        assert f"    (begin {member.name}; cd {member.path} && {step}" in text
        ending = f'{settings.exe[0]}; end {member.name} "$?") &\n'
        names = f"SSKEYOUT={member.name},SMARTML_ENTITY={member.name},SR_LOG_FILE={member.path}/{member.name}.err"
        assert f"--job-name {member.name} --export ALL,{names} {ending}" in text
    # The script is all that is run.
    assert text.count("Command: ") == 1


def test_of_many_members_the_first_and_last_are_shown_unless_more_is_asked_for(exp):
    ensemble = exp.create_ensemble("ens", run_settings=exp.create_run_settings("true"), replicas=4)
    short, full = exp.preview(ensemble), exp.preview(ensemble, verbosity_level="debug")
    assert [f"- Member Name: ens_{i}\n" in short for i in range(4)] == [True, False, False, True]
    assert "and 2 more between these" in short
    assert [f"- Member Name: ens_{i}\n" in full for i in range(4)] == [True] * 4


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_shows_its_command(launcher, tmp_path):
    exp = Experiment("exp", tmp_path, launcher=launcher)
    command = RUN_COMMANDS[launcher]
    options = {"fail_if_missing_exec": False} if command in ("mpirun", "mpiexec") else {}
    model = exp.create_model("model", exp.create_run_settings("true", run_command=command, **options))
    line = next(line for line in exp.preview(model).splitlines() if line.startswith("Command: "))
    assert line.split()[1].endswith(command or "true")


@pytest.mark.parametrize(("launcher", "before"), [("slurm", "--parsable "), ("pbs", ""), ("lsf", "< ")])
def test_a_batch_model_has_output_beside_that_of_its_job(launcher, before, tmp_path):
    exp = Experiment("exp", tmp_path, launcher=launcher)
    settings = exp.create_run_settings("true", run_command=None)
    batch = exp.create_batch_settings()
    text = exp.preview(exp.create_model("model", settings, batch_settings=batch))
    assert f"Command: {batch.batch_cmd} {before}{tmp_path}/model/model.sh\n" in text
    assert f"{tmp_path}/model/model.job.out\n" in text
    assert f'true > {tmp_path}/model/model.out 2> {tmp_path}/model/model.err; end model "$?") &\n' in text


def test_the_file_of_several_programs_is_shown(tmp_path):
    exp = Experiment("exp", tmp_path, launcher="lsf")
    settings = exp.create_run_settings("true", run_command="jsrun")
    settings.make_mpmd(exp.create_run_settings("echo", "a", run_command="jsrun"))
    text = exp.preview(exp.create_model("model", settings))
    assert f"File: {tmp_path}/model/model.mpmd\n    launch_distribution : packed\n" in text


def test_the_text_goes_to_the_log_or_to_a_free_file(exp, program, tmp_path, caplog):
    caplog.set_level("INFO")
    text = exp.preview(program("pass"))
    assert text in caplog.text
    for name in ("plan.txt", "plan_01.txt", "plan_02.txt"):
        exp.preview(program("pass"), output_filename=tmp_path / "plan.txt")
        assert (tmp_path / name).read_text() == text


def test_wrong_choices_are_refused_with_those_there_are(exp, program):
    with pytest.raises(ArgumentValueError, match="there is: 'plain_text'"):
        exp.preview(program("pass"), output_format="html")
    with pytest.raises(ArgumentValueError, match="there are: 'info', 'debug', 'developer'"):
        exp.preview(program("pass"), verbosity_level="all")


def test_in_a_preview_nothing_starts_and_the_script_goes_on(exp, program, tmp_path):
    shown = []
    db, first, second = exp.create_database(port=0), program("1 / 0", "first"), program("1 / 0", "second")
    with previewing(shown.append):
        exp.generate(first)
        exp.start(db, first, block=False)
        exp.poll()
        assert exp.finished(first) and exp.wait(first)
        exp.start(second)
        exp.stop(db)
        with pytest.raises(UnsupportedError, match="'orchestrator' is not started in a preview"):
            Orchestrator(port=0).start()
    assert len(shown) == 2
    # What the first call would have started is there for the second.
    assert "= Model Name: second =" in shown[1] and "SSDB=<orchestrator>" in shown[1]
    assert ["= Database Identifier" in text for text in shown] == [True, False]
    assert not os.path.exists(exp.exp_path)
    assert exp.get_status(db, first) == ["NeverStarted"] * 2
    exp.start(db)
    assert exp.get_status(db) == ["Running"]


def test_the_command_prints_what_a_script_would_run(tmp_path):
    (tmp_path / "names.py").write_text("NAME = 'model'")
    (tmp_path / "launch.py").write_text(
        "import sys\n"
        "from names import NAME\n"
        "from smartml import Experiment\n"
        "if __name__ == '__main__':\n"
        "    exp = Experiment('exp', launcher='slurm')\n"
        "    settings = exp.create_run_settings('true', run_command='srun', run_args={'ntasks': sys.argv[2]})\n"
        "    exp.start(exp.create_model(NAME, settings))\n"
        "    print('done')\n"
    )
    command = [sys.executable, "-m", "smartml", "preview", "launch.py", "--help", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "= Model Name: model =" in done.stdout
    assert "--ntasks=3" in done.stdout
    assert done.stdout.endswith("\ndone\n")
    assert not (tmp_path / "exp").exists()
