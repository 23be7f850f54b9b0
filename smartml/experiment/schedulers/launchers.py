"""Which settings belong to which launcher, and which launcher a machine has."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smartml.errors import ArgumentTypeError, ProgramNotFoundError, UnsupportedError
from smartml.experiment.schedulers.alps import AprunSettings
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.batch_system import BatchSystem
from smartml.experiment.schedulers.containers import Container
from smartml.experiment.schedulers.lsf import LSF, BsubBatchSettings, JsrunSettings
from smartml.experiment.schedulers.mpi import MpiexecSettings, MpirunSettings, OrterunSettings
from smartml.experiment.schedulers.options import OptionValue
from smartml.experiment.schedulers.pals import PalsMpiexecSettings
from smartml.experiment.schedulers.pbs import Pbs, QsubBatchSettings
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.schedulers.sge import GRID_ENGINE, SgeQsubBatchSettings
from smartml.experiment.schedulers.slurm import SLURM, SbatchSettings, SrunSettings

_MPI: dict[str, type[RunSettings]] = {
    "mpirun": MpirunSettings,
    "mpiexec": MpiexecSettings,
    "orterun": OrterunSettings,
}

_RUN_COMMANDS: dict[str, type[RunSettings]] = {
    "aprun": AprunSettings,
    "jsrun": JsrunSettings,
    "srun": SrunSettings,
    **_MPI,
}

_KINDS = frozenset({RunSettings, PalsMpiexecSettings, *_RUN_COMMANDS.values()})


@dataclass(frozen=True)
class Launcher:
    """What belongs to one launcher."""

    # The run commands to look for, the preferred first.
    run_commands: tuple[str, ...]
    batch: type[BatchSettings] | None
    # The commands of its batch system.
    system: BatchSystem | None
    # The run settings that it can start besides those of MPI and the plain ones.
    own: tuple[type[RunSettings], ...] = ()


LAUNCHERS = {
    "local": Launcher((), None, None),
    "slurm": Launcher(("srun", "mpirun", "mpiexec"), SbatchSettings, SLURM, (SrunSettings,)),
    "pbs": Launcher(("aprun", "mpirun", "mpiexec"), QsubBatchSettings, Pbs(), (AprunSettings, PalsMpiexecSettings)),
    "pals": Launcher(("mpiexec",), QsubBatchSettings, Pbs(), (AprunSettings, PalsMpiexecSettings)),
    "lsf": Launcher(("jsrun", "mpirun", "mpiexec"), BsubBatchSettings, LSF, (JsrunSettings,)),
    "sge": Launcher(("mpirun", "mpiexec"), SgeQsubBatchSettings, GRID_ENGINE),
}


def find_launcher(name: object) -> str:
    """Return the launcher that a name means, in small letters; "auto" means the one of this machine.

    Raises UnsupportedError.
    """
    chosen = name.lower() if isinstance(name, str) else name
    if chosen == "auto":
        return detect_launcher()
    if chosen not in LAUNCHERS:
        raise UnsupportedError(
            f"launcher {name!r} is not available; there are: {', '.join(map(repr, LAUNCHERS))}, 'auto'"
        )
    return str(chosen)


def batch_system(launcher: str) -> BatchSystem:
    """Return the commands of a launcher's batch system. Raises UnsupportedError where it has none."""
    system = LAUNCHERS[find_launcher(launcher)].system
    if system is None:
        raise UnsupportedError(f"launcher {launcher!r} has no batch system")
    return system


def detect_launcher() -> str:
    """Return the launcher whose commands are on the PATH; "local" where there is none. Never "pals" and "sge"."""
    if _are_there("qsub", "qstat", "qdel") and "pbs" in _version_of("qsub"):
        return "pbs"
    if _are_there("bsub", "jsrun", "jslist", "bjobs", "bkill"):
        return "lsf"
    if _are_there("sacct", "srun", "salloc", "sbatch", "scancel", "sstat", "sinfo"):
        return "slurm"
    return "pbs" if "PBS_JOBID" in os.environ else "local"


