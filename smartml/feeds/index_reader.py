"""Reads from the indices of a database (smartml/store/index.py) what was put under a key scheme."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from smartml.errors import StoreReplyError
from smartml.feeds.announced import Numbers
from smartml.feeds.schemes import KeyScheme
from smartml.store import Database
from smartml.store.index import HEADER_SIZE, MAGIC, NO_NUMBER, RECORD_SIZE, make_header, split_key
from smartml.store.keys import index_key

# An index that nobody has followed for so long disappears. Much longer than it takes to look again, mostly: a feed that
# comes later asks for every key once.
_KEPT_S = 600
# A larger one is begun anew, which costs its followers one look at all keys.
_LARGEST_SIZE = 64 * 1024 * 1024
# Who begins to follow reads so many of the last records for each source, to learn who tells.
_RECORDS_LOOKED_BACK = 4
# Whether many indices, each of few sources, are worth following: one question for all keys costs less than many reads.
_FEW_INDICES = 4
_SOURCES_PER_INDEX = 16


@dataclass
class _Row:
    """The tensors of one producer and prefix, and the index that tells of them."""

    prefix: int
    # Numbers of its sources, one for each rank.
    sources: range
    key: bytes
    # The first number of its names, where that is not a rank; else None.
    first_number: int | None
    # How the index begins that is followed; empty before.
    header: bytes = b""
    # What was read ends here.
    offset: int = 0


class IndexReader:
    """Follows the indices of what some producers put: for each of them one per prefix."""

    def __init__(
        self, database: Database, scheme: KeyScheme, producers: Sequence[str], prefixes: Sequence[str]
    ) -> None:
        self._database = database
        self._has_ranks, self._is_rank_first = scheme.ranks is not None, scheme.order == "rank_iteration"
        ranks = scheme.ranks or 1
        self._rows = []
        for number, producer in enumerate(producers):
            for prefix_number, prefix in enumerate(prefixes):
                key = scheme.key(producer, prefix, None if scheme.ranks is None else 0, 0)
                parts = split_key(key)
                assert parts is not None
                stem, first, _ = parts
                sources = range(number * ranks, (number + 1) * ranks)
                first_number = None if self._has_ranks else first
                self._rows.append(_Row(prefix_number, sources, index_key(stem), first_number))

    @property
    def is_worthwhile(self) -> bool:
        """Whether reading costs less than asking for the keys. In a cluster nobody would tell."""
        sources = sum(len(row.sources) for row in self._rows if row.prefix == 0)
        return not self._database.is_cluster and len(self._rows) <= max(_FEW_INDICES, sources // _SOURCES_PER_INDEX)

    def tend(self) -> list[tuple[int, Numbers]]:
        """Make the indices that are missing, keep the others alive; return of whom what was told no longer counts."""
        questions = [
            question
            for row in self._rows
            for question in (
                (b"EXPIRE", row.key, b"%d" % _KEPT_S),
                (b"GETRANGE", row.key, b"0", b"%d" % (HEADER_SIZE - 1)),
                (b"STRLEN", row.key),
            )
        ]
        try:
            replies = self._database.commands(self._rows[0].key, *questions)
            lost = [
                row
                for row, header, size in zip(self._rows, replies[1::3], replies[2::3], strict=True)
                if not self._is_continued(row, header, size)
            ]
        except StoreReplyError:
            # Something else is there, or it must not be touched, or there is no room: then keys are asked for.
            lost = [row for row in self._rows if row.header]
            for row in lost:
                row.header = b""
        return [(row.prefix, np.arange(row.sources.start, row.sources.stop)) for row in lost]

    def _is_continued(self, row: _Row, header: bytes, size: int) -> bool:
        """Tell whether the index is the one that was followed; follow the one that is there, or a new one."""
        is_whole = header.startswith(MAGIC) and size % RECORD_SIZE == 0 and size <= _LARGEST_SIZE
        if is_whole and header == row.header and size >= row.offset:
            return True
        row.header = b""
        if is_whole:
            row.header = header
            row.offset = max(HEADER_SIZE, size - RECORD_SIZE * _RECORDS_LOOKED_BACK * len(row.sources))
            return False
        made = make_header()
        # Another follower may make one at the same moment. What is damaged or too large is replaced in any case.
        alone = () if size else (b"NX",)
        (reply,) = self._database.commands(row.key, (b"SET", row.key, made, b"EX", b"%d" % _KEPT_S, *alone))
        if reply is not None:
            row.header, row.offset = made, HEADER_SIZE
        return False

    def read(self) -> Iterator[tuple[int, Numbers, Numbers]]:
        """Read what was told since the last call: for each prefix the sources that put something, and iterations."""
        rows = [row for row in self._rows if row.header]
        if not rows:
            return
        try:
            replies = self._database.commands(
                rows[0].key, *[(b"GETRANGE", row.key, b"%d" % row.offset, b"-1") for row in rows]
            )
        except StoreReplyError:
            # The next time that indices are tended will tell.
            return
        for row, text in zip(rows, replies, strict=True):
            count = len(text) // RECORD_SIZE
            if count:
                row.offset += RECORD_SIZE * count
                yield row.prefix, *self._parse(row, text[: RECORD_SIZE * count])

    def _parse(self, row: _Row, text: bytes) -> tuple[Numbers, Numbers]:
        """Return sources and iterations of the records that speak of this row."""
        numbers = np.frombuffer(text, "<u4").reshape(-1, 2).T.astype(np.int64)
        if not self._has_ranks:
            iterations = numbers[1, numbers[0] == row.first_number]
            return np.full(len(iterations), row.sources.start), iterations
        ranks, iterations = numbers if self._is_rank_first else numbers[::-1]
        if ranks.max() >= len(row.sources) or iterations.max() >= NO_NUMBER:
            is_ours = (ranks < len(row.sources)) & (iterations < NO_NUMBER)
            ranks, iterations = ranks[is_ours], iterations[is_ours]
        return (ranks + row.sources.start if row.sources.start else ranks), iterations
