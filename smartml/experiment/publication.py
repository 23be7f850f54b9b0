"""What an experiment tells its programs of each other: it notes their states in its databases (store/entities.py)."""

import logging
from collections.abc import Iterable

from smartml.errors import SmartMLError
from smartml.experiment.orchestrator import Orchestrator
from smartml.store import Client
from smartml.store.entities import EntityState, publish_entity

logger = logging.getLogger(__name__)

# A database that takes longer does not hold up the start of a program, or the report of its end.
_TIMEOUT_S = 2.0


def client_of(database: Orchestrator) -> Client:
    """Connect to a database for a few words; the caller closes the client. Raises StoreConnectionError."""
    return Client(
        cluster=database.db_nodes > 1,
        address=database.address,
        timeout_s=_TIMEOUT_S,
        connect_timeout_s=_TIMEOUT_S,
    )


def publish(databases: Iterable[Orchestrator], state: EntityState) -> None:
    """Note the state of an entity in databases. Where that cannot be done it is logged, and harms nothing else."""
    for database in databases:
        try:
            with client_of(database) as client:
                publish_entity(client.database, state)
        except SmartMLError as error:
            logger.warning("%s does not learn that %s is %s: %s", database.name, state.name, state.status, error)
