"""What every batch system has: the settings of a job, and the text of the script that runs its members."""

import logging
import re
import shlex
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.options import OptionValue, count
from smartml.experiment.schedulers.programs import assignments
from smartml.experiment.schedulers.settings import Placement, RunSettings

logger = logging.getLogger(__name__)

# The value of a resource: `-l name=value`.
Resource = str | int

# What becomes of each program is noted in a file of its name: its exit code, whatever the batch system remembers. One
# that has ended does not run again when the system begins the job anew; one that ends because it is told to has no exit
# code of its own, and does. The signal may reach a program before it reaches the shell that waits for it.
_NOTES = """\
codes={codes}
mkdir -p "$codes"
trap told=1 TERM INT
begin() {{ trap told=1 TERM; [ ! -e "$codes/$1" ] || exit "$(cat "$codes/$1")"; }}
end() {{
    [ "$2" -lt 128 ] || [ -n "$told" ] || sleep 1
    [ -n "$told" ] || {{ echo "$2" > "$codes/.$1" && mv "$codes/.$1" "$codes/$1"; }}
    exit "$2"
}}
"""

# Ends with the code of a member that failed, where SmartSim's script forgets it. Told to end, it leaves its programs
# the time that the batch system gives them: where a script ends, many kill what is left at once.
_ENDING = """\
code=0
for pid in "${pids[@]}"; do
    while wait "$pid"; own=$?; [ "$own" -gt 128 ] && kill -0 "$pid" 2> /dev/null; do :; done
    [ "$own" = 0 ] || code=$own
done
exit "$code"
"""


class BatchSettings(ABC):
    """Describe a job of a batch system: what it asks for, and the lines before its programs."""

    # The first words of a line of the script that is an option.
    directive: ClassVar[str]
    # Options that smartml sets itself.
    reserved_batch_args: ClassVar[frozenset[str]] = frozenset()
    shebang = "#!/bin/bash"
    # Is the script handed in on the standard input?
    reads_script: ClassVar[bool] = False
    # What is the index of a task of a job array in its script, and in the path of an output file.
    task_variable: ClassVar[str]
    task_in_path: ClassVar[str]
    # The index of the first task.
    first_task: ClassVar[int] = 0

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
        self.is_array = False
        # How many tasks of the array may run at the same time; None for as many as there is room for.
        self.tasks_at_once: int | None = None
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

    def set_array(self, at_once: int | None = None) -> None:
        """Run each member of an ensemble as a task of one job array, and not all side by side in one job.

        What is asked for, nodes and time among others, is then for each member. Members wait and run independently of
        each other, `at_once` of them at most at the same time.
        """
        self.tasks_at_once = None if at_once is None else count("at_once", at_once)
        self.is_array = True

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
    def header(self, placement: Placement, tasks: int = 0) -> list[str]:
        """Return all options of the job, each as it stands in the script; `tasks` is the size of a job array."""

    def submit_command(self, script: str) -> list[str]:
        """Return the words that hand the script in."""
        return [self.batch_cmd, *([] if self.reads_script else [script])]

    def script(self, placement: Placement, members: Sequence[tuple[RunSettings, Placement]]) -> str:
        """Return the script that runs the members side by side, or each in a task of its own.

        It ends with them, and fails when one of them does. `placement` is that of the job itself.
        """
        tasks = len(members) if self.has_tasks(len(members)) else 0
        options = self.header(self._task_placement(placement) if tasks else placement, tasks)
        lines = [self.shebang, "", *(f"{self.directive} {option}" for option in options), *self._preamble, ""]
        lines += [
            f"export {name}={shlex.quote(value)}" for name, value in placement.environment.items() if value is not None
        ]
        lines.append(_NOTES.format(codes=shlex.quote(codes_folder(placement))))
        commands = [[f"{member_line(settings, place)} &", "pids+=($!)"] for settings, place in members]
        if tasks:
            lines.append(f'case "{self.task_variable}" in')
            for index, command in enumerate(commands, self.first_task):
                lines += [f"{index})", *command, ";;"]
            lines.append("esac")
        else:
            lines += [line for command in commands for line in command]
        return "\n".join([*lines, "", _ENDING])

    def has_tasks(self, members: int) -> bool:
        """Tell whether so many members run as a job array; no system has one of a single task."""
        return self.is_array and members > 1

    def job_files(self, placement: Placement, task: int | None) -> tuple[Path, Path]:
        """Return where the job itself writes, or one task of its array, counted from 0: output and error output."""
        if task is None:
            return Path(placement.out), Path(placement.err)
        out, err = (self._task_file(file, str(self.first_task + task)) for file in (placement.out, placement.err))
        return Path(out), Path(err)

    def _task_placement(self, placement: Placement) -> Placement:
        out, err = (self._task_file(file, self.task_in_path) for file in (placement.out, placement.err))
        return replace(placement, out=out, err=err)

    def _task_file(self, file: str, task: str) -> str:
        # Each task has files of its own, named as the members that an ensemble makes are.
        path = Path(file)
        return str(path.with_name(f"{path.stem}_{task}.job{path.suffix}"))

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


def codes_folder(placement: Placement) -> str:
    """Return the folder of a job that gets the exit codes of its programs, each in a file of its name."""
    return str(Path(placement.folder) / f"{placement.name}.codes")


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
    name = shlex.quote(placement.name)
    return f'(begin {name}; {line}; end {name} "$?")'


class Resources:
    """What a job of a `qsub` asks for by `-l name=value`; a base of the batch settings that do."""

    def __init__(self, resources: Mapping[str, Resource] | None) -> None:
        self._resources: dict[str, Resource] = {}
        self.resources = resources or {}

    @property
    def resources(self) -> dict[str, Resource]:
        """The resources asked for, by name."""
        return dict(self._resources)

    @resources.setter
    def resources(self, resources: Mapping[str, Resource]) -> None:
        self._resources = {}
        for name, value in resources.items():
            self.set_resource(name, value)

    def set_resource(self, resource_name: str, value: Resource) -> None:
        """Ask for a resource: `-l name=value`."""
        if not isinstance(resource_name, str):
            raise ArgumentTypeError(f"the name of a resource must be a str, got {resource_name!r}")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ArgumentTypeError(f"resource {resource_name!r} must be a str or an int, got {value!r}")
        self._resources[resource_name] = value


def resource_options(resources: Mapping[str, Resource]) -> list[str]:
    """Return resources as they stand in a script."""
    return [f"-l {name}={directive_value(name, value)}" for name, value in resources.items()]


def qsub_options(options: Mapping[str, OptionValue]) -> list[str]:
    """Return the other options of a `qsub`, each with its value. Raises ArgumentValueError where one has none."""
    for name, value in options.items():
        if value is None or value == "":
            raise ArgumentValueError(f"a qsub has no option without a value: batch argument {name!r} needs one")
    return [f"-{name} {directive_value(name, value)}" for name, value in options.items()]


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
