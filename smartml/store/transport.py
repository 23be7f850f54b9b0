"""Bytes between this process and one Redis server: the bulk path.

Small commands go through redis-py. Tensors do not: there a reply would be joined from chunks, which for large
values costs several times the transfer. Here the caller's memory goes to the socket and replies are received
straight into their destination. The protocol is RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
"""

import contextlib
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from smartml.errors import StoreConnectionError, StoreReplyError, StoreTimeoutError
from smartml.store.address import TLS, ConnectionSettings, ServerAddress

# One argument of a command: one piece of memory, or several that follow one another.
Argument: TypeAlias = "bytes | memoryview | tuple[bytes | memoryview, ...]"
# Given the index of a value and its size in bytes, returns the memory it shall land in, piece by piece.
Place: TypeAlias = Callable[[int, int], Sequence[memoryview]]

# Replies are read through a buffer of this size: small ones many at a time, large ones by their first bytes only.
_BUFFER_SIZE = 64 * 1024
# Arguments smaller than this are joined before sending: a copy is cheaper than another piece for the kernel to gather.
_JOIN_BELOW = 16 * 1024
# The kernel takes no more pieces in one call (IOV_MAX on Linux).
_MAX_PIECES = 1024
# Pipelined reads: so many bytes of replies may be under way, which the server has to hold until we take them.
_BYTES_UNDER_WAY = 8 * 1024 * 1024
_MAX_COMMANDS_UNDER_WAY = 512
# Wait so long before knocking again at a server that is not there yet.
_CONNECT_RETRY_S = 0.05


