"""A client of the record server."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from smartml.errors import (
    ArgumentValueError,
    MonitorError,
    RecordsAccessError,
    RecordsConnectionError,
    RecordsNotFoundError,
)
from smartml.monitor import messages
from smartml.monitor.access import Access, checked_address
from smartml.monitor.records import ANY, Cursor, Update
from smartml.monitor.records_pb2 import (
    BeginRequest,
    CompactReply,
    ConfigsReply,
    DeleteRequest,
    HealthReply,
    NamesReply,
    Nothing,
    QueryReply,
    Refusal,
    ScopeRequest,
    WriteReply,
    WriteRequest,
)

# What a server may take to answer, but for a long history, which comes in parts.
TIMEOUT_S = 30.0
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that was restarted is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A machine that went away without a word is noticed, though nothing is asked of it.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Addresses are of clusters and of this machine, which proxies of the web do not know.
    ("grpc.enable_http_proxy", 0),
    # Each client has a connection of its own: one that broke is not handed to the next one.
    ("grpc.use_local_subchannel_pool", 1),
)
_CONNECTION_STATES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_KINDS: dict[Any, type[MonitorError] | type[ArgumentValueError]] = {
    grpc.StatusCode.NOT_FOUND: RecordsNotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: ArgumentValueError,
    grpc.StatusCode.UNAUTHENTICATED: RecordsAccessError,
    grpc.StatusCode.PERMISSION_DENIED: RecordsAccessError,
    **dict.fromkeys(_CONNECTION_STATES, RecordsConnectionError),
}


class RecordClient:
    """Read from a record server, or write to it; see Records. It connects when it is first asked something.

    address: host:port. access: by default as the environment says. Usable from several threads.
    Raises ArgumentValueError, RecordsAccessError.
    """

    def __init__(self, address: str, access: Access | None = None) -> None:
        self.address = checked_address(address)
        access = Access.from_environment() if access is None else access
        token, certificate = access.token(), access.certificate()
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        if certificate is None:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate), options=_OPTIONS)
        self._is_closed = False

    def __str__(self) -> str:
        return self.address

    def query(self, cursor: Cursor | None, scopes: str = ANY, names: str = ANY) -> Update:
        while True:
            with self._errors() as was_compacted:
                [update] = messages.updates(self._stream("Query", messages.request_for(cursor, scopes, names)))
            if not was_compacted():
                return update

    def subscribe(
        self, cursor: Cursor | None, scopes: str = ANY, names: str = ANY, min_interval_s: float = 0.0
    ) -> Iterator[Update]:
        while not self._is_closed:
            try:
                with self._errors():
                    request = messages.request_for(cursor, scopes, names, min_interval_s)
                    for update in messages.updates(self._stream("Subscribe", request)):
                        cursor = update.cursor
                        yield update
            except MonitorError:
                if not self._is_closed:
                    raise

    def scopes(self) -> list[str]:
        reply: NamesReply = self._call("Scopes", Nothing(), NamesReply)
        return list(reply.names)

    def names(self, scope: str) -> list[str]:
        reply: NamesReply = self._call("Names", ScopeRequest(scope=scope), NamesReply)
        return list(reply.names)

    def configs(self, scope: str | None = None) -> dict[str, list[dict[str, Any]]]:
        reply: ConfigsReply = self._call("Configs", ScopeRequest(scope=scope), ConfigsReply)
        return {entry.scope: [json.loads(config) for config in entry.configs] for entry in reply.scopes}

    def delete(self, scope: str, name: str | None = None) -> None:
        """Delete a scope, or one name of it; loggers that still write there are told. Raises RecordsNotFoundError."""
        self._call("Delete", DeleteRequest(scope=scope, name=name), Nothing)

    def compact(self) -> tuple[int, int]:
        """Write the store anew without what was deleted; return its bytes before and after."""
        # It takes as long as all the numbers take to be copied, and nobody can write meanwhile.
        reply: CompactReply = self._call("Compact", Nothing(), CompactReply, timeout_s=None)
        return reply.bytes_before, reply.bytes_after

    def health(self, timeout_s: float = TIMEOUT_S) -> HealthReply:
        """Return how the server is doing. Raises RecordsConnectionError."""
        reply: HealthReply = self._call("Health", Nothing(), HealthReply, timeout_s)
        return reply

    def begin(self, session: str, scope: str, delete_existing: bool) -> None:
        """Tell the server that a logger begins."""
        self._call("Begin", BeginRequest(session=session, scope=scope, delete_existing=delete_existing), Nothing)

    def write(self, request: WriteRequest, timeout_s: float = TIMEOUT_S) -> list[Refusal]:
        """Send what was logged; return what the server refuses for good."""
        reply: WriteReply = self._call("Write", request, WriteReply, timeout_s)
        return list(reply.refusals)

    def close(self) -> None:
        self._is_closed = True
        self._channel.close()

    def _call(self, method: str, request: Any, reply: Any, timeout_s: float | None = TIMEOUT_S) -> Any:
        with self._errors():
            call = self._channel.unary_unary(
                f"/{messages.SERVICE}/{method}", lambda message: message.SerializeToString(), reply.FromString
            )
            return call(request, timeout=timeout_s, metadata=self._metadata)

    def _stream(self, method: str, request: Any) -> Iterable[QueryReply]:
        call = self._channel.unary_stream(
            f"/{messages.SERVICE}/{method}", lambda message: message.SerializeToString(), QueryReply.FromString
        )
        stream: Iterable[QueryReply] = call(request, metadata=self._metadata)
        return stream

    @contextlib.contextmanager
    def _errors(self) -> Iterator[Callable[[], bool]]:
        """Turn gRPC's errors into ours; give a function that tells whether the store was compacted meanwhile."""
        was_compacted = False
        try:
            yield lambda: was_compacted
        except grpc.RpcError as error:
            status, details = error.code(), error.details()
            if status == grpc.StatusCode.ABORTED:
                was_compacted = True
                return
            kind = _KINDS.get(status, MonitorError)
            if kind is RecordsConnectionError:
                details = f"no answer from the record server at {self.address}: {details}"
            raise kind(details) from error
        except ValueError as error:
            # What gRPC says of a channel that was closed.
            if self._is_closed:
                raise MonitorError(f"the client of the record server at {self.address} has been closed") from error
            raise
