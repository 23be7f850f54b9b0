"""Small commands through redis-py: all that is known here of that package."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from smartml.errors import StoreConnectionError, StoreReplyError, StoreTimeoutError
from smartml.store.address import ConnectionSettings, ServerAddress


class RedisPy:
    """A redis-py client of a single server, with smartml's errors."""

    def __init__(self, settings: ConnectionSettings, address: ServerAddress) -> None:
        self._settings = settings
        self._address = address

    @functools.cached_property
    def _client(self) -> Any:
        # Made when it is first needed, which is seldom: redis-py looks itself up among the installed packages.
        return _single(self._settings, self._address)

    def close(self) -> None:
        """Close all connections; further commands open new ones."""
        if "_client" in vars(self):
            self._client.close()

    def command(self, *arguments: Any) -> Any:
        """Run a command. A server's refusal comes as StoreReplyError in its words."""
        with self._errors():
            return self._client.execute_command(*arguments)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.exceptions.TimeoutError as error:
            raise StoreTimeoutError(
                f"no answer in the time allowed from the database at {self._address}; "
                "give the client a larger timeout_s if its answers take long"
            ) from error
        except (redis.exceptions.ConnectionError, redis.exceptions.ChildDeadlockedError) as error:
            raise StoreConnectionError(f"lost the database at {self._address}: {error}") from error
        except (RedisError, redis.exceptions.RedisClusterException) as error:
            raise StoreReplyError(str(error)) from error


def _single(settings: ConnectionSettings, address: ServerAddress) -> redis.Redis:
    where = (
        {"unix_socket_path": address.unix_socket}
        if address.unix_socket
        else {"host": address.host, "port": address.port}
    )
    # A second attempt is ours to make: redis-py would make one after a time-out, too.
    return redis.Redis(**where, db=settings.database, retry=Retry(NoBackoff(), 0), **_options(settings))


def pack_argument(argument: Any) -> bytes:
    """Write an argument of a command as `RedisPy.command` does."""
    return bytes(argument) if isinstance(argument, bytes | bytearray | memoryview) else str(argument).encode()


def unpack_reply(name: bytes, reply: Any) -> Any:
    """Turn the reply to a command, as it came, into what `RedisPy.command` returns for it."""
    unpack = _callbacks().get(name.decode().upper())
    return reply if unpack is None else unpack(reply)


@functools.cache
def _callbacks() -> Mapping[str, Callable[[Any], Any]]:
    # Nothing is connected here.
    callbacks: Mapping[str, Callable[[Any], Any]] = redis.Redis(protocol=2).response_callbacks
    return callbacks


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
