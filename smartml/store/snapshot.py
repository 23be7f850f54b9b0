"""Reading things that belong together as they were at one moment, while others may replace them."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from smartml.errors import StoreReplyError
from smartml.store.transport import Connection, Outcome, Place

Hash: TypeAlias = "dict[bytes, bytes]"
# Given the index of a hash and its content, returns the keys of the values that belong to it.
ValueKeys: TypeAlias = Callable[[int, Hash], Sequence[bytes]]
# Given the index of a hash, the number of one of its values and the size of that, returns memory for it.
PlaceOf: TypeAlias = Callable[[int, int, int], Sequence[memoryview]]
# A hash, and for each value that belongs to it the key and what became of it; or why the hash could not be read.
Snapshot: TypeAlias = "tuple[Hash, list[tuple[bytes, Outcome]]] | StoreReplyError"


def read_snapshot(
    connection: Connection, keys: Sequence[bytes], value_keys: ValueKeys, place: PlaceOf
) -> list[Snapshot] | None:
    """Read hashes, then their values; None when another client changed a hash meanwhile.

    Optimistic: WATCH costs the server nothing, while reading all in one transaction would make it hold every reply at
    once. Writers change the hash whenever they change a value of its group.
    """
    replies = connection.execute([*((b"WATCH", key) for key in keys), *((b"HGETALL", key) for key in keys)])
    refused = [reply for reply in replies if isinstance(reply, StoreReplyError)]
    if refused:
        connection.execute([(b"UNWATCH",)])
        hashes = replies[len(keys) :]
        return [reply if isinstance(reply, StoreReplyError) else refused[0] for reply in hashes]
    hashes = [as_hash(reply) for reply in replies[len(keys) :]]
    named = [value_keys(index, stored) for index, stored in enumerate(hashes)]
    places = [(index, number) for index, part in enumerate(named) for number in range(len(part))]
    all_keys = [key for part in named for key in part]
    outcomes = connection.receive(all_keys, lambda i, size: place(*places[i], size))
    # An empty transaction does nothing but tell whether a watched key was changed.
    if connection.transact([]) is None:
        return None
    rest = iter(zip(all_keys, outcomes, strict=True))
    return [(stored, [next(rest) for _ in part]) for stored, part in zip(hashes, named, strict=True)]


def read_busy_snapshot(
    connection: Connection, key: bytes, value_keys: Callable[[Hash], Sequence[bytes]], place: Place
) -> list[Snapshot] | None:
    """Read one hash and its values in a transaction; None when others changed which values belong to it.

    For a hash that is replaced so often that no `read_snapshot` comes through.
    """
    expected = connection.execute([(b"HGETALL", key)])[0]
    if isinstance(expected, StoreReplyError):
        return [expected]
    keys = value_keys(as_hash(expected))
    seen, outcomes = connection.receive_at_once((b"HGETALL", key), keys, place)
    if isinstance(seen, StoreReplyError):
        return [seen]
    stored = as_hash(seen)
    return [(stored, list(zip(keys, outcomes, strict=True)))] if value_keys(stored) == keys else None


def as_hash(reply: Sequence[bytes]) -> Hash:
    """Turn the flat reply to HGETALL into a mapping."""
    return dict(zip(reply[::2], reply[1::2], strict=True))
