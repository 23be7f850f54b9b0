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
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

from smartml.errors import StoreConnectionError, StoreProtocolError, StoreReplyError, StoreTimeoutError
from smartml.store.address import ConnectionSettings, ServerAddress
from smartml.store.sockets import set_timeout

# One argument of a command: one piece of memory, or several that follow one another.
Argument: TypeAlias = "bytes | memoryview | tuple[bytes | memoryview, ...]"
# A command with its arguments, the name first.
Command: TypeAlias = Sequence[Argument]
# Given the index of a value and its size in bytes, returns the memory it shall land in, piece by piece.
Place: TypeAlias = Callable[[int, int], Sequence[memoryview]]
# What became of one value: its size, None where there is none, or the error that the server sent instead.
Outcome: TypeAlias = "int | StoreReplyError | None"

# Replies are read through a buffer of this size: small ones many at a time, large ones by their first bytes only.
_BUFFER_SIZE = 64 * 1024
# Arguments smaller than this are joined before sending: a copy is cheaper than another piece for the kernel to gather.
_JOIN_BELOW = 16 * 1024
# The kernel takes no more pieces in one call (IOV_MAX on Linux).
_MAX_PIECES = 1024
# Pipelined reads: so many bytes of replies may be under way, which the server has to hold until we take them.
_BYTES_UNDER_WAY = 8 * 1024 * 1024
_MAX_COMMANDS_UNDER_WAY = 512
# Until the first reply tells how large the values are.
_FIRST_COMMANDS_UNDER_WAY = 2
# Redis allows no larger bulk string, whatever its configuration (proto-max-bulk-len is a signed 64 bit number).
_MAX_DIGITS = 19

_STATUS, _INTEGER, _ERROR, _BULK, _ARRAY = b"+:-$*"


