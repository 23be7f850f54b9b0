"""Small commands, and the map of a cluster, through redis-py: all that is known here of that package."""

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry

from smartml.errors import StoreConnectionError, StoreReplyError, StoreTimeoutError
from smartml.store.address import ConnectionSettings, ServerAddress


class RedisPy:
    """A redis-py client of a single server or a cluster, with smartml's errors."""

    def __init__(self, settings: ConnectionSettings, address: ServerAddress) -> None:
        self._address = address
        with self._errors():
            self._client: Any = _cluster(settings, address) if settings.cluster else _single(settings, address)

    def close(self) -> None:
        """Close all connections; further commands open new ones."""
        self._client.close()

    def command(self, *arguments: Any) -> Any:
        """Run a command on the server that owns its key. A server's refusal comes as StoreReplyError in its words."""
        with self._errors():
            return self._client.execute_command(*arguments)

    # Of a cluster

    def owner(self, key: bytes) -> ServerAddress:
        """Return the node that holds a key, as far as is known."""
        with self._errors():
            node = self._client.get_node_from_key(key)
        return ServerAddress(node.host, node.port)

    def slot(self, key: bytes) -> int:
        """Return the number of the slot that a key belongs to."""
        return int(self._client.keyslot(key))

    def nodes(self) -> list[ServerAddress]:
        """List the nodes that hold keys."""
        return [ServerAddress(node.host, node.port) for node in self._client.get_primaries()]

    def read_slots(self) -> None:
        """Ask the cluster anew which node holds which slots."""
        with self._errors():
            self._client.nodes_manager.initialize()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.exceptions.TimeoutError as error:
            raise StoreTimeoutError(
                f"no answer in the time allowed from the database at {self._address}; "
                "give the client a larger timeout_s if its answers take long"
            ) from error
        except redis.exceptions.RedisClusterException as error:
            raise StoreConnectionError(
                f"{self._address} cannot be used as a cluster: {error}. If it is a single server, use "
                "Client(cluster=False) or set SR_DB_TYPE=Standalone"
            ) from error
        except (redis.exceptions.ConnectionError, redis.exceptions.ChildDeadlockedError) as error:
            raise StoreConnectionError(f"lost the database at {self._address}: {error}") from error
        except RedisError as error:
            raise StoreReplyError(str(error)) from error


def _single(settings: ConnectionSettings, address: ServerAddress) -> redis.Redis:
    where = (
        {"unix_socket_path": address.unix_socket}
        if address.unix_socket
        else {"host": address.host, "port": address.port}
    )
    # A second attempt is ours to make: redis-py would make one after a time-out, too.
    return redis.Redis(**where, db=settings.database, retry=Retry(NoBackoff(), 0), **_options(settings))


def _cluster(settings: ConnectionSettings, address: ServerAddress) -> RedisCluster:
    node: Any = ClusterNode
    # First the one that is known to answer: each one that does not would cost redis-py its time-out.
    addresses = sorted(settings.addresses, key=lambda other: other != address)
    nodes = [node(one.host, one.port) for one in addresses if one.unix_socket is None]
    return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 1), **_options(settings))


def _options(settings: ConnectionSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": settings.username,
        "password": settings.password,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.connect_timeout_s,
    }
    if settings.tls is not None:
        options |= {
            "ssl": True,
            "ssl_ca_certs": settings.tls.ca_file,
            "ssl_certfile": settings.tls.certificate_file,
            "ssl_keyfile": settings.tls.key_file,
            "ssl_cert_reqs": "required" if settings.tls.verify else "none",
            "ssl_check_hostname": settings.tls.verify,
        }
    return options