class Connection:
    """One socket to one server. Not thread-safe; after any exception it is closed, not reused."""

    def __init__(self, address: ServerAddress, settings: ConnectionSettings) -> None:
        self._address = address
        self._socket = _open_socket(address, settings)
        self._can_gather = not isinstance(self._socket, ssl.SSLSocket)
        self._bytes = bytearray(_BUFFER_SIZE)
        self._buffer = memoryview(self._bytes)
        # What was received and not yet used lies at [start, end) of the buffer.
        self._start = self._end = 0
        # A forked child shares the socket with its parent and must not use it.
        self.process_id = os.getpid()
        try:
            self._enter(settings)
        except BaseException:
            self.close()
            raise

    def _enter(self, settings: ConnectionSettings) -> None:
        if settings.password is not None:
            login = [settings.password.encode()]
            if settings.username is not None:
                login.insert(0, settings.username.encode())
            self.send([[b"AUTH", *login]])
            _raise_error(self.read_reply())
        if settings.database:
            self.send([[b"SELECT", str(settings.database).encode()]])
            _raise_error(self.read_reply())

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self._socket.close()

    def is_idle(self) -> bool:
        """Tell whether the server has neither closed the connection nor sent anything unasked."""
        readable, _, _ = select.select([self._socket], [], [], 0)
        return self._start == self._end and not readable

    # Sending

    def send(self, commands: Sequence[Sequence[Argument]]) -> None:
        """Send commands one behind the other, without waiting for replies."""
        pieces: list[bytes | memoryview] = []
        small = bytearray()
        for command in commands:
            small += b"*%d\r\n" % len(command)
            for argument in command:
                parts = argument if isinstance(argument, tuple) else (argument,)
                small += b"$%d\r\n" % sum(map(len, parts))
                for part in parts:
                    if len(part) < _JOIN_BELOW:
                        small += part
                    else:
                        pieces += (bytes(small), part)
                        small.clear()
                small += b"\r\n"
        pieces.append(bytes(small))
        with self._errors_of("sending to"):
            self._send_pieces(pieces)

    def _send_pieces(self, pieces: list[bytes | memoryview]) -> None:
        if len(pieces) == 1 or not self._can_gather:
            for piece in pieces:
                self._socket.sendall(piece)
            return
        for first in range(0, len(pieces), _MAX_PIECES):
            rest = [memoryview(piece) for piece in pieces[first : first + _MAX_PIECES]]
            while rest:
                sent = self._socket.sendmsg(rest)
                while rest and sent >= len(rest[0]):
                    sent -= len(rest[0])
                    del rest[0]
                if sent:
                    rest[0] = rest[0][sent:]

    # Receiving

    def read_reply(self) -> Any:
        """Read one reply: bytes, int, None or a list of these; an error reply is returned as StoreReplyError."""
        line = self._read_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return StoreReplyError(rest.decode(errors="replace"))
        if kind == b"$":
            if rest == b"-1":
                return None
            value = bytearray(int(rest))
            self._read_into([memoryview(value)])
            return bytes(value)
        if kind == b"*":
            return None if rest == b"-1" else [self.read_reply() for _ in range(int(rest))]
        raise StoreConnectionError(f"{self._address} does not speak the Redis protocol: it sent {line[:80]!r}")

    def read_value(self, index: int, place: Place) -> int | StoreReplyError | None:
        """Receive one bulk string into the memory that `place` names for it.

        Returns its size, None where there is no value, or the error that the server sent instead.
        """
        line = self._read_line()
        if line[:1] != b"$":
            if line[:1] == b"-":
                return StoreReplyError(line[1:].decode(errors="replace"))
            raise StoreConnectionError(f"{self._address} sent {line[:80]!r} where a value was expected")
        size = int(line[1:])
        if size < 0:
            return None
        self._read_into(place(index, size))
        return size

    def _read_line(self) -> bytes:
        while True:
            end = self._bytes.find(b"\r\n", self._start, self._end)
            if end >= 0:
                line = bytes(self._buffer[self._start : end])
                self._start = end + 2
                return line
            if self._start == self._end:
                self._start = self._end = 0
            elif self._end == _BUFFER_SIZE:
                if self._start == 0:
                    raise StoreConnectionError(f"{self._address} sent a line of over {_BUFFER_SIZE} bytes")
                rest = bytes(self._buffer[self._start : self._end])
                self._buffer[: len(rest)] = rest
                self._start, self._end = 0, len(rest)
            with self._errors_of("waiting for"):
                self._end += self._received(self._socket.recv_into(self._buffer[self._end :]))

    def _read_into(self, destinations: Sequence[memoryview]) -> None:
        """Fill the destinations with the next bytes and pass over the line end behind them."""
        line_end = memoryview(bytearray(2))
        rest = [*destinations, line_end]
        while rest and self._start < self._end:
            size = min(len(rest[0]), self._end - self._start)
            rest[0][:size] = self._buffer[self._start : self._start + size]
            self._start += size
            _advance(rest, size)
        with self._errors_of("receiving from"):
            while rest:
                # The kernel fills all pieces in one call, as long as no signal comes in between.
                if self._can_gather:
                    received = self._socket.recvmsg_into(rest[:_MAX_PIECES], 0, socket.MSG_WAITALL)[0]
                else:
                    received = self._socket.recv_into(rest[0])
                _advance(rest, self._received(received))
        if line_end.obj != b"\r\n":
            raise StoreConnectionError(f"{self._address} broke the Redis protocol in the middle of a value")

    def _received(self, size: int) -> int:
        if size == 0:
            raise StoreConnectionError(f"the database at {self._address} closed the connection")
        return size

    @contextlib.contextmanager
    def _errors_of(self, act: str) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError) as error:
            raise StoreTimeoutError(
                f"no progress in the time allowed while {act} the database at {self._address}; "
                "give the client a larger timeout_s if its answers take long"
            ) from error
        except StoreConnectionError:
            raise
        except OSError as error:
            raise StoreConnectionError(
                f"connection lost while {act} the database at {self._address}: {error}"
            ) from error


