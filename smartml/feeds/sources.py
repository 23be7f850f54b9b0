"""The numbered rows of batches that producers put: iterations of one producer and rank, or entries of one list."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from smartml.feeds.intervals import Intervals
from smartml.feeds.schemes import DataInfo, KeyScheme
from smartml.store import Database
from smartml.store.dataset_commands import unlink_datasets
from smartml.store.keys import DatasetKeys, consumption_key


class Source(Protocol):
    """One row of batches, each at its position, counted from 0."""

    @property
    def record_key(self) -> bytes:
        """Key of the record of what of it was consumed."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes of the tensors that are read of it; none where batches are deleted whole."""

    def delete(self, database: Database, positions: Intervals, prefixes: Sequence[str]) -> None:
        """Delete what stands at these positions; what is not there is no error."""


@dataclass(frozen=True)
class KeySource:
    """The tensors of one producer and rank under a key scheme."""

    scheme: KeyScheme
    entity: str
    rank: int | None

    @property
    def record_key(self) -> bytes:
        return consumption_key("keys", self.scheme.key(self.entity, self.scheme.sample_prefix, self.rank, "*"))

    @property
    def prefixes(self) -> tuple[str, ...]:
        return tuple(sorted({self.scheme.sample_prefix, self.scheme.target_prefix or self.scheme.sample_prefix}))

    def delete(self, database: Database, positions: Intervals, prefixes: Sequence[str]) -> None:
        wanted = sorted({*self.prefixes, *prefixes})
        database.each(
            [
                (b"UNLINK", self.scheme.key(self.entity, prefix, self.rank, position))
                for position in positions
                for prefix in wanted
            ]
        )


@dataclass(frozen=True)
class ListSource:
    """The datasets of one aggregation list. Its entries stay, so that positions do."""

    list_key: bytes

    @property
    def record_key(self) -> bytes:
        return consumption_key("list", self.list_key)

    @property
    def prefixes(self) -> tuple[str, ...]:
        return ()

    def delete(self, database: Database, positions: Intervals, prefixes: Sequence[str]) -> None:
        entries = database.each([(b"LINDEX", self.list_key, b"%d" % position) for position in positions])
        unlink_datasets(database, [DatasetKeys(entry) for entry in entries if entry is not None])


def list_sources(scheme: KeyScheme | DataInfo, producers: Sequence[str]) -> Sequence[Source]:
    """List the sources of these producers; discoveries count them in this order."""
    if isinstance(scheme, KeyScheme):
        ranks = [None] if scheme.ranks is None else list(range(scheme.ranks))
        return [KeySource(scheme, entity, rank) for entity, rank in itertools.product(producers, ranks)]
    return [ListSource(scheme.list_key(entity)) for entity in producers]
