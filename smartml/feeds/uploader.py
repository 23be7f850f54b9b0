"""What a producer in Python uses to feed trainers through an aggregation list."""

import contextlib
import logging
import os
import uuid
from dataclasses import replace
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreError
from smartml.feeds.pace import ProducerPace
from smartml.feeds.pending import PendingLimit, UploaderStats, WhenFull
from smartml.feeds.presence import note_uploader
from smartml.feeds.rate import RateLimit
from smartml.feeds.schemes import DataInfo
from smartml.feeds.waiting import checked_timeout
from smartml.store import Client, Database, Dataset

logger = logging.getLogger(__name__)

# So long may it take to say that an uploader is closed.
_CLOSE_TIMEOUT_S = 1.0


class TrainingDataUploader:
    """Puts batches of samples, with their targets, where a `DataDownloader` of the same list finds them.

    The names of datasets hold a part that is different for every uploader, so that uploaders of one process, copies of
    one in forked processes, or a producer that is started again, never overwrite what is there.

    With `max_pending`, no more batches than that are on the list and not deleted yet, whichever uploader put them. When
    it is full, `put_batch` waits (`when_full="wait"`) until trainers with `delete_after` have deleted some, removes the
    oldest (`"drop_oldest"`), or raises StoreFullError (`"raise"`). Trainers that delete after an epoch must find all of
    a batch of theirs in what may be pending. With `samples_per_insert` (a number or a
    `RateLimit`, the same as the trainers'), it waits when these are too far behind. Both waits end in a
    FeedTimeoutError when nothing has changed for `wait_timeout_s` seconds (None: never); `stats` counts them.
    """

    def __init__(
        self,
        list_name: str = "training_data",
        sample_name: str = "samples",
        target_name: str | None = "targets",
        num_classes: int | None = None,
        cluster: bool | None = None,
        address: str | None = None,
        rank: int | None = None,
        verbose: bool = False,
        *,
        max_pending: int | None = None,
        when_full: WhenFull = "wait",
        samples_per_insert: RateLimit | float | None = None,
        wait_timeout_s: float | None = 600.0,
    ) -> None:
        self._info = DataInfo(list_name, sample_name, target_name, num_classes)
        if rank is not None and not isinstance(rank, int):
            raise ArgumentTypeError(f"rank must be int or None, not {type(rank).__name__}: {rank!r:.80}")
        self.stats = UploaderStats()
        timeout_s = checked_timeout("wait_timeout_s", wait_timeout_s)
        self._limit: PendingLimit | None = None
        if max_pending is not None:
            self._limit = PendingLimit(self._info.list_name, max_pending, when_full, timeout_s, self.stats)
        self._pace: ProducerPace | None = None
        if samples_per_insert is not None:
            self._pace = ProducerPace(RateLimit.of(samples_per_insert), self._info.list_name, timeout_s)
            self.stats.waits_for_trainers = self._pace.waits
        self.client = Client(cluster, address)
        self.rank = rank
        self.verbose = verbose
        self.batch_idx = 0
        self._renew_token()

    def __enter__(self) -> "TrainingDataUploader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Say that there is no more to come, and close the connections. Using the uploader again takes that back.

        A feed takes a producer for finished when its uploaders are closed, or its program has ended.
        """
        if self._is_noted and self._token_owner == os.getpid():
            self._note_end()
        self.client.close()

    def _note_end(self) -> None:
        own = self.client.database.settings
        try:
            # Of its own, with little patience: the database may have been stopped before.
            database = Database(replace(own, timeout_s=_CLOSE_TIMEOUT_S, connect_timeout_s=_CLOSE_TIMEOUT_S))
            with contextlib.closing(database):
                self._note(database, is_open=False)
        except StoreError as error:
            logger.warning("trainers of %s do not learn that this uploader is closed: %s", self.list_name, error)

    def _note(self, database: Database, *, is_open: bool) -> None:
        note_uploader(database, self.client.list_key(self.list_name), self._token, is_open=is_open)
        self._is_noted = is_open

    @property
    def list_name(self) -> str:
        """Name of the aggregation list."""
        return self._info.list_name

    @property
    def sample_name(self) -> str:
        """Name of the samples within each dataset."""
        return self._info.sample_name

    @property
    def target_name(self) -> str | None:
        """Name of the targets within each dataset; None for samples without."""
        return self._info.target_name

    @property
    def num_classes(self) -> int | None:
        """Number of classes, where targets are labels."""
        return self._info.num_classes

    def publish_info(self) -> None:
        """Tell trainers that know only the list's name what the list holds."""
        self._info.publish(self.client)

    def put_batch(self, samples: Any, targets: Any = None) -> None:
        """Put a batch: samples of shape (n, *sample_shape), targets of shape (n, *target_shape).

        Trainers see the batch once all of it is there. Raises ArgumentTypeError for what is not an array or
        for targets that the list has no name for, ArgumentValueError when the two differ in number. Where the uploader
        has limits: StoreFullError under `when_full="raise"`, FeedTimeoutError after a wait in vain.
        """
        dataset = self._make_dataset(samples, targets)
        if not self._is_noted:
            self._note(self.client.database, is_open=True)
        if self._pace is not None:
            self._pace.wait(self.client.database)
        if self._limit is not None:
            self._limit.put(self.client, dataset)
        else:
            self.client.put_new_on_list(self.list_name, dataset)
        if self._pace is not None:
            self._pace.count(self.client.database, len(dataset.tensors[self.sample_name]))
        self.stats.batches += 1
        level = logging.INFO if self.verbose else logging.DEBUG
        logger.log(level, "put batch %d of %s", self.batch_idx, self.list_name)
        self.batch_idx += 1

    def _make_dataset(self, samples: Any, targets: Any) -> Dataset:
        if self._token_owner != os.getpid():
            self._renew_token()
        parts = (self.list_name, self.rank, self._token, self.batch_idx)
        dataset = Dataset("_".join(str(part) for part in parts if part is not None))
        # Not copied: the batch is put before the caller goes on.
        dataset.add_tensor(self.sample_name, samples, copy=False)
        if targets is not None and self.target_name != self.sample_name:
            if self.target_name is None:
                raise ArgumentTypeError("targets were given, but the uploader has no target_name for them")
            dataset.add_tensor(self.target_name, targets, copy=False)
        # Empty where axis 0 is missing.
        counts = {array.shape[:1] for array in dataset.tensors.values()}
        if () in counts or len(counts) > 1:
            given = " and ".join(f"{name} of shape {array.shape}" for name, array in dataset.tensors.items())
            raise ArgumentValueError(f"axis 0 counts samples, and must be there and agree: {given}")
        return dataset

    def _renew_token(self) -> None:
        self._token, self._token_owner = uuid.uuid4().hex[:12], os.getpid()
        # Whether trainers know of this one.
        self._is_noted = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._renew_token()
