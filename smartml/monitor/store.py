"""A store of records, written: what is taken in is kept whole or not at all."""

import logging
import threading
import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

from smartml.errors import ArgumentValueError, MonitorError, RecordsNotFoundError
from smartml.monitor import columns
from smartml.monitor.catalogue import Session
from smartml.monitor.compaction import compacted
from smartml.monitor.folders import Current, PathLike
from smartml.monitor.reader import RecordReader
from smartml.monitor.records_pb2 import Block as PackedBlock
from smartml.monitor.records_pb2 import Config, Deletion, Outline, Refusal
from smartml.monitor.records_pb2 import Name as PackedName
from smartml.monitor.records_pb2 import Scope as PackedScope
from smartml.monitor.records_pb2 import Session as PackedSession
from smartml.monitor.segments import Record, is_whole, pack

logger = logging.getLogger(__name__)

# When what was written is safe from a power failure; it is safe from the end of any process at once. "request": before
# the writer is told; a number: after so many seconds at most; "never": when the system likes.
Durability = Literal["request", "never"] | float

# A segment that has grown beyond this is left for a new one.
SEGMENT_BYTES = 1 << 28


class RecordStore(RecordReader):
    """Write to a store, which is made where there is none: the part of a record server. Usable from several threads.

    Raises RecordsInUseError while another process does so.
    """

    def __init__(self, path: PathLike, durability: Durability = "request", segment_bytes: int = SEGMENT_BYTES) -> None:
        is_time = isinstance(durability, int | float) and not isinstance(durability, bool) and durability > 0
        if durability not in ("request", "never") and not is_time:
            raise ArgumentValueError(
                f"durability must be 'request', 'never' or a number of seconds above 0, not {durability!r}"
            )
        self._durability = durability
        self._segment_bytes = segment_bytes
        # Counts what was appended, and what of it is safe from a power failure.
        self._appended, self._synced = 0, 0
        self._syncing = threading.Lock()
        self._timer: threading.Timer | None = None
        super().__init__(path)

    def _open(self) -> None:
        self._folder.lock()
        try:
            current = self._folder.current()
            if current is None:
                current = Current(store=uuid.uuid4().hex)
                self._folder.set_current(current)
            self._folder.keep_only(current.folder)
            self._load(current)
            self._cut_torn_end()
        except BaseException:
            self._folder.close()
            raise

    def _scan(self, number: int, start: int, is_last: bool) -> Iterator[Record]:
        """Yield the records; the last ones of all only with whole numbers, too: a power failure may leave holes."""
        read = partial(self._folder.read, self._current.folder, number)
        doubtful: list[Record] = []
        for record in super()._scan(number, start, is_last):
            if not is_last or is_whole(record, read):
                yield from doubtful
                yield record
                doubtful.clear()
            else:
                doubtful.append(record)

    def _cut_torn_end(self) -> None:
        """Shorten the last segment to its last whole record: what is appended shall follow that."""
        if not self._number:
            return
        folder, number = self._current.folder, self._number
        if (size := self._folder.size(folder, number)) > self._end:
            logger.warning(
                "the last %d bytes of segment %d of %s are no whole record, and were cut off: they were being written "
                "when the server ended, and nobody was told that they are kept",
                size - self._end,
                number,
                self._folder,
            )
            self._folder.cut(folder, number, self._end)
            # A reader may have seen numbers that are not there any more.
            self._current = replace(self._current, lineage=self._current.lineage + 1)
            self._folder.set_current(self._current)

    def _refresh(self) -> None:
        """Nobody else writes."""
        if self._is_closed:
            raise MonitorError(f"the store {self._folder} has been closed here")

    # --- Writing ---

    def begin(self, session: str, scope: str, delete_existing: bool) -> None:
        """Note that a logger begins; called again for the same session, it changes nothing."""
        with self._changed:
            if session in self._catalogue.sessions:
                return
            outline = Outline()
            known = self._catalogue.scopes.get(scope)
            if known is not None and delete_existing:
                outline.deletions.append(Deletion(scope_id=known.id))
                known = None
            scope_id = self._catalogue.last_id + 1 if known is None else known.id
            if known is None:
                outline.scopes.append(PackedScope(id=scope_id, scope=scope))
            outline.sessions.append(PackedSession(id=session, scope_id=scope_id))
            appended = self._append(outline, [])
        self._wait_until_safe(appended)

    def write(
        self, session: str, sequence: int, blocks: Iterable[PackedBlock], configs: Iterable[str] = ()
    ) -> list[Refusal]:
        """Keep what a logger sends, once, however often it is sent; return what cannot be taken in.

        Raises RecordsNotFoundError when the session never began here.
        """
        with self._changed:
            kept = self._catalogue.sessions.get(session)
            if kept is None:
                raise RecordsNotFoundError(f"session {session!r} did not begin with this store")
            refusals: list[Refusal] = []
            if sequence <= kept.sequence:
                # It was kept, and the answer was lost.
                appended = self._appended
            else:
                outline = Outline()
                outline.sessions.append(PackedSession(id=session, scope_id=kept.scope.id, sequence=sequence))
                body = self._arrange(outline, kept, blocks, refusals)
                if kept.scope.is_live:
                    outline.configs.extend(Config(scope_id=kept.scope.id, json=json) for json in configs)
                appended = self._append(outline, body)
        self._wait_until_safe(appended)
        return refusals

    def _arrange(
        self, outline: Outline, session: Session, blocks: Iterable[PackedBlock], refusals: list[Refusal]
    ) -> list[bytes]:
        """Put the blocks that can be taken in into an outline; return their bytes."""
        body: list[bytes] = []
        offset = 0
        given = self._catalogue.last_id
        # Names that this record declares.
        declared: dict[str, PackedName] = {}
        for block in blocks:
            known = session.scope.names.get(block.name) or declared.get(block.name)
            reason = _refusal(session, block, None if known is None else tuple(known.fields))
            if reason is not None:
                refusals.append(Refusal(name=block.name, points=block.points, reason=reason))
                continue
            if known is None:
                given += 1
                known = declared[block.name] = PackedName(
                    id=given, scope_id=session.scope.id, name=block.name, fields=block.fields
                )
                outline.names.append(known)
            outline.blocks.append(
                PackedBlock(
                    name_id=known.id,
                    offset=offset,
                    length=len(block.data),
                    checksum=zlib.crc32(block.data),
                    index=block.index,
                    points=block.points,
                    columns=block.columns,
                )
            )
            body.append(block.data)
            offset += len(block.data)
        return body

    def delete(self, scope: str, name: str | None = None) -> None:
        """Delete a scope, or one name of it; loggers that still write there are told. Raises RecordsNotFoundError."""
        with self._changed:
            scope_id = self._catalogue.scope(scope).id
            name_id = None if name is None else self._catalogue.name(scope, name).id
            appended = self._append(Outline(deletions=[Deletion(scope_id=scope_id, name_id=name_id)]), [])
        self._wait_until_safe(appended)

    def compact(self) -> tuple[int, int]:
        """Write the store anew without what was deleted, and in few large blocks; return its bytes before and after.

        Nobody can write meanwhile. A crash leaves the store as it was, or the new one.
        """
        with self._changed:
            self._refresh()
            old = self._current
            new = replace(old, lineage=old.lineage + 1, folder=str(int(old.folder) + 1))
            # What another compaction may have left.
            self._folder.keep_only(old.folder)
            before = self._size(old.folder)
            try:
                number, size = 0, 0
                for record in compacted(self._catalogue, partial(self._parts, old.folder)):
                    if not number or not self._folder.appends or size > self._segment_bytes:
                        number, size = number + 1, 0
                    self._folder.append(new.folder, number, record)
                    size += sum(map(len, record))
                self._folder.sync()
                self._folder.set_current(new)
            except OSError as error:
                self._folder.keep_only(old.folder)
                raise MonitorError(f"{self._folder} cannot be compacted: {error}") from error
            self._folder.keep_only(new.folder)
            self._load(new)
            self._changed.notify_all()
            return before, self._size(new.folder)

    def _size(self, folder: str) -> int:
        return sum(self._folder.size(folder, number) for number in self._folder.numbers(folder))

    def _append(self, outline: Outline, body: list[bytes]) -> int:
        """Write one record, and take it in; return its number, counted from the opening of the store."""
        if self._is_closed:
            raise MonitorError(f"the store {self._folder} has been closed here")
        record = pack(outline, sum(map(len, body)))
        number, end = self._number, self._end
        if not number or not self._folder.appends or end > self._segment_bytes:
            number, end = number + 1, 0
        try:
            self._folder.append(self._current.folder, number, [record, *body])
        except OSError as error:
            raise MonitorError(f"{self._folder} cannot be written to: {error}") from error
        self._number = number
        self._take(Record(outline, end + len(record), end + len(record) + sum(map(len, body))), number)
        self._appended += 1
        self._changed.notify_all()
        return self._appended

    def _wait_until_safe(self, appended: int) -> None:
        if self._durability == "request":
            self._sync(appended)
        elif self._durability != "never":
            with self._syncing:
                if self._timer is None and self._synced < appended:
                    self._timer = threading.Timer(self._durability, self._sync_later)
                    self._timer.daemon = True
                    self._timer.start()

    def _sync(self, appended: int) -> None:
        # Whoever comes first syncs for all that have appended before.
        with self._syncing:
            if self._synced < appended and not self._is_closed:
                through = self._appended
                try:
                    self._folder.sync()
                except OSError as error:
                    raise MonitorError(f"{self._folder} cannot be written to: {error}") from error
                self._synced = through

    def _sync_later(self) -> None:
        with self._syncing:
            self._timer = None
        self._sync(self._appended)

    def close(self) -> None:
        with self._syncing:
            if self._timer is not None:
                self._timer.cancel()
        super().close()


def _refusal(session: Session, block: PackedBlock, declared: tuple[str, ...] | None) -> str | None:
    """Tell why a block cannot be taken in, None when it can."""
    if not session.scope.is_live:
        return f"the scope {session.scope.scope!r} was deleted while it was written to"
    if block.name in session.deleted_names:
        return f"the name {block.name!r} was deleted while it was written to"
    if declared is not None and tuple(block.fields) != declared:
        return f"the fields of {block.name!r} are {', '.join(declared)}, not {', '.join(block.fields)}"
    if not block.points or len(block.columns) != len(set(block.fields)) or not block.columns:
        return "the block is malformed"
    return columns.flaw(block.columns, block.points, len(block.data))
