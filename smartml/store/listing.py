"""What a database holds, key by key, in words for people."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from smartml.errors import TensorFormatError
from smartml.store.database import Database
from smartml.store.keys import COMPLETE_FIELD
from smartml.tensors import FOOTER_SIZE, MAX_DIMENSIONS, read_description

# Keys described in one round trip.
_KEYS_AT_ONCE = 500


@dataclass(frozen=True)
class KeyDescription:
    """One key: what kind of thing it holds, what that looks like, and its size in bytes (entries, for a list)."""

    key: str
    kind: str
    content: str
    size: int


def list_keys(database: Database, pattern: str = "*", limit: int | None = None) -> Iterator[KeyDescription]:
    """Describe the keys that match a pattern (`*`, `?`, `[…]`), at most `limit` of them, in no order.

    The description of a tensor is read without its payload.
    """
    keys = itertools.islice(database.scan(pattern.encode()), limit)
    while some := list(itertools.islice(keys, _KEYS_AT_ONCE)):
        kinds = database.each([(b"TYPE", key.encode(errors="surrogateescape")) for key in some])
        for key, kind in zip(some, kinds, strict=True):
            description = _describe(database, key, kind.decode())
            if description is not None:
                yield description


def _describe(database: Database, name: str, kind: str) -> KeyDescription | None:
    key = name.encode(errors="surrogateescape")
    # As it can be printed.
    name = key.decode(errors="replace")
    if kind == "string":
        largest = 8 * MAX_DIMENSIONS + FOOTER_SIZE
        size, end = database.commands(key, (b"STRLEN", key), (b"GETRANGE", key, b"-%d" % largest, b"-1"))
        try:
            return KeyDescription(name, "tensor", str(read_description(end, size, name)), size)
        except TensorFormatError:
            return KeyDescription(name, "string", "", size)
    if kind == "list":
        size = database.command("LLEN", key)
        return KeyDescription(name, "list", f"{size} entries", size)
    if kind == "hash":
        fields = database.hashes([key])[0]
        content = "complete" if COMPLETE_FIELD in fields else "incomplete"
        return KeyDescription(name, "dataset", f"{len(fields)} fields, {content}", sum(map(len, fields.values())))
    # It was deleted since it was listed.
    return None if kind == "none" else KeyDescription(name, kind, "", 0)
