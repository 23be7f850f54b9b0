"""Start jobs, watch them to their end, and stop them; nothing is left when this process ends."""

import atexit
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from smartml.errors import LaunchError
from smartml.experiment.guardian import GRACE_S, MARK_VARIABLE, Root, end_processes
from smartml.experiment.lifeline import lifeline
from smartml.experiment.output import keep_earlier, last_lines
from smartml.experiment.schedulers.local import Command
from smartml.experiment.states import Status

logger = logging.getLogger(__name__)


class Job:
    """One started program; made by `Supervisor.launch`."""

    def __init__(
        self,
        name: str,
        command: Command,
        mark: str,
        process: "subprocess.Popen[bytes]",
        is_service: bool = False,
        scratch: str | None = None,
    ) -> None:
        self.name = name
        self.is_service = is_service
        # The mark of a folder to delete with this process, if it uses one.
        self.scratch = scratch
        self.command = command
        self.pid = process.pid
        self.mark = mark
        self.root = Root(process.pid, psutil.Process(process.pid).create_time())
        # Set when it ends: the exit code, or minus the number of the signal that ended it.
        self.returncode: int | None = None
        # True once a stop was asked for: whatever way it ends, it was cancelled.
        self.is_cancelled = False
        # True when an interrupt (Ctrl-C) of this process must not end it.
        self.outlives_interrupt = False
        # True once everyone who must hear of its end has.
        self.is_over = False
        self._process = process
        self._started = time.monotonic()
        self._ended: float | None = None

    @property
    def status(self) -> Status:
        """What the job is doing, or how it ended."""
        if self.returncode is None:
            return Status.STATUS_PAUSED if self._is_paused() else Status.STATUS_RUNNING
        if self.is_cancelled:
            return Status.STATUS_CANCELLED
        return Status.STATUS_FAILED if self.returncode else Status.STATUS_COMPLETED

    @property
    def runtime_s(self) -> float:
        """How long it has run, or did."""
        return (self._ended or time.monotonic()) - self._started

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self.returncode or 0
        how = f"exit code {code}" if code >= 0 else f"killed by {_signal_name(-code)}"
        return f"{how} after {self.runtime_s:.1f} s"

    @property
    def last_words(self) -> str:
        """The last lines of its error output, or else of its output, below the file's path."""
        for file in (self.command.err, self.command.out):
            if lines := last_lines(file):
                return f"last lines of {file}:\n{lines}"
        return f"it wrote nothing to {self.command.err}"

    def watch(self) -> None:
        """Wait for its end and record it. Only the supervisor calls this."""
        returncode = self._process.wait()
        self._ended = time.monotonic()
        self.returncode = returncode

    def _is_paused(self) -> bool:
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False


# Called in a thread of the supervisor when a job has ended, before anyone waiting for the job goes on.
OnEnd = Callable[[Job], None]


