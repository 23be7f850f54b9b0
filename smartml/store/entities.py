"""What an experiment tells its programs of each other: the state of every entity, kept in the database.

One hash under `.smartml.entities`: the name of an entity, and as JSON its status (`smartml.experiment.states`) and the
prefix of the keys that it writes, empty for none.
"""

import json
from dataclasses import dataclass

from smartml.errors import MetadataError
from smartml.store.database import Database
from smartml.store.fullness import note_field
from smartml.store.keys import ENTITIES_KEY

# Tells a program of an experiment what it is called there.
ENTITY_VARIABLE = "SMARTML_ENTITY"
# States of an entity that will not write any more, unless it is started again.
_ENDED = ("Completed", "Failed", "Cancelled")


@dataclass(frozen=True)
class EntityState:
    """One program of an experiment."""

    name: str
    status: str
    # What stands before its keys, without the dot; empty for none.
    prefix: str = ""

    @property
    def has_ended(self) -> bool:
        """True when it does not run any more."""
        return self.status in _ENDED


def publish_entity(database: Database, state: EntityState) -> None:
    """Note the state of an entity, replacing what was noted of it."""
    content = json.dumps({"status": state.status, "prefix": state.prefix})
    note_field(database, ENTITIES_KEY, state.name.encode(), content.encode())


def read_entities(database: Database) -> dict[str, EntityState]:
    """Return the states of all entities by name; none where no experiment published any.

    Raises MetadataError when what is there was not written by an experiment.
    """
    stored = database.hashes([ENTITIES_KEY])[0]
    return {state.name: state for state in (_parse(name, content) for name, content in stored.items())}


def _parse(name: bytes, content: bytes) -> EntityState:
    try:
        fields = json.loads(content)
        return EntityState(name.decode(), fields["status"], fields["prefix"])
    except (ValueError, TypeError, KeyError) as error:
        raise MetadataError(
            f"the state of entity {name!r} under {ENTITIES_KEY.decode()!r} is damaged: {content!r:.80}"
        ) from error
