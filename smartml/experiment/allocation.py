"""What a database asks of a scheduler: where, on how many CPUs and for how long it runs."""

import logging
from collections.abc import Sequence

from smartml.errors import UnsupportedError
from smartml.experiment.schedulers.options import OptionValue, check_walltime, count, names, text_of

logger = logging.getLogger(__name__)


class AllocationCommands:
    """Base of Orchestrator: what its launcher shall be asked for. The local one has nothing to give."""

    launcher: str
    # What was asked for, by name; used by the launcher when the database starts.
    run_args: dict[str, OptionValue]
    batch_args: dict[str, OptionValue]
    cpus: int | None
    walltime: str | None
    requested_hosts: list[str]

    def set_cpus(self, num_cpus: int) -> None:
        """Set the number of CPUs of each server."""
        self.cpus = count("num_cpus", num_cpus)
        self._warn_of("set_cpus")

    def set_walltime(self, walltime: str) -> None:
        """Set how long the batch job of the database may run: `HH:MM:SS`. Raises UnsupportedError without one."""
        self._check_has_batch_jobs("set_walltime")
        self.walltime = check_walltime(walltime, r"\d+(:\d\d){1,2}", "HH:MM:SS, HH:MM")

    def set_hosts(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts that the servers run on."""
        self.requested_hosts = list(names("host_list", host_list))
        self._warn_of("set_hosts")

    def reset_hosts(self) -> None:
        """Let the launcher choose the hosts."""
        self.requested_hosts = []

    def set_batch_arg(self, arg: str, value: OptionValue = None) -> None:
        """Set an option of the batch job of the database. Raises UnsupportedError without one."""
        self._check_has_batch_jobs("set_batch_arg")
        self.batch_args[text_of("the name of an option", arg).lstrip("-")] = value

    def set_run_arg(self, arg: str, value: OptionValue = None) -> None:
        """Set an option of the command that starts the servers."""
        self.run_args[text_of("the name of an option", arg).lstrip("-")] = value
        self._warn_of("set_run_arg")

    def _warn_of(self, setter: str) -> None:
        if self.launcher == "local":
            logger.warning("the launcher 'local' has nothing to give for %s: it is kept, and not used", setter)

    def _check_has_batch_jobs(self, setter: str) -> None:
        if self.launcher == "local":
            raise UnsupportedError(f"the launcher 'local' has no batch jobs: leave out {setter}")