def create_run_settings(
    launcher: str,
    exe: str,
    exe_args: str | Sequence[str] | None = None,
    run_command: str | None = "auto",
    run_args: Mapping[str, OptionValue] | None = None,
    env_vars: Mapping[str, EnvValue] | None = None,
    container: Container | None = None,
    **options: Any,
) -> RunSettings:
    """Describe how to run a program by a launcher.

    run_command: "auto" takes the first of the launcher's that is on the PATH, on this machine none. A command that is
    known gives its own kind of settings, whatever the launcher; any other is put before the program as it is.
    `options` are those of that kind: `alloc` of srun, `fail_if_missing_exec` of MPI's. Raises ProgramNotFoundError.
    """
    launcher = find_launcher(launcher)
    command = _find_run_command(launcher) if run_command == "auto" else run_command
    kind = _RUN_COMMANDS.get(command) if command else None
    if kind is MpiexecSettings and launcher == "pals":
        kind = PalsMpiexecSettings
    if kind is None:
        if options:
            raise ArgumentTypeError(f"run command {command!r} takes no {', '.join(options)}: leave it out")
        return RunSettings(exe, exe_args, command, run_args, env_vars, container)
    try:
        return kind(exe, exe_args, run_args=run_args, env_vars=env_vars, container=container, **options)
    except TypeError as error:
        if isinstance(error, ArgumentTypeError) or not options:
            raise
        raise ArgumentTypeError(f"{kind.__name__} takes no such option: {', '.join(options)}") from error


def create_batch_settings(
    launcher: str,
    nodes: int | None = None,
    time: str = "",
    queue: str = "",
    account: str = "",
    batch_args: Mapping[str, OptionValue] | None = None,
    **options: Any,
) -> BatchSettings:
    """Describe a job of a launcher's batch system.

    `options` are those of its settings: `ncpus`, `resources`, `smts`, `pe_type` ... Raises UnsupportedError on this
    machine, which has no batch system.
    """
    launcher = find_launcher(launcher)
    kind = LAUNCHERS[launcher].batch
    if kind is None:
        with_batch = ", ".join(repr(name) for name, known in LAUNCHERS.items() if known.batch)
        raise UnsupportedError(f"launcher {launcher!r} has no batch jobs; those have: {with_batch}")
    given: dict[str, Any] = {"time": time, "batch_args": batch_args, **options}
    if kind is SgeQsubBatchSettings:
        if nodes not in (None, 0, 1) or queue:
            raise UnsupportedError(
                f"Grid Engine takes no nodes ({nodes}) and no queue ({queue!r}): use ncpus and pe_type"
            )
        given |= {"account": account or None}
    else:
        is_selected = "select" in (options.get("resources") or {}) and nodes == 1
        given |= {"nodes": None if is_selected else nodes, "queue": queue or None}
        given["project" if kind is BsubBatchSettings else "account"] = account or options.get("project")
    try:
        return kind(**given)
    except TypeError as error:
        if isinstance(error, ArgumentTypeError):
            raise
        raise ArgumentTypeError(f"{kind.__name__} takes no such option: {', '.join(options)}") from error


def check_settings(launcher: str, name: str, settings: RunSettings | None, batch: BatchSettings | None) -> None:
    """Check that the launcher can run an entity that is described so. Raises UnsupportedError."""
    known = LAUNCHERS[launcher]
    if settings is not None and launcher != "local":
        accepted: tuple[type[RunSettings], ...] = (RunSettings, *_MPI.values(), *known.own)
        # A class that a user derives is started as what it derives from.
        if next(kind for kind in type(settings).__mro__ if kind in _KINDS) not in accepted:
            listed = ", ".join(kind.__name__ for kind in accepted)
            raise UnsupportedError(
                f"{name!r} has {type(settings).__name__}, which launcher {launcher!r} does not take; it takes: {listed}"
            )
    if batch is not None and (known.batch is None or not isinstance(batch, known.batch)):
        takes = f"it takes {known.batch.__name__}" if known.batch else "leave batch_settings out"
        raise UnsupportedError(
            f"{name!r} has {type(batch).__name__}, a batch job that launcher {launcher!r} cannot start: {takes}"
        )


def _find_run_command(launcher: str) -> str | None:
    wanted = LAUNCHERS[launcher].run_commands
    found = next((command for command in wanted if shutil.which(command)), None)
    if wanted and found is None:
        raise ProgramNotFoundError(
            f"launcher {launcher!r} needs one of {', '.join(wanted)} on the PATH; name it by run_command={wanted[0]!r} "
            "to describe what another machine runs"
        )
    return found


def _are_there(*commands: str) -> bool:
    return all(shutil.which(command) for command in commands)


def _version_of(command: str) -> str:
    try:
        done = subprocess.run([command, "--version"], capture_output=True, text=True, errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).lower()
