"""What starts the servers of a database on other hosts, word for word."""

import json
import os
import shlex
import shutil

import pytest

from smartml.errors import ArgumentValueError, UnsupportedError
from smartml.experiment import Experiment
from smartml.experiment.cluster import Shape
from smartml.experiment.hosting import spread


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with the commands of all launchers, in no allocation."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("srun", "aprun", "jsrun", "mpirun", "mpiexec", "sbatch", "qsub", "bsub"):
        (folder / name).write_text("#!/bin/sh\n")
        os.chmod(folder / name, 0o755)
    for name in ("env", "sh"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    for name in (
        "SLURM_JOB_NODELIST",
        "SLURM_NODELIST",
        "PBS_NODEFILE",
        "LSB_DJOB_HOSTFILE",
        "LSB_HOSTS",
        "PE_HOSTFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def shown(tmp_path, machine):
    """Return what a preview shows of a database's commands, by line: without paths, and without what comes last."""

    def show(launcher, cpus=None, **options):
        db = Experiment("exp", tmp_path, launcher=launcher).create_database(6380, **{"db_nodes": 3, **options})
        if cpus is not None:
            db.set_cpus(cpus)
        text = Experiment("exp", tmp_path, launcher=launcher).preview(db)
        lines = text[text.index("Replicas: 0\n") + len("Replicas: 0\n") :].splitlines()
        bare = [line.strip().replace(f"{machine}/", "").replace(f"{tmp_path}/orchestrator/", "") for line in lines]
        return [line.removeprefix("Command: ") for line in bare if line]

    return show


def of_run_command(line):
    """Return the words before the program, and what the program is told."""
    before, _, told = line.partition(" env PYTHONPATH=")
    return before, json.loads(next(word for word in shlex.split(told) if word.startswith("{")))


BY_HOST = [
    (
        "slurm",
        {},
        "srun --output {name}.out --error {name}.err --job-name {name} "
        "--nodes=1 --ntasks=1 --overlap --nodelist={host} --cpus-per-task=2",
    ),
    ("pbs", {}, "aprun --wdir {folder} --pes=1 --pes-per-node=1 --node-list={host} --cpus-per-pe=2"),
    ("pals", {}, "mpiexec --wdir {folder} --np 1 --ppn 1 --hosts {host} --depth 2"),
    ("sge", {}, "mpirun --wdir {folder} --n 1 --host {host} --cpus-per-proc 2"),
]


@pytest.mark.parametrize(("launcher", "options", "words"), BY_HOST)
def test_each_host_gets_a_command_of_its_own(shown, tmp_path, launcher, options, words):
    lines = shown(launcher, cpus=2, hosts=["a", "b", "c"], **options)
    folder = tmp_path / "orchestrator"
    for index, (line, host) in enumerate(zip(lines, "abc", strict=True)):
        before, told = of_run_command(line)
        assert before == words.format(name=f"orchestrator_{index}", host=host, folder=folder)
        assert (told["names"], told["ports"]) == ([f"orchestrator_{index}"], [6380 + index])


AT_ONCE = [
    (
        "slurm",
        {"hosts": ["a", "b"], "single_cmd": True},
        "srun --output orchestrator.servers.out --error orchestrator.servers.err --job-name orchestrator --nodes=2 "
        "--ntasks=3 --ntasks-per-node=2 --kill-on-bad-exit=0 --overlap --nodelist=a,b",
    ),
    (
        "pbs",
        {"hosts": ["a", "b"], "single_cmd": True, "run_command": "mpirun"},
        "mpirun --wdir {folder} --n 3 --host a,b,a",
    ),
    (
        "lsf",
        {},
        "jsrun --chdir {folder} --stdio_stdout orchestrator.servers.out --stdio_stderr orchestrator.servers.err "
        "--nrs=3 --tasks_per_rs=1 --rs_per_host=1",
    ),
]


@pytest.mark.parametrize(("launcher", "options", "words"), AT_ONCE)
def test_one_command_starts_all_servers(shown, tmp_path, launcher, options, words):
    (line,) = shown(launcher, **options)
    before, told = of_run_command(line)
    assert before == words.format(folder=tmp_path / "orchestrator")
    assert told["names"] == ["orchestrator_0", "orchestrator_1", "orchestrator_2"]
    assert [out.endswith(f"orchestrator_{index}.out") for index, (out, _) in enumerate(told["outputs"])] == [True] * 3


BATCH = [
    (
        "slurm",
        {"time": "01:00:00", "queue": "q", "account": "a"},
        ["--nodes=3", "--partition=q", "--time=01:00:00", "--account=a", "--no-requeue", "--cpus-per-task=2"],
        ["--nodes=1 --ntasks=1 --overlap --relative=0 --cpus-per-task=2"],
    ),
    (
        "slurm",
        {"hosts": ["n1", "n2"]},
        ["--nodes=2", "--no-requeue", "--nodelist=n1,n2", "--cpus-per-task=2"],
        ["--relative=0", "--relative=1", "--relative=0"],
    ),
    ("pbs", {"hosts": ["a", "b", "c"]}, ["-l nodes=a:ncpus=2+b:ncpus=2+c:ncpus=2", "-r n"], ["aprun", "--pes=3"]),
    (
        "pals",
        {"time": "02:00:00"},
        ["-l nodes=3:ncpus=2", "-l walltime=02:00:00", "-r n"],
        ["mpiexec", "--np 3 --ppn 1"],
    ),
    ("lsf", {"account": "p", "time": "01:00"}, ["-W 01:00", "-P p", "-nnodes 3", "-rn"], ["jsrun", "--nrs=3"]),
]


@pytest.mark.parametrize(("launcher", "options", "lines", "words"), BATCH)
def test_a_batch_job_asks_for_the_hosts_and_runs_the_servers(shown, launcher, options, lines, words):
    script = shown(launcher, cpus=2, batch=True, **options)
    directives = [line.partition(" ")[2] for line in script if line.startswith(("#SBATCH", "#PBS", "#BSUB"))]
    assert sorted(line for line in directives if line in lines) == sorted(lines)
    commands = [line for line in script if "placed_start" in line]
    assert len(commands) == (3 if launcher == "slurm" else 1)
    rest = "\n".join(commands)
    for word in words:
        assert word in rest
        rest = rest[rest.index(word) :]


def test_a_parallel_environment_of_grid_engine_is_named_by_the_user(tmp_path):
    exp = Experiment("exp", tmp_path, launcher="sge")
    db = exp.create_database(0, db_nodes=3, batch=True)
    with pytest.raises(ArgumentValueError, match=r"ncpus \(3\) and pe_type \(None\) belong together"):
        exp.preview(db)
    db.batch_settings.set_pe_type("mpi")
    assert "#$ -pe mpi 3\n" in exp.preview(db)


def test_options_of_the_user_are_handed_on(tmp_path, caplog):
    exp = Experiment("exp", tmp_path, launcher="slurm")
    db = exp.create_database(0, batch=True)
    db.set_batch_arg("--constraint", "fast")
    db.set_batch_arg("output", "x")
    db.set_run_arg("mem", "4G")
    db.set_walltime("02:00:00")
    text = exp.preview(db)
    assert "#SBATCH --constraint=fast\n" in text and "#SBATCH --time=02:00:00\n" in text
    assert "--mem=4G" in text and "'output' is set by smartml" in caplog.text
    with pytest.raises(UnsupportedError, match="is no batch job: use batch=True, or leave out set_walltime"):
        exp.create_database(0, hosts="a").set_walltime("01:00:00")


def test_hosts_of_the_allocation_are_found(shown, tmp_path, monkeypatch, caplog):
    (tmp_path / "nodes").write_text("a\na\nb\nb\n")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    lines = shown("pbs", run_command="mpirun")
    assert ["--host a " in lines[0], "--host b " in lines[1], "--host a " in lines[2]] == [True] * 3
    assert "has 3 servers on 2 hosts (a, b): some share one" in caplog.text


def test_where_no_host_can_be_known_or_named(shown):
    with pytest.raises(ArgumentValueError, match="must know where to run it"):
        shown("pbs")
    with pytest.raises(UnsupportedError, match="jsrun chooses the hosts by itself"):
        shown("lsf", hosts=["a"])


def test_a_replica_is_never_beside_its_primary_where_that_can_be():
    assert spread(Shape(3), "abcd") == ["a", "b", "c"]
    assert spread(Shape(3, 1), "abcdef") == ["a", "b", "c", "d", "e", "f"]
    assert spread(Shape(3, 1), "abc") == ["a", "b", "c", "b", "c", "a"]
    assert spread(Shape(3, 1), "ab") == ["a", "b", "a", "b", "a", "b"]
    assert spread(Shape(3), "a") == ["a", "a", "a"]
