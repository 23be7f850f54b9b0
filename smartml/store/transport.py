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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from smartml.errors import StoreConnectionError, StoreProtocolError, StoreReplyError, StoreTimeoutError
from smartml.store.address import ConnectionSettings, ServerAddress
from smartml.store.sockets import set_timeout

Result = TypeVar("Result")

# A value to store: one piece of memory, or an array in C order and what stands behind it.
Value: TypeAlias = "bytes | memoryview | tuple[NDArray[Any], bytes]"
# A piece of what is sent: bytes, a memoryview or an array (of which not every numpy tells that it is a buffer).
Piece: TypeAlias = Any
# One argument of a command.
Argument: TypeAlias = Value
# A command with its arguments, the name first.
Command: TypeAlias = Sequence[Argument]
# A value that was fetched.
Memory: TypeAlias = bytearray | memoryview
# Given the index of a value and its size in bytes, returns the memory it shall land in, piece by piece.
Place: TypeAlias = Callable[[int, int], Sequence[memoryview]]
# What became of one value: its size, None where there is none, or the error that the server sent instead.
Outcome: TypeAlias = "int | StoreReplyError | None"

# Replies are read through a buffer of this size: small ones many at a time, large ones by their first bytes only.
_BUFFER_SIZE = 128 * 1024
# What is smaller than this is joined before sending and cut out of the buffer when received: a copy is cheaper than
# another system call, or another piece for the kernel. (`store` gathers what is small, too: its arrays lie ready.)
_SMALL_BELOW = 16 * 1024
# The kernel takes no more pieces in one call (IOV_MAX on Linux).
_MAX_PIECES = 1024
# Pipelined reads: so many bytes of replies may be under way, which the server has to hold until we take them.
_BYTES_UNDER_WAY = 8 * 1024 * 1024
_MAX_COMMANDS_UNDER_WAY = 512
# Until the first reply tells how large values are: where nothing is known, and where the same rows were read before.
_FIRST_COMMANDS_UNDER_WAY = 2
_KNOWN_COMMANDS_UNDER_WAY = 256
# Taken off the ends of the keys of one row, they leave what all of them begin with.
_NUMBERS = b"_0123456789"
# No reply is shorter: the one that says that there is no value.
_SHORTEST_REPLY = len(b"$-1\r\n")
# Redis allows no larger bulk string, whatever its configuration (proto-max-bulk-len is a signed 64 bit number).
_MAX_DIGITS = 19

# What a connection within one machine begins with, in two parts: a server lets nobody say more at once who has not
# logged in. From the first segment that comes the kernel (Linux 6.18) concludes how many bytes the memory of a segment
# holds, and by that sizes the window: after a short one, many small values cost twice as much for good. Seen for 200 x
# 4 KiB in one call: 990 us, 710 after 8 kB, 475 after 30 kB, 650 after 100 kB.
_FIRST_WORDS: Sequence[Command] = [(b"PING", bytes(15_000))] * 2

_HUNG_UP = "it closed the connection"

_OK = b"+OK\r\n"
_QUEUED = b"+QUEUED\r\n"
_SHORTEST_ARRAY = b"*0\r\n"
_NO_VALUE = b"$-1\r\n"
# What stands before and behind the key of a SET, with the lengths of the key and of the value that follows.
_BEFORE_KEY = b"*3\r\n$3\r\nSET\r\n$%d\r\n"
_BEHIND_KEY = b"\r\n$%d\r\n"
# The same in one, with what goes ahead of it.
_SET = b"%b" + _BEFORE_KEY + b"%b" + _BEHIND_KEY
_GET = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n"
_REPLY_TYPES = _STATUS, _INTEGER, _ERROR, _BULK, _ARRAY = tuple(b"+:-$*")


# Who we are; asking the system at every use would cost a twentieth of a small put.
_process_id = os.getpid()


def process_id() -> int:
    """Return the number of this process."""
    return _process_id


def _note_process_id() -> None:
    global _process_id
    _process_id = os.getpid()


