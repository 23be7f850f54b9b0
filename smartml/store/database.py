"""One logical database under raw keys: a single Redis server or a cluster of them.

`Client` puts names and prefixes on top of this; feeds use it directly. Small commands go through redis-py,
values through `transport`; the errors of both leave here as smartml's own.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from smartml.errors import (
    StoreConnectionError,
    StoreError,
    StoreReplyError,
    StoreTimeoutError,
    TensorFormatError,
)
from smartml.store.address import ConnectionSettings, ServerAddress
from smartml.store.pool import ConnectionPool, knock
from smartml.store.redis_py import RedisPy
from smartml.store.similar import nearest_names
from smartml.store.snapshot import Hash, PlaceOf, Snapshot, ValueKeys, as_hash, read_busy_snapshot, read_snapshot
from smartml.store.transport import Argument, Command, Connection, Place

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
        if self.settings.cluster is None:
            self.settings = replace(self.settings, cluster=self._ask_whether_cluster())
        self._redis = RedisPy(self.settings, self.address)

    def _find_living_server(self) -> ServerAddress:
        pool, connection = knock([self._pool(address) for address in self.settings.in_random_order()])
        pool.keep(connection)
        return pool.address

    def _wait_for_server(self) -> None:
        """Wait until a server answers again: any of a cluster, or else the one that holds what was stored."""
        if self.is_cluster:
            self.address = self._find_living_server()
        else:
            pool, connection = knock([self._pool(self.address)])
            pool.keep(connection)

    def _ask_whether_cluster(self) -> bool:
        reply = self._pool(self.address).execute([(b"HELLO", b"2")], idempotent=True)[0]
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
            self._wait_for_server()
            return self._command(arguments)

    def _command(self, arguments: Sequence[Any]) -> Any:
        try:
            return self._redis.command(*arguments)
        except StoreReplyError as refusal:
            raise _refused(refusal, arguments[1] if len(arguments) > 1 else b"") from refusal

    def ask_server(self, address: ServerAddress, *arguments: str, idempotent: bool = True) -> Any:
        """Run one command that is about a server, not a key; return the reply as it is."""
        command = [argument.encode() for argument in arguments]
        reply = self._pool(address).execute([command], idempotent=idempotent)[0]
        if isinstance(reply, StoreReplyError):
            raise StoreReplyError(f"the database at {address} refused {' '.join(arguments)!r}: {reply}")
        return reply

    def commands(self, key: bytes, *commands: Command) -> list[Any]:
        """Run idempotent commands in one round trip on the server that owns `key`; return their replies."""
        return self._run(lambda: self._owner(key).execute(commands, idempotent=True), [key])

    def command_once(self, key: bytes, *arguments: Argument) -> Any:
        """Run one command that must not be repeated when its outcome is unknown; the error then says so."""
        return self._run(lambda: self._owner(key).execute([arguments], idempotent=False), [key])[0]

    def each(self, commands: Sequence[Command]) -> list[Any]:
        """Run idempotent commands, each on the server that owns its first key; one round trip per server.

        Replies come in the order of the commands; the first error among them is raised once all are there.
        """
        keys = [command[1] for command in commands]
        if not self.is_cluster:
            return self._run(lambda: self._pool(self.address).execute(commands, idempotent=True), keys) if keys else []

        def run(pool: ConnectionPool, indices: Sequence[int]) -> list[Any]:
            return pool.execute([commands[index] for index in indices], idempotent=True)

        return self._run(lambda: self._on_owners(keys, run), keys)

    def transaction(self, key: bytes, *commands: Command) -> list[Any]:
        """Run idempotent commands, whose keys share a slot, all or none, unseen by others until all are done."""
        replies: list[Any] = self.commands(key, (b"MULTI",), *commands, (b"EXEC",))[-1]
        for reply in replies:
            _raise_error(reply, key)
        return replies

    def update(self, key: bytes, look: Command, change: Callable[[Any], Sequence[Command]]) -> list[Any]:
        """Look at a key with one command and change it, and others of its slot, by what that said, all in one act.

        `change` gets the reply and returns idempotent commands for a transaction; none leave everything as it is. It is
        called again when another client changes `key` in between. Returns the replies to its commands.
        """

        def attempt(connection: Connection) -> list[Any] | None:
            watched, seen = connection.execute([(b"WATCH", key), look])
            refused = [reply for reply in (watched, seen) if isinstance(reply, StoreReplyError)]
            commands = [] if refused else change(seen)
            if not commands:
                connection.execute([(b"UNWATCH",)])
                return refused
            *queued, replies = connection.execute([(b"MULTI",), *commands, (b"EXEC",)])
            # The reasons why a transaction is refused stand where its commands were queued.
            return queued if isinstance(replies, StoreReplyError) else replies

        return self._run(lambda: self._until_undisturbed(self._owner(key), attempt, key), [key])

    def _until_undisturbed(
        self, pool: ConnectionPool, attempt: Callable[[Connection], list[Any] | None], key: bytes
    ) -> list[Any]:
        """Repeat what gives None when another client came in between."""
        for _ in range(_MAX_ATTEMPTS):
            replies = pool.use(attempt, idempotent=True)
            if replies is not None:
                return replies
        raise StoreError(
            f"others change {_text(key)!r} at {pool.address} all the time: gave up after {_MAX_ATTEMPTS} attempts"
        )

    def _run(self, operation: Callable[[], list[Any]], keys: Sequence[Any]) -> list[Any]:
        """Run an operation on keys; raise the first error among its replies."""
        replies = self._follow(operation, keys)
        for number, reply in enumerate(replies):
            if isinstance(reply, StoreReplyError):
                _raise_error(reply, keys[min(number, len(keys) - 1)])
        return replies

    def _follow(self, operation: Callable[[], list[Any]], keys: Sequence[Any]) -> list[Any]:
        """Run an operation on keys, once more if one of them has moved to another node."""
        try:
            replies = operation()
        except StoreConnectionError:
            # A replica may have taken the place of the node that is gone: who tries again shall find it.
            if self.is_cluster:
                with contextlib.suppress(StoreError):
                    self._redis.read_slots()
            raise
        for reply in replies:
            if isinstance(reply, StoreReplyError) and str(reply).startswith("MOVED "):
                break
        else:
            return replies
        if not self.is_cluster:
            raise StoreReplyError(
                f"{self.address} is a node of a cluster and does not hold key {_text(keys[0])!r}: "
                "use Client(cluster=True), or set SR_DB_TYPE=Clustered"
            )
        self._redis.read_slots()
        return operation()

    # Values

    def set_values(self, values: Mapping[bytes, Argument]) -> None:
        """Store values in one round trip per server."""
        self.each([(b"SET", key, value) for key, value in values.items()])

    def receive(self, keys: Sequence[bytes], place: Place) -> list[int | None]:
        """Read many values, each into the memory that `place(index, size)` returns for it.

        Returns the size of each value, None where the key does not exist. `place` may be called again for the same
        index, when a connection broke. A key that holds something else than a string raises TensorFormatError, after
        all others were received.
        """

        def receive_part(pool: ConnectionPool, indices: Sequence[int]) -> list[Any]:
            return pool.receive([keys[index] for index in indices], lambda i, size: place(indices[i], size))

        if self.is_cluster:
            outcomes = self._follow(lambda: self._on_owners(keys, receive_part), keys)
        else:
            outcomes = self._follow(lambda: self._pool(self.address).receive(keys, place), keys)
        for key, outcome in zip(keys, outcomes, strict=True):
            if isinstance(outcome, StoreReplyError):
                self._raise_foreign(key, outcome)
        return outcomes

    def _raise_foreign(self, key: bytes, outcome: Any) -> None:
        """Raise the error that stands in the place of a value."""
        if isinstance(outcome, StoreReplyError) and str(outcome).startswith("WRONGTYPE"):
            kind = self.commands(key, (b"TYPE", key))[0].decode(errors="replace")
            raise TensorFormatError(f"key {_text(key)!r} does not hold a tensor: it is a Redis value of type {kind}")
        _raise_error(outcome, key)

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

        def read_part(pool: ConnectionPool, indices: Sequence[int]) -> list[Any]:
            def attempt(connection: Connection) -> list[Snapshot] | None:
                return read_snapshot(
                    connection,
                    [keys[index] for index in indices],
                    lambda i, stored: value_keys(indices[i], stored),
                    lambda i, number, size: place(indices[i], number, size),
                )

            for _ in range(_QUIET_ATTEMPTS):
                snapshots = pool.use(attempt, idempotent=True)
                if snapshots is not None:
                    return snapshots
            return [
                snapshot for index in indices for snapshot in self._until_undisturbed(pool, busy(index), keys[index])
            ]

        def busy(index: int) -> Callable[[Connection], list[Snapshot] | None]:
            return lambda connection: read_busy_snapshot(
                connection,
                keys[index],
                lambda stored: value_keys(index, stored),
                lambda number, size: place(index, number, size),
            )

        read = self._run(lambda: self._on_owners(keys, read_part), keys)
        for _, values in read:
            for key, outcome in values:
                self._raise_foreign(key, outcome)
        return [(stored, [outcome for _, outcome in values]) for stored, values in read]

    # Looking for keys

    def count_existing(self, keys: Sequence[bytes]) -> int:
        """Count how many of the keys exist; asks with as few commands as the servers allow."""
        if self.is_cluster:
            return sum(self.exist(keys))
        commands = [(b"EXISTS", *keys[i : i + _KEYS_PER_COMMAND]) for i in range(0, len(keys), _KEYS_PER_COMMAND)]
        return sum(self.commands(keys[0], *commands)) if keys else 0

    def exist(self, keys: Sequence[bytes]) -> list[bool]:
        """Tell for each key whether it exists, in one round trip per server."""
        return [reply == 1 for reply in self.each([(b"EXISTS", key) for key in keys])]

    def similar_keys(self, key: bytes, limit: int = 3) -> list[str]:
        """List the existing keys whose names come nearest to one, nearest first, from a bounded search."""
        return nearest_names(_text(key), itertools.islice(self.scan(b"*"), _KEYS_SEARCHED), limit)

    def scan(self, pattern: bytes) -> Iterator[str]:
        """Go through the keys that match a pattern, in no order, while the server goes on working.

        A key may come twice when the server rearranges its table meanwhile. Bytes of a key that are no text come as
        Python gives file names that are none (`errors="surrogateescape"`).
        """
        for address in self.server_addresses():
            cursor = b"0"
            while True:
                command = (b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"1000")
                reply = self._pool(address).execute([command], idempotent=True)[0]
                _raise_error(reply, pattern)
                cursor, keys = reply
                yield from (key.decode(errors="surrogateescape") for key in keys)
                if cursor == b"0":
                    break

    # Servers

    def server_addresses(self) -> list[ServerAddress]:
        """List the servers that hold keys."""
        if not self.is_cluster:
            return [self.address]
        return self._redis.nodes()

    def same_server(self, first: bytes, second: bytes) -> bool:
        """Tell whether two keys share a slot, so that one command may name both."""
        return not self.is_cluster or self._redis.slot(first) == self._redis.slot(second)

    def _owner(self, key: bytes) -> ConnectionPool:
        if not self.is_cluster:
            return self._pool(self.address)
        return self._pool(self._redis.owner(key))

    def _on_owners(
        self, keys: Sequence[Any], operation: Callable[[ConnectionPool, Sequence[int]], list[Any]]
    ) -> list[Any]:
        """Run an operation per server on the indices of its keys; return the results in the order of the keys."""
        if not self.is_cluster:
            return operation(self._pool(self.address), range(len(keys))) if keys else []
        by_owner: dict[ConnectionPool, list[int]] = {}
        for index, key in enumerate(keys):
            by_owner.setdefault(self._owner(key), []).append(index)
        results: list[Any] = [None] * len(keys)
        for pool, indices in by_owner.items():
            for index, result in zip(indices, operation(pool, indices), strict=True):
                results[index] = result
        return results

    def _pool(self, address: ServerAddress) -> ConnectionPool:
        pool = self._pools.get(address)
        return pool if pool is not None else self._pools.setdefault(address, ConnectionPool(address, self.settings))


def _raise_error(reply: Any, key: bytes) -> None:
    if isinstance(reply, StoreReplyError):
        raise _refused(reply, key)


def _refused(reply: StoreReplyError, key: Any) -> StoreReplyError:
    where = f" on key {_text(key)!r}" if isinstance(key, bytes) and key else ""
    return StoreReplyError(f"the database refused a command{where}: {reply}")


def _text(key: bytes) -> str:
    return key.decode(errors="replace")
