"""Who is at work on a stream, and whether all who put samples have ended.

Known from two sides. The experiment that runs programs notes their states (store/entities.py). An uploader notes
itself beside its list when it first puts a batch, and that it is closed; that one has ended whose program has, too.
Programs with feeds are noted as well: of those without a prefix, these are taken for no producers.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from smartml.store import Database
from smartml.store.entities import ENTITY_VARIABLE, EntityState, read_entities
from smartml.store.fullness import note_field
from smartml.store.keys import CONSUMERS_KEY, uploaders_key


def note_uploader(database: Database, list_key: bytes, token: str, *, is_open: bool) -> None:
    """Note beside a list that an uploader is at work, or that it is closed."""
    content = json.dumps({"entity": os.environ.get(ENTITY_VARIABLE, ""), "open": is_open})
    note_field(database, uploaders_key(list_key), token.encode(), content.encode())


def note_consumer(database: Database) -> None:
    """Note that this program takes samples, if it is one of an experiment."""
    if name := os.environ.get(ENTITY_VARIABLE):
        note_field(database, CONSUMERS_KEY, name.encode(), b"1")


def have_producers_ended(database: Database, producers: Sequence[str], list_keys: Sequence[bytes] = ()) -> bool:
    """Tell whether all who put samples under the prefixes of these producers have ended; False while none is known.

    `list_keys` are the lists that they append to, one per producer, where they use lists.
    """
    entities = read_entities(database)
    consumers, *stored = database.hashes([CONSUMERS_KEY, *map(uploaders_key, list_keys)])
    return all(
        _have_ended(_writers(entities, producer, consumers), list(map(json.loads, uploaders.values())), entities)
        for producer, uploaders in zip(producers, stored or [{}] * len(producers), strict=True)
    )


def _writers(entities: Mapping[str, EntityState], producer: str, consumers: Mapping[bytes, bytes]) -> list[EntityState]:
    """Return the programs that write under a prefix."""
    found = [entity for entity in entities.values() if entity.prefix == producer]
    return found if producer else [entity for entity in found if entity.name.encode() not in consumers]


def _have_ended(
    writers: Sequence[EntityState], uploaders: Sequence[Mapping[str, Any]], entities: Mapping[str, EntityState]
) -> bool:
    if not writers and not uploaders:
        return False
    # A program with an uploader has ended for its list when that is closed, whatever it goes on to do.
    known = {uploader["entity"] for uploader in uploaders}
    return all(writer.has_ended for writer in writers if writer.name not in known) and all(
        not uploader["open"] or (uploader["entity"] in entities and entities[uploader["entity"]].has_ended)
        for uploader in uploaders
    )
