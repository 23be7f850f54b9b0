"""What every batch system has: the settings of a job, and the text of the script that runs its members."""

import logging
import re
import shlex
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.options import OptionValue
from smartml.experiment.schedulers.programs import assignments
from smartml.experiment.schedulers.settings import Placement, RunSettings

logger = logging.getLogger(__name__)

# Ends with the code of a member that failed, where SmartSim's script forgets it.
_ENDING = """\
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit "$code"
"""


class BatchSettings(ABC):
    """Describe a job of a batch system: what it asks for, and the lines before its programs."""

    # The first words of a line of the script that is an option.
    directive: ClassVar[str]
    # Options that smartml sets itself.
    reserved_batch_args: ClassVar[frozenset[str]] = frozenset()
    shebang = "#!/bin/bash"

    def __init__(
        self,
        batch_cmd: str,
        batch_args: Mapping[str, OptionValue] | None = None,
        *,
        nodes: int | None = None,
        queue: str | None = None,
        time: str | None = None,
        account: str | None = None,
    ) -> None:
        self.set_batch_command(batch_cmd)
        self.batch_args: dict[str, OptionValue] = {}
        for name, value in (batch_args or {}).items():
            self._set_batch_arg(name, value)
        self._preamble: list[str] = []
        # In this order: it is that of the lines in the script. Empty values stand for those that are not given.
        if nodes:
            self.set_nodes(nodes)
        if queue:
            self.set_queue(queue)
        if time:
            self.set_walltime(time)
        if account:
            self.set_account(account)

    @property
    def batch_cmd(self) -> str:
        """The command that hands a script in: its path where it is there, else its name."""
        return shutil.which(self._batch_cmd) or self._batch_cmd

    def set_batch_command(self, command: str) -> None:
        """Set the command that hands a script in."""
        if not isinstance(command, str) or not command:
            raise ArgumentTypeError(f"the batch command must be a str, got {command!r}")
        self._batch_cmd = command

    @property
    def preamble(self) -> list[str]:
        """The lines between the options and the programs."""
        return list(self._preamble)

    def add_preamble(self, lines: str | Sequence[str]) -> None:
        """Append lines of shell between the options and the programs, such as `module load`."""
        several = [lines] if isinstance(lines, str) else lines
        if not isinstance(several, Sequence) or not all(isinstance(line, str) for line in several):
            raise ArgumentTypeError(f"a preamble must be a str or a list of str, got {lines!r}")
        self._preamble += several

    @abstractmethod
    def set_nodes(self, num_nodes: int) -> None:
        """Set the number of nodes."""

    @abstractmethod
    def set_queue(self, queue: str) -> None:
        """Set the queue to wait in."""

    @abstractmethod
    def set_walltime(self, walltime: str) -> None:
        """Set how long the job may run."""

    @abstractmethod
    def set_account(self, account: str) -> None:
        """Set the account that pays."""

    @abstractmethod
    def set_hostlist(self, host_list: str | Sequence[str]) -> None:
        """Set the hosts to run on."""

    @abstractmethod
    def format_batch_args(self) -> list[str]:
        """Return the options, each as it stands in the script."""

    @abstractmethod
    def header(self, placement: Placement) -> list[str]:
        """Return all options of the job, each as it stands in the script."""

    def submit_command(self, script: str) -> list[str]:
        """Return the words that hand the script in."""
        return [self.batch_cmd, script]

    def script(self, placement: Placement, members: Sequence[tuple[RunSettings, Placement]]) -> str:
        """Return the script that runs the members side by side.

        It ends with them, and fails when one of them does. `placement` is that of the job itself.
        """
        lines = [self.shebang, "", *(f"{self.directive} {option}" for option in self.header(placement))]
        lines += [*self._preamble, ""]
        for settings, place in members:
            lines += [member_line(settings, place) + " &", "pids+=($!)"]
        return "\n".join([*lines, "", _ENDING])

    def _set_batch_arg(self, name: str, value: OptionValue) -> None:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"the name of a batch argument must be a str, got {name!r}")
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            raise ArgumentTypeError(f"batch argument {name!r} must be a str, a number or None, got {value!r}")
        bare = name.strip().lstrip("-")
        if bare in self.reserved_batch_args:
            logger.warning("batch argument %r is set by smartml and cannot be by settings: it is ignored", name)
        else:
            self.batch_args[bare] = value

    def _options(self) -> dict[str, OptionValue]:
        # `batch_args` is open to all: look once more.
        cleaned = {name.strip().lstrip("-"): value for name, value in self.batch_args.items()}
        return {name: value for name, value in cleaned.items() if name not in self.reserved_batch_args}


def member_line(settings: RunSettings, placement: Placement) -> str:
    """Return the line of a script that runs one program in its folder, with its variables and its output files.

    Every word is quoted where it has to be, which SmartSim leaves out.
    """
    words = settings.command(placement)
    if not settings.hands_on_environment:
        variables = list(assignments({**placement.environment, **settings.env_vars}))
        words = [*(["env", *variables] if variables else []), *words]
    line = f"cd {shlex.quote(placement.folder)} && {shlex.join(words)}"
    if not settings.writes_output:
        line += f" > {shlex.quote(placement.out)} 2> {shlex.quote(placement.err)}"
    return line


def qsub_placement(placement: Placement) -> list[str]:
    """Return the options by which every `qsub` is told where a job writes, its name, and that it gets our variables.

    Those of POSIX, IEEE Std 1003.1-2017, "qsub - submit a script".
    """
    return [
        f"-o {directive_value('o', placement.out)}",
        f"-e {directive_value('e', placement.err)}",
        f"-N {directive_value('N', placement.job_name)}",
        "-V",
    ]


def directive_value(name: str, value: OptionValue) -> str:
    """Return a value as it stands in a line of options, in double quotes where it has to be.

    Raises ArgumentValueError for more than one line.
    """
    text = str(value)
    if "\n" in text or "\0" in text:
        raise ArgumentValueError(f"batch argument {name!r} cannot have more than one line, got {text!r}")
    if re.fullmatch(r"[\w@%+=:,./\[\]*^~$-]+", text):
        return text
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'
