"""One logical database under raw keys: a single Redis server or a cluster of them.

`Client` puts names and prefixes on top of this; feeds use it directly. Small commands go through redis-py,
values through `transport`; the errors of both leave here as smartml's own.
"""

import contextlib
import difflib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry

from smartml.errors import StoreConnectionError, StoreReplyError, StoreTimeoutError
from smartml.store.address import ConnectionSettings, ServerAddress
from smartml.store.transport import Argument, ConnectionPool, Place

Command: TypeAlias = Sequence[Argument]

# A search for keys that look like a missing one stops after so many, to stay quick in a large database.
_KEYS_SEARCHED = 20_000
# Keys named in one EXISTS: bounds how long the server is busy with one command.
_KEYS_PER_COMMAND = 4096


class Database:
    """Access to one database by raw key. Thread-safe; survives fork and pickling.

    Raises StoreConnectionError at once when no server answers.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._pools: dict[ServerAddress, ConnectionPool] = {}
        self._connect()

    def __reduce__(self) -> tuple[Any, ...]:
        return Database, (self.settings,)

    def _connect(self) -> None:
        self.address = self._find_living_server()
        with _redis_errors(self.address):
            if self.settings.cluster is None:
                is_cluster = b"redis_mode:cluster" in self.ask_server(self.address, "INFO", "server")
                self.settings = replace(self.settings, cluster=is_cluster)
            self._redis: Any = self._cluster_client() if self.is_cluster else self._redis_client(self.address)

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return bool(self.settings.cluster)

    def _find_living_server(self) -> ServerAddress:
        # At random, so that many clients spread over the nodes of a cluster.
        addresses = random.sample(self.settings.addresses, len(self.settings.addresses))
        for address in addresses[:-1]:
            with contextlib.suppress(StoreConnectionError):
                self.ask_server(address, "PING")
                return address
        self.ask_server(addresses[-1], "PING")
        return addresses[-1]

    def close(self) -> None:
        """Close all connections. The database object opens new ones if it is used again."""
        for pool in self._pools.values():
            pool.close()
        self._redis.close()

    # Commands

    def command(self, *arguments: Any) -> Any:
        """Run one idempotent command through redis-py on the server that owns its key.

        A broken connection is opened again and the command repeated once.
        """
        with _redis_errors(self.address):
            return self._redis.execute_command(*arguments)

    def ask_server(self, address: ServerAddress, *arguments: str) -> Any:
        """Run one idempotent command that is about a server, not a key; return the reply as it is."""
        reply = self._pool(address).execute([[argument.encode() for argument in arguments]], idempotent=True)[0]
        if isinstance(reply, StoreReplyError):
            raise StoreReplyError(f"the database at {address} refused {' '.join(arguments)!r}: {reply}")
        return reply

    def commands(self, key: bytes, *commands: Command) -> list[Any]:
        """Run idempotent commands in one round trip on the server that owns `key`; return their replies."""
        return self._run(lambda: self._owner(key).execute(commands, idempotent=True), key)

    def command_once(self, key: bytes, *arguments: Argument) -> Any:
        """Run one command that must not be repeated when its outcome is unknown."""
        return self._run(lambda: self._owner(key).execute([arguments], idempotent=False), key)[0]

    def transaction(self, key: bytes, *commands: Command) -> list[Any]:
        """Run idempotent commands, whose keys share a slot, all or none, unseen by others until all are done."""
        replies: list[Any] = self.commands(key, (b"MULTI",), *commands, (b"EXEC",))[-1]
        for reply in replies:
            _raise_error(reply, key)
        return replies

    def _run(self, operation: Callable[[], list[Any]], *keys: Any) -> list[Any]:
        """Run an operation, once more if a key has moved to another node; raise the first error among its replies."""
        replies = operation()
        if any(_is_moved(reply) for reply in replies):
            if not self.is_cluster:
                raise StoreReplyError(
                    f"{self.address} is a node of a cluster and does not hold key {keys[0]!r}: "
                    "use Client(cluster=True), or set SR_DB_TYPE=Clustered"
                )
            with _redis_errors(self.address):
                self._redis.nodes_manager.initialize()
            replies = operation()
        for number, reply in enumerate(replies):
            _raise_error(reply, keys[min(number, len(keys) - 1)])
        return replies

    # Values

    def each(self, commands: Sequence[Command]) -> list[Any]:
        """Run idempotent commands, each on the server that owns its first key; one round trip per server.

        Replies come in the order of the commands; the first error among them is raised once all are there.
        """
        keys = [command[1] for command in commands]

        def run(pool: ConnectionPool, indices: Sequence[int]) -> list[Any]:
            return pool.execute([commands[index] for index in indices], idempotent=True)

        return self._run(lambda: self._on_owners(keys, run), *keys)

    def set_values(self, values: Mapping[bytes, Argument]) -> None:
        """Store values in one round trip per server."""
        self.each([(b"SET", key, value) for key, value in values.items()])

    def receive(self, keys: Sequence[bytes], place: Place) -> list[int | None]:
        """Read many values, each into the memory that `place(index, size)` returns for it.

        Returns the size of each value, None where the key does not exist. `place` may be called again for the same
        index, when a connection broke. A key that holds something else than a string raises StoreReplyError, after
        all others were received.
        """

        def receive_part(pool: ConnectionPool, indices: Sequence[int]) -> list[Any]:
            part = [keys[index] for index in indices]
            return pool.receive(part, lambda i, size: place(indices[i], size))

        return self._run(lambda: self._on_owners(keys, receive_part), *keys)

    def hashes(self, keys: Sequence[bytes]) -> list[dict[bytes, bytes]]:
        """Read many hashes in one round trip per server; an empty one where a key does not exist."""
        replies = self.each([(b"HGETALL", key) for key in keys])
        return [dict(zip(reply[::2], reply[1::2], strict=True)) for reply in replies]

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
        names = list(itertools.islice(self.scan(b"*"), _KEYS_SEARCHED))
        return difflib.get_close_matches(key.decode(errors="replace"), names, n=limit, cutoff=0.5)

    def scan(self, pattern: bytes) -> Iterator[str]:
        """Go through the keys that match a pattern, in no order, while the server goes on working."""
        with _redis_errors(self.address):
            for key in self._redis.scan_iter(match=pattern, count=1000):
                yield key.decode(errors="replace")

    # Servers

    def server_addresses(self) -> list[ServerAddress]:
        """List the servers that hold keys."""
        if not self.is_cluster:
            return [self.address]
        return [ServerAddress(node.host, node.port) for node in self._redis.get_primaries()]

    def same_server(self, first: bytes, second: bytes) -> bool:
        """Tell whether two keys share a slot, so that one command may name both."""
        return not self.is_cluster or self._redis.keyslot(first) == self._redis.keyslot(second)

    def _owner(self, key: bytes) -> ConnectionPool:
        if not self.is_cluster:
            return self._pool(self.address)
        with _redis_errors(self.address):
            node = self._redis.get_node_from_key(key)
        return self._pool(ServerAddress(node.host, node.port))

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
        return self._pools.setdefault(address, ConnectionPool(address, self.settings))

    def _redis_client(self, address: ServerAddress) -> redis.Redis:
        where = (
            {"unix_socket_path": address.unix_socket}
            if address.unix_socket
            else {"host": address.host, "port": address.port}
        )
        return redis.Redis(**where, db=self.settings.database, **self._redis_options())

    def _cluster_client(self) -> RedisCluster:
        node: Any = ClusterNode
        nodes = [node(address.host, address.port) for address in self.settings.addresses]
        return RedisCluster(startup_nodes=nodes, **self._redis_options())

    def _redis_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "username": self.settings.username,
            "password": self.settings.password,
            "socket_timeout": self.settings.timeout_s,
            "socket_connect_timeout": self.settings.connect_timeout_s,
            "retry": Retry(NoBackoff(), 1),
        }
        if self.settings.tls is not None:
            options |= {
                "ssl": True,
                "ssl_ca_certs": self.settings.tls.ca_file,
                "ssl_certfile": self.settings.tls.certificate_file,
                "ssl_keyfile": self.settings.tls.key_file,
                "ssl_cert_reqs": "required" if self.settings.tls.verify else "none",
                "ssl_check_hostname": self.settings.tls.verify,
            }
        return options


@contextlib.contextmanager
def _redis_errors(address: ServerAddress) -> Iterator[None]:
    """Turn redis-py's errors into ours, in this one place."""
    try:
        yield
    except redis.exceptions.TimeoutError as error:
        raise StoreTimeoutError(f"the database at {address} did not answer in the time allowed: {error}") from error
    except redis.exceptions.RedisClusterException as error:
        raise StoreConnectionError(
            f"{address} cannot be used as a cluster: {error}. If it is a single server, use Client(cluster=False) "
            "or set SR_DB_TYPE=Standalone"
        ) from error
    except redis.exceptions.ConnectionError as error:
        raise StoreConnectionError(f"lost the database at {address}: {error}") from error
    except RedisError as error:
        raise StoreReplyError(f"the database at {address} answered: {error}") from error


def _is_moved(reply: Any) -> bool:
    return isinstance(reply, StoreReplyError) and str(reply).startswith("MOVED ")


def _raise_error(reply: Any, key: bytes) -> None:
    if isinstance(reply, StoreReplyError):
        raise StoreReplyError(f"the database refused a command on key {key.decode(errors='replace')!r}: {reply}")
