"""What a feed holds, and how it grows: pass by pass, in step with other replicas, up to the end of its stream."""

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentValueError, FeedTimeoutError
from smartml.feeds.absence import describe_absence
from smartml.feeds.batches import BatchInfo
from smartml.feeds.consumer import Consumer, DeleteAfter, leave
from smartml.feeds.discovery import Arrival
from smartml.feeds.keeping import AnySet, Keeping, receive_into
from smartml.feeds.monitoring import FeedMonitor
from smartml.feeds.pace import TrainerPace
from smartml.feeds.passes import Passes
from smartml.feeds.presence import have_producers_ended, note_consumer
from smartml.feeds.samplers import Batching, Sampler
from smartml.feeds.schemes import DataInfo, KeyScheme, download_info, stream_name
from smartml.feeds.shared_epochs import SharedEpochs, Terms
from smartml.feeds.sources import list_sources
from smartml.feeds.stats import FeedStats, Tally
from smartml.feeds.supply import Share, Supply, list_keys
from smartml.feeds.transfer import read_columns
from smartml.feeds.waiting import LONGEST_POLL_S, SHORTEST_POLL_S, Waits, checked_timeout
from smartml.store import Client

logger = logging.getLogger(__name__)


class GrowingSet:
    """The part of `DataDownloader` that takes up samples and begins passes over them."""

    # What its constructor makes of its arguments.
    client: Client
    producers: tuple[str, ...]
    dynamic: bool
    shuffle: bool
    verbose: bool
    batch_size: int
    drop_last: bool
    wait_timeout_s: float | None
    log_stats_every_s: float | None
    _monitor: FeedMonitor | None
    _scheme: KeyScheme | DataInfo
    # Whether the rest of what a list holds is published by producers.
    _info_is_published: bool
    _keeping: Keeping
    _chosen_sampler: Sampler | None
    _batching: Batching
    _delete_after: DeleteAfter | None
    _group: str
    _other_groups: tuple[str, ...]
    _pace: TrainerPace | None
    _seed: int | None
    # Tells the replicas of this run from those of others of the same group, where something does.
    _run: str

    # Set to False by a stream that was closed while it waits: nobody wants what comes.
    _is_wanted = True

    # What came of being used, and the classes of what `_empty_state` holds.
    _supply: Supply | None
    _set: AnySet | None
    _passes: Passes
    _tally: Tally
    # Of the batch that was served last: the identifiers of its samples, and their weights where not all are 1.
    _last: tuple[NDArray[np.int64], NDArray[np.float32] | None] | None

    def _empty_state(self) -> dict[str, Any]:
        """Return what a feed is before its first sample."""
        return {
            "_supply": None,
            "_set": None,
            "_passes": Passes(self._chosen_sampler, self.shuffle, self._batching, self._random),
            "_tally": Tally(),
            "_last": None,
        }

    @property
    def last_batch(self) -> BatchInfo | None:
        """What is known of the batch that was served last."""
        return None if self._last is None else self._describe_last()

    def _describe_last(self) -> BatchInfo:
        assert self._last is not None
        ids, weights = self._last
        return BatchInfo(ids, np.ones(len(ids), np.float32) if weights is None else weights)

    def set_replica_parameters(self, replica_rank: int, num_replicas: int) -> None:
        """Choose which replica this feed serves; only before its first samples came."""
        if not 0 <= replica_rank < num_replicas:
            raise ArgumentValueError(f"replica_rank must be in [0, num_replicas), not {replica_rank} of {num_replicas}")
        if self._set is not None:
            raise ArgumentValueError("the feed already holds samples of another replica: set the replica before")
        self.replica_rank, self.num_replicas = replica_rank, num_replicas
        self._take_share()

    def _take_share(self, worker: int | None = 0, workers: int = 1, *, is_led: bool = False) -> None:
        """Serve what arrives for one of so many workers of this replica; for None, only begin epochs for them.

        Workers that are led follow epochs that another process begins.
        """
        share = self.replica_rank * workers + (worker or 0)
        self._share = None if worker is None else share
        self._loading_workers = workers
        # Whether epochs are those that all shares have agreed on.
        self._is_in_step = self.num_replicas * workers > 1 or is_led
        # The share belongs to the seed: replicas and workers shuffle differently.
        self._random = np.random.default_rng(None if self._seed is None else [self._seed, share])
        # What is kept does not depend on how often passes began.
        self._policy_random = np.random.default_rng(None if self._seed is None else [self._seed, share, 1])
        # What another process, or this one with another share, may hold is not this share.
        self.__dict__.update(self._empty_state())

    @property
    def _shares(self) -> frozenset[str]:
        """Between whom this feed shares out samples by itself: "rank", "worker"."""
        return frozenset({"rank"} if self.num_replicas > 1 else ())

    @property
    def num_samples(self) -> int:
        """Number of samples held."""
        return 0 if self._set is None else len(self._set)

    @property
    def epoch(self) -> int:
        """Number of the epoch that this replica is in, from 0, the same in all of them; -1 before the first.

        A feed that is alone counts nothing: always -1.
        """
        return -1 if self._epochs is None else self._epochs.number

    @property
    def _epochs(self) -> SharedEpochs | None:
        return None if self._supply is None else self._supply.epochs

    @property
    def _needed(self) -> int:
        """Samples that make a batch."""
        return self.batch_size if self.drop_last else 1

    @property
    def stats(self) -> FeedStats:
        """How much came, stayed, left and was used so far, and where the time went."""
        return self._tally.snapshot(self._set)

    # Growing

    def init_samples(self, wait_timeout_s: float | None = None) -> None:
        """Wait for the first batch; returns the moment it is there, at once when it already is.

        Raises FeedTimeoutError when nothing new has come for `wait_timeout_s` (None: that of the constructor).
        """
        allowed_s = self.wait_timeout_s if wait_timeout_s is None else checked_timeout("wait_timeout_s", wait_timeout_s)
        last_news, pause_s, has_waited = time.monotonic(), SHORTEST_POLL_S, False
        while not self._is_ready():
            if self._fetch():
                last_news, pause_s = time.monotonic(), SHORTEST_POLL_S
                continue
            waited_s = time.monotonic() - last_news
            if allowed_s is not None:
                if waited_s >= allowed_s:
                    raise FeedTimeoutError(self._describe_wait(self._needed, allowed_s))
                pause_s = min(pause_s, allowed_s - waited_s)
            self._tally.waits += not has_waited
            has_waited = True
            with self._tally.timing("wait"):
                time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_POLL_S)
        if not self._is_in_step and (self._passes.current is None or self._passes.samples < self._needed):
            self._begin_pass()

    def _is_ready(self) -> bool:
        """Tell whether there is enough for a pass; of replicas in step the first one to begin an epoch decides that."""
        if not self._is_in_step:
            return self.num_samples >= self._needed
        return self._passes.current is not None or self._begin_epoch()

    def update_data(self) -> None:
        """Take up what is new, if the feed is dynamic, and begin a new pass: another order over what is held now.

        Of several replicas, one that has served nothing of its pass stays with it: else its epochs would run ahead of
        theirs. Raises SampleMismatchError for a tensor that does not fit, once; all others have joined by then.
        """
        if not self._is_in_step:
            try:
                if self.dynamic:
                    self._fetch()
            finally:
                self._begin_pass()
        elif self._passes.current is None or self._passes.is_used:
            self._begin_epoch()
        elif self.dynamic:
            self._fetch()

    def _begin_epoch(self) -> bool:
        """Begin the next pass of replicas in step; tell whether there is enough for it."""
        if self._supply is None and not self._begin_supply():
            return False
        assert self._epochs is not None
        with self._tally.timing("discovery"):
            if not self._epochs.begin(self.dynamic):
                return False
        if self._share is None:
            # It begins epochs for others.
            return True
        try:
            self._receive(self._epochs.waiting)
        finally:
            self._begin_pass()
        return True

    def _begin_pass(self) -> None:
        batches = self._agreed_batches
        if self._set is None and batches is None:
            return
        self._passes.begin(self._set, batches)
        if self._consumer is not None:
            self._consumer.begin_pass(self._passes.current)
            self._consumer.acknowledge()

    @property
    def _agreed_batches(self) -> int | None:
        """Batches of this share in the running epoch, where shares have agreed on that."""
        if self._epochs is None or self._epochs.epoch is None or self._share is None:
            return None
        return self._epochs.epoch.batches[self._share]

    @property
    def _consumer(self) -> Consumer | None:
        return None if self._supply is None else self._supply.consumer

    def _fetch(self) -> int:
        """Receive all that is new; return the number of samples that joined."""
        if not self._is_wanted:
            raise FeedTimeoutError("the stream that waited for samples was closed")
        if self._supply is None and not self._begin_supply():
            return 0
        assert self._supply is not None
        with self._tally.timing("discovery"):
            arrivals = self._supply.look()
        return self._receive(arrivals)

    def _receive(self, arrivals: Sequence[Arrival]) -> int:
        """Receive what was found for this feed; return the number of samples that joined."""
        assert self._supply is not None
        self._tally.note_found(arrivals, self.producers, getattr(self._scheme, "ranks", None) or 1)
        if not arrivals:
            return 0
        if self._set is None:
            columns = read_columns(self.client.database, arrivals)
            if columns is None:
                return 0
            self._set = self._keeping.make_set(columns, self._needed, self._policy_random)
        before = self._set.arrived
        with self._tally.timing("transfer"):
            outcome = receive_into(self.client.database, self._set, arrivals)
        self._supply.settle(outcome.joined, outcome.rows, [arrival for arrival, _ in outcome.misfits])
        if self._pace is not None:
            self._pace.receive(self._set.arrived - before)
        self.log(f"{outcome.samples} new samples in {len(outcome.joined)} batches, {len(self._set)} in all")
        self._log_stats(is_urgent=True)
        if outcome.failure is not None:
            raise outcome.failure
        # One is raised; nobody would see the others.
        for _, error in outcome.misfits[1:]:
            logger.error("left out of the training set: %s", error)
        for _, error in outcome.misfits[:1]:
            raise error
        return outcome.samples

    # The end

    @property
    def finished(self) -> bool:
        """Whether all producers have ended, and this feed has taken up all that it can of what they put.

        A producer has ended when its program has, as its experiment tells; or, outside of one, when it has closed its
        `TrainingDataUploader`. Of others nothing is known: False. A dynamic feed takes up what is new to find out.
        """
        if not self._have_producers_ended():
            return False
        if self.dynamic:
            self._fetch()
        # Where workers look for samples, this process does not.
        return self._supply is None or not self._supply.is_something_waiting()

    def epochs(self, max_epochs: int | None = None, until: Literal["producers_done"] | None = None) -> Iterator[int]:
        """Count epochs from 0, each of which is one pass to be made by the caller; ends after `max_epochs`.

            for epoch in feed.epochs(until="producers_done"):
                for x, y in feed:
                    ...

        With `until="producers_done"` the last one is the one after which all producers have ended (see `finished`) and
        nothing has come since it began: everything there is was served. Replicas all end after the same one.
        """
        if until not in (None, "producers_done") or (until is None and max_epochs is None):
            raise ArgumentValueError(f"epochs end after max_epochs, or until='producers_done', not until={until!r}")
        for epoch in itertools.count():
            if max_epochs is not None and epoch >= max_epochs:
                return
            if epoch and until is not None and self._is_over():
                return
            yield epoch

    def _is_over(self) -> bool:
        """Tell whether the running pass was the last that is needed."""
        if self._epochs is not None and self._epochs.epoch is not None:
            return self._epochs.agree_on_end(self.dynamic, self._have_producers_ended)
        if not self._have_producers_ended():
            return False
        if not self.dynamic or self._supply is None:
            # Where workers look for samples, this process does not.
            return True
        self._fetch()
        is_all_served = self._set is None or self._set.arrived == self._passes.arrived
        return is_all_served and not self._supply.is_something_waiting()

    def _have_producers_ended(self) -> bool:
        return have_producers_ended(self.client.database, self.producers, list_keys(self._scheme, self.producers))

    # Keeping step with producers and other trainers

    @property
    def waits(self) -> Waits:
        """How often, and how long, this feed held a batch back because samples were used too often."""
        return Waits() if self._pace is None else self._pace.waits

    @property
    def _paced_list(self) -> str | None:
        return self._scheme.list_name if isinstance(self._scheme, DataInfo) else None

    def _make_consumer(self) -> Consumer | None:
        if self._delete_after is None or self._share is None:
            return None
        sources = list_sources(self._scheme, self.producers)
        return Consumer(self.client.database, sources, self._delete_after, self._group, self._other_groups)

    def leave_group(self, group: str | None = None) -> None:
        """Take a consumer group (None: this feed's own, which then deletes nothing more) out of the stream.

        Batches then wait for the other groups alone: for a trainer that does not come back.
        """
        sources = list_sources(self._scheme, self.producers)
        leave(self.client.database, sources, self._group if group is None else group)
        if group is None or group == self._group:
            self._delete_after = None
            if self._supply is not None:
                self._supply.consumer = None

    def _begin_supply(self) -> bool:
        """Set out to look; not before the information on a list that was only named is there."""
        database, scheme = self.client.database, self._scheme
        if isinstance(scheme, DataInfo) and not self._is_info_there(scheme):
            return False
        share: Share | None = None
        if self._is_in_step:
            name = ".".join(filter(None, (self._group, stream_name(scheme, self.producers), self._run)))
            terms = Terms(self.num_replicas, self._loading_workers, self._batching, self._keeping.capacity)
            share = Share(name, self._share, terms)
        # What another replica, or the process that this feed was copied from, has read or used is not its own.
        self._supply = Supply(
            database, scheme, self.producers, share, self._make_consumer(), is_read_again=self._can_read_again
        )
        note_consumer(database)
        if self._pace is not None:
            self._pace.begin(database, self._paced_list, self.batch_size * self.num_replicas * self._loading_workers)
        return True

    @property
    def _can_read_again(self) -> bool:
        """Whether what is held is all that came, and stays in the database."""
        if self._supply is not None:
            # A feed that has left its group deletes no more, and yet has deleted before.
            return self._supply.is_read_again
        return self._delete_after is None and self._keeping.capacity is None

    def _is_info_there(self, info: DataInfo) -> bool:
        return not self._info_is_published or download_info(info, self.client, self.producers)

    def _describe_wait(self, needed: int, allowed_s: float | None) -> str:
        """Say what was looked for, where, and what is there instead."""
        database = self.client.database
        if self._supply is None:
            assert isinstance(self._scheme, DataInfo)
            keys = [self._scheme.key(producer) for producer in self.producers]
        else:
            keys = self._supply.describe_next()
        return (
            f"{self.num_samples} samples are there, {needed} are needed for a batch, "
            f"and none came within {allowed_s:g} s. {describe_absence(database, keys, self.producers)}"
        )

    def log(self, message: str) -> None:
        """Log what the feed does: at level INFO if it is verbose, else DEBUG."""
        logger.log(logging.INFO if self.verbose else logging.DEBUG, "%s", message)

    def _log_stats(self, is_urgent: bool = False) -> None:
        if self._monitor is not None:
            self._monitor.note(self.stats, self.replica_rank, is_urgent)
        if self.log_stats_every_s is not None and self._tally.is_due(self.log_stats_every_s):
            logger.info("%s", self.stats)
