"""One logical database under raw keys: a single Redis server or a cluster of them.

`Client` puts names and prefixes on top of this; feeds use it directly. Small commands go through redis-py,
values through `transport`; the errors of both leave here as smartml's own.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from smartml.errors import (
    NotFoundError,
    StoreConnectionError,
    StoreError,
    StoreReplyError,
    StoreTimeoutError,
)
from smartml.store.address import ConnectionSettings, ServerAddress
from smartml.store.cluster import Cluster
from smartml.store.foreign import foreign_value
from smartml.store.keys import key_text
from smartml.store.pool import ConnectionPool, knock
from smartml.store.redis_py import RedisPy, pack_argument, unpack_reply
from smartml.store.similar import nearest_names
from smartml.store.slot_groups import read_groups, update_group
from smartml.store.slots import key_slot
from smartml.store.snapshot import Hash, PlaceOf, Snapshot, ValueKeys, as_hash, read_busy_snapshot, read_snapshot
from smartml.store.transport import Argument, Command, Connection, Memory, Place, Value, encode_command

# A search for keys that look like a missing one stops after so many, to stay quick in a large database.
_KEYS_SEARCHED = 5_000
# Keys named in one EXISTS: bounds how long the server is busy with one command.
_KEYS_PER_COMMAND = 4096
# So often may others change what is being read or replaced until the attempt is given up.
_MAX_ATTEMPTS = 100
# After so many, what is being read is taken to be replaced all the time.
_QUIET_ATTEMPTS = 3


class Database:
    """Access to one database by raw key. Thread-safe; survives fork and pickling.

    Raises StoreConnectionError when no server answers within `settings.connect_timeout_s`. Every method raises it
    when a connection breaks and a second attempt fails, StoreTimeoutError when a server hangs, StoreReplyError when it
    refuses a command.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._pools: dict[ServerAddress, ConnectionPool] = {}
        try:
            self._connect()
        except BaseException:
            self._close_pools()
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        return Database, (self.settings,)

    def _connect(self) -> None:
        self.address = self._find_living_server()
        # Kept, since to look it up takes a twentieth of a small put.
        self._home = self._pool(self.address)
        if self.settings.cluster is None:
            self.settings = replace(self.settings, cluster=self._ask_whether_cluster())
        # One of the two: a cluster's nodes are asked for everything by our own connections.
        self._cluster = Cluster(self.settings, self.address, self._pool) if self.is_cluster else None
        self._redis = RedisPy(self.settings, self.address)

    def _find_living_server(self) -> ServerAddress:
        pool, connection = knock([self._pool(address) for address in self.settings.in_random_order()])
        pool.keep(connection)
        return pool.address

    def _wait_for_server(self) -> None:
        """Wait until the server that holds what was stored answers again."""
        pool, connection = knock([self._home])
        pool.keep(connection)

    def _ask_whether_cluster(self) -> bool:
        reply = self._home.execute([(b"HELLO", b"2")], idempotent=True)[0]
        # Who is not allowed to ask is taken for a user of a single server.
        return isinstance(reply, list) and reply[reply.index(b"mode") + 1] == b"cluster"

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return bool(self.settings.cluster)

    def close(self) -> None:
        """Close all connections. The database object opens new ones if it is used again."""
        self._close_pools()
        self._redis.close()

    def _close_pools(self) -> None:
        for pool in list(self._pools.values()):
            pool.close()

    # Commands

    def command(self, *arguments: Any) -> Any:
        """Run one idempotent command through redis-py on the server that owns its key.

        A broken connection is opened again and the command repeated once.
        """
        try:
            return self._command(arguments)
        except StoreTimeoutError:
            raise
        except StoreConnectionError:
            if self._cluster is not None:
                raise
            self._wait_for_server()
            return self._command(arguments)

    def _command(self, arguments: Sequence[Any]) -> Any:
        key = arguments[1] if len(arguments) > 1 else b""
        if self._cluster is not None:
            packed = [pack_argument(argument) for argument in arguments]
            reply = self._cluster.each([packed[min(1, len(packed) - 1)]], [[packed]])[0][0]
            _raise_error(reply, key)
            return unpack_reply(packed[0], reply)
        try:
            return self._redis.command(*arguments)
        except StoreReplyError as refusal:
            raise _refused(refusal, key) from refusal

    def ask_server(self, address: ServerAddress, *arguments: str, idempotent: bool = True) -> Any:
        """Run one command that is about a server, not a key; return the reply as it is."""
        command = [argument.encode() for argument in arguments]
        reply = self._pool(address).execute([command], idempotent=idempotent)[0]
        if isinstance(reply, StoreReplyError):
            raise StoreReplyError(f"the database at {address} refused {' '.join(arguments)!r}: {reply}") from reply
        return reply

    def commands(self, key: bytes, *commands: Command) -> list[Any]:
        """Run idempotent commands in one round trip on the server that owns `key`; return their replies."""
        if self._cluster is not None:
            return self._checked(self._cluster.each([key], [commands])[0], [key])
        return self._run(lambda: self._home.execute(commands, idempotent=True), [key])

    def command_once(self, key: bytes, *arguments: Argument) -> Any:
        """Run one command that must not be repeated when its outcome is unknown; the error then says so."""
        if self._cluster is not None:
            return self._checked(self._cluster.each([key], [[arguments]], idempotent=False)[0], [key])[0]
        return self._run(lambda: self._home.execute([arguments], idempotent=False), [key])[0]

    def each(self, commands: Sequence[Command]) -> list[Any]:
        """Run idempotent commands, each on the server that owns its first key; all servers work at the same time.

        Replies come in the order of the commands; the first error among them is raised once all are there.
        """
        keys: list[Any] = [command[1] for command in commands]
        if self._cluster is not None:
            replies = self._cluster.each(keys, [[command] for command in commands])
            return self._checked([reply for (reply,) in replies], keys)
        return self._run(lambda: self._home.execute(commands, idempotent=True), keys) if keys else []

    def transaction(self, key: bytes, *commands: Command) -> list[Any]:
        """Run idempotent commands, whose keys share a slot, all or none, unseen by others until all are done."""
        replies: list[Any] | None
        if self._cluster is not None:
            replies = self.commands(key, (b"MULTI",), *commands, (b"EXEC",))[-1]
        else:
            replies = self._home.use(Connection.transact, commands, idempotent=True)
        # No key is watched: they were run or refused.
        return self._checked(replies or [], [key])

    def update(self, key: bytes, look: Command, change: Callable[[Any], Sequence[Command]]) -> list[Any]:
        """Look at a key with one command and change it, and others of its slot, by what that said, all in one act.

        `change` gets the reply and returns idempotent commands for a transaction; none leave everything as it is. It is
        called again when another client changes `key` in between. Returns the replies to its commands.
        """

        if self._cluster is not None:
            return self._checked(update_group(self._cluster, key, look, change), [key])

        def attempt(connection: Connection) -> list[Any] | None:
            watched, seen = connection.execute([(b"WATCH", key), look])
            refused = [reply for reply in (watched, seen) if isinstance(reply, StoreReplyError)]
            commands = [] if refused else change(seen)
            if not commands:
                connection.execute([(b"UNWATCH",)])
                return refused
            return connection.transact(commands)

        return self._run(lambda: self._until_undisturbed(attempt, key), [key])

    def _until_undisturbed(self, attempt: Callable[[Connection], list[Any] | None], key: bytes) -> list[Any]:
        """Repeat what gives None when another client came in between."""
        for _ in range(_MAX_ATTEMPTS):
            replies = self._home.use(attempt, idempotent=True)
            if replies is not None:
                return replies
        raise StoreError(
            f"others change {key_text(key)!r} at {self.address} all the time: gave up after {_MAX_ATTEMPTS} attempts"
        )

    def _run(self, operation: Callable[[], list[Any]], keys: Sequence[Any]) -> list[Any]:
        """Run an operation on keys of a single server; raise the first error among its replies."""
        return self._checked(operation(), keys)

    def _checked(self, replies: list[Any], keys: Sequence[Any]) -> list[Any]:
        """Return replies, or raise the first error among them."""
        for number, reply in enumerate(replies):
            if isinstance(reply, StoreReplyError):
                self._raise_refused(reply, keys[min(number, len(keys) - 1)])
        return replies

    def _raise_refused(self, reply: StoreReplyError, key: bytes) -> NoReturn:
        if str(reply).startswith("MOVED "):
            raise StoreReplyError(
                f"{self.address} is a node of a cluster and does not hold key {key_text(key)!r}: "
                "use Client(cluster=True), or set SR_DB_TYPE=Clustered"
            )
        raise _refused(reply, key)

    # Values

    def set_values(
        self, values: Mapping[bytes, Value], ahead: bytes = b"", behind: bytes = b"", count: int = 0
    ) -> list[Any]:
        """Store values in one round trip per server.

        A single server runs further commands, idempotent and encoded, in the same round trip: those ahead tell it to
        give no replies, those behind have so many, which are returned, errors as StoreReplyError among them. When one
        ahead is refused, it is not known what else was.
        """
        if self._cluster is not None:
            self.each([(b"SET", key, value) for key, value in values.items()])
            return []
        if not values:
            return []
        replies = self._home.store(values, ahead, behind, count)
        others = replies[len(values) :] if count else []
        # The way of every put: replies are looked at one by one only where there is an error among them.
        if StoreReplyError in map(type, replies):
            self._checked(replies[: len(values)], list(values))
        return others

    def fetch(self, keys: Sequence[bytes]) -> list[Memory | None]:
        """Read many values, each into fresh memory that the caller owns; None where the key does not exist.

        A key that holds something else than a string raises TensorFormatError, after all others were received.
        """
        if self._cluster is None:
            values: list[Any] = self._home.fetch(keys)
            return self._values(values, keys) if StoreReplyError in map(type, values) else values
        landed: list[memoryview] = [memoryview(b"")] * len(keys)

        def place(index: int, size: int) -> list[memoryview]:
            landed[index] = np.empty(size, np.uint8).data
            return [landed[index]]

        sizes = self.receive(keys, place)
        return [None if size is None else memory for size, memory in zip(sizes, landed, strict=True)]

    def receive(self, keys: Sequence[bytes], place: Place) -> list[int | None]:
        """Read many values, each into the memory that `place(index, size)` returns for it.

        Returns the size of each value, None where the key does not exist. `place` may be called again for the same
        index, when a connection broke. A key that holds something else than a string raises TensorFormatError, after
        all others were received.
        """
        return self._values((self._cluster or self._home).receive(keys, place), keys)

    def _values(self, outcomes: list[Any], keys: Sequence[bytes]) -> list[Any]:
        """Return what became of values, or raise the first error that stands in the place of one."""
        for key, outcome in zip(keys, outcomes, strict=True):
            if isinstance(outcome, StoreReplyError):
                self._raise_foreign(key, outcome)
        return outcomes

    def _raise_foreign(self, key: bytes, outcome: Any) -> None:
        """Raise the error that stands in the place of a value."""
        if isinstance(outcome, StoreReplyError) and str(outcome).startswith("WRONGTYPE"):
            raise foreign_value(key, self.commands(key, (b"TYPE", key))[0])
        if isinstance(outcome, StoreReplyError):
            self._raise_refused(outcome, key)

    def hashes(self, keys: Sequence[bytes]) -> list[Hash]:
        """Read many hashes in one round trip per server; an empty one where a key does not exist."""
        return [as_hash(reply) for reply in self.each([(b"HGETALL", key) for key in keys])]

    def hashes_with_values(
        self, keys: Sequence[bytes], value_keys: ValueKeys, place: PlaceOf
    ) -> list[tuple[Hash, list[int | None]]]:
        """Read hashes, and the values that each of them names, as they were at one moment.

        `value_keys(index, hash)` returns the keys of values, in the same slot as the hash; `place(index, number, size)`
        the memory for one of them. Both are called again where another client changes a hash in between. Returns for
        each key the hash and the sizes of its values; raises as `receive` does.
        """

        if self._cluster is not None:
            snapshots = read_groups(self._cluster, keys, value_keys, place)
        else:
            snapshots = self._read_snapshots(keys, value_keys, place) if keys else []
        read: list[Any] = self._checked(snapshots, keys)
        for _, values in read:
            for key, outcome in values:
                self._raise_foreign(key, outcome)
        return [(stored, [outcome for _, outcome in values]) for stored, values in read]

    def _read_snapshots(self, keys: Sequence[bytes], value_keys: ValueKeys, place: PlaceOf) -> list[Snapshot]:
        def attempt(connection: Connection) -> list[Snapshot] | None:
            return read_snapshot(connection, keys, value_keys, place)

        for _ in range(_QUIET_ATTEMPTS):
            snapshots = self._home.use(attempt, idempotent=True)
            if snapshots is not None:
                return snapshots

        def busy(index: int) -> Callable[[Connection], list[Snapshot] | None]:
            return lambda connection: read_busy_snapshot(
                connection,
                keys[index],
                lambda stored: value_keys(index, stored),
                lambda number, size: place(index, number, size),
            )

        return [snapshot for index, key in enumerate(keys) for snapshot in self._until_undisturbed(busy(index), key)]

    # Looking for keys

    def count_existing(self, keys: Sequence[bytes]) -> int:
        """Count how many of the keys exist; asks with as few commands as the servers allow."""
        return self.prepare_count(keys)()

    def prepare_count(self, keys: Sequence[bytes]) -> Callable[[], int]:
        """Return what counts how many of the keys exist, again and again: the question is written but once."""
        if not keys:
            return lambda: 0
        if self.is_cluster:
            asked = list(keys)
            return lambda: sum(self.exist(asked))
        parts = [keys[first : first + _KEYS_PER_COMMAND] for first in range(0, len(keys), _KEYS_PER_COMMAND)]
        request = b"".join([encode_command((b"EXISTS", *part)) for part in parts])

        def count() -> int:
            replies = self._home.use(Connection.exchange, request, len(parts), idempotent=True)
            return sum(self._checked(replies, keys[:1]))

        return count

    def exist(self, keys: Sequence[bytes]) -> list[bool]:
        """Tell for each key whether it exists, in one round trip per server."""
        return [reply == 1 for reply in self.each([(b"EXISTS", key) for key in keys])]

    def similar_keys(self, key: bytes, limit: int = 3) -> list[str]:
        """List the existing keys whose names come nearest to one, nearest first, from a bounded search."""
        return nearest_names(key_text(key), itertools.islice(self.scan(b"*"), _KEYS_SEARCHED), limit)

    def not_found(self, error: type[NotFoundError], what: str, key: bytes) -> NotFoundError:
        """Word the error of a missing key: which key, where, and what there is instead."""
        similar = self.similar_keys(key)
        instead = f"similar keys: {', '.join(map(repr, similar))}" if similar else "nothing there has a similar name"
        return error(f"no {what} under key {key_text(key)!r} at {self.address}; {instead}")

    def scan(self, pattern: bytes) -> Iterator[str]:
        """Go through the keys that match a pattern, in no order, while the server goes on working.

        A key may come twice when the server rearranges its table meanwhile. Bytes of a key that are no text come as
        Python gives file names that are none (`errors="surrogateescape"`).
        """
        done: set[ServerAddress] = set()
        if self._cluster is not None:
            self._cluster.refresh()
        # Another node may take the place of one meanwhile.
        while waiting := [address for address in self.server_addresses() if address not in done]:
            done.add(waiting[0])
            yield from self._scan(waiting[0], pattern)

    def _scan(self, address: ServerAddress, pattern: bytes) -> Iterator[str]:
        cursor: bytes | None = None
        while cursor != b"0":
            command = (b"SCAN", cursor or b"0", b"MATCH", pattern, b"COUNT", b"1000")
            if self._cluster is not None:
                reply = self._cluster.ask_node(address, command)
                if reply is None:
                    return
            else:
                reply = self._pool(address).execute([command], idempotent=True)[0]
            _raise_error(reply, pattern)
            cursor, keys = reply
            yield from (key.decode(errors="surrogateescape") for key in keys)

    # Servers

    def server_addresses(self) -> list[ServerAddress]:
        """List the servers that hold keys."""
        return [self.address] if self._cluster is None else self._cluster.primaries

    def first_slots(self) -> list[int]:
        """List the first slot of every row of slots that lie on one node of a cluster; none for a single server."""
        return [] if self._cluster is None else self._cluster.first_slots

    def server_of(self, key: bytes) -> ServerAddress | None:
        """Return the server that holds a key, as far as is known."""
        return self.address if self._cluster is None else self._cluster.owner(key)

    def same_server(self, first: bytes, second: bytes) -> bool:
        """Tell whether two keys share a slot, so that one command may name both."""
        return self._cluster is None or key_slot(first) == key_slot(second)

    def _pool(self, address: ServerAddress) -> ConnectionPool:
        pool = self._pools.get(address)
        return pool if pool is not None else self._pools.setdefault(address, ConnectionPool(address, self.settings))


def _raise_error(reply: Any, key: bytes) -> None:
    if isinstance(reply, StoreReplyError):
        raise _refused(reply, key)


def _refused(reply: StoreReplyError, key: Any) -> StoreReplyError:
    where = f" on key {key_text(key)!r}" if isinstance(key, bytes) and key else ""
    error = StoreReplyError(f"the database refused a command{where}: {reply}")
    # Its own words, for those who tell refusals apart.
    error.__cause__ = reply
    return error
