"""One started thing, whatever started it: a process of this machine, or a job of a batch system.

    New or Queued ──► Running ⇄ Paused ──► ended (`end`) ──► over (`is_over`)

Who watches a job calls `end` when it has ended; the supervisor then tells whom it concerns, and after that it is over:
`Supervisor.wait` returns.
"""

import abc
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from smartml.experiment.guardian import GRACE_S
from smartml.experiment.output import last_lines
from smartml.experiment.states import Status


class Job(abc.ABC):
    """One started thing: what a kind of jobs must tell, and what all have in common.

    A kind says what to call a job (`id`, `title`), how it is doing (`_present_status`), where it writes
    (`_output_files`), how jobs are ended (`cancel`), and how one is found again (`record`).
    """

    def __init__(self, name: str, is_service: bool = False, grace_s: float = GRACE_S) -> None:
        self.name = name
        # Services, such as databases, end after all others.
        self.is_service = is_service
        # How long it may take to end when it is asked to, before it is forced.
        self.grace_s = grace_s
        # Set when it ends: the exit code, or minus the number of the signal that ended it; None when nobody knows.
        self.returncode: int | None = None
        # True once a stop was asked for: whatever way it ends, it was cancelled.
        self.is_cancelled = False
        # True when it does not belong to this process: it lives on after it.
        self.is_detached = False
        # True when an interrupt (Ctrl-C) of this process must not end it.
        self.outlives_interrupt = False
        # True once everyone who must hear of its end has.
        self.is_over = False
        self._started = time.monotonic()
        self._ended: float | None = None
        # Why it ended, where an exit code does not tell.
        self.reason = ""
        self._hears: Callable[[], object] | None = None
        self._lock = threading.Lock()

    @property
    @abc.abstractmethod
    def id(self) -> str:
        """What tables call it: `4711`."""

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """What messages call it: `pid 4711`, `Slurm job 12`."""

    @abc.abstractmethod
    def _present_status(self) -> Status:
        """Return what a job that has not ended is doing."""

    @abc.abstractmethod
    def _output_files(self) -> Sequence[Path]:
        """Return where it writes, the most telling first."""

    @classmethod
    @abc.abstractmethod
    def cancel(cls, jobs: Sequence[Any], grace_s: float | None = None) -> None:
        """Ask jobs of this kind to end, all in one go, and force those that have not after their `grace_s`.

        grace_s: of all, in place of their own. May return before they have ended.
        """

    @abc.abstractmethod
    def record(self) -> dict[str, Any]:
        """Return what finds it again, in terms of JSON: its `id`, which no other job has, and more (journal.py)."""

    @property
    def has_ended(self) -> bool:
        """True once it has ended; who must hear of that may still be about to (`is_over`)."""
        return self._ended is not None

    @property
    def has_started(self) -> bool:
        """True once it runs, or has."""
        return True

    @property
    def is_seen(self) -> bool:
        """True once it was looked at, so that `status` is what it does, and not what it did when it was noted."""
        return True

    @property
    def status(self) -> Status:
        """What the job is doing, or how it ended."""
        if not self.has_ended:
            return self._present_status()
        if self.is_cancelled:
            return Status.STATUS_CANCELLED
        # Where nobody knows the exit code, nobody can say that it went well.
        return Status.STATUS_COMPLETED if self.returncode == 0 and not self.reason else Status.STATUS_FAILED

    @property
    def runtime_s(self) -> float:
        """How long it has run, or did."""
        return (self._ended or time.monotonic()) - self._started

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        return f"{self.reason or code_text(self.returncode)} after {self.runtime_s:.1f} s"

    @property
    def last_words(self) -> str:
        """The last lines of its error output, or else of its output, below the file's path."""
        files = self._output_files()
        for file in files:
            if lines := last_lines(file):
                return f"last lines of {file}:\n{lines}"
        return f"it wrote nothing to {files[0]}" if files else "it has no output file"

    def end(self, returncode: int | None, reason: str = "") -> None:
        """Note that it has ended. Called once, by who watches it, in any thread; returns at once.

        reason: why it ended, where its exit code does not tell ("NODE_FAIL on n2"); it then counts as failed.
        """
        with self._lock:
            if self.has_ended:
                return
            self.returncode = returncode
            self.reason = self.reason or reason
            self._ended = time.monotonic()
            hears = self._hears
        if hears is not None:
            hears()

    def fail_because(self, reason: str) -> None:
        """Say why it will end before it does: a time limit that it has passed."""
        self.reason = reason

    def when_ended(self, act: Callable[[], object]) -> None:
        """Have a function called when it ends, or now if it has. Only the supervisor calls this."""
        with self._lock:
            self._hears = act
            has_ended = self.has_ended
        if has_ended:
            act()


def code_text(returncode: int | None) -> str:
    """Return an exit code in words."""
    if returncode is None:
        return "ended, exit code unknown,"
    return f"exit code {returncode}" if returncode >= 0 else f"killed by {_signal_name(-returncode)}"


def names_with_titles(jobs: Iterable[Job], at_most: int | None = None) -> str:
    """Return the jobs as people want them in a message: `producer (pid 4711), trainer (pid 4712)`."""
    names = [f"{job.name} ({job.title})" for job in jobs]
    more = f" and {len(names) - at_most} more" if at_most and len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
