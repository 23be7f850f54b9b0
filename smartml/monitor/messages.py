"""The messages between record servers and their clients, beyond what protobuf says of them."""

from collections.abc import Iterable, Iterator

from smartml.monitor.reader import Found, decoded
from smartml.monitor.records import Block, Cursor, Removal, Update
from smartml.monitor.records_pb2 import Block as PackedBlock
from smartml.monitor.records_pb2 import Cursor as PackedCursor
from smartml.monitor.records_pb2 import QueryReply, QueryRequest
from smartml.monitor.records_pb2 import Removal as PackedRemoval

SERVICE = "smartml.monitor.RecordServer"
# A message is sent when its blocks have come to so many bytes.
MESSAGE_BYTES = 1 << 20


def request_for(cursor: Cursor | None, scopes: str, names: str, min_interval_s: float = 0.0) -> QueryRequest:
    """Return the request for what is new since a cursor."""
    request = QueryRequest(scopes=scopes, names=names, min_interval_s=min_interval_s)
    if cursor is not None:
        request.cursor.CopyFrom(_packed(cursor))
    return request


def cursor_of(request: QueryRequest) -> Cursor | None:
    """Return the cursor that a request names."""
    return _unpacked(request.cursor) if request.HasField("cursor") else None


def _packed(cursor: Cursor) -> PackedCursor:
    return PackedCursor(store=cursor.store, lineage=cursor.lineage, position=cursor.position)


def _unpacked(cursor: PackedCursor) -> Cursor:
    return Cursor(cursor.store, cursor.lineage, cursor.position)


def replies(found: Found) -> Iterator[QueryReply]:
    """Yield one update in messages of a bounded size; the last one has the cursor."""
    reply = QueryReply(reset=found.reset)
    reply.removed.extend(PackedRemoval(scope=removal.scope, name=removal.name) for removal in found.removed)
    size = 0
    for name, block, data in found.parts:
        reply.added.append(
            PackedBlock(
                scope=name.scope.scope,
                name=name.name,
                fields=name.fields,
                index=block.index,
                points=block.points,
                columns=block.columns,
                data=data,
            )
        )
        # What a block takes beside its numbers is little, but not nothing.
        size += len(data) + 100
        if size > MESSAGE_BYTES:
            yield reply
            reply, size = QueryReply(), 0
    reply.cursor.CopyFrom(_packed(found.cursor))
    yield reply


def updates(received: Iterable[QueryReply]) -> Iterator[Update]:
    """Yield the updates that arrive in these messages, each when it is complete."""
    added: list[Block] = []
    removed: list[Removal] = []
    reset = False
    for reply in received:
        reset = reset or reply.reset
        removed += [Removal(it.scope, it.name if it.HasField("name") else None) for it in reply.removed]
        added += [decoded(it.scope, it.name, it.fields, it, it.data) for it in reply.added]
        if reply.HasField("cursor"):
            yield Update(_unpacked(reply.cursor), added, removed, reset)
            added, removed, reset = [], [], False
