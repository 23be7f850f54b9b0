"""The table of runs: every start of an experiment, what became of it, and the tries that it took."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smartml.experiment.ensemble import Ensemble
from smartml.experiment.job import Job
from smartml.experiment.loop import Timer
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.states import Status


class Row(NamedTuple):
    """One line of the table: one start of a program, or of one node of a database."""

    name: str
    kind: str
    # Counts the starts of this entity, from 1.
    number: int
    # None as long as it waits for what must come before it.
    job: Job | None
    status: Status
    # Why it has not started.
    reason: str = ""


class NodeRun:
    """One start of a server of a database, and those by which the database itself has brought it back."""

    def __init__(self, entity: Orchestrator, number: int, job: Job) -> None:
        self.entity = entity
        # Of the first try; those that follow count on.
        self.number = number
        self._first = job

    @property
    def job(self) -> Job:
        """The latest try."""
        return self.entity.tries_of(self._first)[-1]

    @property
    def is_over(self) -> bool:
        """True when it has ended, and does not come back."""
        return self.job.is_over and not self.entity.is_restarting

    @property
    def is_detached(self) -> bool:
        """True when it outlives the script."""
        return self.job.is_detached

    def is_of(self, entity: Model | Orchestrator) -> bool:
        """Tell whether this is a start of a database."""
        return self.entity is entity

    def rows(self) -> list[Row]:
        """Return a line of the table for each try."""
        tries = self.entity.tries_of(self._first)
        return [
            Row(job.name, self.entity.type, self.number + index, job, job.status) for index, job in enumerate(tries)
        ]


class ProgramRun:
    """One start of a model: it may wait for others first, and may take several tries.

    New (waits for others) ──► Running ──► ended, for good: `settle`
                                 ▲   │
                      New (waits between tries)
    """

    def __init__(self, entity: Model, number: int, is_detached: bool = False, outlives_interrupt: bool = False) -> None:
        self.entity = entity
        # Of the first try; those that follow count on.
        self.number = number
        self.is_detached = is_detached
        self.outlives_interrupt = outlives_interrupt
        # True when another process has started it.
        self.is_attached = False
        # Those that are handed in to a batch system together, this one among them; None for a process.
        self.batch: Batch | None = None
        self.tries: list[Job] = []
        # Since the last try that ran long enough.
        self.restarts = 0
        # What it waits for, in words; empty when it does not.
        self.waits_for = ""
        # What the journal calls its waiting; empty when it has never waited for others.
        self.wait_id = ""
        # Why it was settled without a start.
        self.reason = ""
        # Set while it waits for a moment: the next try, or another look at what it waits for.
        self.timer: Timer | None = None
        # True once a stop was asked for: there is no further try.
        self.is_cancelled = False
        # What became of it; None until then.
        self.final: Status | None = None

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.entity.name

    @property
    def job(self) -> Job | None:
        """The latest try."""
        return self.tries[-1] if self.tries else None

    @property
    def has_started(self) -> bool:
        """True once its program has run."""
        return any(job.has_started for job in self.tries)

    @property
    def is_over(self) -> bool:
        """True when there is nothing more to come, and everyone who must hear of it has."""
        return self.final is not None and (self.job is None or self.job.is_over)

    @property
    def status(self) -> Status:
        """What it is doing, or what became of it."""
        if self.final is not None:
            return self.final
        if self.job is None or self.timer is not None:
            return Status.STATUS_NEW
        # What it has come to is about to be known: perhaps another try follows.
        return Status.STATUS_RUNNING if self.job.has_ended else self.job.status

    def is_of(self, model: Model | Orchestrator) -> bool:
        """Tell whether this is a start of a model."""
        return self.entity is model or (self.is_attached and self.name == model.name)

    def settle(self, status: Status, reason: str = "") -> None:
        """Note that nothing more is to come, and why, where it was never started."""
        self.final = status
        self.reason = reason
        self.waits_for = ""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def restart_delay_s(self, job: Job) -> float | None:
        """Count the end of a try; return how long to wait for the next, or None when there is none."""
        policy = self.entity.policy
        if self.is_cancelled or job.status is not Status.STATUS_FAILED:
            return None
        if job.runtime_s >= policy.restart_reset_s:
            self.restarts = 0
        if self.restarts == policy.restarts:
            return None
        self.restarts += 1
        return policy.delay_s(self.restarts)

    def rows(self) -> list[Row]:
        """Return a line for each try; one for a program that waits for the first."""
        kind = self.entity.type
        if not self.tries:
            reason = f"waits for {self.waits_for}" if self.waits_for else self.reason
            return [Row(self.name, kind, self.number, None, self.status, reason)]
        return [Row(self.name, kind, self.number + index, job, job.status) for index, job in enumerate(self.tries)]

    def __str__(self) -> str:
        if self.waits_for:
            return f"{self.name}: {self.status}, waits for {self.waits_for}"
        if self.job is None:
            return f"{self.name}: {self.status}"
        return f"{self.name} ({self.job.title}): {self.status} for {self.job.runtime_s:.0f} s"


class Batch:
    """The starts of programs that are one job of a batch system, or one array of jobs."""

    def __init__(self, entity: Model | Ensemble, settings: BatchSettings, runs: Sequence[ProgramRun]) -> None:
        self.entity = entity
        self.settings = settings
        self.runs = list(runs)
        # True once nothing is waited for any more.
        self.is_begun = False
        for run in runs:
            run.batch = self


Run = NodeRun | ProgramRun


class Runs:
    """All starts of an experiment, in their order."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        # The same by the names of their entities: experiments may have thousands of members.
        self._by_name: defaultdict[str, list[Run]] = defaultdict(list)

    def add(self, run: Run) -> None:
        """Append a start."""
        self._runs.append(run)
        self._by_name[run.entity.name].append(run)

    def remove(self, run: Run) -> None:
        """Forget a start that failed before anything ran."""
        self._runs.remove(run)
        self._by_name[run.entity.name].remove(run)

    def next_number(self, entity: Model | Orchestrator) -> int:
        """Return the number that the next start of an entity has."""
        alike = self._by_name[entity.name]
        return 1 + max((row.number for run in alike if run.is_of(entity) for row in run.rows()), default=0)

    def latest(self, model: Model) -> ProgramRun | None:
        """Return the latest start of a model; of one that another process has started, the name counts."""
        alike = (run for run in reversed(self._by_name[model.name]) if isinstance(run, ProgramRun))
        return next((run for run in alike if run.is_of(model)), None)

    def programs(self) -> list[ProgramRun]:
        """Return the starts of programs."""
        return [run for run in self._runs if isinstance(run, ProgramRun)]

    def rows(self) -> list[Row]:
        """Return the table."""
        return [row for run in self._runs for row in run.rows()]

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs))

    def __len__(self) -> int:
        return len(self._runs)
