"""The record server: a store that is written to and read over gRPC."""

import hmac
import ipaddress
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc

from smartml.errors import (
    ArgumentValueError,
    MonitorError,
    RecordsAccessError,
    RecordsNotFoundError,
    SmartMLError,
)
from smartml.monitor import messages
from smartml.monitor.access import read_file, read_token
from smartml.monitor.folders import PathLike
from smartml.monitor.records_pb2 import (
    BeginRequest,
    CompactReply,
    ConfigsReply,
    DeleteRequest,
    HealthReply,
    NamesReply,
    Nothing,
    QueryReply,
    QueryRequest,
    ScopeRequest,
    WriteReply,
    WriteRequest,
)
from smartml.monitor.store import Durability, RecordStore

logger = logging.getLogger(__name__)

DEFAULT_PORT = 8081
# One waits in a thread of its own for what is new.
_MAX_SUBSCRIBERS = 200
_THREADS = _MAX_SUBSCRIBERS + 16
# A request that is larger than this is none of a logger.
_MAX_REQUEST_BYTES = 1 << 26
# How soon a subscriber that has gone is noticed.
_LOOK_S = 1.0
_STATUS = {
    RecordsNotFoundError: grpc.StatusCode.NOT_FOUND,
    ArgumentValueError: grpc.StatusCode.INVALID_ARGUMENT,
    SmartMLError: grpc.StatusCode.UNAVAILABLE,
}
_OPTIONS = (
    # Another server on this port is an error, and no second half of this one.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    # Clients ask now and then whether the server is there.
    ("grpc.http2.min_ping_interval_without_data_ms", 4000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass(frozen=True)
class Guard:
    """What a record server asks of who talks to it; needed where others than this machine can.

    token_file: holds the token that clients must show. certificate_file, key_file: in PEM, for TLS.
    allow_plain_text: let the token and all records travel unencrypted, on a network that is trusted.
    """

    token_file: PathLike | None = None
    certificate_file: PathLike | None = None
    key_file: PathLike | None = None
    allow_plain_text: bool = False

    def check(self, host: str) -> None:
        """Raise RecordsAccessError when this is too little for a server that listens on this host."""
        if (self.certificate_file is None) != (self.key_file is None):
            raise RecordsAccessError("TLS needs both a certificate and its key")
        if _is_loopback(host):
            return
        if self.token_file is None:
            raise RecordsAccessError(f"to listen on {host}, which others can reach, the server needs a token file")
        if self.certificate_file is None and not self.allow_plain_text:
            raise RecordsAccessError(
                f"to listen on {host}, which others can reach, the server needs a certificate and its key, or to be "
                "told that plain text is allowed"
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class RecordServer:
    """Serve the store at a path until `stop`, or until the `with` block ends; `address` tells where.

        with RecordServer("records", port=0) as server:
            logger = DataLogger("run", grpc_uri=server.address)

    path: a folder or a URL of fsspec, made when there is none. port: 0 takes a free one. durability: when what loggers
    sent is safe from a power failure: "request" (before they are told that it is kept), so many seconds later, or
    "never"; from the end of this or another process it is safe at once.
    Raises RecordsInUseError, RecordsFormatError, RecordsAccessError, and MonitorError when the port is taken.
    """

    def __init__(
        self,
        path: PathLike,
        port: int = DEFAULT_PORT,
        host: str = "127.0.0.1",
        durability: Durability = "request",
        guard: Guard | None = None,
    ) -> None:
        guard = guard or Guard()
        guard.check(host)
        token = None if guard.token_file is None else read_token(guard.token_file)
        self._store = RecordStore(path, durability)
        self._path = os.fspath(path)
        self._stopping = threading.Event()
        self._subscribers = threading.BoundedSemaphore(_MAX_SUBSCRIBERS)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="smartml-records")
        self._server = grpc.server(
            self._threads,
            handlers=[grpc.method_handlers_generic_handler(messages.SERVICE, self._handlers())],
            interceptors=[] if token is None else [_TokenCheck(token)],
            options=_OPTIONS,
        )
        try:
            bound = self._bind(f"{host}:{port}", guard)
        except BaseException:
            self._store.close()
            raise
        self.address = f"{host}:{bound}"
        self._server.start()

    def _bind(self, address: str, guard: Guard) -> int:
        try:
            if guard.certificate_file is None or guard.key_file is None:
                return int(self._server.add_insecure_port(address))
            pair = (read_file(guard.key_file), read_file(guard.certificate_file))
            return int(self._server.add_secure_port(address, grpc.ssl_server_credentials([pair])))
        except RuntimeError as error:
            raise MonitorError(
                f"a record server cannot listen on {address}: another program does, or it is none of this machine's "
                "addresses; port 0 takes a free port"
            ) from error

    def __enter__(self) -> "RecordServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let go of the port and of the store, whose last records are then safe."""
        self._stopping.set()
        self._server.stop(grace=1.0).wait()
        # gRPC leaves the threads it was lent to their owner.
        self._threads.shutdown()
        self._store.close()

    # --- What is answered ---

    def _handlers(self) -> dict[str, Any]:
        def one(function: Callable[[Any], Any], request: Any) -> Any:
            def answer(message: Any, context: Any) -> Any:
                try:
                    return function(message)
                except SmartMLError as error:
                    _abort(context, error)

            return grpc.unary_unary_rpc_method_handler(answer, request.FromString, _packed)

        def many(function: Callable[[Any, Any], Iterator[Any]], request: Any) -> Any:
            def answer(message: Any, context: Any) -> Iterator[Any]:
                try:
                    yield from function(message, context)
                except FileNotFoundError:
                    context.abort(grpc.StatusCode.ABORTED, "the store was compacted meanwhile: ask again")
                except SmartMLError as error:
                    _abort(context, error)

            return grpc.unary_stream_rpc_method_handler(answer, request.FromString, _packed)

        return {
            "Begin": one(self._begin, BeginRequest),
            "Write": one(self._write, WriteRequest),
            "Query": many(self._query, QueryRequest),
            "Subscribe": many(self._subscribe, QueryRequest),
            "Scopes": one(self._scopes, Nothing),
            "Names": one(self._names, ScopeRequest),
            "Configs": one(self._configs, ScopeRequest),
            "Delete": one(self._delete, DeleteRequest),
            "Compact": one(self._compact, Nothing),
            "Health": one(self._health, Nothing),
        }

    def _begin(self, request: BeginRequest) -> Nothing:
        self._store.begin(request.session, request.scope, request.delete_existing)
        return Nothing()

    def _write(self, request: WriteRequest) -> WriteReply:
        refusals = self._store.write(request.session, request.sequence, request.blocks, request.configs)
        return WriteReply(refusals=refusals)

    def _query(self, request: QueryRequest, context: Any) -> Iterator[QueryReply]:
        yield from messages.replies(self._store.find(messages.cursor_of(request), request.scopes, request.names))

    def _subscribe(self, request: QueryRequest, context: Any) -> Iterator[QueryReply]:
        if not self._subscribers.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MAX_SUBSCRIBERS} readers wait here already")
        try:
            cursor, is_first = messages.cursor_of(request), True
            while context.is_active() and not self._stopping.is_set():
                found = self._store.find(cursor, request.scopes, request.names)
                if found.has_news or is_first:
                    is_first = False
                    yield from messages.replies(found)
                    self._stopping.wait(request.min_interval_s)
                cursor = found.cursor
                self._store.wait_for_news(cursor, _LOOK_S)
        finally:
            self._subscribers.release()

    def _scopes(self, request: Nothing) -> NamesReply:
        return NamesReply(names=self._store.scopes())

    def _names(self, request: ScopeRequest) -> NamesReply:
        return NamesReply(names=self._store.names(request.scope))

    def _configs(self, request: ScopeRequest) -> ConfigsReply:
        configs = self._store.packed_configs(request.scope if request.HasField("scope") else None)
        return ConfigsReply(scopes=[ConfigsReply.Entry(scope=scope, configs=kept) for scope, kept in configs.items()])

    def _delete(self, request: DeleteRequest) -> Nothing:
        self._store.delete(request.scope, request.name if request.HasField("name") else None)
        return Nothing()

    def _compact(self, request: Nothing) -> CompactReply:
        before, after = self._store.compact()
        return CompactReply(bytes_before=before, bytes_after=after)

    def _health(self, request: Nothing) -> HealthReply:
        store = self._store
        return HealthReply(store=store.store_id, path=self._path, points=store.points, damaged=store.damaged)


def _packed(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _abort(context: Any, error: SmartMLError) -> None:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    context.abort(status, str(error))


class _TokenCheck(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Lets pass who shows the token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._refuse = grpc.unary_unary_rpc_method_handler(
            lambda request, context: context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "this record server wants a token: name its file"
            )
        )

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        shown = dict(details.invocation_metadata).get("authorization", "")
        if hmac.compare_digest(str(shown).encode(), self._expected):
            return continuation(details)
        return self._refuse
