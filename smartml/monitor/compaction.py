"""What is written of a store when it is compacted: what is live, each group in few large blocks."""

import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from smartml.monitor import columns
from smartml.monitor.catalogue import Catalogue, Part, Placed, Scope
from smartml.monitor.records_pb2 import Block, Column, Config, Deletion, Outline
from smartml.monitor.records_pb2 import Name as PackedName
from smartml.monitor.records_pb2 import Scope as PackedScope
from smartml.monitor.records_pb2 import Session as PackedSession
from smartml.monitor.segments import pack

# A block is not made larger than this: readers take it as a whole.
_BLOCK_POINTS = 1 << 17
# A record is written when it has come to so many bytes.
_RECORD_BYTES = 1 << 22


def compacted(catalogue: Catalogue, read: Callable[[Iterable[Placed]], Iterator[Part]]) -> Iterator[list[bytes]]:
    """Yield the records, each in parts to be written one after the other."""
    for outline in (*_of_deleted(catalogue), _of_live(catalogue)):
        yield [pack(outline, 0)]
    outline, body, size = Outline(), list[bytes](), 0
    for block, data in _merged(read(_grouped(catalogue))):
        block.offset, block.length, block.checksum = size, len(data), zlib.crc32(data)
        outline.blocks.append(block)
        body.append(data)
        size += len(data)
        if size > _RECORD_BYTES:
            yield [pack(outline, size), *body]
            outline, body, size = Outline(), [], 0
    if body or outline.blocks:
        yield [pack(outline, size), *body]


def _of_deleted(catalogue: Catalogue) -> Iterator[Outline]:
    """Keep the deleted scopes that loggers may still write to: they shall be told, and not begin anew."""
    written_to = {session.scope.id for session in catalogue.sessions.values()}
    deleted = [scope for scope in catalogue.all_scopes() if not scope.is_live and scope.id in written_to]
    yield _with_sessions(catalogue, deleted)
    yield Outline(deletions=[Deletion(scope_id=scope.id) for scope in deleted], last_id=catalogue.last_id)


def _of_live(catalogue: Catalogue) -> Outline:
    outline = _with_sessions(catalogue, catalogue.scopes.values())
    for scope in catalogue.scopes.values():
        outline.configs.extend(Config(scope_id=scope.id, json=config) for config in scope.configs)
        outline.names.extend(
            PackedName(id=name.id, scope_id=scope.id, name=name.name, fields=name.fields)
            for name in scope.names.values()
        )
    return outline


def _with_sessions(catalogue: Catalogue, scopes: Iterable[Scope]) -> Outline:
    chosen = list(scopes)
    ids = {scope.id for scope in chosen}
    outline = Outline(scopes=[PackedScope(id=scope.id, scope=scope.scope) for scope in chosen])
    outline.sessions.extend(
        PackedSession(
            id=key,
            scope_id=session.scope.id,
            sequence=session.sequence,
            deleted_names=sorted(session.deleted_names),
        )
        for key, session in catalogue.sessions.items()
        if session.scope.id in ids
    )
    return outline


def _grouped(catalogue: Catalogue) -> list[Placed]:
    """Return the live blocks, those of one group together, in the order of their groups' first ones."""
    groups: dict[tuple[int, int], list[Placed]] = {}
    for entry in catalogue.entries:
        if isinstance(entry, Placed) and entry.name.is_live:
            groups.setdefault((entry.name.id, entry.block.index), []).append(entry)
    return [entry for group in groups.values() for entry in group]


def _merged(parts: Iterator[Part]) -> Iterator[tuple[Block, bytes]]:
    """Join the blocks of each group that have the same types."""
    together: list[Part] = []
    points = 0
    for part in parts:
        if together and (_kind(part) != _kind(together[0]) or points + part.block.points > _BLOCK_POINTS):
            yield _joined(together)
            together, points = [], 0
        together.append(part)
        points += part.block.points
    if together:
        yield _joined(together)


def _kind(part: Part) -> tuple[int, int, list[Column.Type]]:
    return part.name.id, part.block.index, [column.type for column in part.block.columns]


def _joined(parts: list[Part]) -> tuple[Block, bytes]:
    arrays = [columns.decode(part.block.columns, part.block.points, part.data) for part in parts]
    encoded = [columns.encode(np.concatenate(column)) for column in zip(*arrays, strict=True)]
    block = Block(
        name_id=parts[0].name.id,
        index=parts[0].block.index,
        points=sum(part.block.points for part in parts),
        columns=[column for column, _ in encoded],
    )
    return block, b"".join(data for _, data in encoded)
