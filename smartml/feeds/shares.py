"""Which replica, and which of its workers, gets which batches (pure)."""

import heapq
from collections.abc import Sequence

from smartml.feeds.samplers import Batching


class Shares:
    """Deals out what arrives, so that no share has more samples than another and the largest batch together.

    Shares are numbered by replica first, then by worker; next comes the one with the fewest samples, and among those
    that have as many, the first worker of every replica before the second one of any. The same batches in the same
    order are always dealt out in the same way.
    """

    def __init__(self, replicas: int, workers: int = 1) -> None:
        self._replicas, self._workers = replicas, workers
        # Samples of each share.
        self.samples = [0] * (replicas * workers)
        # The next one first: samples, worker, replica.
        self._queue = [(0, worker, replica) for worker in range(workers) for replica in range(replicas)]

    def deal(self, rows: Sequence[int]) -> list[int]:
        """Return for each batch, of so many samples, the share that it goes to."""
        dealt = []
        for count in rows:
            samples, worker, replica = self._queue[0]
            heapq.heapreplace(self._queue, (samples + count, worker, replica))
            dealt.append(replica * self._workers + worker)
            self.samples[dealt[-1]] += count
        return dealt

    def count_batches(self, batching: Batching, capacity: int | None) -> list[int]:
        """Return how many batches each share serves in an epoch; none holds more samples than its capacity.

        The workers of a replica together serve as many as those of any other: the fewest that any has, or, where no
        sample may be left out (`drop_last=False`), the most; then some come twice. All 0 while a replica has none.
        """
        held = [samples if capacity is None else min(samples, capacity) for samples in self.samples]
        counts = [batching.count(samples) for samples in held]
        if batching.batches_per_epoch is not None:
            counts = [batching.batches_per_epoch if count else 0 for count in counts]
        starts = range(0, len(counts), self._workers)
        totals = [sum(counts[start : start + self._workers]) for start in starts]
        if not min(totals):
            return [0] * len(counts)
        total = min(totals) if batching.drop_last else max(totals)
        return [count for start in starts for count in _adjusted(counts[start : start + self._workers], total)]


def _adjusted(counts: Sequence[int], total: int) -> list[int]:
    """Return counts whose sum is `total`: those with the most give, those that have some take."""
    counts = list(counts)
    while sum(counts) > total:
        counts[counts.index(max(counts))] -= 1
    while sum(counts) < total:
        least = min(count for count in counts if count)
        counts[counts.index(least)] += 1
    return counts
