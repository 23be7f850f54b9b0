"""Which tensors are new: asks the server once per update for all producers and ranks together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from smartml.errors import MetadataError
from smartml.feeds.schemes import DataInfo, KeyScheme
from smartml.store import Database
from smartml.store.dataset import decode_fields
from smartml.store.keys import COMPLETE_FIELD, DatasetKeys

logger = logging.getLogger(__name__)

# Iterations asked for at once, per producer and rank, when none is known to wait; doubled as long as all are there.
_FIRST_LOOK_AHEAD = 4
# A gap is looked for in updates number 4, 8, 16 … that bring nothing, so many iterations behind the missing one.
_IDLE_BEFORE_GAP = 4
_GAP_LOOK_AHEAD = 16


@dataclass(frozen=True)
class Arrival:
    """The keys of one batch of samples that is there to be taken: samples, and targets if there are any."""

    keys: tuple[bytes, ...]
    # Where it stands in its source's row, for the discovery that found it.
    source: int
    position: int


class Discovery(Protocol):
    """Finds arrivals. What was found is found again until it is confirmed as taken."""

    def find(self) -> list[Arrival]:
        """List what is there and was not taken yet, in a fixed order of producers, ranks and iterations."""

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        """Note arrivals as taken."""

    def describe_next(self) -> list[bytes]:
        """List the keys that the next arrivals are expected under."""


@dataclass
class _Source:
    """One producer, or one rank of it, and the next iteration to come from it."""

    entity: str
    rank: int | None
    next_iteration: int
    # Updates in a row that brought nothing from here.
    idle: int = 0
    # The iteration whose absence was warned of last.
    warned_at: int = -1


class KeyDiscovery:
    """Follows the iterations of every producer and rank under a key scheme.

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
        ranks = [None] if scheme.ranks is None else list(range(scheme.ranks))
        pairs = [(producer, rank) for producer in producers for rank in ranks]
        self._sources = [
            _Source(entity, rank, (replica_rank - number) % num_replicas) for number, (entity, rank) in enumerate(pairs)
        ]
        self._prefixes = [scheme.sample_prefix]
        if scheme.target_prefix and scheme.target_prefix != scheme.sample_prefix:
            self._prefixes.append(scheme.target_prefix)

    def find(self) -> list[Arrival]:
        # One command answers the usual case, that nothing is new anywhere.
        first_keys = [self._keys(source, source.next_iteration)[0] for source in self._sources]
        ready = self._count_ready() if self._database.count_existing(first_keys) else [0] * len(self._sources)
        self._look_for_gaps(ready)
        return [
            Arrival(self._keys(source, iteration), number, iteration)
            for number, (source, count) in enumerate(zip(self._sources, ready, strict=True))
            for iteration in self._iterations(source, count)
        ]

    def _count_ready(self) -> list[int]:
        """Count for each source how many batches in a row are there, samples and targets both."""
        ready = [0] * len(self._sources)
        open_sources = list(range(len(self._sources)))
        look_ahead = _FIRST_LOOK_AHEAD
        while open_sources:
            keys = [
                key
                for number in open_sources
                for iteration in self._iterations(self._sources[number], look_ahead, behind=ready[number])
                for key in self._keys(self._sources[number], iteration)
            ]
            exist = self._database.exist(keys)
            per_source = look_ahead * len(self._prefixes)
            still_open = []
            for place, number in enumerate(open_sources):
                there = exist[place * per_source : (place + 1) * per_source]
                complete = there.index(False) // len(self._prefixes) if False in there else look_ahead
                ready[number] += complete
                if complete == look_ahead:
                    still_open.append(number)
            open_sources = still_open
            look_ahead *= 2
        return ready

    def _look_for_gaps(self, ready: Sequence[int]) -> None:
        """Warn of iterations that later ones have overtaken; ask ever more rarely about a source that stays silent."""
        overdue = []
        for source, count in zip(self._sources, ready, strict=True):
            source.idle = 0 if count else source.idle + 1
            is_due = source.idle >= _IDLE_BEFORE_GAP and source.idle & (source.idle - 1) == 0
            if is_due and source.warned_at != source.next_iteration:
                overdue.append(source)
        later = [(s, i) for s in overdue for i in self._iterations(s, _GAP_LOOK_AHEAD, behind=1)]
        exist = self._database.exist([self._keys(source, iteration)[0] for source, iteration in later])
        for (source, iteration), there in zip(later, exist, strict=True):
            if there and source.warned_at != source.next_iteration:
                source.warned_at = source.next_iteration
                missing = " and ".join(repr(key.decode()) for key in self._missing(source))
                logger.warning("waiting for %s, while iteration %d is there", missing, iteration)

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            self._sources[arrival.source].next_iteration = arrival.position + self._stride

    def describe_next(self) -> list[bytes]:
        return [key for source in self._sources for key in self._missing(source)]

    def _missing(self, source: _Source) -> list[bytes]:
        keys = self._keys(source, source.next_iteration)
        return [key for key, there in zip(keys, self._database.exist(keys), strict=True) if not there]

    def _iterations(self, source: _Source, count: int, behind: int = 0) -> range:
        start = source.next_iteration + behind * self._stride
        return range(start, start + count * self._stride, self._stride)

    def _keys(self, source: _Source, iteration: int) -> tuple[bytes, ...]:
        return tuple(self._scheme.key(source.entity, prefix, source.rank, iteration) for prefix in self._prefixes)


class ListDiscovery:
    """Follows the aggregation list of every producer.

    An entry counts once, however often the list names it. One whose dataset is not complete yet is looked at again
    at every update and holds up no other. A replica takes every `num_replicas`-th new entry.
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
        # Per list: how many entries were read, and each different one with its number.
        self._read = [0] * len(self._lists)
        self._known: list[dict[bytes, int]] = [{} for _ in self._lists]
        self._pending: dict[bytes, tuple[int, int]] = {}

    def find(self) -> list[Arrival]:
        self._read_lists()
        entries = list(self._pending)
        hashes = self._database.hashes([DatasetKeys(entry).metadata for entry in entries])
        arrivals = []
        for entry, stored in zip(entries, hashes, strict=True):
            if COMPLETE_FIELD in stored:
                self._check_names(entry, stored)
                keys = tuple(DatasetKeys(entry).tensor(name) for name in self._tensor_names)
                arrivals.append(Arrival(keys, *self._pending[entry]))
        return arrivals

    def _read_lists(self) -> None:
        commands = [(b"LRANGE", key, b"%d" % read, b"-1") for key, read in zip(self._lists, self._read, strict=True)]
        for source, entries in enumerate(self._database.each(commands)):
            self._read[source] += len(entries)
            known = self._known[source]
            for entry in entries:
                if entry not in known:
                    known[entry] = number = len(known)
                    if number % self._num_replicas == self._replica_rank:
                        self._pending[entry] = (source, number)

    def _check_names(self, entry: bytes, stored: dict[bytes, bytes]) -> None:
        text = entry.decode(errors="replace")
        _, names = decode_fields(stored, text)
        for name in self._tensor_names:
            if name not in names:
                raise MetadataError(f"dataset {text!r} has no tensor {name!r}; its tensors are: {', '.join(names)}")

    def confirm(self, arrivals: Sequence[Arrival]) -> None:
        taken = {(arrival.source, arrival.position) for arrival in arrivals}
        self._pending = {entry: place for entry, place in self._pending.items() if place not in taken}

    def describe_next(self) -> list[bytes]:
        return [*self._lists, *(DatasetKeys(entry).metadata for entry in self._pending)]
