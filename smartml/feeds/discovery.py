"""Which tensors are new: asks the server once per update for all producers and ranks together."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from smartml.errors import MetadataError, SmartMLError
from smartml.feeds.schemes import DataInfo, KeyScheme
from smartml.store import Database
from smartml.store.dataset import decode_fields
from smartml.store.keys import COMPLETE_FIELD, DatasetKeys

logger = logging.getLogger(__name__)

# Iterations asked for at once, per producer and rank, when none is known to wait; doubled as long as all are there.
_FIRST_LOOK_AHEAD = 2
# Many keys are asked for in groups of this size: mostly all of a group are there, or none, and one answer tells.
_GROUP = 64
# A gap is looked for in updates number 4, 8, 16 … in a row that bring nothing, so many iterations further on.
_IDLE_BEFORE_GAP = 4
_GAP_LOOK_AHEAD = 16


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


class Discovery(Protocol):
    """Finds arrivals. What was found is found again until it is confirmed as dealt with."""

    def find(self) -> list[Arrival]:
        """List what is there and was not dealt with yet, in a fixed order of producers, ranks and iterations."""

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        """Note arrivals, in any order, as dealt with."""

    def describe_next(self) -> list[bytes]:
        """List the keys that the next arrivals are expected under."""


class KeyDiscovery:
    """Follows the iterations of every producer and rank (a source, each) under a key scheme.

    A replica takes every `num_replicas`-th batch, shifted from source to source. An iteration that is missing is
    waited for; when later ones are there already, that is logged as a warning.
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
        # Per source: the next iteration to come, and the key of its samples, kept so as not to be made at every update.
        self._next = [(replica_rank - number) % num_replicas for number in range(len(self._sources))]
        self._next_keys = [self._keys(number, iteration)[0] for number, iteration in enumerate(self._next)]
        # Per source: updates in a row that brought nothing, and whether the gap it waits behind was reported.
        self._idle = np.zeros(len(self._sources), np.int64)
        self._is_reported = np.zeros(len(self._sources), np.bool_)

    def find(self) -> list[Arrival]:
        # One command answers the usual case, that nothing is new anywhere.
        ready = self._count_ready() if self._database.count_existing(self._next_keys) else {}
        self._look_for_gaps(list(ready))
        return [
            Arrival(self._keys(source, iteration), iteration, source)
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
        is_due = (self._idle >= _IDLE_BEFORE_GAP) & (self._idle & (self._idle - 1) == 0) & ~self._is_reported
        later = [
            (source, iteration, self._keys(source, iteration)[0])
            for source in np.flatnonzero(is_due).tolist()
            for iteration in self._iterations(source, 1, 1 + _GAP_LOOK_AHEAD)
        ]
        keys = [key for *_, key in later]
        if not self._database.count_existing(keys):
            return
        for (source, iteration, _), is_there in zip(later, self._exist(keys), strict=True):
            if is_there and not self._is_reported[source]:
                self._is_reported[source] = True
                missing = " and ".join(repr(key.decode()) for key in self._missing([source]))
                logger.warning("waiting for %s, while iteration %d is there", missing, iteration)

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            assert arrival.line is not None
            self._next[arrival.line] = max(self._next[arrival.line], arrival.position + self._stride)
            self._is_reported[arrival.line] = False
        for source in {arrival.line for arrival in arrivals if arrival.line is not None}:
            self._next_keys[source] = self._keys(source, self._next[source])[0]

    def describe_next(self) -> list[bytes]:
        return self._missing(range(len(self._sources)))

    def _missing(self, sources: Sequence[int]) -> list[bytes]:
        """List the keys that these sources wait for."""
        keys = [key for source in sources for key in self._keys(source, self._next[source])]
        return [key for key, is_there in zip(keys, self._exist(keys), strict=True) if not is_there]

    def _iterations(self, source: int, start: int, end: int) -> range:
        """The iterations number `start` to `end` (without it) that are next to come from a source."""
        first = self._next[source]
        return range(first + start * self._stride, first + end * self._stride, self._stride)

    def _keys(self, source: int, iteration: int) -> tuple[bytes, ...]:
        entity, rank = self._sources[source]
        return tuple(self._scheme.key(entity, prefix, rank, iteration) for prefix in self._prefixes)


class ListDiscovery:
    """Follows the aggregation list of every producer.

    An entry counts once, however often the list names it. One whose dataset is not complete yet is looked at again
    at every update and holds up no other. A replica takes every `num_replicas`-th new entry, shifted from list to list.
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
        self._lists = [(f"{name}.{info.list_name}" if name else info.list_name).encode() for name in producers]
        self._replica_rank = replica_rank
        self._num_replicas = num_replicas
        # Per list: how many entries were read, and the different ones among them.
        self._read = [0] * len(self._lists)
        self._known: list[set[bytes]] = [set() for _ in self._lists]
        # Different entries in all lists together; those to be taken, by their number among these.
        self._entries = 0
        self._pending: dict[int, bytes] = {}

    def find(self) -> list[Arrival]:
        self._read_lists()
        hashes = self._database.hashes([DatasetKeys(entry).metadata for entry in self._pending.values()])
        return [
            Arrival(self._tensor_keys(entry), number, problem=self._find_problem(entry, stored))
            for (number, entry), stored in zip(self._pending.items(), hashes, strict=True)
            if COMPLETE_FIELD in stored
        ]

    def _read_lists(self) -> None:
        commands = [(b"LRANGE", key, b"%d" % read, b"-1") for key, read in zip(self._lists, self._read, strict=True)]
        for source, entries in enumerate(self._database.each(commands)):
            self._read[source] += len(entries)
            known = self._known[source]
            for entry in entries:
                if entry not in known:
                    if (len(known) + source) % self._num_replicas == self._replica_rank:
                        self._pending[self._entries] = entry
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
        return [*self._lists, *(DatasetKeys(entry).metadata for entry in self._pending.values())]

    def _tensor_keys(self, entry: bytes) -> tuple[bytes, ...]:
        return tuple(DatasetKeys(entry).tensor(name) for name in self._tensor_names)
