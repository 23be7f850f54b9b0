"""Which tensors are new: asks the server once per update for all producers and ranks together."""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from smartml.errors import MetadataError, SmartMLError
from smartml.feeds.intervals import Intervals
from smartml.feeds.ledger import Ledger
from smartml.feeds.schemes import DataInfo, KeyScheme
from smartml.feeds.sources import list_sources
from smartml.store import Database
from smartml.store.dataset import decode_fields
from smartml.store.keys import COMPLETE_FIELD, DatasetKeys

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


@dataclass(frozen=True)
class Arrival:
    """The keys of one batch of samples that is there to be taken: samples, and targets if there are any."""

    keys: tuple[bytes, ...]
    # Where it stands, for the discovery that found it.
    position: int
    # Arrivals of one line join in order, none before those ahead of it. None: it stands in no line.
    line: int | None = None
    # Why it cannot be taken, where that shows without looking at its tensors.
    problem: SmartMLError | None = None
    # The number of its source, and its position there.
    place: tuple[int, int] = (0, 0)


class Discovery(Protocol):
    """Finds arrivals. What was found is found again until it is confirmed as dealt with."""

    def find(self) -> list[Arrival]:
        """List what is there and was not dealt with yet, in a fixed order of producers, ranks and iterations."""

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        """Note arrivals, in any order, as dealt with."""

    def describe_next(self) -> list[bytes]:
        """List the keys that the next arrivals are expected under."""

    def take_repeated(self) -> list[tuple[int, int]]:
        """Return, once, the places found since the last call that name again what stands at another place."""


class KeyDiscovery:
    """Follows the iterations of every producer and rank (a source, each) under a key scheme.

    A replica takes every `num_replicas`-th batch, shifted from source to source. An iteration that is missing is
    waited for; when later ones are there already, that is logged as a warning. One that was deleted because trainers
    had read it is passed over: where the row begins is looked up at first, and again when a source stays silent.
    """

    def __init__(
        self,
        database: Database,
        scheme: KeyScheme,
        producers: Sequence[str],
        replica_rank: int = 0,
        num_replicas: int = 1,
    ) -> None:
        self._database = database
        self._scheme = scheme
        self._stride = num_replicas
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
        self._next = [(replica_rank - number) % num_replicas for number in range(len(self._sources))]
        self._next_keys = [self._keys(number, iteration)[0] for number, iteration in enumerate(self._next)]
        # The question that every update begins with: does any of those keys exist? Made anew when one changes.
        self._question: Count | None = None
        # Per source: updates in a row that brought nothing, whether it is to be looked into for a gap, and whether the
        # gap that it waits behind was reported.
        self._idle = np.zeros(len(self._sources), np.int64)
        self._is_due = np.zeros(len(self._sources), np.bool_)
        self._updates = 0
        self._is_reported = np.zeros(len(self._sources), np.bool_)

    def find(self) -> list[Arrival]:
        if not self._has_begun:
            self._warn_of_repetition(self._pass_over_gone(range(len(self._sources))))
            self._has_begun = True
        # One answer settles the usual case, that nothing is new anywhere.
        if self._question is None:
            self._question = self._database.prepare_count(self._next_keys)
        ready = self._count_ready() if self._question() else {}
        self._look_for_gaps(list(ready))
        return [
            Arrival(self._keys(source, iteration), iteration, source, place=(source, iteration))
            for source, count in sorted(ready.items())
            for iteration in self._iterations(source, 0, count)
        ]

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
        self._next[source] = gone.next_outside(iteration, self._stride) if gone.parts else iteration
        self._next_keys[source] = self._keys(source, self._next[source])[0]
        self._question = None

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            assert arrival.line is not None
            self._next[arrival.line] = max(self._next[arrival.line], arrival.position + self._stride)
            self._is_reported[arrival.line] = False
        for source in {arrival.line for arrival in arrivals if arrival.line is not None}:
            self._go_on(source, self._next[source])

    def describe_next(self) -> list[bytes]:
        return self._missing(range(len(self._sources)))

    def take_repeated(self) -> list[tuple[int, int]]:
        return []

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
                iterations.append(gone.next_outside(iterations[-1] + self._stride, self._stride))
            return iterations[start:]
        return range(first + start * self._stride, first + end * self._stride, self._stride)

    def _keys(self, source: int, iteration: int) -> tuple[bytes, ...]:
        entity, rank = self._sources[source]
        return tuple(self._scheme.key(entity, prefix, rank, iteration) for prefix in self._prefixes)


