"""Messages that leave a server in parts: large ones are never put together, but go to the socket from where they lie.

The library copies a message four times on its way: into a frame, into the frame's bytes, and, as far as it does not fit
into the socket, into asyncio's memory, whose rest it moves to the front each time. Here the frame's head is put before
the parts, and the system gathers them itself (RFC 6455, section 5.2; `writev`). On the wire nothing differs.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from websockets.asyncio.server import ServerConnection
from websockets.frames import Opcode
from websockets.protocol import State

# Bytes, in whatever holds them: what `memoryview` takes.
Part: TypeAlias = Any

# The system takes so many parts at once; POSIX has 1024 nearly everywhere.
_MOST_PARTS = 1024
# Where parts are smaller on average, it is cheaper to put them together.
_SMALL_PART_BYTES = 4096
# So much waits in asyncio's memory when the socket is full, and tells when there is room again.
_WAITING_BYTES = 16 * 1024
# Frames of what the system cannot gather, as behind TLS.
_FRAGMENT_BYTES = 128 * 1024
# From the protocol's standard: the last frame of a message, and how its length is told.
_FIN = 0x80
_LENGTH_16_BITS, _LENGTH_64_BITS = 126, 127


class OutgoingConnection(ServerConnection):
    """A connection that sends messages from their parts. Between two parts of one, the library's own frames wait."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_amid = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; called by asyncio."""
        super().connection_made(transport)
        if self._is_plain():
            # As soon as anything waits, `drain` does. A transport with TLS would wait for ever.
            self.transport.set_write_buffer_limits(0)

    def send_data(self) -> None:
        """Send what the library has to say, unless that would be amid a frame."""
        if not self._is_amid:
            super().send_data()

    async def send_parts(self, parts: Sequence[Part], *, is_text: bool) -> None:
        """Send a message. Raises ConnectionClosed as `send` does; only one task may send."""
        if not self._can_gather():
            await self.send(b"".join(parts) if is_text else _fragments(b"".join(parts)), text=is_text)
            return
        if self.protocol.state is State.OPEN:
            self._is_amid = True
            try:
                is_whole = await self._write([_head(parts, Opcode.TEXT if is_text else Opcode.BINARY), *parts])
            finally:
                self._is_amid = False
                self.send_data()
            if is_whole:
                await self.drain()
                return
        # The library waits for the end and tells what it was.
        async with self.send_context():
            pass

    def _is_plain(self) -> bool:
        return self.transport.get_extra_info("ssl_object") is None

    def _can_gather(self) -> bool:
        return self._is_plain() and not self.protocol.extensions and hasattr(os, "writev")

    async def _write(self, parts: list[Part]) -> bool:
        """Write all of the parts, as fast as they are taken; tell whether the connection lasted so long."""
        views = [memoryview(part).cast("B") for part in _not_too_small(parts)]
        transport, file = self.transport, self.transport.get_extra_info("socket").fileno()
        first = 0
        while not transport.is_closing():
            if not transport.get_write_buffer_size():
                first = _after(views, first, _taken(file, views[first : first + _MOST_PARTS]))
            if first == len(views):
                return True
            # asyncio waits until there is room, with a piece of what is left.
            transport.write(bytes(views[first][:_WAITING_BYTES]))
            first = _after(views, first, len(views[first][:_WAITING_BYTES]))
            try:
                await self.drain()
            except OSError:
                return False
        return False


def _head(parts: Sequence[Part], opcode: Opcode) -> bytes:
    size = sum(map(_size, parts))
    first = _FIN | opcode
    if size < _LENGTH_16_BITS:
        return bytes((first, size))
    if size < 1 << 16:
        return struct.pack("!BBH", first, _LENGTH_16_BITS, size)
    return struct.pack("!BBQ", first, _LENGTH_64_BITS, size)


def _size(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else memoryview(part).nbytes


def _not_too_small(parts: list[Part]) -> list[Part]:
    if sum(map(_size, parts)) >= _SMALL_PART_BYTES * len(parts):
        return parts
    return [b"".join(parts)]


def _taken(file: int, views: list[memoryview]) -> int:
    """Tell how many bytes the system takes now; 0 also where the connection is gone, as asyncio will notice."""
    try:
        return os.writev(file, views)
    except OSError:
        return 0


def _after(views: list[memoryview], first: int, taken: int) -> int:
    """Drop so many bytes; return the number of the first view that is left."""
    while first < len(views) and taken >= len(views[first]):
        taken -= len(views[first])
        first += 1
    if taken:
        views[first] = views[first][taken:]
    return first


def _fragments(content: bytes) -> Iterator[memoryview]:
    view = memoryview(content)
    return (view[first : first + _FRAGMENT_BYTES] for first in range(0, len(view), _FRAGMENT_BYTES))
