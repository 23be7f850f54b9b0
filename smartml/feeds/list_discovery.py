"""Which datasets are new on aggregation lists."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smartml.errors import MetadataError, SmartMLError
from smartml.feeds.discovery import Arrival, Places
from smartml.feeds.intervals import NOTHING, Intervals
from smartml.feeds.ledger import Ledger
from smartml.feeds.schemes import DataInfo
from smartml.feeds.sources import list_sources
from smartml.store import Database
from smartml.store.dataset import decode_fields
from smartml.store.keys import COMPLETE_FIELD, TENSOR_NAMES_FIELD, DatasetKeys

logger = logging.getLogger(__name__)

# It is looked up what was deleted or dropped when datasets were missing in 4, 8, 16 … updates in a row.
_IDLE_BEFORE_LOOK_UP = 4


class ListDiscovery:
    """Follows the aggregation list of every producer.

    An entry counts once, however often the list names it. One whose dataset is not complete yet is looked at again
    at every update and holds up no other, unless the list's record says that it was deleted or dropped: that is looked
    up at first, and ever more rarely while datasets are missing.
    """

    def __init__(self, database: Database, info: DataInfo, producers: Sequence[str]) -> None:
        self._database = database
        self._tensor_names = [info.sample_name]
        if info.target_name and info.target_name != info.sample_name:
            self._tensor_names.append(info.target_name)
        self._lists = [info.list_key(name) for name in producers]
        # Per list: its entries as far as they were read, and the different ones among them.
        self._entries: list[list[bytes]] = [[] for _ in self._lists]
        self._known: list[set[bytes]] = [set() for _ in self._lists]
        # What was not dealt with yet: places, in the order in which they were read.
        self._pending: dict[tuple[int, int], None] = {}
        # Names of tensors, as datasets have them stored, among which are those that are looked for.
        self._fitting_names: set[bytes | None] = set()
        # What is wrong with entries that were found.
        self._problems: dict[tuple[int, int], SmartMLError] = {}
        self._repeated: list[tuple[int, int]] = []
        # Per list: what was dealt with before this one took over.
        self._resumed = [NOTHING] * len(self._lists)
        self._ledger = Ledger(database, list_sources(info, producers))
        # Per list: what is gone, as far as is known; None before that was asked.
        self._gone: list[Intervals] | None = None
        # Updates in a row in which datasets were missing.
        self._incomplete = 0

    def find(self) -> Places:
        if self._gone is None:
            self._pass_over_gone()
        self._read_lists()
        described = self._database.each(
            [
                (b"HMGET", DatasetKeys(self._entry(place)).metadata, COMPLETE_FIELD, TENSOR_NAMES_FIELD)
                for place in self._pending
            ]
        )
        found = []
        for place, (complete, names) in zip(self._pending, described, strict=True):
            if complete is None:
                continue
            found.append(place)
            # Mostly all datasets of a list name the same tensors.
            if names not in self._fitting_names:
                problem = self._find_problem(self._entry(place), names)
                if problem is None:
                    self._fitting_names.add(names)
                else:
                    self._problems[place] = problem
        self._incomplete = self._incomplete + 1 if len(found) < len(self._pending) else 0
        if self._incomplete >= _IDLE_BEFORE_LOOK_UP and self._incomplete & (self._incomplete - 1) == 0:
            self._pass_over_gone()
        return np.array([place for place in found if place in self._pending], np.int64).reshape(-1, 2)

    def arrivals(self, places: Places) -> list[Arrival]:
        self._read_up_to(places)
        return [
            Arrival(self._tensor_keys(self._entry(place)), place, None, self._problems.get(place))
            for place in map(tuple, places.tolist())
        ]

    def find_gone(self, places: Places) -> NDArray[np.bool_]:
        gone = [record.gone for record in self._ledger.read()]
        return np.array([position in gone[source] for source, position in places.tolist()], np.bool_)

    def _pass_over_gone(self) -> None:
        """Look up what is gone of the lists, and wait for none of it."""
        self._gone = [record.gone for record in self._ledger.read()]
        gone = [place for place in self._pending if place[1] in self._gone[place[0]]]
        for place in gone:
            del self._pending[place]
        if gone:
            logger.info("%d batches were deleted or dropped before this feed read them", len(gone))

    def _read_up_to(self, places: Places) -> None:
        """Read lists whose entries at these places others have read."""
        if any(position >= len(self._entries[source]) for source, position in places.tolist()):
            self._read_lists()

    def _read_lists(self) -> None:
        commands = [
            (b"LRANGE", key, b"%d" % len(entries), b"-1")
            for key, entries in zip(self._lists, self._entries, strict=True)
        ]
        for source, new in enumerate(self._database.each(commands)):
            known = self._known[source]
            gone = NOTHING if self._gone is None else self._gone[source]
            for position, entry in enumerate(new, len(self._entries[source])):
                if entry in known:
                    self._repeated.append((source, position))
                    continue
                if position not in gone and position not in self._resumed[source]:
                    self._pending[source, position] = None
                known.add(entry)
            self._entries[source] += new

    def _entry(self, place: tuple[int, int]) -> bytes:
        source, position = place
        return self._entries[source][position]

    def _find_problem(self, entry: bytes, stored_names: bytes | None) -> SmartMLError | None:
        text = entry.decode(errors="replace")
        try:
            _, names = decode_fields({} if stored_names is None else {TENSOR_NAMES_FIELD: stored_names}, text)
        except MetadataError as error:
            return error
        for name in self._tensor_names:
            if name not in names:
                return MetadataError(f"dataset {text!r} has no tensor {name!r}; its tensors are: {', '.join(names)}")
        return None

    def confirm(self, places: Places) -> None:
        # Else they would be found here, too.
        self._read_up_to(places)
        for source, position in places.tolist():
            self._pending.pop((source, position), None)
            self._problems.pop((source, position), None)

    def dealt_with(self) -> list[Intervals]:
        return [
            Intervals.joined([(0, len(entries))]) - Intervals.of(p for s, p in self._pending if s == source)
            for source, entries in enumerate(self._entries)
        ]

    def resume(self, dealt_with: Sequence[Intervals]) -> None:
        self._resumed = list(dealt_with)

    def describe_next(self) -> list[bytes]:
        return [*self._lists, *(DatasetKeys(self._entry(place)).metadata for place in self._pending)]

    def take_repeated(self) -> Places:
        taken, self._repeated = self._repeated, []
        return np.array(taken, np.int64).reshape(-1, 2)

    def _tensor_keys(self, entry: bytes) -> tuple[bytes, ...]:
        return tuple(DatasetKeys(entry).tensor(name) for name in self._tensor_names)