@dataclass(frozen=True)
class _Entry:
    """What a list names, and where."""

    name: bytes
    place: tuple[int, int]


class ListDiscovery:
    """Follows the aggregation list of every producer.

    An entry counts once, however often the list names it. One whose dataset is not complete yet is looked at again
    at every update and holds up no other, unless the list's record says that it was deleted or dropped: that is looked
    up at first, and ever more rarely while datasets are missing. A replica takes every `num_replicas`-th new entry,
    shifted from list to list.
    """

    def __init__(
        self,
        database: Database,
        info: DataInfo,
        producers: Sequence[str],
        replica_rank: int = 0,
        num_replicas: int = 1,
    ) -> None:
        self._database = database
        self._tensor_names = [info.sample_name]
        if info.target_name and info.target_name != info.sample_name:
            self._tensor_names.append(info.target_name)
        self._lists = [info.list_key(name) for name in producers]
        self._replica_rank = replica_rank
        self._num_replicas = num_replicas
        # Per list: how many entries were read, and the different ones among them.
        self._read = [0] * len(self._lists)
        self._known: list[set[bytes]] = [set() for _ in self._lists]
        # Different entries in all lists together; those to be taken, by their number among these.
        self._entries = 0
        self._pending: dict[int, _Entry] = {}
        self._repeated: list[tuple[int, int]] = []
        self._ledger = Ledger(database, list_sources(info, producers))
        # Per list: what is gone, as far as is known; None before that was asked.
        self._gone: list[Intervals] | None = None
        # Updates in a row in which datasets were missing.
        self._incomplete = 0

    def find(self) -> list[Arrival]:
        if self._gone is None:
            self._pass_over_gone()
        self._read_lists()
        hashes = self._database.hashes([DatasetKeys(entry.name).metadata for entry in self._pending.values()])
        arrivals = [
            Arrival(self._tensor_keys(entry.name), number, None, self._find_problem(entry.name, stored), entry.place)
            for (number, entry), stored in zip(self._pending.items(), hashes, strict=True)
            if COMPLETE_FIELD in stored
        ]
        self._incomplete = self._incomplete + 1 if len(arrivals) < len(self._pending) else 0
        if self._incomplete >= _IDLE_BEFORE_GAP and self._incomplete & (self._incomplete - 1) == 0:
            self._pass_over_gone()
        return [arrival for arrival in arrivals if arrival.position in self._pending]

    def _pass_over_gone(self) -> None:
        """Look up what is gone of the lists, and wait for none of it."""
        self._gone = [record.gone for record in self._ledger.read()]
        gone = [number for number, entry in self._pending.items() if entry.place[1] in self._gone[entry.place[0]]]
        for number in gone:
            del self._pending[number]
        if gone:
            logger.info("%d batches were deleted or dropped before this feed read them", len(gone))

    def _read_lists(self) -> None:
        commands = [(b"LRANGE", key, b"%d" % read, b"-1") for key, read in zip(self._lists, self._read, strict=True)]
        for source, entries in enumerate(self._database.each(commands)):
            first = self._read[source]
            self._read[source] += len(entries)
            known = self._known[source]
            gone = Intervals() if self._gone is None else self._gone[source]
            for index, entry in enumerate(entries, first):
                if entry in known:
                    self._repeated.append((source, index))
                    continue
                if (len(known) + source) % self._num_replicas == self._replica_rank and index not in gone:
                    self._pending[self._entries] = _Entry(entry, (source, index))
                self._entries += 1
                known.add(entry)

    def _find_problem(self, entry: bytes, stored: dict[bytes, bytes]) -> SmartMLError | None:
        text = entry.decode(errors="replace")
        try:
            _, names = decode_fields(stored, text)
        except MetadataError as error:
            return error
        for name in self._tensor_names:
            if name not in names:
                return MetadataError(f"dataset {text!r} has no tensor {name!r}; its tensors are: {', '.join(names)}")
        return None

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            del self._pending[arrival.position]

    def describe_next(self) -> list[bytes]:
        return [*self._lists, *(DatasetKeys(entry.name).metadata for entry in self._pending.values())]

    def take_repeated(self) -> list[tuple[int, int]]:
        taken, self._repeated = self._repeated, []
        return taken

    def _tensor_keys(self, entry: bytes) -> tuple[bytes, ...]:
        return tuple(DatasetKeys(entry).tensor(name) for name in self._tensor_names)
