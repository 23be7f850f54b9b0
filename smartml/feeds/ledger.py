"""The records of what was consumed, kept in the database: read, changed, and acted upon."""

import random
import time
from collections.abc import Callable, Mapping, Sequence

from smartml.errors import StoreError
from smartml.feeds.consumption import Consumption
from smartml.feeds.intervals import Intervals
from smartml.feeds.sources import Source
from smartml.store import Database
from smartml.store.fullness import EVEN_WHEN_FULL

Change = Callable[[Consumption], Consumption]

# Replaces a value if it still is what it was. No transaction: a full server refuses WATCH and MULTI.
_REPLACE = (
    EVEN_WHEN_FULL
    + b"""
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)
# Each failed attempt is another client's success; so many in a row are no accident.
_MAX_ATTEMPTS = 1000
# Who failed waits up to so long, so that many clients do not stay in each other's way.
_LONGEST_PAUSE_S = 0.002


class Ledger:
    """The records of some sources, which go by their numbers."""

    def __init__(self, database: Database, sources: Sequence[Source]) -> None:
        self._database = database
        self._sources = sources
        self.keys = [source.record_key for source in sources]

    def read(self, sources: Sequence[int] | None = None) -> list[Consumption]:
        """Read records, all or those of some sources, in one round trip per server."""
        chosen = range(len(self.keys)) if sources is None else sources
        return [
            Consumption.parse(text, self.keys[source].decode(errors="replace"))
            for source, text in zip(chosen, self._texts(chosen), strict=True)
        ]

    def change(self, changes: Mapping[int, Change]) -> dict[int, Consumption]:
        """Change records, each in one act; return what they are now. A change may be called several times."""
        left, changed = dict(changes), {}
        for _ in range(_MAX_ATTEMPTS):
            written: dict[int, tuple[bytes, bytes]] = {}
            for source, text in zip(left, self._texts(list(left)), strict=True):
                changed[source] = left[source](Consumption.parse(text, self.keys[source].decode(errors="replace")))
                written[source] = (text, changed[source].format())
            left = {source: left[source] for source in self._refused(written)}
            if not left:
                return changed
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))
        raise StoreError(f"others change {self.keys[next(iter(left))]!r} all the time: gave up")

    def _texts(self, sources: Sequence[int]) -> list[bytes]:
        return [text or b"" for text in self._database.each([(b"GET", self.keys[source]) for source in sources])]

    def _refused(self, written: Mapping[int, tuple[bytes, bytes]]) -> list[int]:
        """Replace texts; return the sources of those that were not what they should have been."""
        commands = [
            (source, (b"EVAL", _REPLACE, b"1", self.keys[source], old, new))
            for source, (old, new) in written.items()
            if old != new
        ]
        if not commands:
            return []
        if self._database.is_cluster:
            replies = [self._database.commands(self.keys[source], command)[0] for source, command in commands]
        else:
            replies = self._database.commands(self.keys[commands[0][0]], *(command for _, command in commands))
        return [source for (source, _), reply in zip(commands, replies, strict=True) if not reply]

    def delete_condemned(self, records: Mapping[int, Consumption]) -> None:
        """Delete what these records say is condemned, whoever condemned it, and then note that it is deleted."""
        condemned = {source: record.condemned for source, record in records.items() if record.condemned}
        for source, positions in condemned.items():
            self._sources[source].delete(self._database, positions, records[source].prefixes)
        self.change({source: _note_deleted(positions) for source, positions in condemned.items()})


def _note_deleted(positions: Intervals) -> Change:
    return lambda record: record.without_condemned(positions)