class Connection:
    """One socket to one server. Not thread-safe; after any exception it must be closed, not reused."""

    def __init__(self, connected: socket.socket, address: ServerAddress) -> None:
        self._socket = connected
        self._address = address
        # Several pieces of memory in one system call, and waiting in the kernel until they are full.
        self._can_gather = not isinstance(connected, ssl.SSLSocket)
        self._bytes = bytearray(_BUFFER_SIZE)
        self._buffer = memoryview(self._bytes)
        # What was received and not yet used lies at [start, end) of the buffer.
        self._start = self._end = 0
        # Receives the end of line behind a value.
        self._line_end = memoryview(bytearray(2))
        # A forked child shares the socket with its parent and must not use it.
        self.process_id = os.getpid()

    def log_in(self, settings: ConnectionSettings) -> StoreReplyError | None:
        """Say who we are and make sure that a Redis answers; return its refusal, if any. Then `timeout_s` holds."""
        commands: list[Command] = []
        if settings.password is not None:
            names = [settings.username] if settings.username is not None else []
            commands.append([b"AUTH", *(text.encode() for text in (*names, settings.password))])
        if settings.database:
            commands.append([b"SELECT", b"%d" % settings.database])
        for reply in self.execute([*commands, [b"PING"]]):
            # Who may not ping is there all the same.
            if isinstance(reply, StoreReplyError) and not str(reply).startswith("NOPERM"):
                return reply
        set_timeout(self._socket, settings.timeout_s)
        return None

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self._socket.close()

    def __del__(self) -> None:
        # Programs written for SmartRedis, whose client has no close(), must not earn a ResourceWarning.
        self._socket.close()

    def is_idle(self) -> bool:
        """Tell whether the server has neither closed the connection nor sent anything unasked."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return self._start == self._end and not poll.poll(0)

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go and return their replies, errors as StoreReplyError among them."""
        self.send(commands)
        return [self.read_reply() for _ in commands]

    # Sending

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands one behind the other, without waiting for replies."""
        pieces = _pieces(commands)
        try:
            if len(pieces) > 1 and self._can_gather:
                self._send_gathered(pieces)
            else:
                for piece in pieces:
                    self._socket.sendall(piece)
        except OSError as error:
            self._fail("sending to", error)

    def _send_gathered(self, pieces: Sequence[bytes | memoryview]) -> None:
        for first in range(0, len(pieces), _MAX_PIECES):
            rest = [memoryview(piece) for piece in pieces[first : first + _MAX_PIECES]]
            while rest:
                _advance(rest, self._socket.sendmsg(rest))

    # Receiving

    def receive(self, keys: Sequence[bytes], place: Place) -> list[Outcome]:
        """Read the values of keys, each straight into the memory that `place(index, size)` returns.

        Requests are sent ahead, as many as keep a bounded number of bytes under way.
        """
        outcomes: list[Outcome] = []
        sent, allowed = 0, _FIRST_COMMANDS_UNDER_WAY
        while len(outcomes) < len(keys):
            # Topping up when half is left keeps the number of sends low.
            if sent < len(keys) and sent - len(outcomes) <= allowed // 2:
                upto = min(len(keys), len(outcomes) + allowed)
                self.send([(b"GET", key) for key in keys[sent:upto]])
                sent = upto
            outcome = self._read_value(len(outcomes), place)
            outcomes.append(outcome)
            if isinstance(outcome, int):
                allowed = max(2, min(_MAX_COMMANDS_UNDER_WAY, _BYTES_UNDER_WAY // (outcome or 1)))
        return outcomes

    def receive_at_once(self, look: Command, keys: Sequence[bytes], place: Place) -> tuple[Any, list[Outcome]]:
        """Run a command and read the values of keys in one transaction, each value as `receive` does.

        The server holds all replies at once. Returns the reply to the command, or why the transaction was refused.
        """
        commands = [(b"MULTI",), look, *((b"GET", key) for key in keys), (b"EXEC",)]
        self.send(commands)
        queued = [self.read_reply() for _ in commands[:-1]]
        line = self._read_line()
        if line[:1] != b"*":
            refused = [reply for reply in queued if isinstance(reply, StoreReplyError)]
            return refused[0] if refused else StoreReplyError(line[1:].decode(errors="replace")), []
        return self.read_reply(), [self._read_value(index, place) for index in range(len(keys))]

    def read_reply(self) -> Any:
        """Read one reply: bytes, int, None or a list of these; an error reply is returned as StoreReplyError."""
        line = self._read_line()
        kind = line[0] if line else 0
        if kind == _STATUS:
            return line[1:]
        if kind == _INTEGER:
            return self._integer(line)
        if kind == _ERROR:
            return StoreReplyError(line[1:].decode(errors="replace"))
        if kind == _BULK:
            size = self._integer(line)
            if size < 0:
                return None
            value = bytearray(size)
            self._read_into([memoryview(value)])
            return bytes(value)
        if kind == _ARRAY:
            count = self._integer(line)
            return None if count < 0 else [self.read_reply() for _ in range(count)]
        raise self._foreign(line)

    def _read_value(self, index: int, place: Place) -> Outcome:
        line = self._read_line()
        if line[:1] == b"-":
            return StoreReplyError(line[1:].decode(errors="replace"))
        if line[:1] != b"$":
            raise self._foreign(line)
        size = self._integer(line)
        if size < 0:
            return None
        self._read_into(place(index, size))
        return size

    def _integer(self, line: bytes) -> int:
        digits = line[1:]
        if len(digits) <= _MAX_DIGITS and digits.removeprefix(b"-").isdigit():
            return int(digits)
        raise self._foreign(line)

    def _read_line(self) -> bytes:
        while True:
            end = self._bytes.find(b"\r\n", self._start, self._end)
            if end >= 0:
                line = bytes(self._buffer[self._start : end])
                self._start = end + 2
                return line
            self._fill()

    def _fill(self) -> None:
        """Receive more behind what lies in the buffer and was not used yet."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start:
            rest = bytes(self._buffer[self._start : self._end])
            self._buffer[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        elif self._end == _BUFFER_SIZE:
            raise self._foreign(self._bytes)
        try:
            self._end += self._received(self._socket.recv_into(self._buffer[self._end :]))
        except OSError as error:
            self._fail("waiting for", error)

    def _read_into(self, destinations: Sequence[memoryview]) -> None:
        """Fill the destinations with the next bytes and pass over the line end behind them."""
        pieces = (*destinations, self._line_end)
        for number, piece in enumerate(pieces):
            size = min(len(piece), self._end - self._start)
            piece[:size] = self._buffer[self._start : self._start + size]
            self._start += size
            if size < len(piece):
                self._receive_into([piece[size:], *pieces[number + 1 :]])
                break
        if self._line_end.tobytes() != b"\r\n":
            raise self._foreign(bytes(self._line_end))

    def _receive_into(self, rest: list[memoryview]) -> None:
        try:
            while rest:
                # The kernel fills all pieces in one call, as long as no signal comes in between.
                if self._can_gather:
                    received = self._socket.recvmsg_into(rest[:_MAX_PIECES], 0, socket.MSG_WAITALL)[0]
                else:
                    received = self._socket.recv_into(rest[0])
                _advance(rest, self._received(received))
        except OSError as error:
            self._fail("receiving from", error)

    def _received(self, size: int) -> int:
        if size == 0:
            raise ConnectionResetError("it closed the connection")
        return size

    # Errors

    def _foreign(self, data: "bytes | bytearray") -> StoreProtocolError:
        return StoreProtocolError(f"{self._address} does not speak the Redis protocol: it sent {bytes(data[:80])!r}")

    def _fail(self, act: str, error: OSError) -> NoReturn:
        if isinstance(error, TimeoutError | BlockingIOError | ssl.SSLWantReadError | ssl.SSLWantWriteError):
            raise StoreTimeoutError(
                f"no progress in the time allowed while {act} the database at {self._address}; "
                "give the client a larger timeout_s if its answers take long"
            ) from error
        if refusal := self._last_words():
            raise StoreReplyError(f"the database at {self._address} refused the request: {refusal}") from error
        raise StoreConnectionError(f"connection lost while {act} the database at {self._address}: {error}") from error

    def _last_words(self) -> str:
        """Return what a server said before it hung up on a request that is against its limits, else nothing."""
        said = bytes(self._buffer[self._start : self._end])
        if self._can_gather:
            with contextlib.suppress(OSError):
                said += self._socket.recv(_BUFFER_SIZE, socket.MSG_DONTWAIT)
        _, found, rest = said.rpartition(b"-ERR Protocol error")
        return (found[1:] + rest).decode(errors="replace").strip() if found else ""


def _pieces(commands: Sequence[Command]) -> list[bytes | memoryview]:
    """Write commands as pieces to send one behind the other: small arguments joined, large ones left where they are."""
    pieces: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = []
    for command in commands:
        small.append(b"*%d\r\n" % len(command))
        for argument in command:
            if isinstance(argument, bytes) and len(argument) < _JOIN_BELOW:
                small.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
                continue
            parts = argument if isinstance(argument, tuple) else (argument,)
            small.append(b"$%d\r\n" % sum(map(len, parts)))
            for part in parts:
                if len(part) >= _JOIN_BELOW:
                    pieces.append(b"".join(small))
                    pieces.append(part)
                    small.clear()
                else:
                    small.append(part)
            small.append(b"\r\n")
    pieces.append(b"".join(small))
    return pieces


def _advance(pieces: list[memoryview], size: int) -> None:
    """Take `size` bytes, and empty pieces, off the front of a list of pieces."""
    while pieces and size >= len(pieces[0]):
        size -= len(pieces[0])
        del pieces[0]
    if size:
        pieces[0] = pieces[0][size:]
