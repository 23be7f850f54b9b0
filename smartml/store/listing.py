"""What a database holds, key by key, in words for people."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smartml.store.database import Database
from smartml.store.descriptions import find_descriptions
from smartml.store.keys import COMPLETE_FIELD, METADATA_SUFFIX
from smartml.tensors import TensorDescription

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
    found = itertools.islice(database.scan(pattern.encode(errors="surrogateescape")), limit)
    while some := list(itertools.islice(found, _KEYS_AT_ONCE)):
        keys = [key.encode(errors="surrogateescape") for key in some]
        of_kind: dict[bytes, list[bytes]] = {}
        for key, kind in zip(keys, database.each([(b"TYPE", key) for key in keys]), strict=True):
            of_kind.setdefault(kind, []).append(key)
        yield from _describe_strings(database, of_kind.pop(b"string", []))
        yield from _describe_hashes(database, of_kind.pop(b"hash", []))
        yield from _describe_lists(database, of_kind.pop(b"list", []))
        # They were deleted since they were listed.
        of_kind.pop(b"none", None)
        for kind, others in of_kind.items():
            yield from (KeyDescription(_printable(key), kind.decode(), "", 0) for key in others)


def _describe_strings(database: Database, keys: Sequence[bytes]) -> Iterator[KeyDescription]:
    others = []
    for key, found in zip(keys, find_descriptions(database, keys), strict=True):
        if isinstance(found, TensorDescription):
            yield KeyDescription(_printable(key), "tensor", str(found), found.payload_size + found.size)
        elif found is not None:
            others.append(key)
    for key, size in zip(others, database.each([(b"STRLEN", key) for key in others]), strict=True):
        yield KeyDescription(_printable(key), "string", "", size)


def _describe_hashes(database: Database, keys: Sequence[bytes]) -> Iterator[KeyDescription]:
    for key, fields in zip(keys, database.hashes(keys), strict=True):
        size = sum(map(len, fields.values()))
        if key.endswith(METADATA_SUFFIX):
            content = f"{len(fields)} fields, {'complete' if COMPLETE_FIELD in fields else 'incomplete'}"
            yield KeyDescription(_printable(key), "dataset", content, size)
        else:
            yield KeyDescription(_printable(key), "hash", f"{len(fields)} fields", size)


def _describe_lists(database: Database, keys: Sequence[bytes]) -> Iterator[KeyDescription]:
    for key, length in zip(keys, database.each([(b"LLEN", key) for key in keys]), strict=True):
        yield KeyDescription(_printable(key), "list", f"{length} entries", length)


def _printable(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
