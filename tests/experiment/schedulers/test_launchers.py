"""Which settings belong to which launcher."""

import pytest

from smartml.errors import ArgumentTypeError, ProgramNotFoundError, UnsupportedError
from smartml.experiment.schedulers.launchers import (
    LAUNCHERS,
    check_settings,
    create_batch_settings,
    create_run_settings,
    detect_launcher,
    find_launcher,
)
from smartml.experiment.schedulers.settings import RunSettings

COMMANDS = ("aprun", "jsrun", "srun", "mpirun", "mpiexec", "orterun")


@pytest.mark.parametrize(
    ("launcher", "there", "kind"),
    [
        ("local", COMMANDS, "RunSettings"),
        ("slurm", COMMANDS, "SrunSettings"),
        ("slurm", ("mpirun", "mpiexec"), "MpirunSettings"),
        ("pbs", COMMANDS, "AprunSettings"),
        ("pbs", ("mpiexec",), "MpiexecSettings"),
        ("pals", COMMANDS, "PalsMpiexecSettings"),
        ("lsf", COMMANDS, "JsrunSettings"),
        ("sge", COMMANDS, "MpirunSettings"),
    ],
)
def test_auto_takes_the_first_run_command_that_is_there(launcher, there, kind, played):
    played(*there)
    assert type(create_run_settings(launcher, "echo")).__name__ == kind


@pytest.mark.parametrize("launcher", ["slurm", "pbs", "pals", "lsf", "sge"])
def test_auto_says_what_it_looked_for(launcher):
    with pytest.raises(ProgramNotFoundError, match=f"launcher '{launcher}' needs one of .*run_command="):
        create_run_settings(launcher, "echo")


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_known_gives_its_settings_whatever_the_launcher(launcher, command):
    options = {"fail_if_missing_exec": False} if command in ("mpirun", "mpiexec", "orterun") else {}
    kind = "PalsMpiexec" if (launcher, command) == ("pals", "mpiexec") else command.capitalize()
    settings = create_run_settings(launcher, "echo", "a", command, {"x": 1}, {"V": 2}, **options)
    assert type(settings).__name__ == f"{kind}Settings"
    assert (settings.exe_args, settings.run_args, settings.env_vars) == (["a"], {"x": 1}, {"V": "2"})


def test_other_commands_are_taken_as_they_are(bare_machine):
    settings = create_run_settings("slurm", "echo", run_command="env", run_args={"-i": None})
    assert settings.local_command("") == [str(bare_machine / name) for name in ("env",)] + ["-i", *settings.exe]
    assert create_run_settings("slurm", "echo", run_command=None).run_command is None


def test_options_of_another_kind_are_refused():
    with pytest.raises(ArgumentTypeError, match="takes no alloc"):
        create_run_settings("local", "echo", alloc=5)
    with pytest.raises(ArgumentTypeError, match="SrunSettings takes no such option: node"):
        create_run_settings("slurm", "echo", run_command="srun", node=5)
    with pytest.raises(ArgumentTypeError, match="SbatchSettings takes no such option: ncpus"):
        create_batch_settings("slurm", ncpus=5)


@pytest.mark.parametrize(
    ("launcher", "options", "kind", "lines"),
    [
        ("slurm", {}, "Sbatch", ["--nodes=1", "--partition=q", "--time=01:00:00", "--account=a"]),
        ("pbs", {}, "Qsub", ["-l nodes=1", "-l walltime=01:00:00", "-q q", "-A a"]),
        ("pals", {"resources": {"select": 2}}, "Qsub", ["-l select=2", "-l walltime=01:00:00", "-q q", "-A a"]),
        ("lsf", {"smts": 4}, "Bsub", ["-alloc_flags smt4", "-nnodes 1", "-q q"]),
    ],
)
def test_batch_settings_are_those_of_the_launcher(launcher, options, kind, lines):
    settings = create_batch_settings(launcher, 1, "01:00:00", "q", "a", **options)
    assert type(settings).__name__ == f"{kind}BatchSettings".replace("SbatchBatch", "Sbatch")
    assert settings.format_batch_args() == lines


def test_batch_settings_of_grid_engine_take_no_nodes_and_no_queue():
    settings = create_batch_settings("sge", 1, "01:00:00", account="a", ncpus=2, pe_type="mpi")
    assert settings.format_batch_args() == ["-pe mpi 2", "-l h_rt=01:00:00", "-A a"]
    with pytest.raises(UnsupportedError, match="no nodes"):
        create_batch_settings("sge", 2)


def test_this_machine_has_no_batch_jobs():
    with pytest.raises(UnsupportedError, match="those have: 'slurm', 'pbs', 'pals', 'lsf', 'sge'"):
        create_batch_settings("local")


SLURM = ("sacct", "srun", "salloc", "sbatch", "scancel", "sstat", "sinfo")


def test_the_launcher_of_a_machine_is_found(played, monkeypatch):
    assert detect_launcher() == "local"
    monkeypatch.setenv("PBS_JOBID", "1")
    assert find_launcher("auto") == "pbs"
    played(*SLURM)
    assert find_launcher("AUTO") == "slurm"
    played("bsub", "jsrun", "jslist", "bjobs", "bkill")
    assert detect_launcher() == "lsf"
    played("qsub", "qstat", "qdel", text="Version: 6.1.2")
    assert detect_launcher() == "lsf"
    played("qsub", text="pbs_version = 22.05")
    assert detect_launcher() == "pbs"


@pytest.mark.parametrize("name", ["cobalt", "dragon", "", None, 5])
def test_other_launchers_are_refused_with_those_there_are(name):
    with pytest.raises(UnsupportedError, match="there are: 'local', 'slurm', 'pbs', 'pals', 'lsf', 'sge', 'auto'"):
        find_launcher(name)


def test_settings_of_another_launcher_are_refused():
    srun = create_run_settings("slurm", "echo", run_command="srun")
    check_settings("local", "m", srun, None)
    check_settings("slurm", "m", srun, create_batch_settings("slurm"))
    check_settings("lsf", "m", RunSettings("echo"), None)
    with pytest.raises(UnsupportedError, match="'m' has SrunSettings, which launcher 'pbs' does not take"):
        check_settings("pbs", "m", srun, None)
    with pytest.raises(UnsupportedError, match="it takes SbatchSettings"):
        check_settings("slurm", "m", srun, create_batch_settings("pbs"))
    with pytest.raises(UnsupportedError, match="leave batch_settings out"):
        check_settings("local", "m", RunSettings("echo"), create_batch_settings("pbs"))
