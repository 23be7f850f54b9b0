"""What programs run in databases is put there before they start: once, for as long as it is there."""

import logging
import threading
from collections.abc import Iterable, Sequence

from smartml.errors import DuplicateNameError
from smartml.experiment.db_objects import DBObject, state_of
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator

logger = logging.getLogger(__name__)


class Uploads:
    """Put the models and scripts of programs into databases. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What each database was given, by name.
        self._given: dict[Orchestrator, dict[str, object]] = {}

    def put(self, models: Iterable[Model], databases: Sequence[Orchestrator]) -> None:
        """Put what programs run into databases, unless it is there. Raises StoreError."""
        objects = list(dict.fromkeys(one for model in models for one in model.db_objects))
        if not objects:
            return
        with self._lock:
            for database in databases:
                self._put(objects, database)

    def _put(self, objects: Sequence[DBObject], database: Orchestrator) -> None:
        given = self._given.setdefault(database, {})
        with database.connect() as client:
            for one in objects:
                state = state_of(one)
                # The database may have been emptied, or started again without its data.
                if given.get(one.name) == state and one.is_in(client):
                    continue
                one.put(client)
                given[one.name] = state
                logger.debug("put %r into database %s", one.name, database.name)


def check_objects(models: Sequence[Model], has_database: bool) -> None:
    """See that what programs run goes together. Raises DuplicateNameError; warns where no database will have it."""
    known: dict[str, tuple[DBObject, Model]] = {}
    for model in models:
        for one in model.db_objects:
            other, owner = known.setdefault(one.name, (one, model))
            if one != other:
                raise DuplicateNameError(
                    f"{owner.name!r} and {model.name!r} have each a model or script {one.name!r} of its own: rename one"
                )
        if model.db_objects and not has_database and not model.colocated:
            names = ", ".join(repr(one.name) for one in model.db_objects)
            logger.warning("%s shall find %s in a database, but the experiment has none that runs", model.name, names)
