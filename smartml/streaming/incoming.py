"""Messages that come to a client, each read straight into the memory in which it is looked at.

The library copies a message four times on its way, and hands it from thread to thread frame by frame. Here a socket
stands between the two that keeps to itself what is plain, messages of one frame, and gives the library all the rest:
the opening, control frames, the end, messages in fragments, and whatever offends against the standard.
"""

from __future__ import annotations

import contextlib
import mmap
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from websockets.sync.client import ClientConnection

# Read at once while it is not known how much belongs together.
_AHEAD_BYTES = 16 * 1024
# Messages that wait to be read; when there are more, the socket is not read.
_MOST_WAITING = 16
# Memory that is used again, for so many messages whose arrays may stay in it, and so many that are copied from. New
# memory costs more than all else that is done with a message.
_LENT, _COPIED_FROM = 6, 3
# Memory of large messages with tensors comes in pages of this size, where the system has such: touching one for the
# first time costs a tenth of touching as many small ones.
_PAGE_BYTES = 2 << 20
_END_OF_HTTP = b"\r\n\r\n"
# From the protocol's standard (RFC 6455, section 5.2).
_FIN, _OPCODE, _CONTROL = 0x80, 0x0F, 0x08
_WHOLE_TEXT, _WHOLE_BINARY = 0x81, 0x82
_LENGTH_16_BITS, _LENGTH_64_BITS = 126, 127


class _Frame(NamedTuple):
    """What the head of a frame tells: its first byte, and where its payload begins and ends."""

    first: int
    begin: int
    end: int

    @property
    def is_control(self) -> bool:
        return bool(self.first & _CONTROL)


def _frame_at(ahead: bytes, at: int) -> _Frame | None:
    """Read the head of a frame; None if it is not there as a whole. A masked one is longer than the head tells."""
    if len(ahead) < at + 2:
        return None
    first, length = ahead[at], ahead[at + 1]
    begin, is_masked = at + 2, length >= 0x80
    length &= 0x7F
    if length >= _LENGTH_16_BITS:
        form = "!H" if length == _LENGTH_16_BITS else "!Q"
        begin += struct.calcsize(form)
        if len(ahead) < begin:
            return None
        (length,) = struct.unpack_from(form, ahead, at + 2)
    # Servers never mask; the library says so.
    return _Frame(first | (is_masked << 8), begin, begin + length)


