"""Which tensors are new under a key scheme: one question per update for all producers and ranks together."""

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from smartml.feeds.announced import Announced, Numbers
from smartml.feeds.discovery import NOWHERE, Arrival, Places
from smartml.feeds.index_reader import IndexReader
from smartml.feeds.intervals import Intervals
from smartml.feeds.ledger import Ledger
from smartml.feeds.schemes import KeyScheme
from smartml.feeds.sources import list_sources
from smartml.store import Database

logger = logging.getLogger(__name__)

# Counts how many of some keys exist.
Count: TypeAlias = Callable[[], int]

# So often, at least, all keys are asked for, whatever was announced.
_FULL_LOOK_S = 1.0
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


# No sources.
NOBODY: Numbers = np.empty(0, np.int64)


class KeyDiscovery:
    """Follows the iterations of every producer and rank (a source, each) under a key scheme.

    An iteration that is missing is waited for; when later ones are there already, that is logged as a warning. One that
    was deleted because trainers had read it is passed over: where the row begins is looked up at first, and again when
    a source stays silent.

    What is new is read from indices that producers append to (smartml/store/index.py), for sources whose last batch was
    announced there; the others are asked for by their keys at every update, and all of them every `full_look_s`
    seconds. So what is put by those who announce nothing is found at the next update, or within that time where the
    batch before was announced. In clusters, where there are no indices, and where each would tell of few sources only,
    all are asked for at every update. Who looks but once makes no index.
    """

    def __init__(
        self, database: Database, scheme: KeyScheme, producers: Sequence[str], *, full_look_s: float = _FULL_LOOK_S
    ) -> None:
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
        # By prefix and source: what stands before and behind the iteration in its keys.
        self._ends_of_keys = [
            [scheme.key(entity, prefix, rank, "*").rpartition(b"*") for entity, rank in self._sources]
            for prefix in self._prefixes
        ]
        # Per source: the next iteration to come. A key of its samples, kept so as not to be made at every update, and
        # the iteration that this is of.
        self._next = np.zeros(len(self._sources), np.int64)
        self._kept_keys = [b""] * len(self._sources)
        self._kept_of = np.full(len(self._sources), -1)
        # Per source: whether something is gone behind the next iteration.
        self._has_holes = np.zeros(len(self._sources), np.bool_)
        self._announced = Announced(len(self._prefixes), len(self._sources))
        reader = IndexReader(database, scheme, producers, self._prefixes)
        self._reader = reader if reader.is_worthwhile else None
        # Seconds between full looks, and when the last one was.
        self.full_look_s, self._last_full_look = full_look_s, 0.0
        # The question that every update begins with where sources are not covered: does any of their next keys exist?
        # Made anew when one changes, or for other sources than these.
        self._question: Count | None = None
        self._questioned = self._announced.asked
        # Whether the last answer to it, and whether the last look at all, found something.
        self._is_some_there = self._is_some_waiting = False
        # Per source: updates in a row that brought nothing, whether it is to be looked into for a gap, and whether the
        # gap that it waits behind was reported.
        self._idle = np.zeros(len(self._sources), np.int64)
        self._is_due = np.zeros(len(self._sources), np.bool_)
        self._updates = 0
        self._is_reported = np.zeros(len(self._sources), np.bool_)

    def find(self) -> Places:
        now, is_full_look, doubted = time.monotonic(), False, NOBODY
        if not self._has_begun:
            self._warn_of_repetition(self._pass_over_gone(range(len(self._sources))))
            self._has_begun = True
            self._last_full_look = now
        elif self._reader is not None and now - self._last_full_look >= self.full_look_s:
            is_full_look, self._last_full_look = True, now
        if is_full_look:
            self._tend_indices()
            has_news = self._read_indices()
            doubted = self._doubt()
        else:
            has_news = self._announced.is_any_covered and self._read_indices()
        asked = self._announced.asked
        has_news |= len(asked) > 0 and self._ask(asked)
        ends, waiting = self._next, NOBODY
        if has_news or self._is_some_waiting or len(doubted):
            ends = self._announced.ends()
            waiting = np.flatnonzero(ends > self._next)
        # What was announced, and is not there, was most likely deleted.
        self._is_due[doubted] = True
        if len(asked) or is_full_look:
            is_about_all = is_full_look or len(asked) == len(self._sources)
            self._look_for_gaps(slice(None) if is_about_all else asked, waiting)
        self._is_some_waiting = len(waiting) > 0
        return self._list_places(waiting, ends) if len(waiting) else NOWHERE

    # By index

    def _tend_indices(self) -> None:
        assert self._reader is not None
        for prefix, sources in self._reader.tend():
            self._announced.forget(prefix, sources)

    def _read_indices(self) -> bool:
        """Take note of what was announced since the last time; tell whether anything was."""
        assert self._reader is not None
        has_news = False
        for prefix, sources, iterations in self._reader.read():
            self._announced.note(prefix, sources, iterations)
            has_news = True
        return has_news

    def _doubt(self) -> Numbers:
        """Uncover sources whose announcements and keys differ, or may; return those whose batches may be gone."""
        announced = self._announced
        covered = np.flatnonzero(announced.expected[0] >= 0)
        # What was found before, and nobody has confirmed.
        doubted: Numbers = covered[announced.ends()[covered] > self._next[covered]]
        announced.uncover(doubted)
        first = announced.expected[0]
        covered = np.flatnonzero(first >= 0)
        self._uncover_unannounced(0, covered)
        for prefix in range(1, len(self._prefixes)):
            # While samples are not there, it does not matter whether their targets are.
            self._uncover_unannounced(prefix, covered[announced.expected[prefix, covered] < first[covered]])
        return doubted

    def _uncover_unannounced(self, prefix: int, sources: Numbers) -> None:
        """Uncover those of which a tensor is there that was not announced, or was so only a moment ago."""
        iterations = self._announced.expected[prefix, sources]
        if prefix == 0:
            keys = self._sample_keys(sources, iterations)
        else:
            pairs = zip(sources.tolist(), iterations.tolist(), strict=True)
            keys = [self._keys(source, iteration)[prefix] for source, iteration in pairs]
        if self._database.count_existing(keys):
            self._announced.uncover(sources[np.array(self._exist(keys))])

    # By key

    def _ask(self, asked: Numbers) -> bool:
        """Ask for the next batches of sources; tell whether there are any, or were the last time."""
        if self._question is None or self._questioned is not asked:
            self._question = self._database.prepare_count(self._sample_keys(asked, self._next[asked]))
            self._questioned = asked
        # One answer settles the usual case, that nothing is new anywhere.
        ready = self._count_ready(asked.tolist()) if self._question() else {}
        if not ready and not self._is_some_there:
            return False
        self._is_some_there = len(ready) > 0
        ends = self._next.copy()
        for source, count in ready.items():
            ends[source] = self._gone[source].next_outside(self._iterations(source, 0, count)[-1] + 1)
        self._announced.settle(asked, ends[asked])
        return True

    # What is found

    def _list_places(self, sources: Numbers, ends: Numbers) -> Places:
        """Return the places of all that waits of these sources, whose rows end so far."""
        first = self._next
        if len(sources) < len(first):
            first, ends = first[sources], ends[sources]
        counts = ends - first
        if self._has_holes.any() and self._has_holes[sources].any():
            iterations = [
                [number for number in range(start, start + count) if number not in self._gone[source]]
                for source, start, count in zip(sources.tolist(), first.tolist(), counts.tolist(), strict=True)
            ]
            counts = np.array([len(some) for some in iterations])
            return np.stack([np.repeat(sources, counts), np.concatenate(iterations)], axis=1)
        if counts.max() > 1:
            # The first of each source, counted on.
            first = np.repeat(first - np.cumsum(counts) + counts, counts)
            first += np.arange(len(first))
            sources = np.repeat(sources, counts)
        places = np.empty((len(sources), 2), np.int64)
        places[:, 0], places[:, 1] = sources, first
        return places

    def arrivals(self, places: Places) -> list[Arrival]:
        return [
            Arrival(self._keys(source, iteration), (source, iteration), source) for source, iteration in places.tolist()
        ]

    def find_gone(self, places: Places) -> NDArray[np.bool_]:
        sources = np.unique(places[:, 0]).tolist()
        gone = {source: record.gone for source, record in zip(sources, self._ledger.read(sources), strict=True)}
        return np.array([iteration in gone[source] for source, iteration in places.tolist()], np.bool_)

    def _count_ready(self, open_sources: list[int]) -> dict[int, int]:
        """Count for each source, where it is not 0, how many batches in a row are there: samples and targets both."""
        ready: dict[int, int] = {}
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
            # Of these all that was asked for is there: there may be more behind it.
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

    def _look_for_gaps(self, looked: Numbers | slice, ready: Numbers) -> None:
        """Warn of iterations that later ones have overtaken; ask ever more rarely about a source that stays silent."""
        self._idle[looked] += 1
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
            first = int(self._next[source])
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
        """Go on at an iteration, or the first behind it that is not gone."""
        parts = self._gone[source].parts
        following = self._next[source] = self._gone[source].next_outside(iteration)
        self._has_holes[source] = bool(parts) and parts[-1][1] > following
        self._catch_up(np.array([source]))

    def _catch_up(self, sources: Numbers) -> None:
        """Note that the next iteration of sources has changed."""
        if len(self._announced.asked) == 0:
            return
        asked = sources[self._announced.expected[0, sources] < 0]
        if len(asked):
            self._question = None
            self._announced.settle(asked, np.maximum(self._announced.ends()[asked], self._next[asked]))

    def confirm(self, places: Places) -> None:
        if not len(places):
            return
        sources, ends = places[:, 0], places[:, 1] + 1
        if (sources[1:] > sources[:-1]).all():
            self._next[sources] = np.maximum(self._next[sources], ends)
        else:
            np.maximum.at(self._next, sources, ends)
            sources = np.unique(sources)
        # Mostly there are none, and to look at all costs less than at some.
        if self._has_holes.any():
            for source in sources[self._has_holes[sources]].tolist():
                self._go_on(source, int(self._next[source]))
        if self._is_reported.any():
            self._is_reported[sources] = False
        self._catch_up(sources)

    def dealt_with(self) -> list[Intervals]:
        return [Intervals.joined([(0, iteration)]) for iteration in self._next.tolist()]

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
        first, gone = int(self._next[source]), self._gone[source]
        if self._has_holes[source]:
            iterations = [first]
            while len(iterations) < end:
                iterations.append(gone.next_outside(iterations[-1] + 1))
            return iterations[start:]
        return range(first + start, first + end)

    def _keys(self, source: int, iteration: int) -> tuple[bytes, ...]:
        number = b"%d" % iteration
        return tuple([ends[source][0] + number + ends[source][2] for ends in self._ends_of_keys])

    def _sample_keys(self, sources: Numbers, iterations: Numbers) -> list[bytes]:
        """Return a key of samples for each of some sources, from what is kept where that is the same."""
        is_old = self._kept_of[sources] != iterations
        self._kept_of[sources] = iterations
        for source, iteration in zip(sources[is_old].tolist(), iterations[is_old].tolist(), strict=True):
            self._kept_keys[source] = self._keys(source, iteration)[0]
        if len(sources) == len(self._kept_keys):
            return self._kept_keys.copy()
        return [self._kept_keys[source] for source in sources.tolist()]
