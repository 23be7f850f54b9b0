"""The server: sessions on WebSocket connections, in one thread with an event loop.

Connections share nothing but the stock. Each one sends one message at a time and reads no further while many requests
wait, so that a client which does not read costs one message and the buffers of its socket, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any

from smartml.errors import ArgumentValueError, MessageError, MissingDependencyError, StreamingError
from smartml.extras import missing
from smartml.streaming.access import Access
from smartml.streaming.data import binary_parts, data_parts
from smartml.streaming.positions import Batch
from smartml.streaming.protocol import (
    TERMINATE,
    Data,
    ErrorMessage,
    Extension,
    Info,
    Reply,
    Request,
    parse_request,
    render,
)
from smartml.streaming.session import HeartbeatRule, Patience, Session
from smartml.streaming.sources import as_source
from smartml.streaming.stock import Stock, checked_info
from smartml.streaming.window import Extent

try:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.asyncio.server import serve as listen
    from websockets.exceptions import ConnectionClosed

    from smartml.streaming.outgoing import OutgoingConnection
except ImportError as error:
    raise MissingDependencyError(missing("websockets", "smartml.streaming", "streaming")) from error

if TYPE_CHECKING:
    from websockets.http11 import Request as HttpRequest
    from websockets.http11 import Response

logger = logging.getLogger(__name__)

# From the protocol's standard (RFC 6455, section 7.4.1).
_POLICY_VIOLATION, _INTERNAL_ERROR = 1008, 1011
_LONGEST_REASON = 120
_CLOSE_TIMEOUT_S = 1.0
_START_TIMEOUT_S = 30.0
# EIR's client answers pings only while it reads, which it does not during a validation, however long that takes.
_PING_INTERVAL_S, _PING_TIMEOUT_S = 60.0, 3600.0
# The kernel of a client's machine answers these, whatever the client does: seconds, seconds, times.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
# So long a batch that is not full is held back, from its first sample on.
_LINGER_S = 0.05
# Of frames that the library reads ahead.
_QUEUE = 2


@dataclass(frozen=True)
class Limits:
    """What a server lets clients ask of it; sizes in bytes."""

    # Of what a client sends: a hundred thousand validation ids take 4 MB.
    incoming_bytes: int = 16 << 20
    # Of a message with samples, where the client does not say what it takes; and the most that it can say.
    message_bytes: int = 16 << 20
    most_message_bytes: int = 256 << 20
    connections: int = 1000
    # Requests of one connection that wait; when there are more, it is not read.
    waiting_requests: int = 64


class StreamingServer:
    """Serves one stream to any number of clients, in a thread of its own. `serve` makes one that runs."""

    def __init__(
        self,
        stock_of: Any,
        address: tuple[str, int],
        session: tuple[HeartbeatRule, Patience],
        access: Access,
        limits: Limits,
        compression: str | None,
    ) -> None:
        self._stock_of, self._session, self._compression = stock_of, session, compression
        self.access, self.limits = access, limits
        self.host, self.port = address
        self._stock: Stock | None = None
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._stopping: asyncio.Event | None = None
        # What kept it from starting.
        self._error: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="smartml-streaming-server", daemon=True)

    def start(self) -> StreamingServer:
        """Listen; returns once clients can connect. Raises StreamingError where that is not possible."""
        self._thread.start()
        self._started.wait(_START_TIMEOUT_S)
        if self._error is not None:
            self._thread.join()
            raise StreamingError(f"cannot serve at {self.host}:{self.port}: {self._error}") from self._error
        return self

    @property
    def url(self) -> str:
        """Address for clients on this machine, or where `host` leads."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        scheme = "ws" if self.access.tls is None else "wss"
        return f"{scheme}://[{host}]:{self.port}/ws" if ":" in host else f"{scheme}://{host}:{self.port}/ws"

    def status(self) -> dict[str, Any]:
        """Tell how the stream is doing, as clients are told."""
        assert self._stock is not None
        return {**self._stock.status(), "active_connections": len(self._connections)}

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the server is closed by another thread, or for so many seconds; tell whether it is."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise StreamingError if the source failed. What it gave before is served nevertheless."""
        assert self._stock is not None
        self._stock.check()

    def close(self) -> None:
        """End all connections and the reading of the source."""
        if self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> StreamingServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._error = error
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        async with listen(
            self._handle,
            self.host,
            self.port,
            ssl=self.access.tls,
            process_request=self._judge,
            compression=self._compression,
            max_size=self.limits.incoming_bytes,
            max_queue=_QUEUE,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_PING_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            create_connection=OutgoingConnection,
        ) as server:
            self.port = _port_of(server)
            self._stock = self._stock_of(self._on_change)
            self._started.set()
            try:
                await self._stopping.wait()
            finally:
                # Sources may block for a while; connections are ended meanwhile.
                await asyncio.gather(asyncio.to_thread(self._stock.close), self._end(server))

    async def _end(self, server: Server) -> None:
        server.close()
        ending = asyncio.create_task(server.wait_closed())
        await asyncio.wait([ending], timeout=_CLOSE_TIMEOUT_S)
        for connection in self._connections:
            # Its client does not read, so that no closing can be agreed upon.
            connection.abort()
        await ending

    def _on_change(self) -> None:
        # A source that did not end in time may still have something to tell when the loop is closed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for connection in self._connections:
            connection.wake()

    def _judge(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        if len(self._connections) >= self.limits.connections:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        refusal = self.access.refusal(request.path, request.headers)
        return None if refusal is None else connection.respond(*refusal)

    async def _handle(self, socket_: ServerConnection) -> None:
        assert self._stock is not None and isinstance(socket_, OutgoingConnection)
        _keep_alive(socket_)
        connection = _Connection(socket_, self._stock, self.limits, *self._session, self.status)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            connection.close()
            # What it gave back is there for others.
            self._wake_all()


def _port_of(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


def _keep_alive(connection: ServerConnection) -> None:
    raw = connection.transport.get_extra_info("socket")
    if raw is None:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Connection:
    """One client: its session, where it stands in the stream, and its socket. Answers its session's questions."""

    def __init__(
        self,
        socket_: OutgoingConnection,
        stock: Stock,
        limits: Limits,
        rule: HeartbeatRule,
        patience: Patience,
        server_status: Any,
    ) -> None:
        self._socket, self._stock, self._limits, self._server_status = socket_, stock, limits, server_status
        self._position = stock.begin()
        self._session = Session(self, rule, patience)
        self._inbox: deque[Request | MessageError] = deque()
        self._is_gone = False
        self._woken, self._room = asyncio.Event(), asyncio.Event()
        # Until when a batch that is not full may fill up.
        self._due_at: float | None = None

    # What the session asks

    @property
    def is_ready(self) -> bool:
        return self._stock.is_ready

    @property
    def extension(self) -> Extension:
        return self._stock.extension

    def info(self) -> Info:
        return self._stock.info()

    def status(self) -> Mapping[str, Any]:
        return {**self._server_status(), **self._position.status(), "batches_sent": self._session.batches_sent}

    def reset(self, position: int | None) -> int | None:
        found = self._position.reset(position)
        self._stock.changed()
        return found

    def set_validation_ids(self, ids: frozenset[str]) -> None:
        self._stock.validation_ids = ids

    # What the server asks

    def wake(self) -> None:
        """Look again: something has changed."""
        self._woken.set()

    def abort(self) -> None:
        """Cut the connection."""
        self._socket.transport.abort()

    def close(self) -> None:
        """Let go of the place in the stream."""
        self._position.close()

    async def run(self) -> None:
        """Serve the client until it leaves."""
        receiving = asyncio.create_task(self._receive())
        try:
            while not self._is_gone:
                self._woken.clear()
                await self._work()
                if self._session.refusal is not None:
                    await self._socket.close(_POLICY_VIOLATION, self._session.refusal[:_LONGEST_REASON])
                    return
                await self._wait()
        except ConnectionClosed:
            pass
        except StreamingError as error:
            with contextlib.suppress(ConnectionClosed):
                if not self._session.batches_sent:
                    # Where a handshake or an info is waited for, this is read, and the closing is not.
                    await self._send([ErrorMessage(str(error))])
                await self._socket.close(_INTERNAL_ERROR, str(error)[:_LONGEST_REASON])
        finally:
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await receiving

    async def _receive(self) -> None:
        try:
            while True:
                raw = await self._socket.recv(decode=False)
                try:
                    self._inbox.append(parse_request(raw))
                except MessageError as error:
                    self._inbox.append(error)
                self._woken.set()
                while len(self._inbox) + len(self._session) >= self._limits.waiting_requests:
                    self._room.clear()
                    await self._room.wait()
        except ConnectionClosed:
            self._is_gone = True
            self._woken.set()

    async def _work(self) -> None:
        """Do what can be done now."""
        session = self._session
        while self._inbox and session.refusal is None:
            message = self._inbox.popleft()
            if isinstance(message, MessageError):
                await self._send(session.reject(str(message)))
            else:
                await self._send(session.receive(message, time.monotonic()))
            self._room.set()
            await self._give()
        await self._send(session.advance(time.monotonic()))
        await self._give()
        self._room.set()

    async def _give(self) -> None:
        """Send the data that is asked for, as far as it is there."""
        session = self._session
        while session.wanted is not None:
            is_full = self._due_at is None or time.monotonic() < self._due_at
            batch = self._position.take(session.wanted, self._most_bytes, is_full=is_full)
            if batch is None:
                if self._due_at is None and self._position.has_some:
                    self._due_at = time.monotonic() + _LINGER_S
                return
            self._due_at = None
            parts, is_text = self._rendered(batch)
            await self._socket.send_parts(parts, is_text=is_text)
            self._position.sent()
            await self._send(session.delivered(time.monotonic()))
            if session.wanted is not None:
                # A client that reads fast lets nobody else have a turn, otherwise.
                await asyncio.sleep(0)
        self._due_at = None

    @property
    def _most_bytes(self) -> int:
        extension, limits = self._session.extension, self._limits
        told = extension.max_message_bytes if extension is not None else None
        return min(told or limits.message_bytes, limits.most_message_bytes)

    def _rendered(self, batch: Batch) -> tuple[list[Any], bool]:
        """Return a message in parts, and whether it is text."""
        extension = self._session.extension
        position = batch.position if extension is not None and extension.positions else None
        if not batch.samples:
            return data_parts([b'"%b"' % TERMINATE.encode()], position), True
        if extension is not None and extension.binary and self._stock.has_blobs:
            return binary_parts(batch.samples, position), False
        return data_parts([sample.json for sample in batch.samples], position), True

    async def _send(self, replies: list[Reply]) -> None:
        for reply in replies:
            assert not isinstance(reply, Data) or not reply.samples
            await self._socket.send(render(reply))

    async def _wait(self) -> None:
        """Wait for a message, for data, or for the moment when something is due."""
        moments = [moment for moment in (self._session.wake_at, self._due_at) if moment is not None]
        if not moments:
            await self._woken.wait()
            return
        wait_s = max(0.0, min(moments) - time.monotonic())
        timer = asyncio.get_running_loop().call_later(wait_s, self._woken.set)
        await self._woken.wait()
        timer.cancel()


def serve(
    source: Any,
    info: Info | Mapping[str, Any] | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    shared: bool = False,
    heartbeat: HeartbeatRule | str = HeartbeatRule.AUTO,
    compression: bool = False,
    access: Access | None = None,
    extent: Extent | None = None,
    limits: Limits | None = None,
    patience: Patience | None = None,
) -> StreamingServer:
    """Serve a stream of samples to any client of EIR's streaming protocol; return the server, which runs.

    source: a stream of the pipeline, a feed, the folder of a recording, an iterable or a function that returns one. Its
    items are samples as `Sample` describes them: pairs, arrays and mappings are, too. It is read once for all clients,
    as far as they ask. info: what the stream is made of; derived from the first sample if it is not told, as it has to
    be for targets of the type survival. port: 0 takes a free one.

    shared: each sample goes to one client; otherwise each client gets all. compression: for clients that ask for it.
    Raises StreamingError where the port is taken, ArgumentTypeError for what cannot be served.
    """
    try:
        rule = HeartbeatRule(heartbeat)
    except ValueError:
        known = ", ".join(rule.value for rule in HeartbeatRule)
        raise ArgumentValueError(f"heartbeat must be one of {known}, not {heartbeat!r}") from None
    given, known_info, extent = as_source(source), checked_info(info), extent or Extent()
    server = StreamingServer(
        lambda on_change: Stock(given, known_info, shared, extent, on_change),
        (host, port),
        (rule, patience or Patience()),
        access or Access(),
        limits or Limits(),
        "deflate" if compression else None,
    )
    return server.start()
