"""A bound on the batches of a list that were put and not yet deleted."""

import logging
from dataclasses import dataclass, field
from typing import Literal, get_args

from smartml.errors import ArgumentValueError, FeedTimeoutError, StoreFullError
from smartml.feeds.consumption import Consumption
from smartml.feeds.intervals import Intervals
from smartml.feeds.ledger import Ledger
from smartml.feeds.sources import ListSource
from smartml.feeds.waiting import Waits, wait_for
from smartml.store import Client, Dataset
from smartml.store.dataset_commands import unlink_datasets
from smartml.store.keys import DatasetKeys

logger = logging.getLogger(__name__)

WhenFull = Literal["wait", "drop_oldest", "raise"]


@dataclass
class UploaderStats:
    """What an uploader has done, and how long it was held up."""

    batches: int = 0
    # Pending batches of any uploader that this one has removed.
    dropped: int = 0
    # Waits for room (`max_pending`), and for trainers to keep step (`samples_per_insert`).
    waits_for_room: Waits = field(default_factory=Waits)
    waits_for_trainers: Waits = field(default_factory=Waits)


class PendingLimit:
    """Appends to a list only while fewer than `max_pending` of its batches are pending, whoever put them."""

    def __init__(
        self, list_name: str, max_pending: int, when_full: WhenFull, timeout_s: float | None, stats: UploaderStats
    ) -> None:
        if isinstance(max_pending, bool) or not isinstance(max_pending, int) or max_pending < 1:
            raise ArgumentValueError(f"max_pending must be a positive number or None, not {max_pending!r}")
        if when_full not in get_args(WhenFull):
            raise ArgumentValueError(f"when_full must be one of {get_args(WhenFull)}, not {when_full!r}")
        self._list_name, self._max, self._when_full, self._timeout_s = list_name, max_pending, when_full, timeout_s
        self._stats = stats
        # As last seen: entries of the list, and its record.
        self._length, self._record = 0, Consumption()

    def put(self, client: Client, dataset: Dataset) -> None:
        """Put a dataset and append it, when there is room.

        Raises StoreFullError under `raise`, FeedTimeoutError when `wait` has waited in vain; nothing is left behind.
        """
        self._make_room(client)
        client.put_dataset(dataset)
        try:
            # Between the two, another uploader may have taken the place.
            while not client.append_to_list_below(self._list_name, dataset, self._max + len(self._record.deleted)):
                self._make_room(client)
        except (StoreFullError, FeedTimeoutError):
            unlink_datasets(client.database, [DatasetKeys(client.list_entry(dataset))])
            raise

    def _make_room(self, client: Client) -> None:
        if self._has_room(client):
            return
        if self._when_full == "raise":
            raise StoreFullError(f"{self._describe()}. Put less, wait for trainers, or allow more")
        if self._when_full == "wait":
            waits = self._stats.waits_for_room
            wait_for(
                lambda: (self._has_room(client), len(self._record.deleted)), self._describe, waits, self._timeout_s
            )
            return
        while not self._has_room(client):
            self._drop_oldest(client)

    def _ledger(self, client: Client) -> Ledger:
        return Ledger(client.database, [ListSource(client.list_key(self._list_name))])

    def _has_room(self, client: Client) -> bool:
        # The record first: what is deleted only ever grows, so that too many are taken to be pending, never too few.
        self._record = self._ledger(client).read()[0]
        (self._length,) = client.database.each([(b"LLEN", client.list_key(self._list_name))])
        return self._pending < self._max

    @property
    def _pending(self) -> int:
        return self._length - len(self._record.deleted)

    def _drop_oldest(self, client: Client) -> None:
        excess, length = self._pending - self._max + 1, self._length
        dropped = 0

        def drop(record: Consumption) -> Consumption:
            nonlocal dropped
            # Others may have dropped or deleted some since.
            too_many = max(0, excess - len(record.gone - self._record.deleted))
            oldest = Intervals.joined([(0, length)]) - record.gone
            after = record.dropping(oldest.first(too_many))
            dropped = after.dropped - record.dropped
            return after

        ledger = self._ledger(client)
        ledger.delete_condemned(ledger.change({0: drop}))
        self._stats.dropped += dropped
        logger.debug("dropped the %d oldest batches of %s", dropped, self._list_name)

    def _describe(self) -> str:
        groups = ", ".join(self._record.groups) or "none: no feed of this list has delete_after"
        return (
            f"{self._pending} batches of list {self._list_name!r} are pending, max_pending={self._max}; "
            f"groups of trainers that have to read them: {groups}"
        )
