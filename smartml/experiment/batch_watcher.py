"""Watch the jobs of a batch system: all of them in one query, at intervals that grow while nothing happens."""

import contextlib
import logging
import math
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smartml.errors import ArgumentValueError, ProgramNotFoundError, SchedulerError
from smartml.experiment.guardian import MARK_VARIABLE
from smartml.experiment.loop import Timer, loop
from smartml.experiment.schedulers.batch_system import Answer, BatchSystem, JobState, shell_code

logger = logging.getLogger(__name__)

# The longest time between two queries, in seconds; a site may ask for a longer one.
INTERVAL_VARIABLE = "SMARTML_QUERY_INTERVAL_S"

# A command that takes longer has no answer. Schedulers of large systems may need many seconds.
COMMAND_TIMEOUT_S = 60.0

# A batch system may be silent for so long before the user hears of it; its jobs go on in any case.
_SILENCE_S = 60.0


@dataclass(frozen=True)
class Pace:
    """How often a batch system is asked."""

    # After something was started or stopped.
    first_s: float = 0.5
    # How much longer each time is than the one before, while nothing happens.
    growth: float = 1.4
    at_most_s: float = 10.0

    def after(self, interval_s: float, has_changed: bool) -> float:
        """Return the time to the next query, given the time before this one."""
        factor = 1 / self.growth**2 if has_changed else self.growth
        return min(max(interval_s * factor, self.first_s), self.at_most_s)


def pace_of_environment() -> Pace:
    """Return the pace that the environment asks for. Raises ArgumentValueError."""
    given = os.environ.get(INTERVAL_VARIABLE)
    if not given:
        return Pace()
    try:
        longest_s = float(given)
    except ValueError as error:
        raise ArgumentValueError(f"{INTERVAL_VARIABLE}={given!r} is no number of seconds") from error
    if not 0 < longest_s < math.inf:
        raise ArgumentValueError(f"{INTERVAL_VARIABLE}={given!r} must be more than 0 and finite")
    return Pace(first_s=min(Pace.first_s, longest_s), at_most_s=longest_s)


class Watched(Protocol):
    """What the watcher must know of a job, and tell it."""

    # Of one job of the batch system or of an array; the same for all its programs.
    job_id: str
    # The task of the array that it is, or None.
    task_id: str | None
    # The folder of exit codes of the programs, and the name that its own has there.
    codes: Path
    name: str

    @property
    def has_ended(self) -> bool:
        """True once there is nothing more to see."""

    def look(self, code: int | None, state: JobState | None, is_known: bool) -> bool:
        """Take in what is known of it; tell whether anything has changed.

        code: the exit code that its script noted. state: what the batch system says of it, if it lists it; is_known is
        False where the batch system did not answer.
        """

    @property
    def is_missed(self) -> bool:
        """True when the batch system does not list it any more, and no exit code was noted."""