class Supervisor:
    """Start, watch and stop jobs. One thread per job sleeps until its program ends; nothing polls."""

    def __init__(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Forget every job, in a forked child: they belong to its parent."""
        self._changed = threading.Condition()
        # Jobs to end with this process.
        self._owned: dict[str, Job] = {}

    def launch(
        self,
        name: str,
        command: Command,
        *,
        on_end: OnEnd,
        is_service: bool = False,
        detach: bool = False,
        scratch: str | None = None,
    ) -> Job:
        """Start a program. It ends with this process unless `detach`; services end after all others.

        `scratch` names a folder that it uses (see `guard_folder`), which stays when the job is released.
        The output files of an earlier run are kept (see `keep_earlier`). Raises LaunchError.
        """
        mark = lifeline.new_mark()
        if not detach:
            # Before the start: this process may be killed at any moment.
            lifeline.add(mark)
        try:
            process = _start(command, _marked(command.environment, mark, detach))
        except OSError as error:
            lifeline.release(mark)
            raise LaunchError(f"{name!r} cannot be started: {' '.join(command.argv)}: {error}") from error
        job = Job(name, command, mark, process, is_service, scratch)
        if not detach:
            lifeline.add(mark, job.root)
            self._own(job)
        threading.Thread(target=self._watch, args=(job, on_end), name=f"watch {name}", daemon=True).start()
        logger.debug("started %s (pid %d): %s", name, job.pid, " ".join(command.argv))
        return job

    def guard_folder(self, folder: Path) -> str:
        """Have a folder deleted when this process ends, whether it still can or not; return the name for `launch`."""
        mark = lifeline.new_mark()
        lifeline.add_folder(mark, folder)
        return mark

    def release_folder(self, mark: str) -> None:
        """Let a folder stay."""
        lifeline.release(mark)

    def wait(self, jobs: Iterable[Job], timeout_s: float | None = None) -> bool:
        """Block until all the jobs have ended; return False when `timeout_s` passed first."""
        waited_for = list(jobs)
        with self._changed:
            return self._changed.wait_for(lambda: all(job.is_over for job in waited_for), timeout_s)

    def stop(self, jobs: Iterable[Job], grace_s: float = GRACE_S) -> None:
        """End the jobs and all their processes; those that have ended are left as they are."""
        running = [job for job in jobs if not job.is_over]
        for job in running:
            job.is_cancelled = True
        self.end({job.mark: job.root for job in running}, grace_s)
        self.wait(running, timeout_s=GRACE_S)

    def end(self, roots: Mapping[str, Root | None], grace_s: float = GRACE_S) -> None:
        """End the processes of jobs, whoever started them."""
        if roots and (left := end_processes(roots, grace_s)):
            logger.error("processes %s do not end, not even by SIGKILL", ", ".join(map(str, left)))

    def release(self, jobs: Iterable[Job]) -> None:
        """Let the jobs outlive this process, and what they leave behind stay."""
        for job in jobs:
            self._owned.pop(job.mark, None)
            lifeline.release(job.mark)
            if job.scratch is not None:
                lifeline.release(job.scratch)

    def hand_over(self, jobs: Iterable[Job]) -> None:
        """Let running jobs outlive this process, and tell the user, whose they are now."""
        running = [job for job in jobs if not job.is_over]
        self.release(running)
        if running:
            logger.warning("interrupted: left running, to be stopped by hand: %s", names_with_pids(running))

    def close(self) -> None:
        """End every job that this process owns, services last. Runs by itself at exit."""
        if was_interrupted():
            self.hand_over(job for job in list(self._owned.values()) if job.outlives_interrupt)
        jobs = [job for job in list(self._owned.values()) if not job.is_over]
        programs = [job for job in jobs if not job.is_service]
        if programs:
            logger.warning("the script has ended: stopping %s", names_with_pids(programs, at_most=8))
        self.stop(programs)
        self.stop(job for job in jobs if job.is_service)
        # What ended jobs left behind, the guardian finds by their marks.
        lifeline.close()

    def _own(self, job: Job) -> None:
        if not self._owned:
            # Registered late, so that it runs early: logging still works, and other modules are not yet torn down.
            atexit.unregister(self.close)
            atexit.register(self.close)
        self._owned[job.mark] = job

    def _watch(self, job: Job, on_end: OnEnd) -> None:
        job.watch()
        try:
            on_end(job)
        finally:
            with self._changed:
                job.is_over = True
                self._owned.pop(job.mark, None)
                self._changed.notify_all()


def report_failure(job: Job) -> None:
    """Log how a job failed, if it did: how it ended, and its last words."""
    if job.status is Status.STATUS_FAILED:
        logger.error("%s failed: %s; %s", job.name, job.ending, job.last_words)


def names_with_pids(jobs: Iterable[Job], at_most: int | None = None) -> str:
    """Return the jobs as people want them in a message: `producer (pid 4711), trainer (pid 4712)`."""
    names = [f"{job.name} (pid {job.pid})" for job in jobs]
    more = f" and {len(names) - at_most} more" if at_most and len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def was_interrupted() -> bool:
    """Tell whether this process is ending because of an interrupt (Ctrl-C) that nobody caught."""
    kind = getattr(sys, "last_type", None)
    return isinstance(kind, type) and issubclass(kind, KeyboardInterrupt)


def _start(command: Command, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    command.folder.mkdir(parents=True, exist_ok=True)
    for file in (command.out, command.err):
        file.parent.mkdir(parents=True, exist_ok=True)
    keep_earlier(command.out, command.err)
    with contextlib.ExitStack() as stack:
        # To append: whoever writes to the same file beside the program does not overwrite its lines.
        out, err = (stack.enter_context(open(file, "ab")) for file in (command.out, command.err))
        return subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # Its own session: the terminal's Ctrl-C goes to this process alone, which then decides.
            start_new_session=True,
        )


def _marked(environment: Mapping[str, str], mark: str, detach: bool) -> dict[str, str]:
    outer = None if detach else os.environ.get(MARK_VARIABLE)
    return {**environment, MARK_VARIABLE: f"{outer}/{mark}" if outer else mark}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


supervisor = Supervisor()
os.register_at_fork(after_in_child=supervisor.abandon)
