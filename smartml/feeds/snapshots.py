"""What replicas agree on, kept in the database: which batches there are, and which of them each epoch is made of.

Two lists per group of replicas. The first one grows by an entry whenever one of them has found something new; the
second one by an entry per epoch. Who is first to write an entry decides it for all.
"""

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smartml.errors import FeedError, MetadataError
from smartml.feeds.discovery import Places
from smartml.store import Database
from smartml.store.fullness import EVEN_WHEN_FULL
from smartml.store.keys import epochs_key, found_key

# What replicas have agreed on is forgotten so long after the last of them has written.
LIFETIME_S = 7 * 24 * 3600
# Writes entry number ARGV[1], unless there is one.
_PROPOSE = (
    EVEN_WHEN_FULL
    + b"""
if redis.call('LLEN', KEYS[1]) == tonumber(ARGV[1]) then redis.call('RPUSH', KEYS[1], ARGV[2]) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
)


class Finding(NamedTuple):
    """Batches that were found together."""

    places: Places
    # Samples of each: (n,).
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Epoch:
    """One epoch as all replicas see it."""

    # Its batches are those of so many findings.
    findings: int
    # How many batches each share serves.
    batches: tuple[int, ...]
    # There is no such epoch: the one before was the last.
    is_end: bool = False


class Snapshots:
    """The two lists of a group of replicas. Raises MetadataError for entries that nobody of smartml has written."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._found_key, self._epochs_key = found_key(name), epochs_key(name)

    def read_findings(self, first: int) -> list[Finding]:
        """Read all findings from number `first` on."""
        return [self._read_finding(entry) for entry in self._read(self._found_key, first)]

    def _read_finding(self, entry: bytes) -> Finding:
        if len(entry) % 24:
            raise self._damaged(self._found_key, entry)
        table = np.frombuffer(entry, "<i8").reshape(-1, 3).astype(np.int64)
        return Finding(table[:, :2], table[:, 2])

    def propose_finding(self, number: int, finding: Finding) -> None:
        """Make this finding `number`, unless there is one."""
        table = np.column_stack([finding.places, finding.rows]).astype("<i8")
        self._propose(self._found_key, number, table.tobytes())

    def read_epochs(self, first: int) -> list[Epoch]:
        """Read all epochs from number `first` on."""
        return [self._read_epoch(entry) for entry in self._read(self._epochs_key, first)]

    def _read_epoch(self, entry: bytes) -> Epoch:
        try:
            stored = json.loads(entry)
            return Epoch(int(stored["findings"]), tuple(map(int, stored["batches"])), bool(stored["is_end"]))
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged(self._epochs_key, entry) from error

    def count_epochs(self) -> int:
        """Return how many epochs were begun."""
        return int(self._database.commands(self._epochs_key, (b"LLEN", self._epochs_key))[0])

    def agree_on_epoch(self, number: int, epoch: Epoch) -> Epoch:
        """Make this epoch `number`, unless there is one; return the one that there is."""
        self._propose(self._epochs_key, number, json.dumps(vars(epoch)).encode())
        agreed = self.read_epochs(number)
        if not agreed:
            raise FeedError(
                f"{self._epochs_key.decode(errors='replace')!r} was deleted while replicas ran, or the database began "
                "anew without its data: start all replicas again"
            )
        return agreed[0]

    def _read(self, key: bytes, first: int) -> list[bytes]:
        entries: list[bytes] = self._database.commands(key, (b"LRANGE", key, b"%d" % first, b"-1"))[0]
        return entries

    def _propose(self, key: bytes, number: int, entry: bytes) -> None:
        # Harmless to repeat when the answer was lost.
        self._database.commands(key, (b"EVAL", _PROPOSE, b"1", key, b"%d" % number, entry, b"%d" % LIFETIME_S))

    def _damaged(self, key: bytes, entry: bytes) -> MetadataError:
        return MetadataError(
            f"{key.decode(errors='replace')!r} holds {entry[:80]!r}, which no replica has written: stop all replicas "
            "and delete the key"
        )
