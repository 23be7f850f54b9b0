"""What a batch system is asked, and what it answers: the words of its commands, and the states of jobs in its output.

Pure: nothing here starts a command. Each system is one object in the file of its scheduler.
"""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from smartml.errors import SchedulerError
from smartml.experiment.states import Status


@dataclass(frozen=True)
class Answer:
    """What a command of a batch system printed, and its exit code."""

    out: str
    err: str = ""
    code: int = 0

    @property
    def text(self) -> str:
        """All it printed, on one line, for a message."""
        said = "; ".join(line.strip() for line in f"{self.err}\n{self.out}".splitlines() if line.strip())
        return said or f"nothing, and exit code {self.code}"


@dataclass(frozen=True)
class JobState:
    """What a batch system says of one job, or of one task of a job array."""

    status: Status
    # The exit code, or minus the number of the signal; None where it does not say.
    returncode: int | None = None
    # In the system's own words, what is the matter with it: why it waits, or how it ended.
    reason: str = ""
    # Where it runs or ran, as the system writes it.
    hosts: str = ""
    # Its programs have ended or are being ended, and the system has not yet said how.
    is_ending: bool = False
    # How often the system began it anew.
    restarts: int = 0


class BatchSystem(ABC):
    """The commands of one batch system, and how to read them."""

    # As people call it, in messages: "Slurm job 17".
    title: ClassVar[str]
    # The index of the first task of a job array.
    first_index: ClassVar[int]
    # A pattern in what its commands print when they cannot reach it at all.
    unreached: ClassVar[str]
    # The variable that names the queue, in a job.
    queue_variable: ClassVar[str]

    @abstractmethod
    def parse_submission(self, answer: Answer) -> str:
        """Return the id of the job that was handed in. Raises SchedulerError where there is none in the answer."""

    @abstractmethod
    def task_id(self, job_id: str, index: int) -> str:
        """Return the id of one task of a job array."""

    @abstractmethod
    def query_command(self, job_ids: Sequence[str], arrays: bool) -> list[str]:
        """Return the words that ask for all these jobs at once; `arrays` says that there are some among them."""

    @abstractmethod
    def parse_query(self, answer: Answer) -> dict[str, JobState]:
        """Return the jobs and tasks by their ids; those that the system does not know are not there.

        Raises SchedulerError when it did not answer.
        """

    def past_command(self, job_id: str) -> list[str] | None:
        """Return the words that ask for a job that has left the queue; None where nobody keeps those."""
        return None

    def parse_past(self, answer: Answer) -> dict[str, JobState]:
        """Return the job that has left the queue, and its tasks, as far as someone kept them."""
        return {}

    @abstractmethod
    def cancel_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the commands that end jobs and tasks: by SIGTERM, and SIGKILL after the time that the site allows."""

    @abstractmethod
    def kill_commands(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the commands that kill jobs and tasks at once."""

    def is_unreached(self, answer: Answer) -> bool:
        """Tell whether a submission certainly did not get to the system, so that it may be handed in again."""
        return answer.code != 0 and re.search(self.unreached, answer.text, re.IGNORECASE) is not None

    def adapted(self, answer: Answer) -> "BatchSystem":
        """Return the system to ask from now on, after an answer that was none: one of other commands, or the same."""
        return self

    @abstractmethod
    def allocation_hosts(self, environment: Mapping[str, str]) -> "HostsSource | None":
        """Return where the hosts stand of the allocation that a process with these variables runs in, if in one."""

    def allocation_tasks(self, environment: Mapping[str, str], text: str) -> dict[str, int]:
        """Return how many processes there are for each host, by the text of its `allocation_hosts`.

        A host stands there once for each. Raises AllocationError where it is not told.
        """
        return dict(Counter(line.split()[0] for line in text.splitlines() if line.strip()))


@dataclass(frozen=True)
class HostsSource:
    """Where the hosts of an allocation are read: a file, the output of a command, or a text that is known already.

    The first word of each line is a host.
    """

    command: tuple[str, ...] = ()
    file: str = ""
    text: str = ""


def first_words(lines: Iterable[str]) -> list[str]:
    """Return the first word of every line that has one, each once, in their order."""
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def shell_code(code: int) -> int:
    """Return an exit code as a shell gives it, with minus the number of the signal where that ended a program.

    128 + n stands for signal n (POSIX.1-2017, 2.8.2 Exit Status for Commands); real-time signals end at 64.
    """
    return 128 - code if 128 < code <= 128 + 64 else code


def wait_code(status: int) -> int:
    """Return the exit code, or minus the number of the signal, of a status as wait(2) gives it."""
    signal = status & 0x7F
    return -signal if signal else shell_code(status >> 8)


def found_id(system: str, answer: Answer, pattern: str) -> str:
    """Return the one group of a pattern in what a submission printed. Raises SchedulerError."""
    found = re.search(pattern, answer.out, re.MULTILINE)
    if answer.code or found is None:
        raise SchedulerError(f"{system} gave no id of the job; it said: {answer.text}")
    return found[1]
