"""What a program may wait for before it starts: other programs, a database, or data in a database."""

import abc
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartml.errors import ArgumentTypeError, ArgumentValueError, DependencyError, SmartMLError
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.publication import client_of
from smartml.experiment.states import Status
from smartml.store import Client
from smartml.store.keys import COMPLETE_FIELD, KeyNames

if TYPE_CHECKING:
    from smartml.experiment.model import Model
    from smartml.experiment.runs import ProgramRun, Runs

# What may be waited for in a program, and how it is told.
MOMENTS = {
    "completed": "to complete",
    "started": "to start",
    "ended": "to end",
}


class Dependency(abc.ABC):
    """Something that must have come before a program starts.

    timeout_s: how long to wait for it, from the call that starts the program; None = as long as it can come.
    """

    timeout_s: float | None
    # Where nothing tells of it: it must be looked at again and again.
    is_polled = False

    @abc.abstractmethod
    def is_met(self, model: "Model", runs: "Runs", databases: Sequence[Orchestrator]) -> bool:
        """Tell whether it has come. Raises DependencyError when it cannot come any more. May block for a while."""

    def check(  # noqa: B027 - most can always come.
        self, model: "Model", is_known: Callable[["Model"], bool], databases: Sequence[Orchestrator]
    ) -> None:
        """Look, before anything starts, whether it can come at all. Raises DependencyError."""

    def concerns(self, model: "Model") -> bool:
        """Tell whether what a program does may change the answer."""
        return False


@dataclass(frozen=True)
class AfterPrograms(Dependency):
    """Other programs: all of them have started, have ended, or have completed."""

    name: str
    models: tuple["Model", ...]
    moment: str
    timeout_s: float | None = None

    def is_met(self, model: "Model", runs: "Runs", databases: Sequence[Orchestrator]) -> bool:
        """Tell whether all of them are so far."""
        found = [runs.latest(other) for other in self.models]
        # All are looked at: one that is lost makes it pointless to wait for another.
        so_far = [run is not None and self._is_so_far(run, model) for run in found]
        return all(so_far)

    def check(self, model: "Model", is_known: Callable[["Model"], bool], databases: Sequence[Orchestrator]) -> None:
        """See that every one of them was started, or is about to be."""
        if missing := [other.name for other in self.models if not is_known(other)]:
            raise DependencyError(
                f"{model.name!r} waits for {', '.join(map(repr, missing))}, which nobody starts: hand them to the same "
                "start, or start them before"
            )

    def concerns(self, model: "Model") -> bool:
        """Only the programs that it names."""
        return any(model is other for other in self.models)

    def _is_so_far(self, run: "ProgramRun", model: "Model") -> bool:
        if self.moment == "started":
            is_lost = run.final is not None and not run.has_started
            is_so_far = run.has_started
        else:
            is_lost = self.moment == "completed" and run.final not in (None, Status.STATUS_COMPLETED)
            is_so_far = run.final is not None
        if is_lost:
            how = f"is {run.final}" if run.has_started else "was never started"
            raise DependencyError(f"{model.name!r} waits for {run.name!r} {MOMENTS[self.moment]}, and that one {how}")
        return is_so_far

    def __str__(self) -> str:
        return f"{self.name} {MOMENTS[self.moment]}"


@dataclass(frozen=True)
class AfterDatabase(Dependency):
    """A database of the experiment: it answers."""

    database: Orchestrator
    timeout_s: float | None = None
    is_polled = True

    def is_met(self, model: "Model", runs: "Runs", databases: Sequence[Orchestrator]) -> bool:
        """Tell whether it answers, and programs are told of it."""
        return self.database in databases and self.database.is_active()

    def __str__(self) -> str:
        return f"database {self.database.name} to answer"


@dataclass(frozen=True)
class AfterData(Dependency):
    """Data: a tensor, a dataset or an aggregation list is in a database, under its name or a producer's."""

    name: str
    db_identifier: str
    timeout_s: float | None = None
    is_polled = True

    def is_met(self, model: "Model", runs: "Runs", databases: Sequence[Orchestrator]) -> bool:
        """Tell whether it is there. What nobody puts any more cannot come."""
        # In this order: what the last producer put at its very end is seen.
        is_last_look = self._is_nobody_left(model, runs)
        prefixes = ["", *(entity.name for entity in model.incoming_entities)]
        for database in databases:
            if database.db_identifier == self.db_identifier and _holds(database, self.name, prefixes):
                return True
        if is_last_look:
            raise DependencyError(
                f"{model.name!r} waits for {self.name!r} in database {self.db_identifier!r}, and no program that could "
                "put it there runs any more"
            )
        return False

    def check(self, model: "Model", is_known: Callable[["Model"], bool], databases: Sequence[Orchestrator]) -> None:
        """See that there is such a database."""
        known = [database.db_identifier for database in databases]
        if self.db_identifier not in known:
            raise DependencyError(
                f"{model.name!r} waits for {self.name!r} in database {self.db_identifier!r}, which is not there; "
                f"there are: {', '.join(map(repr, known)) or 'none'}"
            )

    def concerns(self, model: "Model") -> bool:
        """Any program may have put it."""
        return True

    def _is_nobody_left(self, model: "Model", runs: "Runs") -> bool:
        others = [runs.latest(entity) for entity in model.incoming_entities]
        if not others:
            others = [run for run in runs.programs() if run.entity is not model]
        # Without any, somebody else puts it.
        return bool(others) and all(run is not None and run.final is not None for run in others)

    def __str__(self) -> str:
        return f"{self.name} in database {self.db_identifier}"


def check_moment(when: object) -> str:
    """Return when to go on. Raises ArgumentValueError."""
    if not isinstance(when, str) or when not in MOMENTS:
        raise ArgumentValueError(f"when={when!r} is unknown; there are: {', '.join(map(repr, MOMENTS))}")
    return when


def check_timeout(timeout_s: object) -> float | None:
    """Return a number of seconds, or None. Raises ArgumentTypeError, ArgumentValueError."""
    if timeout_s is None:
        return None
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise ArgumentTypeError(f"timeout_s must be a number of seconds or None, got {timeout_s!r}")
    if not math.isfinite(timeout_s) or timeout_s < 0:
        raise ArgumentValueError(f"timeout_s must be 0 or more, and finite, got {timeout_s!r}")
    return timeout_s


def check_circle(models: Iterable["Model"]) -> None:
    """See that no program waits, directly or by others, for itself. Raises DependencyError."""
    # Programs that wait for none of those that are left can start, so they are taken away until no more can be.
    left = list(models)
    while left:
        free = [model for model in left if not any(item.concerns(other) for item in _strict(model) for other in left)]
        if not free:
            names = ", ".join(repr(model.name) for model in left)
            raise DependencyError(f"{names} wait for each other: none of them can ever start")
        left = [model for model in left if model not in free]


def _strict(model: "Model") -> list[AfterPrograms]:
    return [item for item in model.dependencies if isinstance(item, AfterPrograms)]


def _holds(database: Orchestrator, name: str, prefixes: Iterable[str]) -> bool:
    if not database.is_running:
        return False
    try:
        with client_of(database) as client:
            return any(_is_there(client, KeyNames(read_prefix=prefix), name) for prefix in prefixes)
    except SmartMLError:
        # It starts, stops or is overloaded: the next look tells.
        return False


def _is_there(client: Client, keys: KeyNames, name: str) -> bool:
    looks = ((b"EXISTS", keys.tensor(name)), (b"HEXISTS", keys.dataset(name).metadata, COMPLETE_FIELD))
    return any(client.database.each(looks))
