"""Keys of a cluster that belong together, in one slot: changed all at once, and read as they were at one moment.

While a slot moves, some of its keys are on one node and some on another already, and nodes refuse commands on several
of them. A group is then changed when the move is over, and read from both nodes: whoever changes a group changes its
hash, so that watching this one, wherever it is, tells whether all that was read belongs together.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from smartml.errors import StoreError, StoreReplyError
from smartml.store.cluster import Cluster
from smartml.store.exchanges import Turns, receive_values, say
from smartml.store.rounds import PENDING
from smartml.store.slots import announced, is_once, was_not_done, without_announcements
from smartml.store.snapshot import PlaceOf, Snapshot, ValueKeys, as_hash
from smartml.store.transport import Command, Connection

# The outcome where another client came in between.
_DISTURBED: Any = object()
# Stands for an ASK that was said of some keys of a group only: the others are not there either.
_TRY_AGAIN = StoreReplyError("TRYAGAIN its slot is being moved: some of the keys that belong together are on two nodes")
# So often may others change what is being read or replaced until the attempt is given up.
_MAX_ATTEMPTS = 100
# Each so manieth attempt reads in a way that none can disturb, but which has to find the whole group on one node.
_QUIET_ATTEMPTS = 3


def update_group(cluster: Cluster, key: bytes, look: Command, change: Callable[[Any], Sequence[Command]]) -> list[Any]:
    """Look at a key and change it, and others of its slot, as `Database.update` does; return replies, or errors."""
    for _ in range(_MAX_ATTEMPTS):
        outcomes: list[Any] = [PENDING]

        def begin(connection: Connection, _: Sequence[int], on_its_way: bool) -> Turns:
            outcomes[0] = yield from _update(connection, key, look, change, on_its_way)  # noqa: B023

        replies: list[Any] = cluster.follow([key], outcomes, begin)[0]
        if replies is not _DISTURBED:
            return replies
    raise _too_busy(key)


def _update(
    connection: Connection, key: bytes, look: Command, change: Callable[[Any], Sequence[Command]], on_its_way: bool
) -> Generator[int, int, Any]:
    watched, seen = yield from _say(connection, [(b"WATCH", key), look], on_its_way)
    refused = [reply for reply in (watched, seen) if isinstance(reply, StoreReplyError)]
    commands = [] if refused else change(seen)
    if not commands:
        yield from say(connection, [(b"UNWATCH",)])
        return next(filter(was_not_done, refused), refused)
    *queued, replies = yield from _say(connection, [(b"MULTI",), *commands, (b"EXEC",)], on_its_way)
    if replies is None:
        return _DISTURBED
    if not isinstance(replies, StoreReplyError):
        return replies
    # The reasons why a transaction is refused stand where its commands were queued.
    refused = [*queued, replies]
    return next((_TRY_AGAIN if is_once(reply) else reply for reply in refused if was_not_done(reply)), refused)


def read_groups(cluster: Cluster, keys: Sequence[bytes], value_keys: ValueKeys, place: PlaceOf) -> list[Snapshot]:
    """Read hashes, and the values that each of them names, as `Database.hashes_with_values` does."""
    snapshots: list[Any] = [_DISTURBED] * len(keys)
    for attempt in range(_MAX_ATTEMPTS):
        wanted = [index for index, snapshot in enumerate(snapshots) if snapshot is _DISTURBED]
        if not wanted:
            return snapshots
        if attempt % (_QUIET_ATTEMPTS + 1) == _QUIET_ATTEMPTS:
            for index in wanted:
                snapshots[index] = _Reading(cluster, keys, [index], value_keys, place).read_busy()
        else:
            for index, snapshot in zip(wanted, _Reading(cluster, keys, wanted, value_keys, place).read(), strict=True):
                snapshots[index] = snapshot
    raise _too_busy(keys[wanted[0]])


class _Reading:
    """One attempt to read some of the groups."""

    def __init__(
        self, cluster: Cluster, keys: Sequence[bytes], wanted: Sequence[int], value_keys: ValueKeys, place: PlaceOf
    ) -> None:
        self._cluster = cluster
        self._keys = [keys[index] for index in wanted]
        self._value_keys: ValueKeys = lambda i, stored: value_keys(wanted[i], stored)
        self._place: PlaceOf = lambda i, number, size: place(wanted[i], number, size)
        self._outcomes: list[Any] = [PENDING] * len(wanted)
        # Groups some of whose values were found to be on their way to another node.
        self._apart: set[int] = set()

    def read(self) -> list[Any]:
        """Read all groups; _DISTURBED stands for those that were changed meanwhile.

        Optimistic, as `snapshot.read_snapshot`.
        """
        return self._cluster.follow(self._keys, self._outcomes, self._watch_and_read)

    def _watch_and_read(self, connection: Connection, indices: Sequence[int], on_its_way: bool) -> Turns:
        commands = [(word, self._keys[index]) for word in (b"WATCH", b"HGETALL") for index in indices]
        replies = yield from _say(connection, commands, on_its_way)
        hashes = {}
        for index, *answers in zip(indices, replies[: len(indices)], replies[len(indices) :], strict=True):
            refused = [reply for reply in answers if isinstance(reply, StoreReplyError)]
            if refused:
                self._outcomes[index] = refused[0]
            else:
                hashes[index] = as_hash(answers[1])
        named = {index: self._value_keys(index, stored) for index, stored in hashes.items()}
        places = [(index, number) for index, part in named.items() for number in range(len(part))]
        values = [key for part in named.values() for key in part]
        outcomes: list[Any] = [PENDING] * len(values)

        def place(i: int, size: int) -> Sequence[memoryview]:
            return self._place(*places[i], size)

        if on_its_way or not self._apart.isdisjoint(indices):
            outcomes = list(self._cluster.receive(values, place))
        else:
            yield from receive_values(connection, values, range(len(values)), place, outcomes)
        # An empty transaction does nothing but tell whether a watched key was changed, or went to another node.
        unchanged = (yield from say(connection, [(b"MULTI",), (b"EXEC",)]))[1] is not None
        rest = iter(zip(values, outcomes, strict=True))
        for index, stored in hashes.items():
            found = [next(rest) for _ in named[index]]
            self._outcomes[index] = self._judge(index, stored, found) if unchanged else _DISTURBED

    def _judge(self, index: int, stored: Any, found: list[Any]) -> Any:
        elsewhere = next((outcome for _, outcome in found if was_not_done(outcome)), None)
        if elsewhere is None:
            return stored, found
        if not is_once(elsewhere):
            return elsewhere
        self._apart.add(index)
        return _TRY_AGAIN

    def read_busy(self) -> Any:
        """Read one group in a transaction, for one that is changed so often that no `read` comes through."""
        return self._cluster.follow(self._keys, self._outcomes, self._read_at_once)[0]

    def _read_at_once(self, connection: Connection, _: Sequence[int], on_its_way: bool) -> Turns:
        look = (b"HGETALL", self._keys[0])
        expected = (yield from _say(connection, [look], on_its_way))[0]
        if isinstance(expected, StoreReplyError):
            self._outcomes[0] = expected
            return
        values = self._value_keys(0, as_hash(expected))
        if on_its_way:
            # A node that has perhaps not got all keys yet; and nobody can change what is on two nodes.
            self._outcomes[0] = _DISTURBED
            return
        seen, outcomes = connection.receive_at_once(look, values, lambda number, size: self._place(0, number, size))
        if isinstance(seen, StoreReplyError):
            # Some of it is elsewhere, as `read` finds out.
            self._outcomes[0] = _DISTURBED if is_once(seen) or str(seen).startswith("TRYAGAIN") else seen
            return
        stored = as_hash(seen)
        is_whole = self._value_keys(0, stored) == values
        self._outcomes[0] = (stored, list(zip(values, outcomes, strict=True))) if is_whole else _DISTURBED


def _say(connection: Connection, commands: Sequence[Command], on_its_way: bool) -> Generator[int, int, list[Any]]:
    if not on_its_way:
        return (yield from say(connection, commands))
    replies = yield from say(connection, announced(commands))
    return without_announcements(replies, len(commands))


def _too_busy(key: bytes) -> StoreError:
    return StoreError(
        f"others change {key.decode(errors='replace')!r} all the time: gave up after {_MAX_ATTEMPTS} attempts"
    )