class ConnectionPool:
    """Connections to one server, lent to one thread at a time; forked children get their own."""

    def __init__(self, address: ServerAddress, settings: ConnectionSettings) -> None:
        self.address = address
        self._settings = settings
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def connection(self, *, checked: bool = False) -> Iterator[Connection]:
        """Lend a connection; it comes back unless an exception ended its use.

        `checked` costs a system call and makes sure that an idle connection was not closed in the meantime.
        """
        connection = self._take(checked)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)

    def _take(self, checked: bool) -> Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return Connection(self.address, self._settings)
            if connection.process_id == os.getpid() and (not checked or connection.is_idle()):
                return connection
            connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses now."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def execute(self, commands: Sequence[Sequence[Argument]], *, idempotent: bool) -> list[Any]:
        """Send commands in one go and return their replies, errors as StoreReplyError among them.

        A broken connection is opened again, and the commands are repeated, only where that is harmless.
        """

        def once() -> list[Any]:
            with self.connection(checked=not idempotent) as connection:
                connection.send(commands)
                return [connection.read_reply() for _ in commands]

        return self._with_one_retry(once) if idempotent else once()

    def receive(self, keys: Sequence[bytes], place: Place) -> list[int | StoreReplyError | None]:
        """Read the values of many keys, each straight into the memory that `place(index, size)` returns.

        Requests are sent ahead, as many as keep a bounded number of bytes under way. Returns for each key its
        size, None where it does not exist, or the server's error. `place` may be called again for the same index
        when the connection had to be opened anew.
        """

        def once() -> list[int | StoreReplyError | None]:
            outcomes: list[int | StoreReplyError | None] = []
            sent, allowed = 0, 8
            with self.connection() as connection:
                while len(outcomes) < len(keys):
                    # Topping up when half is left keeps the number of sends low.
                    if sent < len(keys) and sent - len(outcomes) <= allowed // 2:
                        upto = min(len(keys), len(outcomes) + allowed)
                        connection.send([(b"GET", key) for key in keys[sent:upto]])
                        sent = upto
                    outcome = connection.read_value(len(outcomes), place)
                    outcomes.append(outcome)
                    if isinstance(outcome, int):
                        allowed = max(2, min(_MAX_COMMANDS_UNDER_WAY, _BYTES_UNDER_WAY // (outcome or 1)))
            return outcomes

        return self._with_one_retry(once)

    def _with_one_retry(self, once: Callable[[], list[Any]]) -> list[Any]:
        try:
            return once()
        except StoreTimeoutError:
            raise
        except StoreConnectionError:
            # The server may have restarted since the connection was last used: others will be stale, too.
            self.close()
            return once()


def _open_socket(address: ServerAddress, settings: ConnectionSettings) -> socket.socket:
    deadline = time.monotonic() + settings.connect_timeout_s
    while True:
        try:
            return _connect(address, settings)
        except (ssl.SSLError, socket.gaierror, PermissionError) as error:
            raise _no_server(address, settings, error) from error
        except OSError as error:
            if time.monotonic() + _CONNECT_RETRY_S > deadline:
                raise _no_server(address, settings, error) from error
            time.sleep(_CONNECT_RETRY_S)


def _connect(address: ServerAddress, settings: ConnectionSettings) -> socket.socket:
    if address.unix_socket is not None:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.connect(address.unix_socket)
        except BaseException:
            connected.close()
            raise
    else:
        connected = socket.create_connection((address.host, address.port), settings.connect_timeout_s)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if settings.tls is not None:
        try:
            connected = _tls_context(settings.tls).wrap_socket(connected, server_hostname=address.host)
        except BaseException:
            connected.close()
            raise
        connected.settimeout(settings.timeout_s)
        return connected
    # The kernel's own timeouts: Python's would put a poll() before every call and undo MSG_WAITALL.
    connected.settimeout(None)
    timeout = struct.pack("ll", int(settings.timeout_s), int(settings.timeout_s % 1 * 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
    return connected


def _tls_context(tls: TLS) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    return context


def _no_server(address: ServerAddress, settings: ConnectionSettings, error: OSError) -> StoreConnectionError:
    return StoreConnectionError(
        f"no database answers at {address} ({settings.found}) within {settings.connect_timeout_s:g} s: {error}"
    )


def _raise_error(reply: Any) -> None:
    if isinstance(reply, StoreReplyError):
        raise reply


def _advance(pieces: list[memoryview], size: int) -> None:
    """Take `size` bytes, and empty pieces, off the front of a list of pieces."""
    while pieces and size >= len(pieces[0]):
        size -= len(pieces[0])
        del pieces[0]
    if size:
        pieces[0] = pieces[0][size:]
