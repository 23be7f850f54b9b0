"""A feed as a stream of the pipeline: its batches, or single samples, pass after pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from smartml.errors import ArgumentValueError
from smartml.pipeline import Composable
from smartml.pipeline.explain import Meters, met
from smartml.pipeline.stage import Stage, State

if TYPE_CHECKING:
    from smartml.feeds.downloader import DataDownloader

Until: TypeAlias = Literal["producers_done"]


class FeedSource(Composable):
    """Begin a chain with the batches, or samples, of a feed, pass after pass: what `DataDownloader.stream` makes.

    It is the feed that is read: a pass of the chain goes on with the feed's passes, and two at once disturb each other.
    """

    def __init__(self, feed: DataDownloader, samples: bool, max_epochs: int | None, until: Until | None) -> None:
        super().__init__()
        self.feed, self.samples, self.max_epochs, self.until = feed, samples, max_epochs, checked_until(until)
        if feed._delete_after == "checkpoint":
            raise ArgumentValueError(
                'a feed with delete_after="checkpoint" deletes what the state before held whenever its state is asked '
                'for, and chains ask more often than they are saved: stream it with delete_after="epoch" or "read"'
            )
        self.splits = feed._shares

    @property
    def has_own_order(self) -> bool:
        """Always: what a pass is made of depends on when it began."""
        return True

    def begin(self, state: State = None, meters: Meters | None = None) -> Stage:
        """Begin to read the feed, at the first item."""
        self._last = met(Served(self, state), self, meters)
        return self._last


class Served(Stage):
    """What a feed serves, in one pass of a chain."""

    def __init__(self, source: FeedSource, state: State) -> None:
        self._source, self._feed = source, source.feed
        self._begun_at = state
        self._is_started = self._is_open = False
        # The feed's passes that came to an end, or began and did not.
        self._epoch: int = 0 if state is None else state["epoch"]
        # Of a batch that is taken apart: samples that were given; 0 when none is.
        self._rows = 0

    def open(self) -> Iterator[Any]:
        """Serve pass after pass."""
        feed, state = self._feed, self._begun_at
        feed._is_wanted = self._is_open = True
        try:
            if state is not None:
                feed.load_state_dict(state["feed"])
            self._is_started = True
            if state is not None and state["batch"] is not None:
                again = feed._serve_again(state["batch"]["ids"], state["batch"]["weights"])
                yield from self._apart(again, state["batch"]["rows"])
            is_between = state is not None and not feed._passes.is_resumed
            for number in self._epochs():
                self._epoch = number
                # The pass of the state was served to its end: this one stands for it.
                if is_between:
                    is_between = False
                    continue
                for batch in feed:
                    if self._source.samples:
                        yield from self._apart(batch, 0)
                    else:
                        yield batch
        finally:
            feed._is_wanted, self._is_open = True, False

    def _epochs(self) -> Iterator[int]:
        first, most, until = self._epoch, self._source.max_epochs, self._source.until
        if most is None and until is None:
            return itertools.count(first)
        left = None if most is None else max(0, most - first)
        return (first + number for number in self._feed.epochs(left, until))

    def _apart(self, batch: Any, start: int) -> Iterator[Any]:
        samples = list(rows_of(batch))
        for number, sample in enumerate(samples[start:], start + 1):
            self._rows = number % len(samples)
            yield sample

    def state(self) -> State:
        """Tell the epoch, where the feed is, and which batch is taken apart."""
        if not self._is_started:
            return self._begun_at
        batch = None
        if self._rows and self._feed.last_batch is not None:
            ids, weights = self._feed.last_batch
            batch = {"ids": ids.tolist(), "weights": weights.tolist(), "rows": self._rows}
        return {"epoch": self._epoch, "batch": batch, "feed": self._feed.state_dict()}

    def stop(self) -> None:
        """Let the feed wait no longer, if it does."""
        if self._is_open:
            self._feed._is_wanted = False


def checked_until(until: Any) -> Until | None:
    """Return how a stream is to end, or say what is wrong with that."""
    if until not in (None, "producers_done"):
        raise ArgumentValueError(f'until must be None or "producers_done", not {until!r:.80}')
    return until  # type: ignore[no-any-return]


def rows_of(batch: Any) -> Iterator[Any]:
    """Take a batch apart: arrays, and tuples and mappings of such."""
    if isinstance(batch, Mapping):
        return (dict(zip(batch, row, strict=True)) for row in zip(*map(rows_of, batch.values()), strict=True))
    if not isinstance(batch, tuple):
        return iter(batch)
    make = getattr(batch, "_make", tuple)
    return map(make, zip(*map(rows_of, batch), strict=True))
