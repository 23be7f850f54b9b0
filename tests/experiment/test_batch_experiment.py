"""Experiments whose programs are jobs of a real Slurm."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smartml.errors import AlreadyStartedError, SubmissionError, UnsupportedError
from smartml.experiment import Experiment


@pytest.fixture
def exp(slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Experiment("exp", launcher="slurm")
    yield made
    made.stop()


@pytest.fixture
def job(exp):
    """Describe a model that runs a piece of shell as a batch job."""

    def describe(code, name="job", **options):
        settings = exp.create_run_settings("bash", ["-c", code], run_command=None)
        return exp.create_model(name, settings, batch_settings=exp.create_batch_settings(), **options)

    return describe


def ensemble(exp, code, replicas=3, array=False):
    batch = exp.create_batch_settings()
    if array:
        batch.set_array()
    settings = exp.create_run_settings("bash", ["-c", code], run_command=None)
    return exp.create_ensemble("ens", batch_settings=batch, run_settings=settings, replicas=replicas)


def test_a_model_runs_as_a_job_with_its_files_and_its_name(exp, job, tmp_path):
    (tmp_path / "input").write_text("x")
    model = job("cat input; echo $SMARTML_ENTITY $PYTHONUNBUFFERED $SLURM_JOB_NAME; exit 3")
    model.attach_generator_files(to_copy="input")
    exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert (tmp_path / "exp" / "job" / "job.out").read_text() == "xjob 1 job\n"
    row = exp.summary().splitlines()[2].split("|")
    assert [cell.strip() for cell in row[2:8]][:4] == ["job", "Model", row[4].strip(), "1"]
    assert row[4].strip().isdigit() and row[8].strip() == "3"


@pytest.mark.parametrize("array", [False, True])
def test_the_members_of_an_ensemble_end_each_on_its_own(exp, array):
    members = ensemble(exp, 'exit "${SMARTML_ENTITY#ens_}"', array=array)
    exp.start(members)
    assert exp.get_status(members) == ["Completed", "Failed", "Failed"]
    ids = [line.split("|")[4].strip() for line in exp.summary().splitlines()[2:]]
    assert len(set(ids)) == (3 if array else 1)


def test_a_job_that_fails_is_handed_in_again_as_often_as_asked_for(exp, job, tmp_path):
    model = job("echo x >> ../tries; [ $(wc -l < ../tries) = 3 ]", restarts=2, restart_delay_s=0.1)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    assert len(exp.summary().splitlines()) == 2 + 3
    assert (tmp_path / "exp" / "job" / "job.2.err").exists()


def test_one_member_is_handed_in_again_in_a_job_of_its_own(exp, tmp_path):
    code = "echo x >> tries; [ $SMARTML_ENTITY = ens_0 ] || [ $(wc -l < tries) = 2 ]"
    members = exp.create_ensemble(
        "ens",
        batch_settings=exp.create_batch_settings(),
        run_settings=exp.create_run_settings("bash", ["-c", code], run_command=None),
        replicas=2,
        restarts=1,
        restart_delay_s=0.1,
    )
    exp.start(members)
    assert exp.get_status(members) == ["Completed"] * 2
    lines = [(tmp_path / "exp" / "ens" / f"ens_{index}" / "tries").read_text() for index in range(2)]
    assert lines == ["x\n", "x\nx\n"]


def test_a_job_starts_when_another_runs_and_not_while_that_waits(exp, job, slurm, eventually, tmp_path):
    first, second = job(f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done", "first"), job("true", "second")
    first.batch_settings.batch_args["hold"] = None
    second.start_after(first, when="started")
    exp.start(first, second, block=False)
    eventually(lambda: slurm.run("squeue", "--noheader", "--format=%r").strip() == "JobHeldUser")
    assert exp.get_status(first, second) == ["Queued", "New"]
    slurm.run("scontrol", "release", *slurm.jobs())
    eventually(lambda: exp.get_status(second) == ["Completed"])
    assert exp.get_status(first) == ["Running"]
    (tmp_path / "go").touch()
    assert exp.wait(timeout_s=20)


def test_an_ensemble_of_one_job_waits_for_what_its_members_wait_for(exp, job):
    first = job("true", "first")
    members = ensemble(exp, "cat ../../first/first.code || true; exit 0", replicas=2)
    members.models[1].start_after(first)
    exp.start(first, members)
    assert exp.get_status(first, members) == ["Completed"] * 3


def test_a_time_limit_counts_from_the_moment_that_a_job_runs(exp, job, caplog):
    model = job("sleep 100", time_limit_s=1)
    exp.start(model)
    assert exp.get_status(model) == ["Failed"]
    assert "job failed: time limit of 1 s exceeded after" in caplog.text


def test_a_time_limit_within_a_job_of_several_is_refused(exp):
    members = exp.create_ensemble(
        "ens",
        batch_settings=exp.create_batch_settings(),
        run_settings=exp.create_run_settings("true", run_command=None),
        replicas=2,
        time_limit_s=5,
    )
    with pytest.raises(UnsupportedError, match=r"ens_0, ens_1 cannot have a time limit within the job of 'ens'"):
        exp.start(members)


def test_stop_ends_jobs_and_what_runs_is_not_started_twice(exp, job, slurm, eventually):
    model = job("sleep 100")
    exp.start(model, block=False)
    eventually(lambda: exp.get_status(model) == ["Running"])
    with pytest.raises(AlreadyStartedError):
        exp.start(model)
    exp.stop(model)
    assert exp.get_status(model) == ["Cancelled"]
    assert slurm.jobs() == []


def test_one_member_of_a_job_cannot_be_stopped_alone_and_goes_on(exp, eventually):
    members = ensemble(exp, "sleep 100", replicas=2)
    exp.start(members, block=False)
    eventually(lambda: exp.get_status(members) == ["Running"] * 2)
    with pytest.raises(UnsupportedError, match=r"ens_0 cannot be stopped alone: Slurm job \d+ runs 1 more"):
        exp.stop(members["ens_0"])
    assert exp.get_status(members) == ["Running"] * 2
    exp.stop(members)
    assert exp.get_status(members) == ["Cancelled"] * 2


def test_a_job_that_is_not_taken_is_an_error_of_start(exp, job):
    model = job("true")
    model.batch_settings.set_queue("none")
    with pytest.raises(SubmissionError, match="invalid partition"):
        exp.start(model)
    assert exp.get_status(model) == ["NeverStarted"]


SCRIPT = """
from smartml import Experiment
exp = Experiment("exp", launcher="slurm")
code = "while [ ! -e {go} ]; do sleep 0.1; done; exit ${{SMARTML_ENTITY#ens_}}"
batch = exp.create_batch_settings()
batch.set_array()
settings = exp.create_run_settings("bash", ["-c", code], run_command=None)
ensemble = exp.create_ensemble("ens", batch_settings=batch, run_settings=settings, replicas=2)
if __name__ == "__main__":
    exp.start(ensemble, block=False)
    print("started", flush=True)
    exp.wait()