class _MessageSocket:
    """A socket as the library uses it. Messages go to `messages`; None stands for one that the library has."""

    def __init__(self, plain: socket.socket, max_message_bytes: int) -> None:
        self.messages: queue.SimpleQueue[bytes | memoryview | None] = queue.SimpleQueue()
        # One for each message that may still be put there.
        self.room = threading.Semaphore(_MOST_WAITING)
        self._socket, self._max_message_bytes = plain, max_message_bytes
        # What was read and belongs to nobody yet.
        self._ahead = b""
        self._is_open = self._is_fragmented = self._is_closed = False
        # Bytes of a frame that are still to be given to the library.
        self._passing = 0
        self._texts = _Spare(_COPIED_FROM, bytearray)
        self._lent, self._copied_from = _Spare(_LENT, _pages), _Spare(_COPIED_FROM, _pages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """Return what is the library's; nothing at the end."""
        try:
            while True:
                given = self._sorted()
                if given:
                    return given
                read = b"" if self._is_closed else self._socket.recv(_AHEAD_BYTES)
                if not read:
                    self.messages.put(None)
                    return b""
                self._ahead = self._ahead + read if self._ahead else read
        except BaseException:
            # The library ends the connection, and tells who waits for a message.
            self.messages.put(None)
            raise

    def close(self) -> None:
        """Close the socket, and wake the thread that reads it."""
        self._is_closed = True
        self.room.release()
        # The other side may have been faster.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _sorted(self) -> bytes:
        """Take messages out of what was read ahead, and return what comes before or between them."""
        given: list[bytes] = []
        if not self._is_open:
            given.append(self._opening())
        while self._is_open and self._ahead and not self._is_closed:
            if self._passing:
                given.append(self._ahead[: self._passing])
                self._passing -= len(given[-1])
                self._ahead = self._ahead[len(given[-1]) :]
                continue
            frame = _frame_at(self._ahead, 0)
            if frame is None:
                break
            if self._is_message(frame):
                if given and frame.end > len(self._ahead):
                    # Control frames are answered before a long wait; what is missing wakes the library again.
                    break
                self._take(frame)
            else:
                self._pass(frame)
        return b"".join(given)

    def _opening(self) -> bytes:
        """Return the answer to the request that opens the connection, which may come in parts."""
        end = self._ahead.find(_END_OF_HTTP)
        if end < 0 and len(self._ahead) < _AHEAD_BYTES:
            return b""
        end = end + len(_END_OF_HTTP) if end >= 0 else len(self._ahead)
        answer, self._ahead = self._ahead[:end], self._ahead[end:]
        if b" 101 " not in answer[:16]:
            # A refusal, whose text follows.
            self._passing = 1 << 62
        self._is_open = True
        return answer

    def _is_message(self, frame: _Frame) -> bool:
        is_whole = frame.first in (_WHOLE_TEXT, _WHOLE_BINARY) and not self._is_fragmented
        return is_whole and frame.end - frame.begin <= self._max_message_bytes

    def _pass(self, frame: _Frame) -> None:
        """Leave a frame to the library, which limits, refuses and answers."""
        self._passing = frame.end
        if frame.is_control:
            return
        if not self._is_fragmented:
            self.messages.put(None)
        self._is_fragmented = not frame.first & _FIN

    def _take(self, frame: _Frame) -> None:
        self.room.acquire()
        if frame.end <= len(self._ahead):
            self.messages.put(self._ahead[frame.begin : frame.end])
            self._ahead = self._ahead[frame.end :]
            return
        size = frame.end - frame.begin
        memory, is_lent = self._memory(size) if frame.first == _WHOLE_BINARY else (self._texts.take(size), False)
        if memory is None:
            memory = memoryview(bytearray(size))
        at = len(self._ahead) - frame.begin
        memory[:at] = self._ahead[frame.begin :]
        self._ahead = b""
        while at < len(memory):
            count = self._socket.recv_into(memory[at:], 0, socket.MSG_WAITALL)
            if not count:
                # The end comes amid a message; reading again says so.
                return
            at += count
        self.messages.put(memory if is_lent else memory.toreadonly())

    def _memory(self, size: int) -> tuple[memoryview | None, bool]:
        """Return memory for a message with tensors, and whether they may stay there; None if all is in use."""
        lent = self._lent.take(size)
        if lent is not None:
            return lent, True
        # The caller keeps so much that what it keeps should be no more than it is.
        return self._copied_from.take(size), False


_Memory: TypeAlias = "bytearray | mmap.mmap"


class _Spare:
    """Memory for some messages, each for one after the other. It is free when nothing looks at it any more."""

    def __init__(self, most: int, new: Callable[[int], _Memory]) -> None:
        self._most, self._new = most, new
        self._memories: list[_Memory] = []

    def take(self, size: int) -> memoryview | None:
        """Return memory of this size; None if all is in use."""
        free = [memory for memory in self._memories if _is_free(memory)]
        for memory in free:
            if size <= len(memory) <= max(4 * size, _PAGE_BYTES):
                return memoryview(memory)[:size]
        if len(self._memories) == self._most:
            if not free:
                return None
            self._memories = [memory for memory in self._memories if memory is not free[0]]
        # Messages are seldom of exactly one size.
        self._memories.append(self._new(size + size // 8))
        return memoryview(self._memories[-1])[:size]


def _pages(size: int) -> _Memory:
    if size < _PAGE_BYTES // 2 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray(size)
    pages = mmap.mmap(-1, size + -size % _PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Systems may be built without.
    with contextlib.suppress(OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def _is_free(memory: _Memory) -> bool:
    """Tell whether there is no view on it: as long as there is one, Python lets nobody change its size."""
    try:
        if isinstance(memory, bytearray):
            memory.append(0)
            memory.pop()
        else:
            memory.resize(len(memory))
    except BufferError:
        return False
    return True


class IncomingConnection(ClientConnection):
    """A connection whose messages are received by `receive`; not for TLS, and not for compressed ones.

    Longer ones than `max_message_bytes`, which is to be the library's `max_size` as well, are left to the library.
    """

    def __init__(self, sock: socket.socket, protocol: Any, *, max_message_bytes: int, **options: Any) -> None:
        self._incoming = _MessageSocket(sock, max_message_bytes)
        # Whether the library has the next message.
        self._is_with_library = False
        super().__init__(self._incoming, protocol, **options)  # type: ignore[arg-type]

    def receive(self, timeout_s: float) -> bytes | memoryview:
        """Return the next message. Its memory is used again when nothing looks at it any more.

        What can be written to may be kept by parts; of what is read-only, parts are to be copied.
        Raises TimeoutError, and ConnectionClosed at the end.
        """
        deadline = time.monotonic() + timeout_s
        if not self._is_with_library:
            try:
                message = self._incoming.messages.get(timeout=timeout_s)
            except queue.Empty:
                raise TimeoutError from None
            if message is not None:
                self._incoming.room.release()
                return message
            self._is_with_library = True
        message = self.recv(max(0.0, deadline - time.monotonic()), decode=False)
        self._is_with_library = False
        return message
