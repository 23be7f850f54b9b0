"""What an experiment tells its programs of each other: it notes their states in its databases (store/entities.py)."""

import logging
import threading
from collections.abc import Iterable, Sequence

from smartml.errors import SmartMLError, StoreConnectionError
from smartml.experiment.loop import loop
from smartml.experiment.orchestrator import Orchestrator
from smartml.store import Client
from smartml.store.entities import EntityState, publish_entity

logger = logging.getLogger(__name__)

# A database that takes longer does not hold up the start of a program, or the report of its end.
_TIMEOUT_S = 2.0

# When it is told again.
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 10.0


def client_of(database: Orchestrator) -> Client:
    """Connect to a database for a few words; the caller closes the client. Raises StoreConnectionError."""
    return database.connect(timeout_s=_TIMEOUT_S, connect_timeout_s=_TIMEOUT_S)


class Publisher:
    """Tell databases of the states of entities; one that does not answer is told later, and holds up nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The latest state of each entity, by database and name: what is told late must not replace what is newer.
        self._latest: dict[tuple[Orchestrator, str], EntityState] = {}
        # The names of those whose state a database has missed. It is there until the database has learned of all.
        self._missed: dict[Orchestrator, set[str]] = {}

    def publish(self, databases: Iterable[Orchestrator], state: EntityState) -> None:
        """Note the state of an entity in databases. Where that cannot be done it is logged, and harms nothing else."""
        for database in databases:
            with self._lock:
                self._latest[database, state.name] = state
                if database in self._missed:
                    self._missed[database].add(state.name)
                    continue
            if not _tell(database, [state]):
                self._tell_later(database, [state.name])

    def _tell_later(self, database: Orchestrator, names: Iterable[str]) -> None:
        with self._lock:
            is_new = database not in self._missed
            self._missed.setdefault(database, set()).update(names)
        if is_new:
            self._try_again_after(database, _FIRST_RETRY_S)

    def _try_again_after(self, database: Orchestrator, retry_s: float) -> None:
        loop.call_later(retry_s, lambda: loop.aside(lambda: self._try_again(database, retry_s)))

    def _try_again(self, database: Orchestrator, retry_s: float) -> None:
        if not database.is_running:
            # It may be started again, with the data that it had.
            self._try_again_after(database, _LONGEST_RETRY_S)
            return
        with self._lock:
            names = set(self._missed[database])
            self._missed[database].clear()
            states = [self._latest[database, name] for name in names]
        is_told = _tell(database, states)
        with self._lock:
            if not is_told:
                self._missed[database] |= names
            elif not self._missed[database]:
                del self._missed[database]
                return
        self._try_again_after(database, 0 if is_told else min(2 * retry_s, _LONGEST_RETRY_S))


def _tell(database: Orchestrator, states: Sequence[EntityState]) -> bool:
    """Note states in a database; return False when it is worth to try again."""
    try:
        with client_of(database) as client:
            for state in states:
                publish_entity(client.database, state)
    except SmartMLError as error:
        listed = ", ".join(f"{state.name} is {state.status}" for state in states)
        logger.warning("%s does not learn that %s: %s", database.name, listed, error)
        return not isinstance(error, StoreConnectionError)
    return True
