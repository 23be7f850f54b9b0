"""Slurm: `srun` command lines and `sbatch` scripts, word for word."""

import subprocess

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, UnsupportedError
from smartml.experiment.schedulers.containers import Singularity
from smartml.experiment.schedulers.settings import Placement, RunSettings
from smartml.experiment.schedulers.slurm import SbatchSettings, SrunSettings

STEP = "srun --output /st/m.out --error /st/m.err --job-name m-ID"


def srun(**options):
    return SrunSettings("echo", ["hi there", "b"], **options)


def test_all_settings_of_a_step_stand_in_one_line(place, words):
    settings = srun(env_vars={"A": 1, "B": "x,y", "N": None}, alloc=77)
    settings.set_nodes(2)
    settings.set_tasks(4)
    settings.set("exclusive")
    settings.set_cpu_bindings([0, 1])
    settings.set_memory_per_node(10)
    settings.set_node_feature("gpu")
    settings.set_broadcast("/t")
    assert words(settings.command(place)) == (
        "env B=x,y srun --output /st/m.out --error /st/m.err --job-name m-ID --jobid 77 --export ALL,A=1,N,B "
        "--nodes=2 --ntasks=4 --exclusive --cpu_bind=map_cpu:0,1 --mem=10M -C gpu --bcast=/t echo hi there b"
    )


@pytest.mark.parametrize(
    ("setter", "arguments", "expected"),
    [
        ("set_nodes", (2,), "--nodes=2"),
        ("set_nodes", ("2",), "--nodes=2"),
        ("set_tasks", (4,), "--ntasks=4"),
        ("set_tasks_per_node", (2,), "--ntasks-per-node=2"),
        ("set_cpus_per_task", (3,), "--cpus-per-task=3"),
        ("set_cpu_bindings", (5,), "--cpu_bind=map_cpu:5"),
        ("set_hostlist", (["n1", "n2"],), "--nodelist=n1,n2"),
        ("set_hostlist", ("n[1,3-4], m1",), "--nodelist=n[1,3-4],m1"),
        ("set_hostlist_from_file", ("hosts",), "--nodefile=hosts"),
        ("set_excluded_hosts", ("n3",), "--exclude=n3"),
        ("set_memory_per_node", (10,), "--mem=10M"),
        ("set_walltime", ("1-02:03:04",), "--time=1-02:03:04"),
        ("set_time", (1, 2, 3), "--time=01:02:03"),
        ("set_time", (30,), "--time=30:00:00"),
        ("set_verbose_launch", (True,), "--verbose"),
        ("set_quiet_launch", (True,), "--quiet"),
        ("set_quiet_launch", (False,), ""),
        ("set_broadcast", (), "--bcast"),
        ("set_broadcast", ("/t",), "--bcast=/t"),
        ("set_node_feature", (["a", "b"],), "-C a,b"),
        ("set", ("--gpus", 0), "--gpus=0"),
        ("set", ("p", "debug"), "-p debug"),
        ("set", ("exclusive", None, False), ""),
    ],
)
def test_each_setter_sets_its_option(setter, arguments, expected):
    settings = srun()
    getattr(settings, setter)(*arguments)
    assert " ".join(settings.format_run_args()) == expected


@pytest.mark.parametrize("setter", ["set_task_map", "set_binding"])
def test_what_srun_has_no_option_for_is_warned_about(setter, caplog):
    settings = srun()
    getattr(settings, setter)("core")
    assert f"SrunSettings has no option for {setter}" in caplog.text
    assert settings.format_run_args() == []


def test_what_smartml_sets_is_warned_about_and_ignored(caplog):
    settings = srun(run_args={"--chdir": "/x"})
    settings.set("-D", "/x")
    settings.run_args["chdir"] = "/x"
    assert settings.format_run_args() == []
    assert caplog.text.count("is set by smartml") == 2


def test_several_programs_share_a_step(place, words):
    settings = SrunSettings("echo", "a", run_args={"nodes": 1}, alloc="77")
    settings.make_mpmd(SrunSettings("sleep", "1", run_args={"ntasks": 2}, env_vars={"Z": 1}))
    assert words(settings.command(place)) == (
        f"{STEP} --jobid 77 --nodes=1 echo a : --ntasks=2 --job-name m-ID --export ALL,Z=1 sleep 1"
    )


def test_programs_that_cannot_share_a_step_are_refused(monkeypatch):
    settings = srun()
    with pytest.raises(ArgumentTypeError, match="takes SrunSettings"):
        settings.make_mpmd(RunSettings("echo"))
    with pytest.raises(ArgumentValueError, match="one other program"):
        settings.make_mpmd(settings)
    with pytest.raises(UnsupportedError, match="containers"):
        settings.make_mpmd(srun(container=Singularity("image.sif")))
    monkeypatch.setenv("SLURM_HET_SIZE", "2")
    with pytest.raises(ArgumentValueError, match="set_het_group"):
        settings.make_mpmd(srun())


