"""A connection to a server of EIR's streaming protocol: questions and answers, blocking.

Works with any server of the protocol, also those that answer a reset once, or twice in either order, send what nobody
asked for, and end the stream by `["terminate"]`, by nothing, or behind the last samples.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

from smartml.errors import (
    ArgumentValueError,
    MessageError,
    MissingDependencyError,
    StreamingConnectionError,
    StreamingError,
    StreamingRefusedError,
    StreamingTimeoutError,
)
from smartml.extras import missing
from smartml.streaming.access import without_secrets
from smartml.streaming.data import parse_answer
from smartml.streaming.decoding import Decoder
from smartml.streaming.protocol import (
    VERSION,
    Data,
    ErrorMessage,
    Extension,
    GetData,
    GetInfo,
    GetStatus,
    Handshake,
    Heartbeat,
    Info,
    InfoMessage,
    Reply,
    Request,
    ResetConfirmation,
    ResetNotice,
    ResetRequest,
    SetValidationIds,
    Status,
    ValidationIdsConfirmation,
    render,
)
from smartml.streaming.samples import Sample

try:
    from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
    from websockets.sync.client import ClientConnection, connect

    from smartml.streaming.incoming import IncomingConnection
except ImportError as error:
    raise MissingDependencyError(missing("websockets", "smartml.streaming", "streaming")) from error

logger = logging.getLogger(__name__)

_MESSAGE_TOO_BIG, _INTERNAL_ERROR = 1009, 1011
_CLOSE_TIMEOUT_S = 2.0
_PING_INTERVAL_S = 20.0
# For the confirmation of a reset, once the other of its two messages is here.
_SECOND_ANSWER_S = 0.5
_LONGEST_NOTE = 200
_Answer = TypeVar("_Answer", bound=Reply)


@dataclass(frozen=True)
class ClientOptions:
    """How a client connects, and how long it waits: seconds and bytes."""

    # Sent as `Authorization: Bearer`.
    token: str | None = field(default=None, repr=False)
    # File of the certificates that a `wss` server's is signed by; None: those of the system.
    ca_file: str | None = None
    worker_id: int = 0
    # Whether to ask for arrays as they are, of servers that can, rather than in base64.
    binary: bool = True
    # Whether to ask for permessage-deflate, which is for texts and slow networks.
    compression: bool = False
    # For an answer other than data, and for a connection.
    timeout_s: float = 30.0
    # For the next samples; None: wait for ever.
    wait_timeout_s: float | None = 600.0
    # For a server to be there (again); 0: do not wait for one.
    reconnect_timeout_s: float = 60.0
    # Between heartbeats, while the client waits for samples.
    heartbeat_s: float = 10.0
    max_message_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        for name in ("timeout_s", "heartbeat_s", "max_message_bytes"):
            if not getattr(self, name) > 0:
                raise ArgumentValueError(f"{name} must be above 0, not {getattr(self, name)!r}")


class _LargeReads(ClientConnection):
    """Reads more at once than the library does, which counts for messages of megabytes."""

    recv_bufsize = 1 << 20

    def receive(self, timeout_s: float) -> bytes:
        """Return the next message."""
        return self.recv(timeout_s, decode=False)


class StreamingClient:
    """One connection to a streaming server, with the handshake made.

    Raises StreamingConnectionError where no server answers, StreamingRefusedError where it does not want this client,
    MessageError for answers that are none of the protocol.
    """

    def __init__(self, url: str, options: ClientOptions | None = None) -> None:
        self.options = options or ClientOptions()
        # As messages may show it.
        self.name = without_secrets(url)
        self._open = contextlib.ExitStack()
        self._socket = self._connect(url)
        self._decoder: Decoder | None = None
        # What both sides know beyond the protocol; None with a server of EIR's.
        self.extension: Extension | None = None
        try:
            self._shake_hands()
        except BaseException:
            self.close()
            raise

    def _connect(self, url: str) -> IncomingConnection | _LargeReads:
        options = self.options
        headers = {} if options.token is None else {"Authorization": f"Bearer {options.token}"}
        context = None
        if url.startswith("wss:"):
            context = ssl.create_default_context(cafile=options.ca_file)
        # What is compressed or encrypted has to go through the library.
        create: Any = _LargeReads
        if not options.compression and context is None:
            create = partial(IncomingConnection, max_message_bytes=options.max_message_bytes)
        with self._errors(f"cannot connect to {self.name}"):
            opened = connect(
                url,
                ssl=context,
                compression="deflate" if options.compression else None,
                additional_headers=headers,
                # Simulations and trainers are seldom on different sides of one; environments name them nevertheless.
                proxy=None,
                open_timeout=options.timeout_s,
                ping_interval=_PING_INTERVAL_S,
                ping_timeout=max(3 * _PING_INTERVAL_S, options.timeout_s),
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=options.max_message_bytes,
                create_connection=create,
            )
            # The library means to give the connection itself here only, from some release on.
            connection = self._open.enter_context(opened)
            assert isinstance(connection, IncomingConnection | _LargeReads)
            return connection

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Make the library's errors smartml's."""
        try:
            yield
        except ConnectionClosed as error:
            raise self._lost(error) from error
        except InvalidStatus as error:
            status, body = error.response.status_code, (error.response.body or b"")[:_LONGEST_NOTE]
            refusal = f"{what}: it answers with HTTP status {status} {body.decode(errors='replace').strip()}".rstrip()
            if status in (429, 502, 503, 504):
                raise StreamingConnectionError(refusal) from error
            raise StreamingRefusedError(refusal) from error
        except InvalidURI as error:
            raise ArgumentValueError(f"{what}: not an address ws://host:port/path") from error
        except ssl.SSLCertVerificationError as error:
            raise StreamingRefusedError(f"{what}: {error}; ca_file names the certificate to trust") from error
        except TimeoutError as error:
            raise StreamingTimeoutError(f"{what}: no answer within {self.options.timeout_s:g} s") from error
        except WebSocketException as error:
            raise StreamingConnectionError(f"{what}: what answers there speaks no WebSocket: {error}") from error
        except OSError as error:
            raise StreamingConnectionError(f"{what}: {error}") from error

    def _lost(self, error: ConnectionClosed) -> StreamingError:
        sent, received = error.sent, error.rcvd
        if sent is not None and sent.code == _MESSAGE_TOO_BIG:
            return MessageError(
                f"{self.name} sent a message of more than max_message_bytes={self.options.max_message_bytes}: "
                "allow more, or ask for smaller batches"
            )
        if received is not None and received.code == _INTERNAL_ERROR and self.extension is not None:
            return StreamingError(f"{self.name}: {received.reason or 'internal error'}")
        return StreamingConnectionError(f"the connection to {self.name} is lost: {error}")

    def _shake_hands(self) -> None:
        own = self.options
        asked = Extension(binary=own.binary, positions=True, max_message_bytes=own.max_message_bytes)
        self.send(Handshake(VERSION, own.worker_id, asked))
        try:
            reply = self._answer(Handshake, "handshake")
        except StreamingError as error:
            if isinstance(error, StreamingConnectionError):
                raise
            raise StreamingRefusedError(str(error)) from error
        if reply.version != VERSION:
            raise StreamingRefusedError(f"{self.name} speaks version {reply.version!r:.40}, smartml speaks {VERSION}")
        self.extension = reply.extension

    def close(self) -> None:
        """End the connection; may be called by another thread, which ends what waits here."""
        self._open.close()

    def __enter__(self) -> StreamingClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # Questions

    def info(self) -> Info:
        """Ask what the stream is made of."""
        self.send(GetInfo())
        info = self._answer(InfoMessage, "getInfo").info
        self._decoder = Decoder(info)
        return info

    def status(self) -> Mapping[str, Any]:
        """Ask how the stream is doing; what it says depends on the server."""
        self.send(GetStatus())
        return self._answer(Status, "status").payload

    def heartbeat(self) -> None:
        """Ask for a sign of life, and wait for it."""
        self.send(Heartbeat())
        self._answer(Heartbeat, "heartbeat")

    def reset(self, position: int | None = None) -> int | None:
        """Ask for the stream from its beginning, or from a position; return where it goes on, if the server tells.

        Data that was asked for before and not received is dropped.
        """
        self.send(ResetRequest(position))
        answer = self._first_of((ResetConfirmation, ResetNotice), "reset", self.options.timeout_s)
        if isinstance(answer, ResetNotice):
            # Which of the two comes first is the server's choice; some send only one.
            with contextlib.suppress(StreamingTimeoutError):
                answer = self._first_of((ResetConfirmation,), "reset", _SECOND_ANSWER_S)
        return answer.position if isinstance(answer, ResetConfirmation) else None

    def set_validation_ids(self, ids: Iterable[str]) -> None:
        """Tell which samples are kept for validation, so that the server does not serve them."""
        self.send(SetValidationIds(frozenset(ids)))
        self._answer(ValidationIdsConfirmation, "setValidationIds")

    def ask_for_data(self, batch_size: int) -> None:
        """Ask for samples; `receive_data` returns them. Questions may be asked ahead, and are answered in order."""
        self.send(GetData(batch_size))

    def receive_data(self, timeout_s: float) -> Data | ErrorMessage | None:
        """Return the next message with samples, or what the server says is wrong; None if neither comes in time."""
        try:
            return cast("Data | ErrorMessage", self._first_of((Data, ErrorMessage), "getData", timeout_s))
        except StreamingTimeoutError:
            return None

    def get_data(self, batch_size: int) -> list[Sample]:
        """Ask for samples and wait for them; none at the end of the stream."""
        self.ask_for_data(batch_size)
        return self.decode(self._answer(Data, "getData"))

    def decode(self, data: Data) -> list[Sample]:
        """Return the samples of a message."""
        return list(self.each(data))

    def each(self, data: Data) -> Iterator[Sample]:
        """Give the samples of a message one by one."""
        if self._decoder is None:
            self.info()
        assert self._decoder is not None
        return self._decoder.each(data)

    # Messages

    def send(self, request: Request) -> None:
        """Send a message."""
        with self._errors(f"cannot send to {self.name}"):
            self._socket.send(render(request))

    def receive(self, timeout_s: float) -> Reply:
        """Return the next message, whatever it is."""
        with self._errors(f"nothing came from {self.name}"):
            raw = self._socket.receive(max(0.0, timeout_s))
        try:
            return parse_answer(raw, self._decoder)
        except MessageError as error:
            raise MessageError(f"{self.name} sent what is no message: {error}") from error

    def _answer(self, kind: type[_Answer], question: str) -> _Answer:
        answer = self._first_of((kind, ErrorMessage), question, self.options.timeout_s)
        if isinstance(answer, kind):
            return answer
        assert isinstance(answer, ErrorMessage)
        raise StreamingError(f"{self.name} answers {question} with an error: {answer.message[:_LONGEST_NOTE]}")

    def _first_of(self, kinds: tuple[type[Any], ...], question: str, timeout_s: float) -> Any:
        """Return the first message of these kinds; others are answers that come late, or news nobody asked for."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                reply = self.receive(deadline - time.monotonic())
            except StreamingTimeoutError as error:
                raise StreamingTimeoutError(
                    f"{self.name} has not answered {question} within {timeout_s:g} s"
                ) from error
            if isinstance(reply, kinds):
                return reply
            logger.debug("%s sent %s while %s was to be answered", self.name, type(reply).__name__, question)