"""


def test_jobs_outlive_a_script_that_is_killed_and_are_attached_to(slurm, script, tmp_path, eventually, monkeypatch):
    monkeypatch.chdir(tmp_path)
    process = script(SCRIPT.format(go=tmp_path / "go"))
    assert process.stdout.readline() == "started\n"
    process.kill()
    process.wait()
    found = Experiment.attach("exp")
    eventually(lambda: found.get_status("ens_0", "ens_1") == ["Running"] * 2)
    (tmp_path / "go").touch()
    assert found.wait(timeout_s=20)
    assert found.get_status("ens_0", "ens_1") == ["Completed", "Failed"]
    # Whoever comes later reads it in the journal.
    later = Experiment.attach("exp")
    assert later.wait(timeout_s=5)
    assert later.get_status("ens_0", "ens_1") == ["Completed", "Failed"]


@pytest.mark.parametrize("detach", [False, True])
def test_ctrl_c_cancels_jobs_that_are_not_detached(slurm, script, tmp_path, detach, eventually):
    code = SCRIPT.format(go=tmp_path / "go").replace("block=False", f"block=False, detach={detach}")
    # Within `start`, where an interrupt is the experiment's.
    code = code.replace("exp.wait()", "exp.poll(1)")
    process = script(code)
    assert process.stdout.readline() == "started\n"
    eventually(lambda: "R" in slurm.run("squeue", "--noheader", "--format=%t"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert bool(slurm.jobs()) is detach


def test_the_command_line_shows_a_job_before_it_is_handed_in(slurm, tmp_path):
    (tmp_path / "launch.py").write_text(SCRIPT.format(go="x"))
    command = [sys.executable, "-m", "smartml", "preview", "launch.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "#SBATCH --array=0-1\n" in done.stdout
    assert slurm.jobs() == []


BESIDE = """
import os, numpy as np, smartml
with smartml.Client() as client:
    client.put_tensor("x", np.arange(3))
    pid = client.database.command("INFO", "server")["process_id"]
    print(pid, client.get_tensor("x").sum(), os.environ["SSDB"].partition(":")[0])
"""


@pytest.mark.parametrize(("run_command", "tasks"), [(None, 1), ("srun", 2)])
def test_a_program_of_a_job_has_a_database_beside_it(exp, run_command, tasks, eventually, alive):
    settings = exp.create_run_settings("python", ["-c", BESIDE], run_command=run_command)
    if run_command is not None:
        settings.set_tasks(tasks)
    model = exp.create_model("beside", settings, batch_settings=exp.create_batch_settings(batch_args={"ntasks": tasks}))
    model.colocate_db_tcp(0)
    # What is shown is what is handed in.
    shown = exp.preview(model)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"], Path(model.path, "beside.err").read_text()
    script = Path(model.path, "beside.sh").read_text()
    assert "colocated_start.py" in script and all(f"    {line}".rstrip() in shown for line in script.splitlines())
    lines = [line.split() for line in Path(model.path, "beside.out").read_text().splitlines()]
    assert [line[1:] for line in lines] == [["3", "127.0.0.1"]] * tasks
    assert len({line[0] for line in lines}) == 1
    eventually(lambda: not alive(int(lines[0][0])))
