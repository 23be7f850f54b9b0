"""ALPS: run settings of `aprun`, on Cray XC systems.

Options as in aprun(1) of the Cray Linux Environment.
"""

from collections.abc import Mapping
from typing import ClassVar

from smartml.errors import UnsupportedError
from smartml.experiment.schedulers.options import seconds_text, short_and_long
from smartml.experiment.schedulers.programs import assignments
from smartml.experiment.schedulers.settings import LauncherSettings, Placement, RunSettings


class AprunSettings(LauncherSettings):
    """Run a program by `aprun`, which hands the caller's environment on by itself."""

    command_name = "aprun"
    options: ClassVar[Mapping[str, str]] = {
        "set_tasks": "pes",
        "set_tasks_per_node": "pes-per-node",
        "set_cpus_per_task": "cpus-per-pe",
        "set_cpu_bindings": "cpu-binding",
        "set_hostlist": "node-list",
        "set_hostlist_from_file": "node-list-file",
        "set_excluded_hosts": "exclude-node-list",
        "set_memory_per_node": "memory-per-pe",
        "set_walltime": "cpu-time-limit",
        "set_verbose_launch": "debug",
        "set_quiet_launch": "quiet",
    }
    reserved_run_args = frozenset({"wdir"})
    hands_on_environment = True

    def set_verbose_launch(self, verbose: bool) -> None:
        """Let `aprun` tell all it does, or no more."""
        self._set_flag("set_verbose_launch", verbose)
        if verbose:
            self._set_option("set_verbose_launch", 7)

    def make_mpmd(self, settings: RunSettings) -> None:
        """Let the same command start another program, too. Raises UnsupportedError for containers."""
        if self.container or settings.container:
            raise UnsupportedError("aprun cannot start several programs of containers: make a model for each")
        self._add_part(settings, AprunSettings)

    def format_run_args(self) -> list[str]:
        """Return the options as words, `-k value` or `--key=value`."""
        return short_and_long(self._options())

    def format_env_vars(self) -> list[str]:
        """Return `-e name=value` for each; what is taken over from the caller needs no word."""
        return [word for variable in assignments(self.env_vars) for word in ("-e", variable)]

    def command(self, placement: Placement) -> list[str]:
        """Return the words that run the programs."""
        variables = self.placed(placement.environment).format_env_vars()
        words = [self.run_command or self.command_name, "--wdir", placement.folder, *variables]
        words += [*self.format_run_args(), *self.program(placement.folder)]
        for part in self.mpmd:
            words += [":", *part.format_run_args(), *part.program_as_part(placement.folder)]
        return words

    def _walltime(self, walltime: str) -> str:
        return seconds_text(walltime)
