"""Programs that outlive their script, and those that other scripts have started: found again by the journal."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from smartml.experiment import recorder
from smartml.experiment.guardian import MARK_VARIABLE, Root, find_root
from smartml.experiment.journal import Entry, Start, find_end, start_line
from smartml.experiment.loop import loop
from smartml.experiment.process import ProcessJob, process_record, start_process
from smartml.experiment.schedulers.local import Command

# How long after the end of a process its exit code may take to appear in the journal.
_PATIENCE_S = 2.0

# Between two looks.
_LOOK_S = 0.02


class DetachedJob(ProcessJob):
    """A process that is not a child of this one: its exit code is in the journal, once it has ended."""

    def __init__(self, name: str, command: Command, mark: str, root: Root, journal: Path, **options: Any) -> None:
        super().__init__(name, command, mark, root, **options)
        self._journal = journal
        self._started = time.monotonic() - max(0.0, time.time() - root.created)
        self._give_up = 0.0

    @classmethod
    def find(cls, entry: Entry, journal: Path) -> "DetachedJob":
        """Return the job that a journal speaks of; it may have ended. Raises KeyError, TypeError, ValueError."""
        start = entry.start
        root = Root(int(start["pid"]), float(start["created"]))
        out, err = Path(start["out"]), Path(start["err"])
        command = Command(tuple(start["command"]), Path(start["folder"]), {}, out, err)
        options = {"is_service": start["kind"] == "Orchestrator", "grace_s": float(start["grace_s"])}
        job = cls(str(start["name"]), command, str(start["id"]), root, journal, **options)
        job.is_detached = bool(start["is_detached"])
        if entry.end is not None:
            job._note(entry)
        return job

    @property
    def is_seen(self) -> bool:
        """True while it runs, and once it is known how it has ended."""
        return self.is_over or find_root(self.root) is not None

    def watch(self) -> None:
        """Have its end noted, by the loop. A job that has ended is looked up at once."""
        if find_root(self.root) is None:
            self.collect()
        else:
            loop.watch(self.pid, self.collect)

    def end_unnoted(self) -> None:
        """Note that it was ended with its script, where no one has noted how it ended."""
        if not self.has_ended:
            self.is_cancelled = True
            self.end(None)

    def collect(self) -> None:
        """Note how the process has ended, as soon as the journal tells."""
        self._give_up = time.monotonic() + _PATIENCE_S
        loop.aside(self._look)

    def wait(self) -> None:
        """Block until the process has ended."""
        while find_root(self.root) is not None:
            time.sleep(_LOOK_S)

    def _look(self) -> None:
        if self.has_ended:
            return
        entry = find_end(self._journal, self.mark)
        if entry is not None and entry.end is not None:
            self._note(entry)
        elif not self.is_service and time.monotonic() < self._give_up:
            loop.call_later(_LOOK_S, lambda: loop.aside(self._look))
        else:
            # Nobody was there to note it, as nobody is for services. What is not detached was ended with its script.
            is_stopped = entry is not None and entry.is_stopped
            self.is_cancelled = self.is_cancelled or is_stopped or not self.is_detached
            self.end(None)

    def _note(self, entry: Entry) -> None:
        assert entry.end is not None
        code = entry.end["returncode"]
        self.is_cancelled = self.is_cancelled or entry.is_stopped
        self.end(None if code is None else int(code), str(entry.end.get("reason", "")))
        self._ended = self._started + max(0.0, float(entry.end["time"]) - self.root.created)


class Recording(NamedTuple):
    """Where a detached program is noted, and as what."""

    journal: Path
    start: Start


def start_detached(recording: Recording, command: Command, mark: str) -> DetachedJob:
    """Start a program that outlives this process, by a recorder that notes its start and its end. Raises OSError."""
    journal, start = recording
    journal.parent.mkdir(parents=True, exist_ok=True)
    line = start_line(start, process_record(command, mark))
    report, reports = os.pipe()
    goes, go = os.pipe()
    try:
        argv = [sys.executable, "-I", "-S", recorder.__file__, str(reports), str(goes), str(journal), mark, line]
        # A mark of no job, as the guardian has.
        environment = {**command.environment, MARK_VARIABLE: "recorder"}
        process = start_process(command, environment, (*argv, *command.argv), pass_fds=(reports, goes))
        os.close(reports)
        reports = -1
        words = os.read(report, 64).decode()
        if words.startswith("!") or not words:
            process.wait()
            number = int(words[1:] or 0)
            raise OSError(number, os.strerror(number)) if number else OSError(f"{sys.executable} does not start")
        pid = int(words)
        root = Root(pid, psutil.Process(pid).create_time())
        job = DetachedJob(start.name, command, mark, root, journal, grace_s=start.grace_s)
    finally:
        for descriptor in (report, reports, goes, go):
            if descriptor >= 0:
                os.close(descriptor)
    job.is_detached = True
    _reap(process)
    return job


def _reap(process: "subprocess.Popen[bytes]") -> None:
    # The recorder is a child of this process as long as it lives, and must not stay as a zombie.
    wait: Callable[[], object] = process.wait
    loop.watch(process.pid, wait, wait)
