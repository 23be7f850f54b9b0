"""What a database asks of a scheduler: where, on how many CPUs and for how long it runs."""

import logging
from collections.abc import Sequence

from smartml.errors import UnsupportedError
from smartml.experiment.hosting import Request
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.options import OptionValue, count, names, text_of

logger = logging.getLogger(__name__)


class AllocationCommands:
    """Base of Orchestrator: what its launcher shall be asked for. The local one has nothing to give."""

    launcher: str
    name: str
    # As given to the constructor.
    run_command: str
    alloc: str | None
    single_cmd: bool
    # The batch job that runs the servers, where one was asked for; what it asks for may be changed.
    batch_settings: BatchSettings | None
    # What was asked for, by name; used by the launcher when the database starts.
    run_args: dict[str, OptionValue]
    cpus: int | None
    walltime: str | None
    requested_hosts: list[str]

    @property
    def batch(self) -> bool:
        """True when the servers run in a batch job of their own."""
        return self.batch_settings is not None

    def set_cpus(self, num_cpus: int) -> None:
        """Set the number of CPUs of each server."""
        self.cpus = count("num_cpus", num_cpus)
        self._warn_of("set_cpus")

    def set_walltime(self, walltime: str) -> None:
        """Set how long the batch job of the database may run: `HH:MM:SS`. Raises UnsupportedError without one."""
        self._batch_of("set_walltime").set_walltime(walltime)
        self.walltime = walltime

    def set_hosts(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts that the servers run on."""
        self.requested_hosts = list(names("host_list", host_list))
        self._warn_of("set_hosts")

    def reset_hosts(self) -> None:
        """Let the launcher choose the hosts."""
        self.requested_hosts = []

    def set_batch_arg(self, arg: str, value: OptionValue = None) -> None:
        """Set an option of the batch job of the database. Raises UnsupportedError without one."""
        batch = self._batch_of("set_batch_arg")
        name = text_of("the name of an option", arg).lstrip("-")
        if name in batch.reserved_batch_args:
            logger.warning("batch argument %r is set by smartml and cannot be by settings: it is ignored", arg)
        else:
            batch.batch_args[name] = value

    def set_run_arg(self, arg: str, value: OptionValue = None) -> None:
        """Set an option of the command that starts the servers."""
        self.run_args[text_of("the name of an option", arg).lstrip("-")] = value
        self._warn_of("set_run_arg")

    def _warn_of(self, setter: str) -> None:
        if self.launcher == "local":
            logger.warning("the launcher 'local' has nothing to give for %s: it is kept, and not used", setter)

    def _batch_of(self, setter: str) -> BatchSettings:
        if self.launcher == "local":
            raise UnsupportedError(f"the launcher 'local' has no batch jobs: leave out {setter}")
        if self.batch_settings is None:
            raise UnsupportedError(f"database {self.name!r} is no batch job: use batch=True, or leave out {setter}")
        return self.batch_settings

    def _request(self) -> Request:
        return Request(
            self.launcher,
            self.run_command,
            tuple(self.requested_hosts),
            self.alloc,
            self.single_cmd,
            self.cpus,
            dict(self.run_args),
            self.batch_settings,
        )
