"""Start jobs, watch them to their end, and stop them; nothing is left when this process ends."""

import atexit
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from smartml.errors import LaunchError
from smartml.experiment.detached import Recording, start_detached
from smartml.experiment.guardian import GRACE_S, Root
from smartml.experiment.job import Job, names_with_titles
from smartml.experiment.lifeline import lifeline
from smartml.experiment.loop import Timer, loop
from smartml.experiment.process import ChildJob, ProcessJob, births, end_marked, marked, start_process
from smartml.experiment.schedulers.local import Command
from smartml.experiment.states import Status

logger = logging.getLogger(__name__)

# Called when a job has ended, before anyone waiting for the job goes on. It may take a while: other jobs do not wait.
OnEnd = Callable[[Any], None]


class Ending(Protocol):
    """What may be waited for: a job, or a run of several tries."""

    @property
    def is_over(self) -> bool:
        """True once it has ended for good, and everyone who must hear of that has."""


class _Waiter(NamedTuple):
    """Someone who waits for several things to end. Whoever ends one looks, so that nobody is woken for nothing."""

    # Those that may not be over yet, in reversed order.
    left: list[Ending]
    done: threading.Event

    def is_done(self) -> bool:
        """Tell whether all are over."""
        while self.left and self.left[-1].is_over:
            self.left.pop()
        return not self.left


