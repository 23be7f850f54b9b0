"""The feed: what turns growing lists of tensors into batches for one trainer."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError, FeedTimeoutError, SampleMismatchError
from smartml.feeds.absence import describe_absence
from smartml.feeds.buffer import TrainingSet
from smartml.feeds.discovery import Discovery, KeyDiscovery, ListDiscovery
from smartml.feeds.schemes import DataInfo, KeyOrder, KeyScheme, choose_producers, download_info
from smartml.feeds.transfer import read_columns, receive
from smartml.store import Client

logger = logging.getLogger(__name__)

Self = TypeVar("Self", bound="DataDownloader")

# While waiting, the server is asked at intervals that grow from the first to the second.
_SHORTEST_POLL_S = 0.002
_LONGEST_POLL_S = 0.05


class DataDownloader:
    """A training set that grows with what producers put into the database, served in batches.

    Two ways to say what to look for:

    - by key: `sample_prefix` (and `target_prefix`) for tensors `<prefix>_<iteration>`, or
      `<prefix>_<rank>_<iteration>` with `uploader_ranks` ranks (`key_order="iteration_rank"` for the other order);
    - by list: the name of an aggregation list, or a `DataInfo`, for what a `TrainingDataUploader` puts. With a name,
      the published information is waited for and downloaded.

    Axis 0 of every tensor counts samples. Without target prefix or name, a batch is `x` alone; with the same one as for
    samples it is `(x, x)`; else `(x, y)`, with `y` one-hot, float32 of shape (batch, num_classes), if `num_classes` is
    set. Samples join once their targets are there as well. Every producer that `SSKEYIN` names is followed, or only
    those whose names begin with one of `producer_prefixes`.

    `dynamic` feeds look for new samples when a pass begins (`update_data`); others keep what they found first.
    A pass serves whole batches, not a last smaller one (`drop_last=False` serves that, too). The same `seed` and the
    same arrivals give the same batches. Each batch goes to one of `num_replicas` replicas.

    The first batch is waited for in the constructor or, with `init_samples=False`, when samples are first asked for.
    When no new sample has come for `wait_timeout_s` seconds (None: wait for ever), FeedTimeoutError says what was
    looked for, where, and what is there instead.

    A tensor that does not fit the ones before raises SampleMismatchError (TensorFormatError if it is no tensor,
    MetadataError if its dataset lacks it) once, when everything else has joined; it is left out, and the feed can be
    used further. StoreConnectionError when the database went away: the feed keeps what it holds, and looks again when
    asked again.
    """

    def __init__(
        self,
        data_info_or_list_name: DataInfo | str | None = None,
        batch_size: int = 32,
        dynamic: bool = True,
        shuffle: bool = True,
        cluster: bool | None = None,
        address: str | None = None,
        replica_rank: int = 0,
        num_replicas: int = 1,
        verbose: bool = False,
        init_samples: bool = True,
        *,
        sample_prefix: str | None = None,
        target_prefix: str | None = None,
        uploader_ranks: int | None = None,
        key_order: KeyOrder = "rank_iteration",
        producer_prefixes: str | Sequence[str] | None = None,
        num_classes: int | None = None,
        seed: int | None = None,
        drop_last: bool = True,
        wait_timeout_s: float | None = 600.0,
    ) -> None:
        if (data_info_or_list_name is None) == (sample_prefix is None):
            raise ArgumentValueError("name either a list of training data or a sample_prefix, not both and not none")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentValueError(f"batch_size must be a positive number, not {batch_size!r}")
        self._scheme: KeyScheme | DataInfo
        if sample_prefix is not None:
            self._scheme = KeyScheme(sample_prefix, target_prefix, uploader_ranks, key_order)
        elif isinstance(data_info_or_list_name, DataInfo):
            self._scheme = data_info_or_list_name
        elif isinstance(data_info_or_list_name, str):
            self._scheme = DataInfo(data_info_or_list_name)
        else:
            raise ArgumentTypeError(f"a list name or a DataInfo is needed, not {type(data_info_or_list_name).__name__}")
        # A list that is only named tells the rest itself.
        self._info_is_published = isinstance(data_info_or_list_name, str)
        if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 1):
            raise ArgumentValueError(f"num_classes must be a positive number or None, not {num_classes!r}")
        self._num_classes = num_classes
        self.batch_size = batch_size
        self.dynamic = dynamic
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.verbose = verbose
        self.wait_timeout_s = _checked_timeout(wait_timeout_s)
        self._seed = seed
        self._discovery: Discovery | None = None
        self._set: TrainingSet | None = None
        # The samples of the running pass, in the order in which batches take them. A new pass brings a new array.
        self.indices: NDArray[np.intp] = np.empty(0, np.intp)
        self.set_replica_parameters(replica_rank, num_replicas)
        self.client = Client(cluster, address)
        try:
            self.producers = choose_producers(self.client.sources, producer_prefixes)
            if init_samples:
                self.init_samples()
        except BaseException:
            # Nobody else could: the caller never sees this object.
            self.close()
            raise

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the database. Samples held remain; looking for new ones opens new connections."""
        self.client.close()

    def set_replica_parameters(self, replica_rank: int, num_replicas: int) -> None:
        """Choose which replica this feed serves; only before its first samples came."""
        if not 0 <= replica_rank < num_replicas:
            raise ArgumentValueError(f"replica_rank must be in [0, num_replicas), not {replica_rank} of {num_replicas}")
        if self._set is not None:
            raise ArgumentValueError("the feed already holds samples of another replica: set the replica before")
        self.replica_rank, self.num_replicas = replica_rank, num_replicas
        # The rank belongs to the seed: replicas and workers shuffle differently.
        self._random = np.random.default_rng(None if self._seed is None else [self._seed, replica_rank])
        self._discovery = None

    # What is held

    @property
    def num_samples(self) -> int:
        """Number of samples held."""
        return 0 if self._set is None else len(self._set)

    @property
    def samples(self) -> NDArray[Any] | None:
        """A copy of all samples held, in order of arrival: (num_samples, *sample_shape); None before the first."""
        return None if self._set is None else self._set.column(0)

    @property
    def targets(self) -> NDArray[Any] | None:
        """A copy of all targets held, as they arrived, row by row with `samples`; None where there are none."""
        if self._set is None or not (self.need_targets or self.autoencoding):
            return None
        return self._set.column(len(self._set.columns) - 1)

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the targets; None where they are no labels."""
        published = self._scheme.num_classes if isinstance(self._scheme, DataInfo) else None
        return self._num_classes if self._num_classes is not None else published

    @property
    def autoencoding(self) -> bool:
        """Whether samples are their own targets."""
        sample_name, target_name = self._names
        return sample_name == target_name

    @property
    def need_targets(self) -> bool:
        """Whether targets of their own belong to the samples."""
        sample_name, target_name = self._names
        return bool(target_name) and target_name != sample_name

    @property
    def _names(self) -> tuple[str, str | None]:
        if isinstance(self._scheme, DataInfo):
            return self._scheme.sample_name, self._scheme.target_name
        return self._scheme.sample_prefix, self._scheme.target_prefix

    # Growing

    def init_samples(self, wait_timeout_s: float | None = None) -> None:
        """Wait for the first batch; returns the moment it is there, at once when it already is.

        Raises FeedTimeoutError when nothing new has come for `wait_timeout_s` (None: that of the constructor).
        """
        allowed_s = self.wait_timeout_s if wait_timeout_s is None else _checked_timeout(wait_timeout_s)
        needed = self.batch_size if self.drop_last else 1
        last_news, pause_s = time.monotonic(), _SHORTEST_POLL_S
        while self.num_samples < needed:
            if self._fetch():
                last_news, pause_s = time.monotonic(), _SHORTEST_POLL_S
                continue
            waited_s = time.monotonic() - last_news
            if allowed_s is not None:
                if waited_s >= allowed_s:
                    raise FeedTimeoutError(self._describe_wait(needed, allowed_s))
                pause_s = min(pause_s, allowed_s - waited_s)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_POLL_S)
        if len(self.indices) < needed:
            self._begin_pass()

    def update_data(self) -> None:
        """Take up what is new, if the feed is dynamic, and begin a new pass: another order over what is held now.

        Raises SampleMismatchError for a tensor that does not fit, once; all others have joined by then.
        """
        try:
            if self.dynamic:
                self._fetch()
        finally:
            self._begin_pass()

    def _begin_pass(self) -> None:
        order = np.arange(self.num_samples, dtype=np.intp)
        if self.shuffle:
            self._random.shuffle(order)
        self.indices = order

    def _fetch(self) -> int:
        """Receive all that is new; return the number of samples that joined."""
        if self._discovery is None and not self._begin_discovery():
            return 0
        assert self._discovery is not None
        arrivals = self._discovery.find()
        if not arrivals:
            return 0
        if self._set is None:
            columns = read_columns(self.client.database, arrivals)
            if columns is None:
                return 0
            self._set = TrainingSet(columns)
        before = len(self._set)
        outcome = receive(self.client.database, self._set, arrivals)
        self._discovery.confirm([*outcome.joined, *(arrival for arrival, _ in outcome.misfits)])
        self.log(f"{len(self._set) - before} new samples in {len(outcome.joined)} batches, {len(self._set)} in all")
        # One is raised; nobody would see the others.
        for _, error in outcome.misfits[1:]:
            logger.error("left out of the training set: %s", error)
        for _, error in outcome.misfits[:1]:
            raise error
        return len(self._set) - before

    def _begin_discovery(self) -> bool:
        """Set out to look; not before the information on a list that was only named is there."""
        database = self.client.database
        if isinstance(self._scheme, KeyScheme):
            self._discovery = KeyDiscovery(database, self._scheme, self.producers, self.replica_rank, self.num_replicas)
            return True
        if self._info_is_published and not download_info(self._scheme, self.client, self.producers):
            return False
        self._discovery = ListDiscovery(database, self._scheme, self.producers, self.replica_rank, self.num_replicas)
        return True

    def _describe_wait(self, needed: int, allowed_s: float | None) -> str:
        """Say what was looked for, where, and what is there instead."""
        database = self.client.database
        if self._discovery is None:
            assert isinstance(self._scheme, DataInfo)
            keys = [self._scheme.key(producer) for producer in self.producers]
        else:
            keys = self._discovery.describe_next()
        return (
            f"{self.num_samples} samples are there, {needed} are needed for a batch, "
            f"and none came within {allowed_s:g} s. {describe_absence(database, keys, self.producers)}"
        )

    def log(self, message: str) -> None:
        """Log what the feed does: at level INFO if it is verbose, else DEBUG."""
        logger.log(logging.INFO if self.verbose else logging.DEBUG, "%s", message)

    # Batches

    def __len__(self) -> int:
        """Number of batches in the running pass."""
        self.init_samples()
        return self._count_batches(self.indices)

    def _count_batches(self, indices: NDArray[np.intp]) -> int:
        whole, rest = divmod(len(indices), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Any]:
        """Begin a new pass, over what is there now, and go through its batches."""
        self.init_samples()
        self.update_data()
        # The pass goes on over its own order, should another one begin meanwhile.
        indices = self.indices
        for number in range(self._count_batches(indices)):
            yield self._make_batch(indices, number)

    def batch(self, number: int) -> Any:
        """Copy batch `number` of the running pass: `x` of shape (batch, *sample_shape), `(x, x)` or `(x, y)`.

        The rows of a batch are in order of arrival. Raises IndexError beyond the last batch.
        """
        self.init_samples()
        return self._make_batch(self.indices, number)

    def _make_batch(self, indices: NDArray[np.intp], number: int) -> Any:
        count = self._count_batches(indices)
        if not 0 <= number < count:
            raise IndexError(f"there is no batch {number}: the pass has {count}, counted from 0")
        assert self._set is not None
        batch = self._set.take(indices[number * self.batch_size : (number + 1) * self.batch_size])
        if self.autoencoding:
            return batch[0], batch[0]
        if not self.need_targets:
            return batch[0]
        x, y = batch
        return x, (y if self.num_classes is None else one_hot(y, self.num_classes))


def one_hot(labels: NDArray[Any], num_classes: int) -> NDArray[np.float32]:
    """Encode integer labels of shape (batch,) or (batch, 1) as float32 of shape (batch, num_classes)."""
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise SampleMismatchError(
            f"labels of {num_classes} classes must be integers of shape (batch,), "
            f"not {labels.dtype.name} of shape {labels.shape}"
        )
    if flat.size and not 0 <= flat.min() <= flat.max() < num_classes:
        raise SampleMismatchError(f"labels lie in [{flat.min()}, {flat.max()}], num_classes={num_classes} allows less")
    encoded: NDArray[np.float32] = np.eye(num_classes, dtype=np.float32)[flat[:, 0]]
    return encoded


def _checked_timeout(timeout_s: float | None) -> float | None:
    if timeout_s is not None and not timeout_s >= 0:
        raise ArgumentValueError(f"wait_timeout_s must be a number of seconds or None, not {timeout_s!r}")
    return timeout_s