class Watcher:
    """Watch the jobs of one batch system, and end them; one for all experiments of this process."""

    def __init__(self, system: BatchSystem, pace: Pace) -> None:
        self.system = system
        self._pace = pace
        self._lock = threading.Lock()
        self._jobs: list[Watched] = []
        # What is to be ended, by id: whether it is to be killed.
        self._unwanted: dict[str, bool] = {}
        self._timer: Timer | None = None
        self._interval_s = pace.first_s
        # True while a query is under way, and whether another one is wanted right after it.
        self._is_asking = False
        self._is_wanted = False
        # Since when the batch system has not answered, and whether that was told.
        self._silent_since: float | None = None
        self._is_silence_told = False

    def watch(self, jobs: Iterable[Watched]) -> None:
        """Watch these jobs to their end."""
        with self._lock:
            self._jobs += jobs
        self._ask_soon()

    def end(self, ids: Iterable[str], kill: bool = False) -> None:
        """Have jobs or tasks ended as soon as the batch system answers; returns at once."""
        with self._lock:
            self._unwanted |= dict.fromkeys(ids, kill)
        self._ask_soon(0)

    def others(self, job_id: str) -> list[Watched]:
        """Return all programs of a job that have not ended."""
        with self._lock:
            return [job for job in self._jobs if job.job_id == job_id and not job.has_ended]

    def _ask_soon(self, delay_s: float | None = None) -> None:
        with self._lock:
            self._interval_s = self._pace.first_s
            if self._is_asking:
                self._is_wanted = True
            else:
                self._set_timer(self._interval_s if delay_s is None else delay_s)

    def _set_timer(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, lambda: loop.aside(self._ask))

    def _ask(self) -> None:
        with self._lock:
            if self._is_asking:
                return
            self._is_asking, self._is_wanted = True, False
            jobs = [job for job in self._jobs if not job.has_ended]
        has_changed = False
        try:
            self._end_unwanted()
            if jobs:
                has_changed = self._look_at(jobs)
        finally:
            with self._lock:
                self._is_asking = False
                self._jobs = [job for job in self._jobs if not job.has_ended]
                self._interval_s = self._pace.after(self._interval_s, has_changed)
                if self._is_wanted:
                    self._interval_s = self._pace.first_s
                if self._jobs or self._unwanted:
                    self._set_timer(self._interval_s)

    def _look_at(self, jobs: Sequence[Watched]) -> bool:
        # Before the question: what has ended by then, the answer knows of.
        codes = _codes(jobs)
        states = self._states(jobs)
        known = states or {}
        has_changed = False
        for job in jobs:
            found = known.get(job.task_id or job.job_id)
            if found is None and job.task_id and (whole := known.get(job.job_id)) and not whole.status.is_terminal:
                # Tasks that have not begun may be listed as one.
                found = whole
            has_changed |= job.look(codes.get((job.codes, job.name)), found, states is not None)
        if states is not None:
            has_changed |= self._look_for([job for job in jobs if job.is_missed and not job.has_ended])
        return has_changed

    def _look_for(self, missed: Sequence[Watched]) -> bool:
        """Look for jobs that have left the queue where someone may have kept them."""
        has_changed = False
        for job_id in dict.fromkeys(job.job_id for job in missed):
            if words := self.system.past_command(job_id):
                try:
                    past = self.system.parse_past(ask(words))
                except (SchedulerError, ProgramNotFoundError):
                    continue
                for job in missed:
                    if job.job_id == job_id and (state := past.get(job.task_id or job_id)) is not None:
                        has_changed |= job.look(None, state, True)
        return has_changed

    def _states(self, jobs: Sequence[Watched]) -> Mapping[str, JobState] | None:
        """Return the states by ids, or None where the batch system does not answer."""
        ids = list(dict.fromkeys(job.job_id for job in jobs))
        are_arrays = any(job.task_id for job in jobs)
        while True:
            answer = Answer("")
            try:
                answer = ask(self.system.query_command(ids, are_arrays))
                states = self.system.parse_query(answer)
            except (SchedulerError, ProgramNotFoundError, ValueError) as error:
                adapted = self.system.adapted(answer)
                if adapted != self.system:
                    self.system = adapted
                    continue
                self._note_silence(error)
                return None
            if self._is_silence_told:
                logger.warning("%s answers again", self.system.title)
            self._silent_since, self._is_silence_told = None, False
            return states

    def _note_silence(self, error: Exception) -> None:
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if not self._is_silence_told and now - self._silent_since >= _SILENCE_S:
            self._is_silence_told = True
            logger.warning("%s has not answered for %.0f s, and is asked again: %s",
                           self.system.title, now - self._silent_since, error)  # fmt: skip

    def _end_unwanted(self) -> None:
        with self._lock:
            # What has ended meanwhile needs nobody to end it.
            present = {name for job in self._jobs if not job.has_ended for name in (job.job_id, job.task_id)}
            self._unwanted = {name: kill for name, kill in self._unwanted.items() if name in present}
            unwanted = dict(self._unwanted)
        for kill in (False, True):
            ids = [name for name, is_kill in unwanted.items() if is_kill is kill]
            if not ids:
                continue
            commands = self.system.kill_commands(ids) if kill else self.system.cancel_commands(ids)
            try:
                answers = [ask(words) for words in commands]
            except (SchedulerError, ProgramNotFoundError) as error:
                self._note_silence(error)
                continue
            if any(self.system.is_unreached(answer) for answer in answers):
                # Again with the next query.
                continue
            for answer in answers:
                if answer.code:
                    # As a rule because it has ended in the meantime; the next query tells.
                    logger.info("%s says of what was to be ended: %s", self.system.title, answer.text)
            with self._lock:
                for name in ids:
                    if self._unwanted.get(name) is kill:
                        del self._unwanted[name]


def ask(
    words: Sequence[str],
    stdin: Path | None = None,
    folder: Path | None = None,
    timeout_s: float | None = COMMAND_TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
) -> Answer:
    """Return what a command of a batch system prints. Raises SchedulerError where it has no answer in time."""
    # A job may run on this machine, and is no part of what this process may itself be a part of.
    given = os.environ if environment is None else environment
    unmarked = {name: value for name, value in given.items() if name != MARK_VARIABLE}
    try:
        with open(stdin or os.devnull, "rb") as source:
            done = subprocess.run(
                words,
                stdin=source,
                cwd=folder,
                env=unmarked,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
            )
    except FileNotFoundError as error:
        raise ProgramNotFoundError(f"{words[0]!r} is not on the PATH: is this a machine of that scheduler?") from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{words[0]!r} did not answer within {timeout_s:g} s") from error
    return Answer(done.stdout, done.stderr, done.returncode)


def _codes(jobs: Iterable[Watched]) -> dict[tuple[Path, str], int]:
    """Return the exit codes that scripts have noted, by folder and name."""
    wanted = {(job.codes, job.name) for job in jobs}
    found = {}
    for folder in {folder for folder, _ in wanted}:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if (folder, name) in wanted:
                # It may be about to be written, by a file system that is in no hurry.
                with contextlib.suppress(OSError, ValueError):
                    found[folder, name] = shell_code(int((folder / name).read_text()))
    return found
