"""What arrives at a feed: found, alone or together with other replicas, handed out, and noted as dealt with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smartml.errors import FeedError
from smartml.feeds.consumer import Consumer
from smartml.feeds.discovery import Arrival, Discovery, places_of
from smartml.feeds.intervals import Intervals
from smartml.feeds.key_discovery import KeyDiscovery
from smartml.feeds.list_discovery import ListDiscovery
from smartml.feeds.schemes import DataInfo, KeyScheme
from smartml.feeds.shared_epochs import SharedEpochs, Terms
from smartml.feeds.snapshots import Snapshots
from smartml.feeds.transfer import Outcome
from smartml.store import Database


@dataclass(frozen=True)
class Share:
    """Which part of a stream a feed serves, where others serve the rest."""

    # The group's name in the database.
    name: str
    # None: it begins epochs for others, and serves nothing.
    number: int | None
    terms: Terms


class Supply:
    """All that comes, or the share of it that is this feed's own."""

    def __init__(
        self,
        database: Database,
        scheme: KeyScheme | DataInfo,
        producers: Sequence[str],
        share: Share | None,
        consumer: Consumer | None,
        is_read_again: bool,
    ) -> None:
        self._database, self._scheme, self._producers = database, scheme, producers
        self._discovery: Discovery = make_discovery(database, scheme, producers)
        self.consumer = consumer
        # What all shares agree on, where there are several.
        self.epochs: SharedEpochs | None = None
        if share is not None:
            snapshots = Snapshots(database, share.name)
            self.epochs = SharedEpochs(database, self._discovery, snapshots, share.number, share.terms)
        # Where samples can be read again, what has joined the training set, in this order: source, position, number of
        # samples. Streams without end need no list of all that ever came.
        self.is_read_again = is_read_again
        self._joined: list[tuple[int, int, int]] = []

    def look(self) -> list[Arrival]:
        """Return what is there for this feed and was not dealt with."""
        if self.epochs is None:
            return self._discovery.arrivals(self._discovery.find())
        self.epochs.look()
        return self.epochs.waiting

    def settle(self, joined: Sequence[Arrival], rows: Sequence[int], misfits: Sequence[Arrival]) -> None:
        """Note arrivals as dealt with: those that have joined, with so many samples each, and those that never can."""
        settled = [*joined, *misfits]
        if self.epochs is None:
            self._discovery.confirm(places_of(settled))
        else:
            self.epochs.settle(settled)
        if self.is_read_again:
            self._joined += [(*arrival.place, count) for arrival, count in zip(joined, rows, strict=True)]
        if self.consumer is not None:
            self.consumer.receive([arrival.place for arrival in settled])
            self.consumer.pass_over(self._discovery.take_repeated())

    def is_something_waiting(self) -> bool:
        """Tell whether more is there than was dealt with."""
        return bool(self.epochs.waiting) if self.epochs is not None else len(self._discovery.find()) > 0

    def describe_next(self) -> list[bytes]:
        """List the keys that the next arrivals are expected under."""
        return self._discovery.describe_next()

    # Resuming

    def state_dict(self) -> dict[str, Any]:
        """Return what was dealt with, and in what order it joined."""
        state: dict[str, Any] = {"joined": self._joined[:]}
        if self.epochs is not None:
            state["epochs"] = self.epochs.state_dict()
        else:
            state["dealt_with"] = [some.parts for some in self._discovery.dealt_with()]
        if self.consumer is not None:
            state["consumer"] = self.consumer.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was. Raises FeedError when the database no longer knows of it."""
        self._joined = [(source, position, rows) for source, position, rows in state["joined"]]
        if self.epochs is not None:
            self.epochs.load_state_dict(state["epochs"])
        else:
            self._discovery.resume([Intervals.joined(parts) for parts in state["dealt_with"]])
        if self.consumer is not None and "consumer" in state:
            self.consumer.load_state_dict(state["consumer"])

    def find_again(self) -> list[Arrival]:
        """Return all that had joined, in the same order. What is there of it is not asked."""
        places = np.array(self._joined, np.int64).reshape(-1, 3)[:, :2]
        return self._discovery.arrivals(places)

    def check_again(self, outcome: Outcome) -> None:
        """Raise FeedError unless all that had joined before has come, with as many samples."""
        came = dict(zip((arrival.place for arrival in outcome.joined), outcome.rows, strict=True))
        for (source, position, before), arrival in zip(self._joined, self.find_again(), strict=True):
            now = came.get((source, position))
            if now != before:
                raise self._changed(
                    arrival, "nothing that fits" if now is None else f"{now} samples instead of {before}"
                )

    def _changed(self, arrival: Arrival, found: str) -> FeedError:
        return FeedError(
            f"the checkpoint was made with samples that are no longer there: {arrival.keys[0].decode()!r} holds "
            f"{found}. Where batches may be deleted, keep them in the checkpoint: state_dict(with_samples=True)"
        )


def make_discovery(database: Database, scheme: KeyScheme | DataInfo, producers: Sequence[str]) -> Discovery:
    """Return what looks for new batches under a scheme."""
    if isinstance(scheme, KeyScheme):
        return KeyDiscovery(database, scheme, producers)
    return ListDiscovery(database, scheme, producers)


def list_keys(scheme: KeyScheme | DataInfo, producers: Sequence[str]) -> list[bytes]:
    """List the keys of the aggregation lists of a scheme, one per producer; none where tensors are named by key."""
    return [] if isinstance(scheme, KeyScheme) else [scheme.list_key(name) for name in producers]
