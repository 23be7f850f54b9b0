"""Jobs of a batch system: hand in a script, and have a job for each of its programs, with its own state and exit code.

What happened to a program is known from two sources. Its script notes its exit code in a file (schedulers/batch.py): no
accounting is needed, and none tells the codes of several programs of one job. The batch system knows what a script
cannot tell: that the job waits, ran out of time, or lost its node.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartml.errors import ArgumentValueError, SchedulerError, SubmissionError, UnsupportedError
from smartml.experiment.batch_watcher import Watched, Watcher, ask, pace_of_environment
from smartml.experiment.job import Job, code_text
from smartml.experiment.loop import loop
from smartml.experiment.output import keep_earlier
from smartml.experiment.schedulers.batch import BatchSettings, codes_folder
from smartml.experiment.schedulers.batch_system import JobState
from smartml.experiment.schedulers.launchers import LAUNCHERS, batch_system
from smartml.experiment.schedulers.settings import Placement, RunSettings
from smartml.experiment.states import Status

logger = logging.getLogger(__name__)

# A site gives a program that is asked to end its own time, 30 s with most; after this long it is killed.
GRACE_S = 30.0

# Where the batch system says that a job has ended, the file with an exit code may come later, over a network.
_FILE_LAG_S = 5.0
# Where a script says that a program failed, the batch system may still have to tell that it was its doing.
_REASON_LAG_S = 30.0
# A job that is not listed any more may still turn up in the accounting.
_FORGOTTEN_S = 20.0
# A job that was just handed in may not be listed yet: LSF answers from a copy that it renews now and then.
_NOT_YET_LISTED_S = 60.0

# A batch system that cannot be reached is asked again to take a job, for so long in all.
_SUBMISSION_S = 60.0
# It may have taken a job whose submission has no answer, so that one is not repeated.
_SUBMISSION_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class BatchPlan:
    """A job to hand in: what its script will be, and which programs it runs."""

    # The launcher whose batch system gets it.
    launcher: str
    settings: BatchSettings
    # The job itself: its name, its folder, and where it writes.
    placement: Placement
    members: Sequence[tuple[RunSettings, Placement]]
    # The environment to hand it in with, which most batch systems give to the job; None = that of this process.
    environment: Mapping[str, str] | None = None

    @property
    def file(self) -> Path:
        """The script."""
        return Path(self.placement.folder) / f"{self.placement.name}.sh"

    @property
    def text(self) -> str:
        """The text of the script."""
        return self.settings.script(self.placement, self.members)

    @property
    def is_array(self) -> bool:
        """True when each program is a task of a job array."""
        return self.settings.has_tasks(len(self.members))

    def output_files(self, index: int) -> tuple[Path, Path]:
        """Return where the job itself, or the task that runs this member, writes: output and error output."""
        return self.settings.job_files(self.placement, index if self.is_array else None)


class BatchJob(Job):
    """One program that a batch system runs: all of a job, a task of an array, or one program of several in a job."""

    def __init__(
        self,
        launcher: str,
        job_id: str,
        name: str,
        codes: Path,
        outputs: Sequence[Path],
        index: int | None = None,
        shares_job: bool = False,
        grace_s: float = GRACE_S,
        command: Sequence[str] = (),
        folder: str = "",
    ) -> None:
        super().__init__(name, grace_s=grace_s)
        self.launcher = launcher
        self.job_id = job_id
        self.codes = codes
        # The words of the program itself, and where it runs.
        self.command = list(command)
        self.folder = folder
        # The task of an array, counted as the batch system does.
        self.index = index
        # True when there are other programs in the same job: none of them can be ended alone.
        self.shares_job = shares_job
        self.task_id = None if index is None else batch_system(launcher).task_id(job_id, index)
        # It does not end with this process.
        self.is_detached = True
        self._outputs = list(outputs)
        self._state = JobState(Status.STATUS_QUEUED)
        # True once the batch system was asked to end it, by this process.
        self._is_unwanted = False
        # True when its end was noted before, by another process.
        self.is_end_noted = False
        # Whether it was seen to run, and who wants to hear of that.
        self._has_begun = False
        self._begins: list[Callable[[], object]] = []
        # Whether the batch system ever listed it, and since when it does not any more.
        self._was_listed = False
        self._missed_since: float | None = None
        # True once the batch system, or the file of its exit code, was asked for it.
        self._was_looked_at = False
        # Since when it is known to have ended, while more may become known of that.
        self._settling_since: float | None = None

    @property
    def id(self) -> str:
        """What the batch system calls it: `17`, or `17_3` of an array."""
        return self.task_id or self.job_id

    @property
    def title(self) -> str:
        """`Slurm job 17`."""
        return f"{batch_system(self.launcher).title} job {self.id}"

    @property
    def runtime_s(self) -> float:
        """How long it has run, as far as it was seen to; 0 while it waits."""
        if not self.has_ended and self._state.status is Status.STATUS_QUEUED:
            return 0.0
        return super().runtime_s

    @property
    def waits_for(self) -> str:
        """Why it does not run yet, in the words of the batch system."""
        return self._state.reason if self._state.status is Status.STATUS_QUEUED and not self.has_ended else ""

    @property
    def has_started(self) -> bool:
        """True once it was seen to run, or to have run."""
        return self._has_begun or self.returncode is not None

    @property
    def is_seen(self) -> bool:
        """True once the batch system has told of it."""
        return self.is_over or (self._was_looked_at and not self.has_ended)

    def when_started(self, act: Callable[[], object]) -> None:
        """Have a function called when it is first seen to run, or now if it was; never when it ends before."""
        with self._lock:
            if not self.has_started:
                self._begins.append(act)
                return
        act()

    def note_running(self) -> None:
        """Take in that it runs, from who knows that sooner than the batch system is asked."""
        if not self.has_ended and self._state.status is Status.STATUS_QUEUED:
            self._note(JobState(Status.STATUS_RUNNING))

    @property
    def is_missed(self) -> bool:
        """True when the batch system does not list it any more, and no exit code was noted."""
        return self._missed_since is not None

    def watch(self) -> None:
        """Watch it to its end, if it has not ended."""
        if not self.has_ended:
            watch([self])

    def record(self) -> dict[str, Any]:
        """Return all that `attach` needs to watch it from another process, for JSON."""
        return {
            "id": f"{self.title}: {self.name}",
            "launcher": self.launcher,
            "job": self.job_id,
            "name": self.name,
            "codes": str(self.codes),
            "outputs": [str(file) for file in self._outputs],
            "index": self.index,
            "shares_job": self.shares_job,
            "grace_s": self.grace_s,
            "command": self.command,
            "folder": self.folder,
        }

    @classmethod
    def cancel(cls, jobs: Sequence["BatchJob"], grace_s: float | None = None) -> None:
        """Ask the batch system to end these jobs; those that still run after their `grace_s` it is asked to kill.

        Returns at once. Raises UnsupportedError for some of the programs that share one job.
        """
        left = [job for job in jobs if not job.has_ended]
        try:
            check_cancel(left)
        except UnsupportedError:
            for job in left:
                job.is_cancelled = False
            raise
        for launcher in dict.fromkeys(job.launcher for job in left):
            watcher = _watcher(launcher)
            alike = [job for job in left if job.launcher == launcher]
            for job_id in dict.fromkeys(job.job_id for job in alike):
                together = [job for job in alike if job.job_id == job_id]
                _cancel(watcher, together, grace_s)
                for job in together:
                    job._is_unwanted = True

    def look(self, code: int | None, state: JobState | None, is_known: bool) -> bool:
        """Take in what is known of it; tell whether anything has changed. Only the watcher calls this."""
        before = (self.has_ended, self._state.status, self._state.restarts)
        self._was_looked_at = self._was_looked_at or is_known or code == 0
        if code == 0:
            # It did what it had to, whatever becomes of the job.
            self.end(0)
        elif state is not None:
            self._was_listed, self._missed_since = True, None
            if state.status.is_terminal:
                self._look_at_end(code, state)
            else:
                self._look_at_present(code, state)
        elif is_known:
            self._look_at_absence(code)
        return before != (self.has_ended, self._state.status, self._state.restarts)

    def _look_at_present(self, code: int | None, state: JobState) -> None:
        self._note(state)
        if code is None:
            self._settling_since = None
            return
        # It has failed, which may be the doing of the batch system: one that runs alone ends with its job, which then
        # says so; a signal may be the first thing that is seen of the end of all.
        patience_s = _REASON_LAG_S if state.is_ending or not self.shares_job else _FILE_LAG_S if code < 0 else 0.0
        if self._has_settled(patience_s):
            self.end(code)

    def _look_at_end(self, code: int | None, state: JobState) -> None:
        is_told = code is not None or (state.returncode is not None and not self.shares_job) or bool(state.reason)
        if not is_told and not self._has_settled(_FILE_LAG_S):
            return
        where = f" on {state.hosts}" if state.hosts else ""
        is_completed = state.status is Status.STATUS_COMPLETED
        why = f"{self.title}: {state.reason}{where}" if state.reason and not is_completed else ""
        if state.status is Status.STATUS_CANCELLED and not (self._is_unwanted or self.is_cancelled):
            logger.warning("%s was cancelled, and not by this script: %s", self.name, why or self.title)
            self.is_cancelled = True
        if code is not None and self.shares_job and code > 0:
            # It failed by itself, and not with its job.
            self.end(code)
        elif code is not None:
            self.end(code, why)
        elif not self.shares_job or (is_completed and state.returncode == 0):
            unknown = "" if state.returncode is not None else f"{self.title}: no exit code in {self.codes / self.name}"
            self.end(state.returncode, why or unknown)
        else:
            # That of the job is the code of another program.
            self.end(None, why or f"{self.title} ended before it, with {code_text(state.returncode)}")

    def _look_at_absence(self, code: int | None) -> None:
        if code is not None:
            self.end(code)
            return
        self._missed_since = self._missed_since or time.monotonic()
        patience_s = _FORGOTTEN_S if self._was_listed else _NOT_YET_LISTED_S
        if time.monotonic() - self._missed_since >= patience_s:
            system = batch_system(self.launcher).title
            known = "lists it no more" if self._was_listed else "never listed it"
            file = self.codes / self.name
            self.end(
                None, f"{self.title}: {system} {known}, and no exit code was noted in {file}: how it ended is unknown"
            )

    def _has_settled(self, patience_s: float) -> bool:
        now = time.monotonic()
        self._settling_since = self._settling_since or now
        return now - self._settling_since >= patience_s

    def _note(self, state: JobState) -> None:
        if state.restarts > self._state.restarts:
            logger.warning(
                "%s was put back into the queue (%s, %s)", self.name, self.title, state.reason or "no reason given"
            )
        begins: list[Callable[[], object]] = []
        with self._lock:
            if state.status is Status.STATUS_RUNNING and self._state.status is Status.STATUS_QUEUED:
                self._started, self._has_begun = time.monotonic(), True
                begins, self._begins = self._begins, []
            self._state = state
        for act in begins:
            act()

    def _present_status(self) -> Status:
        return self._state.status

    def _output_files(self) -> Sequence[Path]:
        return self._outputs


def submit(plan: BatchPlan, grace_s: float = GRACE_S) -> list[BatchJob]:
    """Write the script of a job and hand it in; return a job for each of its programs, in their order, and watch them.

    Output files of an earlier run are kept (`keep_earlier`). A batch system that cannot be reached is tried again for a
    minute. Raises SubmissionError, ProgramNotFoundError, ArgumentValueError.
    """
    _check(plan)
    _prepare(plan)
    job_id = _hand_in(plan)
    first = plan.settings.first_task
    jobs = []
    for index, (settings, place) in enumerate(plan.members):
        out, err = plan.output_files(index)
        jobs.append(
            BatchJob(
                plan.launcher,
                job_id,
                place.name,
                Path(codes_folder(plan.placement)),
                # The program's own first; what the batch system wrote of its end is with those of the job.
                list(dict.fromkeys([Path(place.err), Path(place.out), err, out])),
                index=first + index if plan.is_array else None,
                shares_job=len(plan.members) > 1 and not plan.is_array,
                grace_s=grace_s,
                command=settings.program(place.folder),
                folder=place.folder,
            )
        )
    watch(jobs)
    logger.debug("handed in %s as %s", plan.file, jobs[0].title)
    return jobs


def attach(records: Sequence[Mapping[str, Any]]) -> list[BatchJob]:
    """Watch jobs that another process has handed in, by what their `record` was."""
    jobs = [recorded_job(record) for record in records]
    watch(jobs)
    return jobs


def recorded_job(record: Mapping[str, Any]) -> BatchJob:
    """Return the job that a record tells of, not watched yet. Raises KeyError, TypeError, ValueError."""
    index = record["index"]
    return BatchJob(
        str(record["launcher"]),
        str(record["job"]),
        str(record["name"]),
        Path(record["codes"]),
        [Path(file) for file in record["outputs"]],
        None if index is None else int(index),
        bool(record["shares_job"]),
        float(record["grace_s"]),
        list(record["command"]),
        str(record["folder"]),
    )


def watch(jobs: Sequence[BatchJob]) -> None:
    """Watch jobs to their end, those of one batch system together."""
    for launcher in dict.fromkeys(job.launcher for job in jobs):
        _watcher(launcher).watch([job for job in jobs if job.launcher == launcher])


def _check(plan: BatchPlan) -> None:
    names = [place.name for _, place in plan.members]
    if plan.placement.out in (place.out for _, place in plan.members):
        raise ArgumentValueError(f"a program of {plan.placement.name!r} writes to the file of its job: rename one")
    if plan.settings.is_array and len(names) == 1 and names == [plan.placement.name]:
        raise ArgumentValueError(f"model {names[0]!r} cannot be a job array: set_array is for ensembles")


def _prepare(plan: BatchPlan) -> None:
    folders = [Path(plan.placement.folder), *(Path(place.folder) for _, place in plan.members)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for settings, place in plan.members:
        keep_earlier(Path(place.out), Path(place.err))
        for file, text in settings.side_files(place).items():
            Path(file).write_text(text, encoding="utf-8")
    for index in range(len(plan.members) if plan.is_array else 1):
        keep_earlier(*plan.output_files(index))
    codes = Path(codes_folder(plan.placement))
    # An exit code of an earlier run would count for this one.
    shutil.rmtree(codes, ignore_errors=True)
    codes.mkdir()
    plan.file.write_text(plan.text, encoding="utf-8")


def _hand_in(plan: BatchPlan) -> str:
    system = batch_system(plan.launcher)
    words = plan.settings.submit_command(str(plan.file))
    stdin = plan.file if plan.settings.reads_script else None
    pause_s, deadline = 1.0, time.monotonic() + _SUBMISSION_S
    while True:
        try:
            answer = ask(words, stdin, Path(plan.placement.folder), _SUBMISSION_TIMEOUT_S, plan.environment)
        except SchedulerError as error:
            raise SubmissionError(
                f"{plan.placement.name!r}: {error}; it may have taken the job: look for it in the queue"
            ) from error
        if system.is_unreached(answer) and time.monotonic() + pause_s < deadline:
            logger.warning("%s cannot be reached, %r is handed in again in %.0f s: %s",
                           system.title, plan.placement.name, pause_s, answer.text)  # fmt: skip
            time.sleep(pause_s)
            pause_s *= 2
            continue
        try:
            return system.parse_submission(answer)
        except SchedulerError as error:
            raise SubmissionError(f"{plan.placement.name!r} was not started: {error} ({plan.file})") from error


def check_cancel(jobs: Sequence[BatchJob]) -> None:
    """See that these jobs can be ended. Raises UnsupportedError for some of the programs that share one job."""
    for job in jobs:
        others = _others(_watcher(job.launcher), job.job_id, jobs)
        if others and job.shares_job and not job.has_ended:
            names = ", ".join(one.name for one in jobs if one.id == job.id)
            raise UnsupportedError(
                f"{names} cannot be stopped alone: {job.title} runs {len(others)} more programs. Stop the whole "
                "ensemble, or make it a job array by batch_settings.set_array()"
            )


def _others(watcher: Watcher, job_id: str, jobs: Sequence[BatchJob]) -> list[Watched]:
    """Return the programs of a job of the batch system that are not among these."""
    # By their names: who has attached to a job watches the same programs once more.
    asked = {(job.task_id, job.name) for job in jobs if job.job_id == job_id}
    return [other for other in watcher.others(job_id) if (other.task_id, other.name) not in asked]


def _cancel(watcher: Watcher, jobs: Sequence[BatchJob], grace_s: float | None) -> None:
    others = _others(watcher, jobs[0].job_id, jobs)
    # All of an array by its one name.
    ids = [job.id for job in jobs] if others else [jobs[0].job_id]
    watcher.end(ids)
    longest_s = max(job.grace_s if grace_s is None else grace_s for job in jobs)

    def kill() -> None:
        if not all(job.has_ended for job in jobs):
            watcher.end([job.id for job in jobs if not job.has_ended] if others else ids, kill=True)

    loop.call_later(longest_s, kill)


_watchers: dict[str, Watcher] = {}
_watchers_lock = threading.Lock()


def _watcher(launcher: str) -> Watcher:
    # "pals" has the batch system of "pbs".
    system = LAUNCHERS[launcher].system
    assert system is not None
    with _watchers_lock:
        if system.title not in _watchers:
            _watchers[system.title] = Watcher(system, pace_of_environment())
        return _watchers[system.title]


def _abandon() -> None:
    # In a forked child: the jobs are watched by its parent.
    global _watchers_lock
    _watchers_lock = threading.Lock()
    _watchers.clear()


os.register_at_fork(after_in_child=_abandon)