class Supervisor:
    """Start programs, take charge of other jobs, wait for all of them, and stop them. Nothing here polls."""

    def __init__(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Forget every job, in a forked child: they belong to its parent."""
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []
        # True when this process is about to end: nothing is started any more.
        self.is_closing = False
        # Jobs to end with this process, by their marks.
        self._owned: dict[str, ProcessJob] = {}
        # Jobs that have passed their time limits and are about to be ended, all in one go.
        self._overdue: list[Job] = []

    def launch(
        self,
        name: str,
        command: Command,
        *,
        on_end: OnEnd,
        is_service: bool = False,
        detach: bool = False,
        scratch: str | None = None,
        grace_s: float = GRACE_S,
        recording: Recording | None = None,
    ) -> ProcessJob:
        """Start a program. It ends with this process unless `detach`; services end after all others.

        `scratch` names a folder that it uses (see `guard_folder`), which stays when the job is released. `recording`
        says where start and end of a detached program are to be noted. The output files of an earlier run are kept (see
        `keep_earlier`). Raises LaunchError.
        """
        # Under guard before the start: this process may be killed at any moment.
        mark = lifeline.new_mark() if detach else lifeline.guarded_mark()
        try:
            if detach and recording is not None:
                job: ProcessJob = start_detached(recording, command, mark)
            else:
                before = time.time()
                process = start_process(command, marked(command.environment, mark, detach))
                root = births.root_of(process.pid, before)
                options = {"is_service": is_service, "scratch": scratch, "grace_s": grace_s}
                job = ChildJob(name, command, mark, process, root, **options)
        except OSError as error:
            lifeline.release(mark)
            raise LaunchError(f"{name!r} cannot be started: {' '.join(command.argv)}: {error}") from error
        job.is_detached = detach
        if not detach:
            lifeline.add(mark, job.root, grace_s)
            self._own(job)
        self.adopt(job, on_end=on_end)
        job.watch()
        logger.debug("started %s (%s): %s", name, job.title, " ".join(command.argv))
        return job

    def adopt(self, job: Job, *, on_end: OnEnd) -> None:
        """Take charge of a job of any kind: `wait`, `stop` and `limit` treat it like the programs started here.

        Who watches it calls `job.end(...)`. It does not end with this process.
        """
        job.when_ended(lambda: loop.aside(lambda: self._conclude(job, on_end)))

    def limit(self, job: Job, time_limit_s: float) -> Timer:
        """Have a job ended after some seconds from now; it then counts as failed."""

        def end() -> None:
            if job.has_ended:
                return
            job.fail_because(f"time limit of {time_limit_s:g} s exceeded")
            self._overdue.append(job)
            if len(self._overdue) == 1:
                loop.aside(self._end_overdue)

        return loop.call_later(time_limit_s, end)

    def guard_folder(self, folder: Path) -> str:
        """Have a folder deleted when this process ends, whether it still can or not; return the name for `launch`."""
        mark = lifeline.new_mark()
        lifeline.add_folder(mark, folder)
        return mark

    def release_folder(self, mark: str) -> None:
        """Let a folder stay."""
        lifeline.release(mark)

    def wait(self, jobs: Iterable[Ending], timeout_s: float | None = None) -> bool:
        """Block until all of them are over; return False when `timeout_s` passed first."""
        waiter = _Waiter(list(jobs)[::-1], threading.Event())
        with self._lock:
            if waiter.is_done():
                return True
            self._waiters.append(waiter)
        try:
            return waiter.done.wait(timeout_s)
        finally:
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def notify(self) -> None:
        """Wake those who wait, if all is over now that they wait for; called when something is."""
        with self._lock:
            for waiter in list(self._waiters):
                if waiter.is_done():
                    self._waiters.remove(waiter)
                    waiter.done.set()

    def stop(self, jobs: Iterable[Job], grace_s: float | None = None) -> None:
        """End the jobs, with all that descends from them; those that have ended are left as they are.

        grace_s: how long they may take before they are forced, in place of each one's own.
        """
        running = [job for job in jobs if not job.is_over]
        for job in running:
            job.is_cancelled = True
        self._cancel(running, grace_s)
        longest_s = max((job.grace_s if grace_s is None else grace_s for job in running), default=0.0)
        self.wait(running, timeout_s=longest_s + GRACE_S)

    def end(self, roots: Mapping[str, Root | None], grace_s: float = GRACE_S) -> None:
        """End the processes of jobs, whoever started them."""
        end_marked(roots, grace_s)

    def release(self, jobs: Iterable[Job]) -> None:
        """Let the jobs outlive this process, and what they leave behind stay."""
        for job in jobs:
            if not isinstance(job, ProcessJob):
                continue
            self._owned.pop(job.mark, None)
            lifeline.release(job.mark)
            if job.scratch is not None:
                lifeline.release(job.scratch)

    def hand_over(self, jobs: Iterable[Job]) -> None:
        """Let running jobs outlive this process, and tell the user, whose they are now."""
        running = [job for job in jobs if not job.is_over]
        self.release(running)
        if running:
            logger.warning("interrupted: left running, to be stopped by hand: %s", names_with_titles(running))

    def close(self) -> None:
        """End every job that this process owns, services last. Runs by itself at exit."""
        self.is_closing = True
        if was_interrupted():
            self.hand_over(job for job in list(self._owned.values()) if job.outlives_interrupt)
        jobs = [job for job in list(self._owned.values()) if not job.is_over]
        programs = [job for job in jobs if not job.is_service]
        if programs:
            logger.warning("the script has ended: stopping %s", names_with_titles(programs, at_most=8))
        self.stop(programs)
        self.stop(job for job in jobs if job.is_service)
        # What ended jobs left behind, the guardian finds by their marks.
        lifeline.close()

    def _own(self, job: ProcessJob) -> None:
        if not self._owned:
            # Registered late, so that it runs early: logging still works, and other modules are not yet torn down.
            atexit.unregister(self.close)
            atexit.register(self.close)
        self._owned[job.mark] = job

    def _cancel(self, jobs: Iterable[Job], grace_s: float | None = None) -> None:
        by_kind = sorted(jobs, key=lambda job: type(job).__name__)
        for _, group in itertools.groupby(by_kind, key=type):
            alike = list(group)
            alike[0].cancel(alike, grace_s)

    def _end_overdue(self) -> None:
        # Whoever passes the limit from here on begins a new list.
        overdue, self._overdue = self._overdue, []
        self._cancel(job for job in overdue if not job.has_ended)

    def _conclude(self, job: Job, on_end: OnEnd) -> None:
        try:
            on_end(job)
        finally:
            job.is_over = True
            if isinstance(job, ProcessJob):
                self._owned.pop(job.mark, None)
            self.notify()


def report_failure(job: Job, what_next: str = "") -> None:
    """Log how a job failed, if it did: how it ended, what comes next, and its last words."""
    if job.status is Status.STATUS_FAILED:
        logger.error("%s failed: %s%s; %s", job.name, job.ending, what_next, job.last_words)


def was_interrupted() -> bool:
    """Tell whether this process is ending because of an interrupt (Ctrl-C) that nobody caught."""
    kind = getattr(sys, "last_type", None)
    return isinstance(kind, type) and issubclass(kind, KeyboardInterrupt)


supervisor = Supervisor()
os.register_at_fork(after_in_child=supervisor.abandon)
