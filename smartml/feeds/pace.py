"""Producers and trainers of one list keep step by counters in the database."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from smartml.feeds.rate import RateLimit
from smartml.feeds.waiting import Waits, wait_for
from smartml.store import Database
from smartml.store.fullness import EVEN_WHEN_FULL
from smartml.store.keys import rate_key

_PUT = b"put"
_USED = b"used "
_NEEDED = b"needed "
_COUNT = EVEN_WHEN_FULL + b"return redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])"
_RAISE = (
    EVEN_WHEN_FULL
    + b"""
if (tonumber(redis.call('HGET', KEYS[1], ARGV[1])) or 0) < tonumber(ARGV[2]) then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('HINCRBY', KEYS[1], ARGV[3], 0)
"""
)


class TrainerPace:
    """One trainer's replica: uses samples no more often than the limit allows.

    It decides by what it has itself received and used; for the producers of a list it counts what all replicas use.
    """

    def __init__(self, limit: RateLimit, group: str, timeout_s: float | None) -> None:
        self._limit, self._group, self._timeout_s = limit, group.encode(), timeout_s
        self._arrived = self._used = self._needed = 0
        self.waits = Waits()

    def begin(self, database: Database, list_name: str | None, needed: int) -> None:
        """Make known to producers of a list (None: there are none that ask) how many samples it takes to begin."""
        self._arrived, self._used, self._needed = 0, 0, needed
        if list_name is not None:
            self._run(database, list_name, _RAISE, _NEEDED + self._group, b"%d" % needed, _USED + self._group)

    def state_dict(self) -> dict[str, int]:
        """Return what was counted."""
        return {"arrived": self._arrived, "used": self._used, "needed": self._needed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on counting where another one was."""
        self._arrived, self._used, self._needed = state["arrived"], state["used"], state["needed"]

    def receive(self, samples: int) -> None:
        """Take note of samples that have joined the training set."""
        self._arrived += samples

    def use(self, database: Database, list_name: str | None, samples: int, fetch: Callable[[], Any]) -> None:
        """Wait until so many samples may be used, fetching what is new meanwhile; count them.

        Raises FeedTimeoutError when nothing has arrived for the time allowed.
        """

        def look() -> tuple[bool, int]:
            if not self._may_use():
                fetch()
            return self._may_use(), self._arrived

        wait_for(look, self._describe, self.waits, self._timeout_s)
        self._used += samples
        if list_name is not None:
            self._run(database, list_name, _COUNT, _USED + self._group, b"%d" % samples)

    def _may_use(self) -> bool:
        return self._limit.may_use(self._used, self._arrived, self._needed)

    def _describe(self) -> str:
        return (
            f"samples were used {self._used} times, {self._arrived} have arrived: with samples_per_insert="
            f"{self._limit.samples_per_insert:g} and a tolerance of {self._limit.allowance(self._needed):g} uses, "
            "the trainer has to wait for new ones. If the producers have ended, so may it"
        )

    def _run(self, database: Database, list_name: str, script: bytes, *arguments: bytes) -> None:
        key = rate_key(list_name)
        # Repeated when the answer was lost: counting a batch twice is better than to fail.
        database.commands(key, (b"EVAL", script, b"1", key, *arguments))


class ProducerPace:
    """One of the producers of a list: runs no further ahead of the slowest group of trainers than the limit allows."""

    def __init__(self, limit: RateLimit, list_name: str, timeout_s: float | None) -> None:
        self._limit, self._key, self._timeout_s = limit, rate_key(list_name), timeout_s
        self._put = self._used = self._needed = 0
        self.waits = Waits()

    def wait(self, database: Database) -> None:
        """Wait until a batch may be put; raises FeedTimeoutError when no trainer came nearer in the time allowed."""

        def look() -> tuple[bool, Sequence[int]]:
            counters = {name: int(count) for name, count in database.hashes([self._key])[0].items()}
            self._put = counters.get(_PUT, 0)
            self._used = min((count for name, count in counters.items() if name.startswith(_USED)), default=0)
            self._needed = max((count for name, count in counters.items() if name.startswith(_NEEDED)), default=0)
            is_free = self._limit.may_put(self._put, self._used, self._needed)
            return is_free, (self._used, self._needed)

        wait_for(look, self._describe, self.waits, self._timeout_s)

    def count(self, database: Database, samples: int) -> None:
        """Count samples that were put."""
        database.commands(self._key, (b"EVAL", _COUNT, b"1", self._key, _PUT, b"%d" % samples))

    def _describe(self) -> str:
        return (
            f"{self._put} samples were put, and used {self._used} times by the slowest trainer: with "
            f"samples_per_insert={self._limit.samples_per_insert:g} and a tolerance of "
            f"{self._limit.allowance(self._needed):g} uses, producers have to wait for it. If no trainer runs "
            "(any more), or none has this samples_per_insert, start one or go without the limit"
        )
