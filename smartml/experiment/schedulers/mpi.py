"""MPI: run settings of `mpirun`, `mpiexec` and `orterun`.

The setters use the options of Open MPI (https://www.open-mpi.org/doc/current/man1/mpirun.1.php); give those of another
MPI by `run_args`. A plain number of processes, `--n`, is understood by MPICH as well. Variables are handed on in the
words of the MPI that is on the PATH: those of MPICH belong to its process manager, Hydra
(https://github.com/pmodels/mpich/blob/main/doc/wiki/how_to/Using_the_Hydra_Process_Manager.md).
"""

import logging
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import ClassVar

from smartml.errors import ProgramNotFoundError, UnsupportedError
from smartml.experiment.schedulers.containers import Container
from smartml.experiment.schedulers.options import OptionValue, seconds_text, two_words
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import LauncherSettings, Placement, RunSettings

logger = logging.getLogger(__name__)


class MpiSettings(LauncherSettings):
    """What the run settings of all MPI commands have in common.

    With `fail_if_missing_exec=False` a command that is not there is no error, to describe what another machine runs.
    Raises ProgramNotFoundError, and UnsupportedError when the command is only Slurm's wrapper around `srun`.
    """

    options: ClassVar[Mapping[str, str]] = {
        "set_tasks": "n",
        "set_tasks_per_node": "npernode",
        "set_cpus_per_task": "cpus-per-proc",
        "set_task_map": "map-by",
        "set_cpu_binding_type": "bind-to",
        "set_hostlist": "host",
        "set_hostlist_from_file": "hostfile",
        "set_walltime": "timeout",
        "set_verbose_launch": "verbose",
        "set_quiet_launch": "quiet",
        "set_broadcast": "preload-binary",
    }
    reserved_run_args = frozenset({"wd", "wdir"})
    hands_on_environment = True

    def __init__(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_args: Mapping[str, OptionValue] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        fail_if_missing_exec: bool = True,
        container: Container | None = None,
    ) -> None:
        found = shutil.which(self.command_name)
        # By this name it speaks of itself, whatever it is called by; MPICH's help, too, has the word Slurm.
        told = "" if found is None else _help_of(found)
        is_wrapper = "mpiexec.slurm" in told
        if is_wrapper and fail_if_missing_exec:
            raise UnsupportedError(f"{found} is Slurm's wrapper, which takes other options: use run_command='srun'")
        if found is None and fail_if_missing_exec:
            raise ProgramNotFoundError(
                f"{self.command_name!r} is not found in the PATH: install an MPI (`pip install mpich`), or describe "
                "another machine by fail_if_missing_exec=False"
            )
        self._is_here = found is not None and not is_wrapper
        self._is_hydra = not is_wrapper and "-genv" in told
        if not self._is_here:
            logger.warning("%r is not found in the PATH: it must be where this is to run", self.command_name)
        super().__init__(exe, exe_args, run_args, env_vars, container)

    def set_broadcast(self, dest_path: str | None = None) -> None:
        """Copy the program to the nodes before it runs; where to cannot be told."""
        if dest_path is not None:
            logger.warning("%s cannot be told where to copy the program: %r is ignored", self.command_name, dest_path)
        self._set_option("set_broadcast", None)

    def make_mpmd(self, settings: RunSettings) -> None:
        """Let the same command start another program, too: all belong to one MPI world."""
        self._add_part(settings, MpiSettings)

    def format_run_args(self) -> list[str]:
        """Return the options as words, `--key value`."""
        return two_words(self._options())

    def format_env_vars(self) -> list[str]:
        """Return `-x name=value`, or `-x name` for what is taken over from the caller; for Hydra `-env name value`."""
        if self._is_hydra:
            # It takes all over from the caller.
            given = {name: value for name, value in self.env_vars.items() if value is not None}
            return [word for name, value in given.items() for word in ("-env", name, value)]
        words = (name if value is None else f"{name}={value}" for name, value in self.env_vars.items())
        return [word for variable in words for word in ("-x", variable)]

    def command(self, placement: Placement) -> list[str]:
        """Return the words that run the programs, each with its own options and variables."""
        placed = self.placed(placement.environment)
        words = [self.run_command or self.command_name, "--wdir", placement.folder]
        words += [*placed.format_env_vars(), *self.format_run_args(), *self.program(placement.folder)]
        for part in self.mpmd:
            variables = part.placed(placement.environment).format_env_vars()
            # Hydra takes the folder for one program alone.
            folder = ["--wdir", placement.folder] if self._is_hydra else []
            words += [":", *folder, *part.format_run_args(), *variables, *part.program(placement.folder)]
        return words

    def _find_run_command(self, command: str) -> str:
        return super()._find_run_command(command) if self._is_here else command

    def _walltime(self, walltime: str) -> str:
        return seconds_text(walltime)


class MpirunSettings(MpiSettings):
    """Run a program by `mpirun`."""

    command_name = "mpirun"


class OrterunSettings(MpiSettings):
    """Run a program by `orterun`."""

    command_name = "orterun"


class MpiexecSettings(MpiSettings):
    """Run a program by `mpiexec`."""

    command_name = "mpiexec"


def _help_of(command: str) -> str:
    try:
        done = subprocess.run([command, "--help"], capture_output=True, text=True, errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
