"""A job that is a process of this machine, with all that descends from it."""

import abc
import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from smartml.experiment.guardian import GRACE_S, MARK_VARIABLE, Root, end_processes
from smartml.experiment.job import Job
from smartml.experiment.loop import loop
from smartml.experiment.output import keep_earlier, open_to_append
from smartml.experiment.schedulers.local import Command
from smartml.experiment.states import Status

logger = logging.getLogger(__name__)


class ProcessJob(Job):
    """One started program, as long as nothing but its pid matters; made by `Supervisor.launch`."""

    def __init__(
        self,
        name: str,
        command: Command,
        mark: str,
        root: Root,
        is_service: bool = False,
        scratch: str | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        super().__init__(name, is_service, grace_s)
        # The mark of a folder to delete with this process, if it uses one.
        self.scratch = scratch
        self.command = command
        self.pid = root.pid
        self.mark = mark
        self.root = root

    @property
    def id(self) -> str:
        """The process."""
        return str(self.pid)

    @property
    def title(self) -> str:
        """`pid 4711`."""
        return f"pid {self.pid}"

    def record(self) -> dict[str, Any]:
        """Return what finds it again, for the journal."""
        return {**process_record(self.command, self.mark), "pid": self.pid, "created": self.root.created}

    @abc.abstractmethod
    def watch(self) -> None:
        """Have its end noted, by the loop."""

    @classmethod
    def cancel(cls, jobs: Sequence[Any], grace_s: float | None = None) -> None:
        """End the processes of these jobs and all that descends from them; return when they are gone."""
        own = {job.mark: job.grace_s for job in jobs} if grace_s is None else {}
        end_marked({job.mark: job.root for job in jobs}, GRACE_S if grace_s is None else grace_s, own)

    def _present_status(self) -> Status:
        with contextlib.suppress(psutil.Error):
            if psutil.Process(self.pid).status() == psutil.STATUS_STOPPED:
                return Status.STATUS_PAUSED
        return Status.STATUS_RUNNING

    def _output_files(self) -> Sequence[Path]:
        return (*self.command.written, self.command.err, self.command.out)


class ChildJob(ProcessJob):
    """A program that is a child of this process, which therefore learns its exit code."""

    def __init__(
        self, name: str, command: Command, mark: str, process: "subprocess.Popen[bytes]", root: Root, **options: Any
    ) -> None:
        super().__init__(name, command, mark, root, **options)
        self._process = process

    def watch(self) -> None:
        """Have its end noted, by the loop."""
        # Where it is called at the end, the wait returns at once.
        loop.watch(self.pid, lambda: self.end(self._process.wait()), self._process.wait)


class Births:
    """Tell when processes that have just been started were created, as the kernel reckons it.

    It counts from the second in which the machine has started, which the clock does not. How far the two differ is
    looked up once: reading it for each process costs as much as half of a start.
    """

    # A start that took longer says too little about when in it the process was created.
    _QUICK_S = 0.1

    def __init__(self) -> None:
        self._difference_s: float | None = None

    def root_of(self, pid: int, before: float) -> Root:
        """Return a process that was created since `before`, in seconds since the epoch; it has not been collected."""
        now = time.time()
        is_quick = 0 <= now - before < self._QUICK_S
        if is_quick and self._difference_s is not None:
            return Root(pid, now + self._difference_s)
        root = Root(pid, psutil.Process(pid).create_time())
        if is_quick:
            self._difference_s = root.created - now
        return root


births = Births()


def process_record(command: Command, mark: str) -> dict[str, Any]:
    """Return what is known of a process before it is one, for the journal."""
    return {
        "id": mark,
        "host": os.uname().nodename,
        "command": list(command.argv),
        "folder": str(command.folder),
        "out": str(command.out),
        "err": str(command.err),
    }


def start_process(
    command: Command,
    environment: Mapping[str, str],
    argv: Sequence[str] | None = None,
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start a program with its output in its files; those of an earlier run are kept. Raises OSError.

    argv: what is started in its place, with `pass_fds`.
    """
    keep_earlier(*command.written, command.out, command.err)
    with contextlib.ExitStack() as stack:
        out, err = (_opened(file, stack) for file in (command.out, command.err))
        if command.out.parent != command.folder:
            command.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            argv or command.argv,
            cwd=command.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # Its own session: the terminal's Ctrl-C goes to this process alone, which then decides.
            start_new_session=True,
            pass_fds=pass_fds,
        )


def _opened(file: Path, stack: contextlib.ExitStack) -> int:
    descriptor = open_to_append(file)
    stack.callback(os.close, descriptor)
    return descriptor


def marked(environment: Mapping[str, str], mark: str, is_detached: bool) -> dict[str, str]:
    """Return an environment with the mark of a job, below that of the job that this process may be part of."""
    outer = None if is_detached else os.environ.get(MARK_VARIABLE)
    return {**environment, MARK_VARIABLE: f"{outer}/{mark}" if outer else mark}


def end_marked(
    roots: Mapping[str, Root | None], grace_s: float, own_grace_s: Mapping[str, float] | None = None
) -> None:
    """End the processes of jobs, by their marks, whoever started them; `own_grace_s` for those that have their own."""
    if roots and (left := end_processes(roots, grace_s, own_grace_s)):
        logger.error("processes %s do not end, not even by SIGKILL", ", ".join(map(str, left)))
