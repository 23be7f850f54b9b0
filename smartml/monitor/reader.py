"""A store of records, read in its folder: what there is, and what is new."""

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from smartml.errors import MonitorError, RecordsFormatError
from smartml.monitor import columns
from smartml.monitor.catalogue import Catalogue, Part, Placed
from smartml.monitor.folders import Current, Folder, PathLike, open_folder
from smartml.monitor.records import ANY, Block, Cursor, Removal, Update
from smartml.monitor.records_pb2 import Block as PackedBlock
from smartml.monitor.segments import Record, is_intact, scan

logger = logging.getLogger(__name__)

# Blocks of one record that lie together are read at once up to this size.
_READ_AT_ONCE = 1 << 23
# How often a folder is looked at that another process writes to.
_POLL_INTERVAL_S = 0.2


class Found(NamedTuple):
    """What a query finds, its parts still to be read, one by one."""

    cursor: Cursor
    reset: bool
    removed: list[Removal]
    parts: Iterator[Part]
    has_news: bool


class RecordReader:
    """Read a store in its folder, also while a server writes to it. Usable from several threads; see Records.

    path: a folder or a URL of fsspec; `.log` or `.idx` at its end is left out. Raises RecordsFormatError.
    """

    def __init__(self, path: PathLike) -> None:
        self._folder: Folder = open_folder(path)
        # Held while the catalogue is read or changed; told of when there is news, or none any more.
        self._changed = threading.Condition(threading.RLock())
        self._is_closed = False
        # Blocks and places in files that could not be read.
        self.damaged = 0
        # No store's, until one is found.
        self._current = Current(store="")
        self._open()

    def _open(self) -> None:
        self._refresh()

    def _load(self, current: Current) -> None:
        self._current = current
        self._catalogue = Catalogue()
        # The last segment that was read, and how far.
        self._number, self._end = 0, 0
        self._advance()

    def __str__(self) -> str:
        return str(self._folder)

    # --- Reading what there is ---

    def _refresh(self) -> None:
        """Take in what another process has written since."""
        with self._changed:
            if self._is_closed:
                raise MonitorError(f"the store {self._folder} has been closed here")
            current = self._folder.current()
            while not self._is_taken_in(current):
                # It was compacted while it was read.
                current = self._folder.current()

    def _is_taken_in(self, current: Current | None) -> bool:
        """Take in what is new; return False when it was taken away meanwhile."""
        if current is None:
            raise RecordsFormatError(
                f"there is no store of records at {self._folder}: name the path that the record server was given"
            )
        is_known = current == self._current
        try:
            if is_known:
                self._advance()
            else:
                self._folder.forget(current.folder)
                self._load(current)
        except FileNotFoundError:
            if self._folder.current() == current:
                raise
            return False
        return is_known or self._folder.current() == current

    def _advance(self) -> None:
        folder = self._current.folder
        # The one that grew, then those that came.
        numbers = [self._number] if self._number and self._folder.appends else []
        numbers += self._folder.numbers(folder, self._number)
        for number in numbers:
            if number != self._number:
                self._number, self._end = number, 0
            for record in self._scan(number, self._end, number == numbers[-1]):
                self._take(record, number)

    def _scan(self, number: int, start: int, is_last: bool) -> Iterator[Record]:
        """Yield the whole records of a segment; count and tell of what is passed over."""
        folder = self._current.folder
        for record in scan(partial(self._folder.read, folder, number), start, self._folder.size(folder, number)):
            if record is not None:
                yield record
            else:
                self._note_damage(f"segment {number} of {self._folder} is damaged: what lies there is passed over")

    def _take(self, record: Record, number: int) -> None:
        try:
            self._catalogue.apply(record.outline, number, record.body)
        except KeyError:
            self._note_damage(f"a record of {self._folder} tells of what is not known, for another one was damaged")
        self._end = record.end

    def _note_damage(self, message: str) -> None:
        self.damaged += 1
        logger.warning("%s", message)

    def find(self, cursor: Cursor | None, scopes: str = ANY, names: str = ANY) -> Found:
        """Return what is new since the cursor, to be read part by part. Raises ArgumentValueError."""
        self._refresh()
        with self._changed:
            catalogue, current = self._catalogue, self._current
            end = len(catalogue.entries)
            is_ours = cursor is not None and (cursor.store, cursor.lineage) == (current.store, current.lineage)
            position = cursor.position if cursor is not None and is_ours and cursor.position <= end else 0
            reset = cursor is not None and position == 0 and cursor != Cursor(current.store, current.lineage, 0)
            removed, placed = catalogue.news(position, scopes, names)
        here = Cursor(current.store, current.lineage, end)
        return Found(here, reset, removed, self._parts(current.folder, placed), bool(reset or removed or placed))

    def _parts(self, folder: str, placed: Iterable[Placed]) -> Iterator[Part]:
        for together in _neighbours(placed):
            first, last = together[0], together[-1]
            begin = first.body + first.block.offset
            length = last.block.offset + last.block.length - first.block.offset
            read = memoryview(self._folder.read(folder, first.number, begin, length))
            for name, _, _, block in together:
                offset = block.offset - first.block.offset
                data = bytes(read[offset : offset + block.length])
                if is_intact(block, data):
                    yield Part(name, block, data)
                else:
                    self._note_damage(f"{block.points} points of {name.name!r} in {self._folder} are damaged: left out")

    def query(self, cursor: Cursor | None, scopes: str = ANY, names: str = ANY) -> Update:
        while True:
            found = self.find(cursor, scopes, names)
            try:
                added = [decoded(it.name.scope.scope, it.name.name, it.name.fields, *it[1:]) for it in found.parts]
            except FileNotFoundError:
                # The store was compacted meanwhile.
                continue
            return Update(found.cursor, added, found.removed, found.reset)

    def subscribe(
        self, cursor: Cursor | None, scopes: str = ANY, names: str = ANY, min_interval_s: float = 0.0
    ) -> Iterator[Update]:
        is_first = True
        while not self._is_closed:
            try:
                update = self.query(cursor, scopes, names)
                if update or is_first:
                    is_first = False
                    yield update
                    self._pause(min_interval_s)
                cursor = update.cursor
                self.wait_for_news(cursor)
            except (MonitorError, OSError):
                if not self._is_closed:
                    raise

    def wait_for_news(self, cursor: Cursor, timeout_s: float | None = None) -> bool:
        """Block until there may be something new since the cursor, or the store is closed; False when time ran out."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with self._changed:
                if self._is_closed or self._has_news(cursor):
                    return True
                left = _POLL_INTERVAL_S if deadline is None else min(_POLL_INTERVAL_S, deadline - time.monotonic())
                if left <= 0:
                    return False
                self._changed.wait(left)
                if not self._is_closed:
                    self._refresh()

    def _has_news(self, cursor: Cursor) -> bool:
        current = self._current
        return cursor != Cursor(current.store, current.lineage, len(self._catalogue.entries))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, seconds)

    def scopes(self) -> list[str]:
        self._refresh()
        with self._changed:
            return list(self._catalogue.scopes)

    def names(self, scope: str) -> list[str]:
        self._refresh()
        with self._changed:
            return list(self._catalogue.scope(scope).names)

    def configs(self, scope: str | None = None) -> dict[str, list[dict[str, Any]]]:
        return {known: [json.loads(config) for config in kept] for known, kept in self.packed_configs(scope).items()}

    def packed_configs(self, scope: str | None = None) -> dict[str, list[str]]:
        """Return the configs as JSON text."""
        self._refresh()
        with self._changed:
            chosen = self._catalogue.scopes.values() if scope is None else [self._catalogue.scope(scope)]
            return {known.scope: list(known.configs) for known in chosen}

    @property
    def points(self) -> int:
        """How many points are stored and not deleted."""
        with self._changed:
            return sum(name.points for scope in self._catalogue.scopes.values() for name in scope.names.values())

    @property
    def store_id(self) -> str:
        """What no other store has."""
        return self._current.store

    def close(self) -> None:
        with self._changed:
            if not self._is_closed:
                self._is_closed = True
                self._changed.notify_all()
                self._folder.close()


def decoded(scope: str, name: str, fields: Iterable[str], block: PackedBlock, data: bytes) -> Block:
    """Return a block with its values."""
    arrays = columns.decode(block.columns, block.points, data)
    return Block(scope, name, block.index, dict(zip(fields, arrays, strict=True)))


def _neighbours(placed: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Group the blocks that lie one after the other in one record."""
    together: list[Placed] = []
    for entry in placed:
        if together:
            first, last = together[0], together[-1]
            is_next = (entry.number, entry.body, entry.block.offset) == (
                last.number,
                last.body,
                last.block.offset + last.block.length,
            )
            if not is_next or entry.block.offset + entry.block.length - first.block.offset > _READ_AT_ONCE:
                yield together
                together = []
        together.append(entry)
    if together:
        yield together
