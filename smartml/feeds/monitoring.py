"""A feed that logs itself: how much came, stayed and was used, and how far behind it is, to the records of a run."""

import time

import smartml.monitor as records
from smartml.errors import ArgumentTypeError
from smartml.feeds.stats import FeedStats
from smartml.monitor.access import default_scope

# Batches follow each other quickly; what they change is told so often.
_INTERVAL_S = 0.25
# What of the stats is logged, each to a name of its own.
_COUNTED = ("arrived", "held", "dropped", "taken", "used", "bytes_held", "waits", "wait_s", "discovery_s", "transfer_s")


class FeedMonitor:
    """Writes the stats of a feed as they change: `feed/<what>` and `feed/lag/<producer>`, by Unix time.

    Fields x and y; the index is the rank of the replica.
    """

    def __init__(self, log: "records.DataLogger", is_own: bool) -> None:
        self.log = log
        # Whether nobody else writes to it, and it is closed with the feed.
        self._is_own = is_own
        self._last = FeedStats()
        self._last_s = 0.0

    def note(self, stats: FeedStats, replica_rank: int, is_urgent: bool) -> None:
        """Log stats, unless that was just done; urgent ones in any case."""
        now = time.time()
        if stats == self._last or (not is_urgent and now - self._last_s < _INTERVAL_S):
            return
        self._last, self._last_s = stats, now
        for what in _COUNTED:
            self.log.write(f"feed/{what}", start_index=replica_rank, x=now, y=getattr(stats, what))
        for producer, lag in stats.lag.items():
            self.log.write(f"feed/lag/{producer or 'producer'}", start_index=replica_rank, x=now, y=lag)

    def close(self) -> None:
        """Send what was logged, for some seconds at most."""
        if self._is_own:
            self.log.close()


def read_monitor(monitor: object) -> FeedMonitor | None:
    """Return what the argument `monitor` of a feed asks for. Raises ArgumentTypeError."""
    if monitor is None or monitor is False:
        return None
    # From here on the packages of the extra are needed.
    if isinstance(monitor, records.DataLogger):
        return FeedMonitor(monitor, is_own=False)
    if monitor is True:
        return FeedMonitor(records.DataLogger(None if default_scope() else "feed"), is_own=True)
    raise ArgumentTypeError(f"monitor must be True or a DataLogger, not {monitor!r:.80}")
