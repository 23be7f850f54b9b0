"""Which tensors are new under a key scheme: asks the server once per update for all producers and ranks together."""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from smartml.feeds.discovery import NOWHERE, Arrival, Places
from smartml.feeds.intervals import Intervals
from smartml.feeds.ledger import Ledger
from smartml.feeds.schemes import KeyScheme
from smartml.feeds.sources import list_sources
from smartml.store import Database

logger = logging.getLogger(__name__)

# Counts how many of some keys exist.
Count: TypeAlias = Callable[[], int]

# Iterations asked for at once, per producer and rank, when none is known to wait; doubled as long as all are there.
_FIRST_LOOK_AHEAD = 2
# Many keys are asked for in groups of this size: mostly all of a group are there, or none, and one answer tells.
_GROUP = 64
# A gap is looked for in updates number 4, 8, 16 … in a row that bring nothing, so many iterations further on.
_IDLE_BEFORE_GAP = 4
_GAP_LOOK_AHEAD = 16
# Where more sources than this are to be looked into, so many have their turn in every eighth update.
_GAPS_AT_ONCE = 128
_UPDATES_PER_TURN = 8


class KeyDiscovery:
    """Follows the iterations of every producer and rank (a source, each) under a key scheme.

    An iteration that is missing is waited for; when later ones are there already, that is logged as a warning. One that
    was deleted because trainers had read it is passed over: where the row begins is looked up at first, and again when
    a source stays silent.
    """

    def __init__(self, database: Database, scheme: KeyScheme, producers: Sequence[str]) -> None:
        self._database = database
        self._scheme = scheme
        self._prefixes = [scheme.sample_prefix]
        if scheme.target_prefix and scheme.target_prefix != scheme.sample_prefix:
            self._prefixes.append(scheme.target_prefix)
        ranks = [None] if scheme.ranks is None else list(range(scheme.ranks))
        self._sources = list(itertools.product(producers, ranks))
        self._ledger = Ledger(database, list_sources(scheme, producers))
        # Per source: what is gone, as far as is known. Whether that was ever asked.
        self._gone = [Intervals()] * len(self._sources)
        self._has_begun = False
        # Per source: the next iteration to come, and the key of its samples, kept so as not to be made at every update.
        self._next = [0] * len(self._sources)
        self._next_keys = [self._keys(source, 0)[0] for source in range(len(self._sources))]
        # The question that every update begins with: does any of those keys exist? Made anew when one changes.
        self._question: Count | None = None
        # Per source: updates in a row that brought nothing, whether it is to be looked into for a gap, and whether the
        # gap that it waits behind was reported.
        self._idle = np.zeros(len(self._sources), np.int64)
        self._is_due = np.zeros(len(self._sources), np.bool_)
        self._updates = 0
        self._is_reported = np.zeros(len(self._sources), np.bool_)

    def find(self) -> Places:
        if not self._has_begun:
            self._warn_of_repetition(self._pass_over_gone(range(len(self._sources))))
            self._has_begun = True
        # One answer settles the usual case, that nothing is new anywhere.
        if self._question is None:
            self._question = self._database.prepare_count(self._next_keys)
        ready = self._count_ready() if self._question() else {}
        self._look_for_gaps(list(ready))
        if not ready:
            return NOWHERE
        sources = sorted(ready)
        iterations = [self._iterations(source, 0, ready[source]) for source in sources]
        counts = [len(some) for some in iterations]
        return np.stack([np.repeat(sources, counts), np.concatenate(iterations)], axis=1)

    def arrivals(self, places: Places) -> list[Arrival]:
        return [
            Arrival(self._keys(source, iteration), (source, iteration), source) for source, iteration in places.tolist()
        ]

    def find_gone(self, places: Places) -> NDArray[np.bool_]:
        sources = np.unique(places[:, 0]).tolist()
        gone = {source: record.gone for source, record in zip(sources, self._ledger.read(sources), strict=True)}
        return np.array([iteration in gone[source] for source, iteration in places.tolist()], np.bool_)

    def _count_ready(self) -> dict[int, int]:
        """Count for each source, where it is not 0, how many batches in a row are there: samples and targets both."""
        ready: dict[int, int] = {}
        # Sources of which all that was asked for is there: there may be more behind it.
        open_sources = list(range(len(self._sources)))
        start, end = 0, _FIRST_LOOK_AHEAD
        while open_sources:
            iterations = [self._iterations(source, start, end) for source in open_sources]
            # By iteration first, so that one group of keys is mostly there as a whole, or not at all.
            keys = [
                key
                for at_once in zip(*iterations, strict=True)
                for source, iteration in zip(open_sources, at_once, strict=True)
                for key in self._keys(source, iteration)
            ]
            shape = (end - start, len(open_sources), len(self._prefixes))
            is_there = np.array(self._exist(keys)).reshape(shape).all(axis=2)
            # In a row: nothing counts behind the first that is missing.
            counts = np.minimum.accumulate(is_there, axis=0).sum(axis=0)
            for source, count in zip(open_sources, counts.tolist(), strict=True):
                if count:
                    ready[source] = start + count
            open_sources = [source for source in open_sources if ready.get(source, 0) == end]
            start, end = end, 2 * end
        return ready

    def _exist(self, keys: Sequence[bytes]) -> list[bool]:
        """Tell for each key whether it exists; asks for many in groups, then for those of undecided groups singly."""
        if len(keys) <= _GROUP or self._database.is_cluster:
            return self._database.exist(keys)
        groups = [keys[first : first + _GROUP] for first in range(0, len(keys), _GROUP)]
        counts = self._database.commands(keys[0], *((b"EXISTS", *group) for group in groups))
        undecided = [
            key for group, count in zip(groups, counts, strict=True) if 0 < count < len(group) for key in group
        ]
        answers = iter(self._database.exist(undecided))
        return [
            next(answers) if 0 < count < len(group) else count > 0
            for group, count in zip(groups, counts, strict=True)
            for _ in group
        ]

    def _look_for_gaps(self, ready: Sequence[int]) -> None:
        """Warn of iterations that later ones have overtaken; ask ever more rarely about a source that stays silent."""
        self._idle += 1
        self._idle[ready] = 0
        self._is_due |= (self._idle >= _IDLE_BEFORE_GAP) & (self._idle & (self._idle - 1) == 0)
        self._is_due[ready] = False
        due = np.flatnonzero(self._is_due).tolist()
        self._updates += 1
        if len(due) > _GAPS_AT_ONCE:
            due = due[:_GAPS_AT_ONCE] if self._updates % _UPDATES_PER_TURN == 0 else []
        if not due:
            return
        self._is_due[due] = False
        later = [
            (source, iteration, self._keys(source, iteration)[0])
            for source in due
            if not self._is_reported[source]
            for iteration in self._iterations(source, 1, 1 + _GAP_LOOK_AHEAD)
        ]
        keys = [key for *_, key in later]
        if not self._database.count_existing([*keys, *(self._ledger.keys[source] for source in due)]):
            return
        # A row that goes on further behind is no gap.
        moved = self._pass_over_gone(due)
        self._warn_of_overtaking(moved)
        later = [it for it in later if it[0] not in moved]
        keys = [key for *_, key in later]
        for (source, iteration, _), is_there in zip(later, self._exist(keys), strict=True):
            if is_there and not self._is_reported[source]:
                self._is_reported[source] = True
                missing = " and ".join(repr(key.decode()) for key in self._missing([source]))
                logger.warning("waiting for %s, while iteration %d is there", missing, iteration)

    def _pass_over_gone(self, sources: Sequence[int]) -> dict[int, int]:
        """Look up what is gone of sources, and go on behind it; return which iterations were next and are gone."""
        moved = {}
        for source, record in zip(sources, self._ledger.read(sources), strict=True):
            self._gone[source] = record.gone
            first = self._next[source]
            self._go_on(source, first)
            if self._next[source] != first:
                moved[source] = first
        return moved

    def _warn_of_overtaking(self, moved: Mapping[int, int]) -> None:
        for source, first in moved.items():
            logger.warning(
                "%s goes on at iteration %d for this feed: those from %d on were read by others and deleted",
                self._row(source),
                self._next[source],
                first,
            )

    def _warn_of_repetition(self, moved: Mapping[int, int]) -> None:
        """Warn of iterations that were deleted and put again: a producer that was started anew, most likely."""
        if not moved:
            return
        keys = [self._keys(source, first)[0] for source, first in moved.items()]
        for source, key, is_there in zip(moved, keys, self._exist(keys), strict=True):
            if is_there:
                logger.warning(
                    "%r is there again, after it was read and deleted: %s is passed over up to iteration %d. For a run "
                    "that begins anew in this database, delete the key %r",
                    key.decode(),
                    self._row(source),
                    self._next[source],
                    self._ledger.keys[source].decode(),
                )

    def _row(self, source: int) -> str:
        entity, rank = self._sources[source]
        return self._scheme.key(entity, self._scheme.sample_prefix, rank, "*").decode()

    def _go_on(self, source: int, iteration: int) -> None:
        gone = self._gone[source]
        self._next[source] = gone.next_outside(iteration) if gone.parts else iteration
        self._next_keys[source] = self._keys(source, self._next[source])[0]
        self._question = None

    def confirm(self, places: Places) -> None:
        ends: dict[int, int] = {}
        for source, iteration in places.tolist():
            ends[source] = max(ends.get(source, self._next[source]), iteration + 1)
        for source, end in ends.items():
            self._is_reported[source] = False
            self._go_on(source, end)

    def dealt_with(self) -> list[Intervals]:
        return [Intervals.joined([(0, iteration)]) for iteration in self._next]

    def resume(self, dealt_with: Sequence[Intervals]) -> None:
        for source, iterations in enumerate(dealt_with):
            self._go_on(source, iterations.floor)

    def describe_next(self) -> list[bytes]:
        return self._missing(range(len(self._sources)))

    def take_repeated(self) -> Places:
        return NOWHERE

    def _missing(self, sources: Sequence[int]) -> list[bytes]:
        """List the keys that these sources wait for."""
        keys = [key for source in sources for key in self._keys(source, self._next[source])]
        return [key for key, is_there in zip(keys, self._exist(keys), strict=True) if not is_there]

    def _iterations(self, source: int, start: int, end: int) -> Sequence[int]:
        """The iterations number `start` to `end` (without it) that are next to come from a source."""
        first, gone = self._next[source], self._gone[source]
        if gone.parts and gone.parts[-1][1] > first:
            iterations = [first]
            while len(iterations) < end:
                iterations.append(gone.next_outside(iterations[-1] + 1))
            return iterations[start:]
        return range(first + start, first + end)

    def _keys(self, source: int, iteration: int) -> tuple[bytes, ...]:
        entity, rank = self._sources[source]
        return tuple(self._scheme.key(entity, prefix, rank, iteration) for prefix in self._prefixes)