os.register_at_fork(after_in_child=_note_process_id)


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
        # The line before the last value that was read, and the size it tells: mostly, the next one is the same.
        self._header = _NO_VALUE
        self._size: int | None = None
        # Of the rows that were read last: what their first and last key begin with, and the largest value.
        self._rows, self._largest = (b"", b""), 0
        # The most to receive before it is known what comes: of a large value only the line before it; else 0, all.
        self._read_ahead = 0
        # Receives the end of line behind a value.
        self._line_end = memoryview(bytearray(2))
        # A forked child shares the socket with its parent and must not use it.
        self.process_id = process_id()

    def log_in(self, settings: ConnectionSettings, *, is_brief: bool = False) -> StoreReplyError | None:
        """Say who we are and make sure that a Redis answers; return its refusal, if any. Then `timeout_s` holds.

        `is_brief` leaves out what makes for a large window.
        """
        commands: list[Command] = []
        if settings.password is not None:
            names = [settings.username] if settings.username is not None else []
            commands.append([b"AUTH", *(text.encode() for text in (*names, settings.password))])
        if settings.database:
            commands.append([b"SELECT", b"%d" % settings.database])
        commands += _FIRST_WORDS if self._is_within_machine() and not is_brief else [[b"PING"]]
        for reply in self.execute(commands):
            # Who may not ping is there all the same.
            if isinstance(reply, StoreReplyError) and not str(reply).startswith("NOPERM"):
                return reply
        set_timeout(self._socket, settings.timeout_s)
        return None

    def _is_within_machine(self) -> bool:
        """Tell whether TCP is spoken to a server on this machine."""
        return self._socket.family != socket.AF_UNIX and self._socket.getsockname()[0] == self._socket.getpeername()[0]

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

    def fileno(self) -> int:
        """Return the number by which the kernel knows the socket."""
        return self._socket.fileno()

    def has_data(self) -> bool:
        """Tell whether something was received that nobody has read yet, so that the socket may not say so."""
        return self._end > self._start or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def execute(self, commands: Sequence[Command], *, spares_copies: bool = False) -> list[Any]:
        """Send commands in one go and return their replies, errors as StoreReplyError among them.

        `spares_copies`: large strings come as memoryviews that the caller may write to, and not as bytes.
        """
        self.send(commands)
        return [self.read_reply(spares_copies=spares_copies) for _ in commands]

    def transact(self, commands: Sequence[Command]) -> list[Any] | None:
        """Run commands all or none, unseen by others until all are done; return their replies.

        Errors stand among them as StoreReplyError; where none was run, they come alone. None: nothing was run, for a
        key that is watched was changed.
        """
        refused = self._begin_transaction(commands)
        reply = self.read_reply()
        return [*refused, reply] if isinstance(reply, StoreReplyError) else reply

    def _begin_transaction(self, commands: Sequence[Command]) -> list[StoreReplyError]:
        """Send commands as a transaction; return why some were refused. What is read next is the reply to EXEC."""
        self.send([(b"MULTI",), *commands, (b"EXEC",)])
        queued = _OK + _QUEUED * len(commands)
        # All that is said before the commands run, and the shortest reply then: waited for at once, not each time some
        # of it has come. Refusals are longer.
        self._fill(min(_BUFFER_SIZE, len(queued) + len(_SHORTEST_ARRAY)), wait=True)
        if self._bytes.startswith(queued, self._start, self._end):
            self._start += len(queued)
            return []
        replies = [self.read_reply() for _ in range(1 + len(commands))]
        return [reply for reply in replies if isinstance(reply, StoreReplyError)]

    def exchange(self, request: bytes, count: int) -> list[Any]:
        """Send commands that were encoded before, and return their replies, errors as StoreReplyError among them."""
        self._send_bytes(request)
        return [self.read_reply() for _ in range(count)]

    # Sending

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands one behind the other, without waiting for replies."""
        pieces = _pieces(commands)
        for first in range(0, len(pieces), _MAX_PIECES):
            part = pieces[first : first + _MAX_PIECES]
            self._send(part, sum(map(len, part)))

    def store(
        self, values: Mapping[bytes, Value], ahead: bytes = b"", behind: bytes = b"", count: int = 0
    ) -> list[Any]:
        """Set each key to its value; return the replies, errors as StoreReplyError among them.

        `ahead` and `behind` hold further encoded commands: those behind have so many replies, which come last, those
        ahead none (CLIENT REPLY SKIP). With commands ahead, errors are raised.
        """
        if len(values) == 1 and not count:
            return self._store_one(values, ahead)
        pieces: list[Piece] = []
        size, line_end = 0, ahead
        # What stands around a key is made anew only where key or value are of another size than the ones before.
        key_size = value_size = -1
        last: bytes | None = None
        before = behind_key = last_end = b""
        for key, value in values.items():
            payload, end = value if isinstance(value, tuple) else (memoryview(value), b"")
            if payload.nbytes != value_size or len(key) != key_size or end is not last:
                key_size, value_size, last, last_end = len(key), payload.nbytes, end, end + b"\r\n"
                before, behind_key = _BEFORE_KEY % key_size, _BEHIND_KEY % (value_size + len(end))
            # The end of a value goes with the header of the next: half as many pieces.
            header = b"".join((line_end, before, key, behind_key))
            pieces += (header, payload)
            size += len(header) + value_size
            line_end = last_end
            if len(pieces) > _MAX_PIECES - 3:
                self._send(pieces, size)
                pieces, size = [], 0
        line_end += behind
        self._send([*pieces, line_end], size + len(line_end))
        replies = self._read_statuses(len(values))
        if count:
            replies += [self.read_reply() for _ in range(count)]
        if ahead:
            for reply in replies:
                # It may answer what should have no answer. Then there are more to come: the connection is done with.
                if isinstance(reply, StoreReplyError):
                    raise reply
        return replies

    def _store_one(self, values: Mapping[bytes, Value], ahead: bytes) -> list[Any]:
        """As `store`, for one value and nothing behind it: the way of most puts, and nothing but what they need."""
        for key, value in values.items():
            payload, end = value if isinstance(value, tuple) else (memoryview(value), b"")
            size = payload.nbytes + len(end)
            pieces: tuple[Piece, ...] = (_SET % (ahead, len(key), key, size), payload, end + b"\r\n")
            if size < _SMALL_BELOW:
                self._send_bytes(b"".join(pieces))
            else:
                self._send(pieces, len(pieces[0]) + size + 2)
        if self._start == self._end:
            self._fill()
        if self._bytes.startswith(_OK, self._start, self._end):
            self._start += len(_OK)
            return [b"OK"]
        reply = self.read_reply()
        if ahead and isinstance(reply, StoreReplyError):
            raise reply
        return [reply]

    def _send_bytes(self, request: bytes) -> None:
        """Send what lies in one piece: cheaper than to have the kernel gather it."""
        try:
            self._socket.sendall(request)
        except OSError as error:
            self._fail("sending to", error)

    def _send(self, pieces: Sequence[Piece], size: int) -> None:
        """Send pieces of memory, at most as many as the kernel takes, which have so many bytes together."""
        try:
            if self._can_gather:
                sent = self._socket.sendmsg(pieces)
                # Only a signal or a timeout comes in between.
                if sent < size:
                    rest = [_flat(piece) for piece in pieces]
                    _advance(rest, sent)
                    while rest:
                        _advance(rest, self._socket.sendmsg(rest))
            else:
                for piece in _joined(pieces):
                    self._socket.sendall(piece)
        except OSError as error:
            self._fail("sending to", error)

    # Receiving

    def receive(self, keys: Sequence[bytes], place: Place) -> list[Outcome]:
        """Read the values of keys, each straight into the memory that `place(index, size)` returns."""
        return self._get(keys, lambda first, upto: [self.read_value(first, place, upto - first - 1)])

    def fetch(self, keys: Sequence[bytes]) -> list[Memory | StoreReplyError | None]:
        """Read the values of keys, each into fresh memory; None where there is none."""
        return self._get(keys, self._read_some)

    def _get(self, keys: Sequence[bytes], read: Callable[[int, int], list[Result]]) -> list[Result]:
        """Ask for the values of keys; `read(first, upto)` reads one or more of those that were asked for.

        Requests are sent ahead, as many as keep a bounded number of bytes under way. To wait for the first value costs
        a tenth of 200 small ones: where the rows are those of the time before, their values are taken to be as large.
        """
        if len(keys) == 1:
            self._send_bytes(_GET % (len(keys[0]), keys[0]))
            return read(0, 1)
        results: list[Result] = []
        rows = (keys[0].rstrip(_NUMBERS), keys[-1].rstrip(_NUMBERS)) if keys else self._rows
        sent, allowed, largest = 0, _FIRST_COMMANDS_UNDER_WAY, 0
        if rows == self._rows and self._largest:
            allowed = min(_KNOWN_COMMANDS_UNDER_WAY, _commands_under_way(self._largest))
        while len(results) < len(keys):
            # Topping up when half is left keeps the number of sends low.
            if sent < len(keys) and sent - len(results) <= allowed // 2:
                asked = keys[sent : len(results) + allowed]
                self._send_bytes(b"".join([_GET % (len(key), key) for key in asked]))
                sent += len(asked)
            results += read(len(results), sent)
            if self._size is not None:
                largest = max(largest, self._size)
                if sent < len(keys):
                    allowed = _commands_under_way(self._size)
        self._rows, self._largest = rows, largest
        return results

    def receive_at_once(self, look: Command, keys: Sequence[bytes], place: Place) -> tuple[Any, list[Outcome]]:
        """Run a command and read the values of keys in one transaction, each value as `receive` does.

        The server holds all replies at once. Returns the reply to the command, or why the transaction was refused.
        """
        refused = self._begin_transaction([look, *((b"GET", key) for key in keys)])
        line = self._read_line()
        if line[:1] != b"*":
            return refused[0] if refused else StoreReplyError(line[1:].decode(errors="replace")), []
        return self.read_reply(), [self.read_value(i, place, len(keys) - i - 1) for i in range(len(keys))]

    def read_value(self, index: int, place: Place, behind: int = 0) -> Outcome:
        """Read a value into the memory that `place(index, size)` returns for it.

        `behind` is the number of replies that are known to come after it.
        """
        size = self._read_size()
        if isinstance(size, int):
            self._read_into(place(index, size), size, behind)
        return size

    def read_reply(self, *, spares_copies: bool = False) -> Any:
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
            return None if size < 0 else self._read_bytes(size, spares_copies)
        if kind == _ARRAY:
            count = self._integer(line)
            return None if count < 0 else [self.read_reply(spares_copies=spares_copies) for _ in range(count)]
        raise self._foreign(line)

    def _read_bytes(self, size: int, spares_copies: bool) -> bytes | memoryview:
        """Read so many bytes, and pass over the line end behind them."""
        end = self._start + size
        if end + 2 <= self._end and self._bytes.startswith(b"\r\n", end):
            # The usual case: it is small, and came with what was read before.
            value = bytes(self._buffer[self._start : end])
            self._start = end + 2
            return value
        # Not zeroed first, as a bytearray would be.
        memory = np.empty(size, np.uint8).data
        self._read_into([memory], size)
        return memory if spares_copies else bytes(memory)

    def _read_statuses(self, count: int) -> list[Any]:
        """Read replies of which most, or all, say OK."""
        replies: list[Any] = []
        while len(replies) < count:
            if self._start == self._end:
                # No reply is shorter than this one: all of them are waited for at once, not each time some have come.
                self._fill(min(_BUFFER_SIZE, len(_OK) * (count - len(replies))), wait=True)
            whole = min(count - len(replies), (self._end - self._start) // len(_OK))
            if whole and self._bytes.startswith(_OK * whole, self._start):
                self._start += whole * len(_OK)
                replies += [b"OK"] * whole
            else:
                replies.append(self.read_reply())
        return replies

    def _read_size(self) -> Outcome:
        """Read the line before a value, which tells its size, or that there is none, or why not."""
        if self._start == self._end:
            self._fill(self._read_ahead)
        if self._bytes.startswith(self._header, self._start, self._end):
            self._start += len(self._header)
            return self._size
        line = self._read_line()
        if line[:1] == b"-":
            # It says nothing of what comes next.
            self._header, self._size = _NO_VALUE, None
            return StoreReplyError(line[1:].decode(errors="replace"))
        if line[:1] != b"$":
            raise self._foreign(line)
        size = self._integer(line)
        self._header, self._size = line + b"\r\n", size if size >= 0 else None
        self._read_ahead = 0 if size < _SMALL_BELOW else len(self._header)
        return self._size

    def _read_some(self, first: int, upto: int) -> list[Memory | StoreReplyError | None]:
        """Read a value into fresh memory, and at once those behind it that have its size and were received already."""
        size = self._read_size()
        if not isinstance(size, int):
            return [size]
        if size >= _SMALL_BELOW:
            return [self._read_large(size)]
        while self._end - self._start < size + 2:
            self._fill()
        data = self._bytes
        follow = b"\r\n" + self._header
        step = size + len(follow)
        whole = min(upto - first, (self._end - self._start + len(self._header)) // step)
        values: list[Memory | StoreReplyError | None] = []
        end = 0
        for start in range(self._start, self._start + whole * step, step):
            end = start + size
            values.append(data[start:end])
            if not data.startswith(follow, end):
                break
        if not data.startswith(b"\r\n", end):
            raise self._foreign(data[end : end + 2])
        self._start = end + 2
        return values

    def _read_large(self, size: int) -> memoryview:
        # Not a bytearray, which would be filled with zeros first. The line end comes with the value.
        memory = np.empty(size + 2, np.uint8).data
        here = min(self._end - self._start, size + 2)
        memory[:here] = self._buffer[self._start : self._start + here]
        self._start += here
        if here < len(memory):
            self._receive_into([memory[here:]], len(memory) - here)
        line_end = bytes(memory[size:])
        if line_end != b"\r\n":
            raise self._foreign(line_end)
        return memory[:size]

    def _integer(self, line: bytes) -> int:
        digits = line[1:].removeprefix(b"-")
        if len(digits) <= _MAX_DIGITS and digits.isdigit():
            return int(line[1:])
        raise self._foreign(line)

    def _read_line(self) -> bytes:
        while True:
            end = self._bytes.find(b"\r\n", self._start, self._end)
            if end >= 0:
                line = bytes(self._buffer[self._start : end])
                self._start = end + 2
                return line
            if self._end > self._start and self._bytes[self._start] not in _REPLY_TYPES:
                # Whoever says this may never come to the end of a line.
                raise self._foreign(self._bytes[self._start : self._end])
            self._fill()

    def _fill(self, most: int = 0, *, wait: bool = False) -> None:
        """Receive more, behind what lies in the buffer and was not used yet: up to `most` bytes, or as many as fit.

        With `wait` it waits, where that can be had, until so many bytes are there.
        """
        free = self._buffer
        if self._start == self._end:
            self._start = self._end = 0
        else:
            if self._start:
                rest = bytes(self._buffer[self._start : self._end])
                self._buffer[: len(rest)] = rest
                self._start, self._end = 0, len(rest)
            elif self._end == _BUFFER_SIZE:
                raise self._foreign(self._bytes)
            free = free[self._end :]
        try:
            size = self._socket.recv_into(free, most, socket.MSG_WAITALL if wait and self._can_gather else 0)
            if size == 0:
                raise ConnectionResetError(_HUNG_UP)
        except OSError as error:
            self._fail("waiting for", error)
        self._end += size

    def _read_into(self, destinations: Sequence[memoryview], size: int, behind: int = 0) -> None:
        """Fill the destinations with the next `size` bytes and pass over the line end behind them."""
        if self._start == self._end and self._can_gather:
            # The line before the next value comes by the same call into the kernel, where so many bytes surely come.
            ahead = self._read_ahead if behind * _SHORTEST_REPLY >= self._read_ahead else 0
            self._receive_into(
                [*destinations, self._line_end, self._buffer[:ahead]], size + len(self._line_end) + ahead
            )
            self._start, self._end = 0, ahead
            self._check_line_end()
            return
        pieces = [*destinations, self._line_end]
        for number, piece in enumerate(pieces):
            here = min(len(piece), self._end - self._start)
            piece[:here] = self._buffer[self._start : self._start + here]
            self._start += here
            if here < len(piece):
                rest = [piece[here:], *pieces[number + 1 :]]
                self._receive_into(rest, sum(map(len, rest)))
                break
        self._check_line_end()

    def _check_line_end(self) -> None:
        if self._line_end.tobytes() != b"\r\n":
            raise self._foreign(bytes(self._line_end))

    def _receive_into(self, rest: list[memoryview], size: int) -> None:
        """Fill pieces of memory that have so many bytes together."""
        try:
            while True:
                # The kernel fills all pieces in one call, as long as no signal comes in between.
                if self._can_gather:
                    pieces = rest if len(rest) <= _MAX_PIECES else rest[:_MAX_PIECES]
                    received = self._socket.recvmsg_into(pieces, 0, socket.MSG_WAITALL)[0]
                else:
                    received = self._socket.recv_into(rest[0])
                if received == size:
                    return
                if received == 0:
                    raise ConnectionResetError(_HUNG_UP)
                size -= received
                _advance(rest, received)
        except OSError as error:
            self._fail("receiving from", error)

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


def _commands_under_way(size: int) -> int:
    return max(2, min(_MAX_COMMANDS_UNDER_WAY, _BYTES_UNDER_WAY // (size or 1)))


def encode_command(command: Sequence[Any]) -> bytes:
    """Write a command whose arguments are bytes as it is sent."""
    return b"*%d\r\n" % len(command) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in command])


def _pieces(commands: Sequence[Command]) -> list[Piece]:
    """Write commands as pieces to send one behind the other: small arguments joined, large ones left where they are."""
    pieces: list[Piece] = []
    small = bytearray()
    for command in commands:
        small += b"*%d\r\n" % len(command)
        for argument in command:
            if isinstance(argument, bytes) and len(argument) < _SMALL_BELOW:
                small += b"$%d\r\n%b\r\n" % (len(argument), argument)
                continue
            parts = (_flat(argument[0]), argument[1]) if isinstance(argument, tuple) else (argument,)
            small += b"$%d\r\n" % sum(map(len, parts))
            for part in parts:
                if len(part) < _SMALL_BELOW:
                    small += part
                else:
                    pieces += (small, part)
                    small = bytearray()
            small += b"\r\n"
    pieces.append(small)
    return pieces


def _joined(pieces: Sequence[Piece]) -> Iterator[bytes | memoryview]:
    """Join small pieces: each that is sent alone becomes a record of TLS."""
    small: list[memoryview] = []
    for piece in map(_flat, pieces):
        if len(piece) < _SMALL_BELOW:
            small.append(piece)
            continue
        yield b"".join(small)
        yield piece
        small.clear()
    yield b"".join(small)


def _flat(piece: Piece) -> memoryview:
    """Return memory as single bytes. No memoryview can be cast of an array that has no elements, or is bfloat16."""
    return piece.reshape(-1).view(np.uint8).data if isinstance(piece, np.ndarray) else memoryview(piece)


def _advance(pieces: list[memoryview], size: int) -> None:
    """Take `size` bytes, and empty pieces, off the front of a list of pieces."""
    while pieces and size >= len(pieces[0]):
        size -= len(pieces[0])
        del pieces[0]
    if size:
        pieces[0] = pieces[0][size:]
