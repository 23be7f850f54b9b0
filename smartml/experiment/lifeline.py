"""The owner's end of the pipe to its guardian (see `guardian.py`)."""

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import psutil

from smartml.experiment import guardian
from smartml.experiment.guardian import GRACE_S, MARK_VARIABLE, Root

# So many marks are put under guard in one go: each time the guardian wakes up.
_MARKS_AT_ONCE = 32

_NOT_FOR_GUARDIANS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Lifeline:
    """Tell the guardian which jobs must not outlive this process. One per process, safe to use from any thread."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        # Started with the first job.
        self._guardian: subprocess.Popen[bytes] | None = None
        # What the guardian was told, to tell it again to a successor: jobs, and folders to delete after them.
        self._jobs: dict[str, tuple[Root | None, float]] = {}
        self._folders: dict[str, Path] = {}
        # Marks under guard that no job has yet.
        self._ready: deque[str] = deque()
        # Marks of this process begin with these letters, and count.
        self._owner = secrets.token_hex(8)
        self._count = 0

    def new_mark(self) -> str:
        """Return a mark that no other job has."""
        with self._lock:
            self._count += 1
            return f"{self._owner}-{self._count}"

    def guarded_mark(self) -> str:
        """Return a mark that no other job has, and put whatever will carry it under guard."""
        with self._lock:
            if not self._ready:
                marks = [f"{self._owner}-{self._count + number}" for number in range(1, _MARKS_AT_ONCE + 1)]
                self._count += len(marks)
                self._jobs |= dict.fromkeys(marks, (None, GRACE_S))
                self._ready.extend(marks)
                self._tell(_marks_line(marks))
            return self._ready.popleft()

    def add(self, mark: str, root: Root, grace_s: float = GRACE_S) -> None:
        """Say what is to be known of a job with a guarded mark, once its first process has started."""
        with self._lock:
            self._jobs[mark] = root, grace_s
            self._tell(_line(mark, root, grace_s))

    def add_folder(self, mark: str, folder: Path) -> None:
        """Have a folder deleted after all jobs that are under guard."""
        with self._lock:
            self._folders[mark] = folder
            self._tell(_folder_line(mark, folder))

    def release(self, mark: str) -> None:
        """Let a job outlive this process, or a folder stay."""
        with self._lock:
            if mark in self._jobs or mark in self._folders:
                self._jobs.pop(mark, None)
                self._folders.pop(mark, None)
                self._tell(f"- {mark}\n")

    def close(self) -> None:
        """Dismiss the guardian, which ends what is left of the jobs, and wait for it."""
        with self._lock:
            process, self._guardian = self._guardian, None
            self._jobs.clear()
            self._folders.clear()
            self._ready.clear()
        if process and process.stdin:
            process.stdin.close()
            process.wait()

    def abandon(self) -> None:
        """Forget guardian and jobs, in a forked child: they belong to its parent."""
        if self._guardian and self._guardian.stdin:
            self._guardian.stdin.close()
            self._guardian.returncode = 0  # Not this process's child: nothing to reap.
        self._reset()

    def _tell(self, line: str) -> None:
        if self._guardian is None:
            self._guardian = _start_guardian()
            lines = [_marks_line([mark]) for mark, (root, _) in self._jobs.items() if root is None]
            lines += [_line(mark, root, grace_s) for mark, (root, grace_s) in self._jobs.items() if root is not None]
            line = "".join(lines + [_folder_line(mark, folder) for mark, folder in self._folders.items()])
        assert self._guardian.stdin is not None
        try:
            self._guardian.stdin.write(line.encode())
        except BrokenPipeError:
            # Someone killed the guardian: its successor learns of every job.
            self._guardian.wait()
            self._guardian = None
            self._tell("")


def _marks_line(marks: Iterable[str]) -> str:
    return " ".join(("+", *marks)) + "\n"


def _line(mark: str, root: Root, grace_s: float) -> str:
    return f"= {mark} {root.pid} {root.created} {grace_s}\n"


def _folder_line(mark: str, folder: Path) -> str:
    return f"/ {mark} {os.fsencode(folder).hex()}\n"


def _start_guardian() -> subprocess.Popen[bytes]:
    """Start the guardian; it reads what it is told once it is up, so nobody waits for it."""
    psutil_folder = Path(psutil.__file__).parent.parent
    # Whoever signals a whole group or job means the owner; the guardian ends after it. It inherits the blocked signals,
    # so that there is no moment at its start when one of them ends it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_GUARDIANS)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, str(psutil_folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            # A mark of no job: when the owner is itself a job, its guardian must not be ended with it, before its work.
            env={**os.environ, MARK_VARIABLE: "guardian"},
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


lifeline = Lifeline()
os.register_at_fork(after_in_child=lifeline.abandon)
