"""What a feed tells of itself: how much came, stayed, left and was used, and where its time went."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from smartml.feeds.bounded import BoundedSet
from smartml.feeds.buffer import TrainingSet
from smartml.feeds.discovery import Arrival


@dataclass(frozen=True)
class FeedStats:
    """A feed at one moment. Counts are of samples."""

    # All that came: arrived = held + dropped.
    arrived: int = 0
    held: int = 0
    # Replaced by others, or never taken in.
    dropped: int = 0
    # Taken in, whether or not they are still held.
    taken: int = 0
    # Served in batches, with repetitions.
    used: int = 0
    bytes_held: int = 0
    # How often the feed had to wait for samples, and for how long.
    waits: int = 0
    wait_s: float = 0.0
    # Spent on looking for new samples, and on receiving them.
    discovery_s: float = 0.0
    transfer_s: float = 0.0
    # Per producer, iterations that were there to be taken in when the feed looked last; of the rank furthest behind.
    # Empty for aggregation lists, which know no iterations.
    lag: Mapping[str, int] = field(default_factory=dict)

    @property
    def mean_reuse(self) -> float:
        """How often a sample that was taken in was served, on average."""
        return self.used / self.taken if self.taken else 0.0

    def __str__(self) -> str:
        parts = [
            f"{self.arrived} arrived, {self.held} held ({_bytes(self.bytes_held)}), {self.dropped} dropped",
            f"{self.used} used ({self.mean_reuse:.1f} times each)",
            f"{self.waits} waits of {self.wait_s:.1f} s in all",
            f"{self.discovery_s:.1f} s looking, {self.transfer_s:.1f} s receiving",
        ]
        if any(self.lag.values()):
            behind = ", ".join(f"{name} {count}".strip() for name, count in self.lag.items() if count)
            parts.append(f"behind by iterations: {behind}")
        return "; ".join(parts)


class Tally:
    """Counts while the feed works."""

    def __init__(self) -> None:
        self.used = 0
        self.waits = 0
        # Seconds by what they were spent on: wait, discovery, transfer.
        self._seconds: dict[str, float] = {"wait": 0.0, "discovery": 0.0, "transfer": 0.0}
        self._lag: dict[str, int] = {}
        self._last_logged = time.perf_counter()

    @contextlib.contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Add the time that the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[what] += time.perf_counter() - start

    def note_found(self, arrivals: Sequence[Arrival], producers: Sequence[str], ranks: int) -> None:
        """Note what waited for the feed: its lines are numbered by producer first, then by rank."""
        lines = Counter(arrival.line for arrival in arrivals if arrival.line is not None)
        self._lag = dict.fromkeys(producers, 0) if lines else {}
        for line, count in lines.items():
            name = producers[line // ranks]
            self._lag[name] = max(self._lag[name], count)

    def is_due(self, interval_s: float) -> bool:
        """Tell whether so much time has passed since this was last answered with yes."""
        now = time.perf_counter()
        if now - self._last_logged < interval_s:
            return False
        self._last_logged = now
        return True

    def snapshot(self, training_set: TrainingSet | BoundedSet | None) -> FeedStats:
        """Return what is known now."""
        held = 0 if training_set is None else len(training_set)
        arrived = 0 if training_set is None else training_set.arrived
        return FeedStats(
            arrived=arrived,
            held=held,
            dropped=arrived - held,
            taken=0 if training_set is None else training_set.taken,
            used=self.used,
            bytes_held=0 if training_set is None else held * training_set.row_size,
            waits=self.waits,
            wait_s=self._seconds["wait"],
            discovery_s=self._seconds["discovery"],
            transfer_s=self._seconds["transfer"],
            lag=dict(self._lag),
        )


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"
