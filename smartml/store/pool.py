"""Connections to one server, kept open between uses."""

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from smartml.errors import StoreConnectionError, StoreProtocolError, StoreReplyError, StoreTimeoutError
from smartml.store.address import ConnectionSettings, ServerAddress
from smartml.store.sockets import open_socket, tls_context
from smartml.store.transport import Command, Connection, Memory, Outcome, Place, Value, process_id

Result = TypeVar("Result")

# Wait so long before knocking again at a server that is not there yet.
_KNOCK_INTERVAL_S = 0.05
# No time in which a connection over a network could come about.
_SHORTEST_CONNECT_TIMEOUT_S = 0.1
# What a server says while it is on its way up, or full.
_LOADING = "LOADING"
_PASSING_REFUSALS = (_LOADING, "ERR max number of clients")
_LASTING_ERRORS = (ssl.SSLError, socket.gaierror, PermissionError, UnicodeError, StoreProtocolError)
# Raised by Python, not by the system, hence without a number.
_PATH_TOO_LONG = "AF_UNIX path too long"


class ConnectionPool:
    """Connections to one server, lent to one thread at a time; forked children get their own."""

    def __init__(self, address: ServerAddress, settings: ConnectionSettings) -> None:
        self.address = address
        self.settings = settings
        self._tls = tls_context(settings.tls) if settings.tls is not None else None
        # Its operations are atomic: a lock could be held by another thread at the moment of a fork.
        self._idle: deque[Connection] = deque()

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        while self._idle:
            self._idle.pop().close()

    def execute(self, commands: Sequence[Command], *, idempotent: bool) -> list[Any]:
        """Send commands in one go and return their replies, errors as StoreReplyError among them.

        A broken connection is opened again, and the commands are repeated, only where that is harmless.
        """
        return self.use(Connection.execute, commands, idempotent=idempotent)

    def store(
        self, values: Mapping[bytes, Value], ahead: bytes = b"", behind: bytes = b"", count: int = 0
    ) -> list[Any]:
        """Set each key to its value; return the replies, errors as StoreReplyError among them.

        The rest is as for `Connection.store`.
        """
        return self.use(Connection.store, values, ahead, behind, count, idempotent=True)

    def fetch(self, keys: Sequence[bytes]) -> list[Memory | StoreReplyError | None]:
        """Read the values of many keys, each into fresh memory; None where there is none."""
        return self.use(Connection.fetch, keys, idempotent=True)

    def receive(self, keys: Sequence[bytes], place: Place) -> list[Outcome]:
        """Read the values of many keys, each straight into the memory that `place(index, size)` returns.

        `place` may be called again for the same index when the connection had to be opened anew.
        """
        return self.use(Connection.receive, keys, place, idempotent=True)

    def use(self, operation: Callable[..., Result], *arguments: Any, idempotent: bool) -> Result:
        """Call `operation(connection, *arguments)`; again, on a new connection, if one broke and that is harmless."""
        connection = self._take(checked=not idempotent)
        try:
            return self._lend(connection, operation, arguments)
        except StoreConnectionError as error:
            if not idempotent:
                raise type(error)(f"{error}. Whether the command was carried out is not known") from error
            if isinstance(error, StoreTimeoutError | StoreProtocolError):
                raise
        # The server may have restarted since connections were last used: others will be stale, too.
        self.close()
        return self._lend(self._take(checked=False), operation, arguments)

    def _lend(self, connection: Connection, operation: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        try:
            result = operation(connection, *arguments)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return result

    def _take(self, *, checked: bool) -> Connection:
        """Take an idle connection or open one.

        `checked` costs a system call and makes sure that an idle one was not closed in the meantime.
        """
        return self.take_idle(checked=checked) or knock([self])[1]

    def take_idle(self, *, checked: bool) -> Connection | None:
        """Take a connection that nobody uses now, if there is one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.process_id == process_id() and (not checked or connection.is_idle()):
                return connection
            connection.close()

    def open(self, timeout_s: float) -> Connection:
        """Open a connection within a time and log in.

        Raises what says that no server is there, or not yet: OSError, UnicodeError for an impossible host name, or the
        server's own reply as StoreReplyError.
        """
        try:
            return self._open(timeout_s)
        except StoreConnectionError as error:
            if not isinstance(error.__cause__, ConnectionError):
                raise
        # Who hangs up before it has read all that we say loses us the reason; where we say less it may be read.
        return self._open(timeout_s, is_brief=True)

    def _open(self, timeout_s: float, *, is_brief: bool = False) -> Connection:
        connection = Connection(open_socket(self.address, self._tls, timeout_s), self.address)
        try:
            refusal = connection.log_in(self.settings, is_brief=is_brief)
            if refusal is not None:
                raise refusal
        except StoreTimeoutError as error:
            connection.close()
            raise StoreTimeoutError("it takes connections, but does not answer") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def keep(self, connection: Connection) -> None:
        """Take in a connection that nobody needs now."""
        self._idle.append(connection)


def knock(pools: Sequence[ConnectionPool]) -> tuple[ConnectionPool, Connection]:
    """Open a connection to the first server that answers; go on knocking for as long as the settings allow.

    That is `connect_timeout_s`, and `timeout_s` for a server that loads its data.
    Raises an error that names the addresses and how they were found, at once when waiting cannot help:
    StoreReplyError when a server refuses us, StoreTimeoutError when it takes connections but hangs,
    StoreProtocolError when it is no Redis, else StoreConnectionError.
    """
    started = time.monotonic()
    allowed_s = pools[0].settings.connect_timeout_s
    while True:
        is_hopeless = True
        for number, pool in enumerate(pools):
            remaining = (started + allowed_s - time.monotonic()) / (len(pools) - number)
            try:
                return pool, pool.open(max(_SHORTEST_CONNECT_TIMEOUT_S, remaining))
            except (OSError, UnicodeError, StoreReplyError) as error:
                failed, failure = pool, error
                is_hopeless = is_hopeless and cannot_pass(error)
                if isinstance(error, StoreReplyError) and str(error).startswith(_LOADING):
                    # It is there, and busy: no silence, but the time of a slow answer.
                    allowed_s = max(allowed_s, pool.settings.timeout_s)
        if is_hopeless or time.monotonic() + _KNOCK_INTERVAL_S > started + allowed_s:
            break
        time.sleep(_KNOCK_INTERVAL_S)
    found = failed.settings.found
    if isinstance(failure, StoreReplyError):
        raise StoreReplyError(f"the database at {failed.address} ({found}) lets nobody in: {failure}") from failure
    where = " or ".join(str(pool.address) for pool in pools)
    time_allowed = "" if is_hopeless else f" within {allowed_s:g} s"
    kind = type(failure) if isinstance(failure, StoreConnectionError) else StoreConnectionError
    raise kind(f"no database answers at {where} ({found}){time_allowed}: {failure}") from failure


def cannot_pass(error: Exception) -> bool:
    """Tell whether an error stays the same however long one waits for the server."""
    if isinstance(error, StoreReplyError):
        return not str(error).startswith(_PASSING_REFUSALS)
    return isinstance(error, _LASTING_ERRORS) or (isinstance(error, OSError) and error.args == (_PATH_TOO_LONG,))
