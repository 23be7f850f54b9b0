"""MPI commands, of Open MPI, MPICH and PALS, word for word; and a real one where there is one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, ProgramNotFoundError, UnsupportedError
from smartml.experiment.schedulers.containers import Singularity
from smartml.experiment.schedulers.local import command_line
from smartml.experiment.schedulers.mpi import MpiexecSettings, MpirunSettings, OrterunSettings
from smartml.experiment.schedulers.pals import PalsMpiexecSettings
from smartml.experiment.schedulers.settings import Placement

KINDS = {"mpirun": MpirunSettings, "mpiexec": MpiexecSettings, "orterun": OrterunSettings}

# The folder of an MPI for the whole run of tests, before a test hides it.
# That of the environment first: a machine may have Slurm's wrapper by this name.
REAL = shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")


def mpi(kind=MpirunSettings, exe="echo", exe_args=("hi there", "b"), **options):
    return kind(exe, list(exe_args), fail_if_missing_exec=False, **options)


@pytest.mark.parametrize("name", KINDS)
def test_all_settings_stand_in_one_line(name, place, words):
    settings = mpi(KINDS[name], env_vars={"A": 1, "B": "x,y", "N": None})
    settings.set_tasks(4)
    settings.set_tasks_per_node(2)
    settings.set_hostlist(["h1", "h2"])
    settings.set_cpus_per_task(3)
    settings.set_task_map("ppr:2:node")
    settings.set_cpu_binding_type("core")
    settings.set_verbose_launch(True)
    settings.set_walltime("60")
    assert words(settings.command(place)) == (
        f"{name} --wdir /cwd -x A=1 -x B=x,y -x N --n 4 --npernode 2 --host h1,h2 --cpus-per-proc 3 "
        "--map-by ppr:2:node --bind-to core --verbose --timeout 60 echo hi there b"
    )


def test_several_programs_share_a_world(place, words):
    settings = mpi(exe_args=["a"], run_args={"n": 1})
    settings.make_mpmd(mpi(exe="sleep", exe_args=["1"], run_args={"n": 2}, env_vars={"Q": 1}))
    assert words(settings.command(place)) == "mpirun --wdir /cwd --n 1 echo a : --n 2 -x Q=1 sleep 1"
    # On this machine variables are the process's; `-x` is known to Open MPI alone.
    assert words(command_line(settings)) == "mpirun --n 1 echo a : --n 2 env Q=1 sleep 1"


@pytest.mark.parametrize(
    ("setter", "arguments", "expected"),
    [
        ("set_hostlist_from_file", ("hosts",), "--hostfile hosts"),
        ("set_quiet_launch", (True,), "--quiet"),
        ("set_broadcast", (), "--preload-binary"),
        ("set_time", (0, 1, 30), "--timeout 90"),
        ("set_walltime", ("01:00:00",), "--timeout 3600"),
        ("set", ("--oversubscribe",), "--oversubscribe"),
        ("set", ("x", 0), "--x 0"),
        ("set_nodes", (2,), ""),
        ("set_excluded_hosts", ("h",), ""),
    ],
)
def test_each_setter_sets_its_option(setter, arguments, expected):
    settings = mpi()
    getattr(settings, setter)(*arguments)
    assert " ".join(settings.format_run_args()) == expected


def test_all_settings_of_pals_stand_in_one_line(place, words):
    settings = mpi(PalsMpiexecSettings, env_vars={"A": 1, "B": "x,y", "N": None})
    settings.set_tasks(4)
    settings.set_tasks_per_node(2)
    settings.set_hostlist("h1")
    settings.set_cpu_binding_type("depth")
    settings.set_gpu_affinity_script("/x/aff.sh", 1, 2)
    assert words(settings.command(place)) == (
        "mpiexec --wdir /cwd --env A=1 --env B=x,y --envlist N --np 4 --ppn 2 --hosts h1 --cpu-bind depth "
        "/x/aff.sh 1 2 echo hi there b"
    )


def test_pals_warns_of_what_it_cannot_do(caplog):
    settings = mpi(PalsMpiexecSettings)
    settings.set_cpus_per_task(2)
    settings.set_quiet_launch(True)
    assert settings.format_run_args() == []
    assert caplog.text.count("PalsMpiexecSettings has no option for") == 2


def test_a_container_is_not_forgotten(place, words):
    settings = mpi(exe="run", exe_args=[], container=Singularity("i.sif"))
    assert words(settings.command(place)) == "mpirun --wdir /cwd singularity exec --pwd /cwd --bind /cwd i.sif run"


def test_a_command_that_is_not_there_is_an_error_unless_another_machine_is_described():
    with pytest.raises(ProgramNotFoundError, match=r"'orterun' is not found in the PATH.*fail_if_missing_exec=False"):
        OrterunSettings("echo")
    assert OrterunSettings("echo", fail_if_missing_exec=False).run_command == "orterun"


def test_a_command_that_is_there_is_taken_by_its_path(played):
    folder = played("mpiexec", text="Usage: ./mpiexec [global opts]\n -launcher (ssh slurm)")
    assert MpiexecSettings("echo").run_command == str(folder / "mpiexec")


def test_slurm_s_wrapper_is_refused(played):
    played("mpiexec", text="Usage:\n    mpiexec.slurm args executable pgmargs")
    with pytest.raises(UnsupportedError, match="run_command='srun'"):
        MpiexecSettings("echo")


def test_wrong_values_are_refused_with_what_is_accepted():
    settings = mpi()
    with pytest.raises(ArgumentValueError, match="tasks must be 1 or more, got 0"):
        settings.set_tasks(0)
    with pytest.raises(ArgumentValueError, match="tasks must be a whole number, got 'many'"):
        settings.set_tasks("many")
    with pytest.raises(ArgumentTypeError, match="tasks must be an int, got float"):
        settings.set_tasks(1.5)
    with pytest.raises(ArgumentTypeError, match="host_list"):
        settings.set_hostlist([1])
    with pytest.raises(ArgumentTypeError, match="name of an option"):
        settings.set(5)
    with pytest.raises(ArgumentTypeError, match="None for an option without a value, got True"):
        settings.set("verbose", True)
    with pytest.raises(ArgumentTypeError, match="takes MpiSettings"):
        settings.make_mpmd("echo")


def test_an_option_that_changes_is_warned_about(caplog):
    settings = mpi(run_args={"n": 1})
    settings.set("n", 2)
    assert "option 'n' was 1 and is now 2" in caplog.text


@pytest.mark.skipif(REAL is None, reason="no mpirun on the PATH: pip install mpich")
def test_ranks_of_two_programs_run_for_real(exp, monkeypatch):
    monkeypatch.setenv("PATH", f"{os.path.dirname(REAL)}:{os.defpath}")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    code = (
        "import os, sys\n"
        "rank = os.environ.get('PMI_RANK') or os.environ['OMPI_COMM_WORLD_RANK']\n"
        "size = os.environ.get('PMI_SIZE') or os.environ['OMPI_COMM_WORLD_SIZE']\n"
        "open(f'rank_{rank}', 'w').write(f\"{size} {os.environ['ALL']} {os.environ.get('PART')} {sys.argv[1]}\")\n"
    )
    settings = exp.create_run_settings(sys.executable, ["-c", code, "it's"], run_command="mpirun", env_vars={"ALL": 1})
    settings.set_tasks(2)
    other = exp.create_run_settings(sys.executable, ["-c", code, "b"], run_command="mpirun", env_vars={"PART": "p q"})
    other.set_tasks(1)
    settings.make_mpmd(other)
    model = exp.create_model("ranks", settings)
    exp.start(model)
    assert exp.get_status(model) == ["Completed"]
    written = [Path(model.path, f"rank_{rank}").read_text() for rank in range(3)]
    assert written == ["3 1 None it's", "3 1 None it's", "3 1 p q b"]


@pytest.mark.skipif(REAL is None, reason="no MPI: pip install mpich")
def test_programs_of_a_real_mpi_get_their_variables_and_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{os.path.dirname(REAL)}:{os.environ['PATH']}")
    monkeypatch.setenv("TAKEN", "from here")
    show = "import os; print(os.getcwd(), *(os.environ.get(name) for name in ('OWN', 'TAKEN', 'SSDB')), flush=True)"
    settings, other = (
        MpirunSettings(sys.executable, ["-c", show], {"n": 1}, {"OWN": own, "TAKEN": None}) for own in ("a b", "c")
    )
    settings.make_mpmd(other)
    place = Placement("p", "p", str(tmp_path), "p.out", "p.err", environment={"SSDB": "127.0.0.1:6780"})

    done = subprocess.run(settings.command(place), capture_output=True, text=True, timeout=60)

    if "Open MPI" in subprocess.run([REAL, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("Open MPI runs programs as root only where it is told to")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        f"{tmp_path} a b from here 127.0.0.1:6780",
        f"{tmp_path} c from here 127.0.0.1:6780",
    ]