def test_components_are_chosen_in_a_heterogeneous_job_alone(monkeypatch):
    settings = srun()
    with pytest.raises(ArgumentValueError, match="no heterogeneous job"):
        settings.set_het_group([0])
    monkeypatch.setenv("SLURM_HET_SIZE", "2")
    settings.set_het_group([0, 1])
    assert settings.format_run_args() == ["--het-group=0,1"]
    with pytest.raises(ArgumentValueError, match=r"0 to 1.*got \[2\]"):
        settings.set_het_group([2])


def test_a_container_stands_before_the_program(place, words):
    settings = SrunSettings("/inside/run", "a", container=Singularity("image.sif"))
    assert words(settings.command(place)) == f"{STEP} singularity exec --pwd /cwd --bind /cwd image.sif /inside/run a"


def test_variables_of_the_experiment_are_handed_on(words):
    place = Placement("m", "m-ID", "/cwd", "o", "e", "9", {"SSDB": "a:1,b:2", "X": "theirs"})
    assert words(srun(env_vars={"X": "mine"}).command(place)).startswith(
        "env SSDB=a:1,b:2 srun --output o --error e --job-name m-ID --jobid 9 --export ALL,X=mine,SSDB echo"
    )


SCRIPT = """\
#!/bin/bash

#SBATCH --output=/st/bt.out
#SBATCH --error=/st/bt.err
#SBATCH --job-name=bt-ID
#SBATCH --exclusive
#SBATCH --nodes=2
#SBATCH --partition=q
#SBATCH --time=01:00:00
#SBATCH --account=acc
module load x
source env.sh

cd /cwd && srun --output /st/m.out --error /st/m.err --job-name m-ID --ntasks=1 {echo} 'hi there' b &
pids+=($!)

code=0
for pid in "${{pids[@]}}"; do wait "$pid" || code=$?; done
exit "$code"
"""


def test_the_script_of_a_job(place, job, bare_machine):
    settings = SbatchSettings(nodes=2, time="01:00:00", account="acc", batch_args={"exclusive": None}, queue="q")
    settings.add_preamble("module load x")
    settings.add_preamble(["source env.sh"])
    member = srun(run_args={"ntasks": 1})
    assert settings.script(job, [(member, place)]) == SCRIPT.format(echo=bare_machine / "echo")
    assert settings.submit_command("bt.sh") == ["sbatch", "--parsable", "bt.sh"]


@pytest.mark.parametrize(
    ("setter", "arguments", "expected"),
    [
        ("set_nodes", (2,), ["--nodes=2"]),
        ("set_partition", ("p",), ["--partition=p"]),
        ("set_queue", ("p",), ["--partition=p"]),
        ("set_account", ("a b",), ['--account="a b"']),
        ("set_cpus_per_task", (3,), ["--cpus-per-task=3"]),
        ("set_hostlist", (["n1", "n2"],), ["--nodelist=n1,n2"]),
        ("set_walltime", ("10",), ["--time=10"]),
    ],
)
def test_each_setter_of_a_job_sets_its_option(setter, arguments, expected):
    settings = SbatchSettings()
    getattr(settings, setter)(*arguments)
    assert settings.format_batch_args() == expected


@pytest.mark.parametrize("walltime", ["an hour", "1:2:3:4", "", "10 minutes"])
def test_a_walltime_that_slurm_does_not_know_is_refused(walltime):
    for settings in (SbatchSettings(), srun()):
        with pytest.raises(ArgumentValueError, match=r"HH:MM:SS, MM:SS, MM, D-HH"):
            settings.set_walltime(walltime)


def test_a_job_s_name_and_output_are_smartml_s(job, caplog):
    settings = SbatchSettings(batch_args={"--output": "x", "J": "x"})
    assert settings.format_batch_args() == []
    assert caplog.text.count("is set by smartml") == 2


def test_an_option_of_two_lines_is_refused():
    with pytest.raises(ArgumentValueError, match="more than one line"):
        SbatchSettings(account="a\nrm -rf").format_batch_args()


def run_script(tmp_path, *members):
    places = [Placement(f"m{i}", "", str(tmp_path), f"m {i}.out", f"m {i}.err") for i in range(len(members))]
    job = Placement("bt", "bt", str(tmp_path), "bt.out", "bt.err")
    script = SbatchSettings().script(job, list(zip(members, places, strict=True)))
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True)


def test_a_job_runs_its_members_with_their_variables_output_and_odd_words(tmp_path):
    code = 'echo "$X" "$1" "$PWD"'
    done = run_script(tmp_path, RunSettings("sh", ["-c", code, "", "it's a;b $HOME"], env_vars={"X": "x y"}))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "m 0.out").read_text() == f"x y it's a;b $HOME {tmp_path}\n"


def test_a_job_fails_when_any_of_its_members_does(tmp_path):
    done = run_script(tmp_path, RunSettings("sh", ["-c", "exit 3"]), RunSettings("true"))
    assert done.returncode == 3
    assert run_script(tmp_path, RunSettings("true"), RunSettings("true")).returncode == 0
