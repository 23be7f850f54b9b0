"""The feed: what turns growing lists of tensors into batches for one trainer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentValueError, FeedError
from smartml.feeds.batches import Finish, one_hot
from smartml.feeds.buffer import Served
from smartml.feeds.consumer import DeleteAfter, checked_delete_after, checked_groups
from smartml.feeds.growing import GrowingSet
from smartml.feeds.keeping import read_keeping, read_packed_columns, receive_into
from smartml.feeds.monitoring import read_monitor
from smartml.feeds.orders import read_sampler, update_priorities
from smartml.feeds.pace import TrainerPace
from smartml.feeds.policies import ALL, Policy
from smartml.feeds.rate import RateLimit
from smartml.feeds.samplers import Batching, Pass, Sampler
from smartml.feeds.schemes import DataInfo, KeyOrder, choose_producers, read_scheme, stream_name
from smartml.feeds.stream import FeedSource
from smartml.feeds.supply import Supply
from smartml.feeds.transfer import Outcome, read_columns
from smartml.feeds.waiting import checked_timeout
from smartml.pipeline import Composable
from smartml.store import Client

if TYPE_CHECKING:
    from smartml.monitor import DataLogger

# Changes when states of before can no longer be understood.
_STATE_VERSION = 1

Self = TypeVar("Self", bound="DataDownloader")


class DataDownloader(GrowingSet):
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
    same arrivals give the same batches.

    Replicas of one trainer, `num_replicas` processes of which each knows its `replica_rank`, share what arrives: what a
    producer put as one batch goes to one of them. They agree, in the database, on what each epoch consists of, so that
    all have the same number of batches in it; one that is started late, or again, joins the epoch that the others are
    in. Samples that make no whole batch for every replica are left out (`drop_last=False`: they are served, and
    replicas that have none left serve some of theirs again). `epoch` tells which one it is. What they agree on belongs
    to their `consumer_group` and is forgotten a week after its last use: a training that begins anew in the same
    database names another group.

    The first batch is waited for in the constructor or, with `init_samples=False`, when samples are first asked for.
    When no new sample has come for `wait_timeout_s` seconds (None: wait for ever), FeedTimeoutError says what was
    looked for, where, and what is there instead.

    With a `capacity`, a number of samples or text such as "2gb" (bytes of samples and targets; a few more are used to
    keep count, and at most 8 MB, or one batch as it was put, to receive), a `policy` decides who stays: "fifo" keeps
    the newest, "reservoir" a uniform sample of all that ever came, "firo" each until it was used and chance takes it;
    or an object with the methods of `smartml.feeds.policies.Policy`. The default, "all", knows no capacity. `storage`
    is "memory", "disk" or a folder, for files that the system pages in and out and that go with the process.

    A pass serves each sample once, shuffled or (`shuffle=False`) in order of arrival. `sampler` names another way:
    "uniform" draws with replacement; "prioritised" by what `update_priorities` was told; or an object with the method
    of `smartml.feeds.samplers.Sampler`, `smartml.feeds.Prioritised(...)` for one. These serve `batches_per_epoch`
    batches, or as many as the samples held make. With `return_info` batches end in a `BatchInfo`: identifiers and
    importance weights (`return_info="weights"`: the weights alone, as Keras's `fit` takes them); `last_batch` has it,
    too. `sample_transform` is applied to each sample, `x` or `(x, y)`, and `transform` to each batch, as numpy arrays:
    functions, or steps of the pipeline such as `Composable().map(f).map(g)` that make one item of one. To draw samples
    together, leave some out or work on several at once, see `stream`.
    `stats` tells how all this goes, and `log_stats_every_s` logs it. With `monitor`, True or a
    `smartml.monitor.DataLogger`, it goes to the records of the run as well: `feed/arrived`, `feed/lag/<producer>` ...

    A tensor that does not fit the ones before raises SampleMismatchError (TensorFormatError if it is no tensor,
    MetadataError if its dataset lacks it) once, when everything else has joined; it is left out, and the feed can be
    used further. StoreConnectionError when the database went away: the feed keeps what it holds, and looks again when
    asked again.

    With `delete_after`, batches are deleted from the database once they are received ("read"), or once a pass over them
    was served to its end ("epoch": noted when iteration ends or the next pass begins), or once a checkpoint holds them
    ("checkpoint": see `state_dict`; of all that a process that dies has received, nothing is lost); None or "never"
    deletes nothing.
    All replicas of a trainer belong to one `consumer_group`, trainers that each need everything to groups of different
    names. A batch goes when all groups have it that were known by then: a group is made known by the construction of
    its first feed, or before that by another feed whose `consumer_groups` lists it. A feed that begins later finds
    where the stream begins now; one without `delete_after` is not waited for.

    With `samples_per_insert` (a number, or a `RateLimit`), a batch is held back while samples were used that much more
    often than they arrived; what is new is fetched meanwhile. FeedTimeoutError after `wait_timeout_s` without any.
    `waits` counts.
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
        capacity: int | str | None = None,
        policy: str | Policy = ALL,
        storage: str | Path = "memory",
        sampler: str | Sampler | None = None,
        batches_per_epoch: int | None = None,
        transform: Callable[[Any], Any] | Composable | None = None,
        sample_transform: Callable[[Any], Any] | Composable | None = None,
        return_info: bool | Literal["weights"] = False,
        log_stats_every_s: float | None = None,
        delete_after: DeleteAfter | None = None,
        consumer_group: str | None = None,
        consumer_groups: Sequence[str] = (),
        samples_per_insert: RateLimit | float | None = None,
        monitor: "bool | DataLogger | None" = None,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentValueError(f"batch_size must be a positive number, not {batch_size!r}")
        self._scheme = read_scheme(data_info_or_list_name, sample_prefix, target_prefix, uploader_ranks, key_order)
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
        self.wait_timeout_s = checked_timeout("wait_timeout_s", wait_timeout_s)
        self.log_stats_every_s = checked_timeout("log_stats_every_s", log_stats_every_s)
        self._monitor = read_monitor(monitor)
        self._keeping = read_keeping(capacity, policy, storage, self._needed)
        self._chosen_sampler = read_sampler(sampler, batches_per_epoch)
        self._batching = Batching(batch_size, drop_last, batches_per_epoch)
        self._finish = Finish(transform, sample_transform, return_info)
        self._delete_after = checked_delete_after(delete_after)
        self._group, self._other_groups = checked_groups(consumer_group, consumer_groups)
        self._pace: TrainerPace | None = None
        if samples_per_insert is not None:
            if not dynamic:
                raise ArgumentValueError("samples_per_insert needs a dynamic feed: no other takes up new samples")
            self._pace = TrainerPace(RateLimit.of(samples_per_insert), self._group, self.wait_timeout_s)
        self._seed = seed
        # Tells the replicas of this run from those of others of the same group, where something does.
        self._run = ""
        self._set = None
        self.set_replica_parameters(replica_rank, num_replicas)
        self.client = Client(cluster, address)
        try:
            self.producers = choose_producers(self.client.sources, producer_prefixes)
            if self._delete_after is not None:
                # At once: what others read from now on has to wait for this one.
                consumer = self._make_consumer()
                assert consumer is not None
                consumer.register()
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
        if self._monitor is not None:
            self._monitor.close()

    # What is held

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

    # Batches

    def __len__(self) -> int:
        """Number of batches in the running pass."""
        self.init_samples()
        assert self._passes.current is not None
        return len(self._passes.current)

    def __iter__(self) -> Iterator[Any]:
        """Begin a new pass, over what is there now, and go through its batches.

        The first time after `load_state_dict`, go on with the pass that was interrupted.
        """
        self.init_samples()
        first = 0
        if self._passes.is_resumed:
            first, self._passes.is_resumed = self._passes.served, False
        else:
            self.update_data()
        # The pass goes on over its own order, should another one begin meanwhile.
        current = self._passes.current
        assert current is not None
        self._passes.is_used = True
        for number in range(first, len(current)):
            yield self._make_batch(current, number)
        if self._consumer is not None:
            self._consumer.acknowledge()

    def batch(self, number: int) -> Any:
        """Copy batch `number` of the running pass: `x` of shape (batch, *sample_shape), `(x, x)` or `(x, y)`.

        The rows of a batch are in order of arrival. Raises IndexError beyond the last batch.
        """
        self.init_samples()
        assert self._passes.current is not None
        return self._make_batch(self._passes.current, number)

    def _make_batch(self, current: Pass, number: int) -> Any:
        if not 0 <= number < len(current):
            raise IndexError(f"there is no batch {number}: the pass has {len(current)}, counted from 0")
        self._passes.note_served(current, number)
        indices, weights = current.draw(number)
        assert self._set is not None
        if self._pace is not None:
            self._pace.use(self.client.database, self._paced_list, len(indices), self._fetch)
        if self._consumer is not None:
            self._consumer.serve(current, number, len(current))
        served = self._set.serve(indices)
        self._tally.used += len(indices)
        self._log_stats()
        return self._finished(served, None if weights is None else weights[served.order])

    def _serve_again(self, ids: Sequence[int], weights: Sequence[float]) -> Any:
        """Copy a batch that was served before, by the identifiers of its samples; its use is not counted again."""
        assert self._set is not None
        served = self._set.serve(self._set.find(np.array(ids, np.int64)))
        return self._finished(served, np.array(weights, np.float32))

    def _finished(self, served: Served, weights: NDArray[np.float32] | None) -> Any:
        self._last = served.ids, weights
        batch = self._name_columns(served.arrays)
        if not self._finish.is_nothing:
            batch = self._finish.apply(batch, self._describe_last)
        return self._convert(batch)

    def stream(
        self, samples: bool = False, max_epochs: int | None = None, until: Literal["producers_done"] | None = None
    ) -> FeedSource:
        """Begin a chain of the pipeline with this feed's batches, or single samples, pass after pass.

            for x, y in feed.stream(samples=True).shuffle(5000).batched(64, collate): ...

        Each pass takes up what is new first. Without `max_epochs` and `until` it never ends; with them as `epochs`
        does. A state of the chain holds `state_dict()`: with a `capacity` or `delete_after` all samples, and as many
        times as steps which hold items back (shuffle, async_map) look at where they are. Raises ArgumentValueError
        with `delete_after="checkpoint"`.
        """
        return FeedSource(self, samples, max_epochs, until)

    def _name_columns(self, columns: Sequence[NDArray[Any]]) -> Any:
        sample_name, target_name = self._names
        if not target_name:
            return columns[0]
        if target_name == sample_name:
            return columns[0], columns[0]
        x, y = columns
        return x, (y if self.num_classes is None else one_hot(y, self.num_classes))

    def _convert(self, batch: Any) -> Any:
        """Return a batch as the framework knows it."""
        return batch

    def update_priorities(self, ids: Any, priorities: Any) -> None:
        """Tell a sampler that draws by priority what samples are worth: absolute errors, say.

        ids: (n,), as in a `BatchInfo`; priorities: (n,), at least 0; both arrays or tensors. Samples that have left the
        set meanwhile are passed over. In the process that holds the samples: not with a DataLoader's workers.
        """
        if self._set is not None:
            update_priorities(self._passes.sampler, self._set, ids, priorities)

    # Resuming

    def state_dict(self, with_samples: bool | None = None) -> dict[str, Any]:
        """Return where this feed is, in plain Python types and bytes, for a checkpoint.

        A feed that was built alike goes on there with `load_state_dict`: with the same samples, in the middle of the
        same pass, and what is new. Samples are part of it where they cannot be read again: with a `capacity`, or
        `delete_after`; `with_samples=True` says so for others, whose samples may be deleted by somebody else. With
        `delete_after="checkpoint"` the batches that are part of a state are deleted from the database when the next
        state is asked for: make sure that the one before is saved by then. Raises FeedError in a process whose
        DataLoader's workers hold the samples.
        """
        if self._share is None:
            raise FeedError(
                "the samples are held by the workers of a DataLoader: torchdata's StatefulDataLoader asks them for "
                "their states"
            )
        if with_samples is False and not self._can_read_again:
            raise ArgumentValueError("with a capacity or delete_after, samples cannot be read again: with_samples=True")
        has_samples = with_samples or not self._can_read_again
        if self._consumer is not None:
            self._consumer.checkpoint()
        return {
            "version": _STATE_VERSION,
            **self._identity(),
            "run": self._run,
            "used": self._tally.used,
            "policy_random": self._policy_random.bit_generator.state,
            "passes": self._passes.state_dict(),
            "pace": None if self._pace is None else self._pace.state_dict(),
            "supply": None if self._supply is None else self._supply.state_dict(),
            "samples": self._set.state_dict() if self._set is not None and has_samples else None,
        }

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for a state to be taken over."""
        return {
            "stream": stream_name(self._scheme, self.producers),
            "share": [self._share, self.num_replicas, self._loading_workers],
            "batch_size": self.batch_size,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where the feed was from which the state is; what this one holds is dropped.

        Raises ArgumentValueError for the state of another feed, and FeedError when samples that are to be read again
        are not there (any more).
        """
        self._check_state(state_dict)
        self.__dict__.update(self._empty_state())
        self._run = state_dict["run"]
        if state_dict["supply"] is not None:
            if not self._begin_supply():
                raise FeedError(
                    f"the information on the list that the checkpoint was made with is not there: {self._scheme}"
                )
            assert self._supply is not None
            self._supply.load_state_dict(state_dict["supply"])
        if state_dict["samples"] is not None:
            columns = read_packed_columns(state_dict["samples"])
            self._set = self._keeping.make_set(columns, self._needed, self._policy_random)
            self._set.load_state_dict(state_dict["samples"])
        elif self._supply is not None:
            self._receive_again(self._supply)
        self._policy_random.bit_generator.state = state_dict["policy_random"]
        self._passes.load_state_dict(state_dict["passes"], self._set, self._agreed_batches)
        if self._consumer is not None:
            self._consumer.resume_pass(self._passes.current, self._passes.served)
        if self._pace is not None and state_dict["pace"] is not None:
            self._pace.load_state_dict(state_dict["pace"])
        self._tally.used = state_dict["used"]

    def _check_state(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != _STATE_VERSION:
            raise ArgumentValueError(
                f"this is no state of a feed of this version of smartml: its version is {state.get('version')!r}, "
                f"expected {_STATE_VERSION}"
            )
        for name, own in self._identity().items():
            if state[name] != own:
                raise ArgumentValueError(
                    f"the state is that of another feed: its {name} is {state[name]!r}, that of this one {own!r}"
                )

    def _receive_again(self, supply: Supply) -> None:
        arrivals = supply.find_again()
        columns = read_columns(self.client.database, arrivals) if arrivals else None
        if columns is not None:
            self._set = self._keeping.make_set(columns, self._needed, self._policy_random)
            with self._tally.timing("transfer"):
                outcome = receive_into(self.client.database, self._set, arrivals)
            supply.check_again(outcome)
        elif arrivals:
            supply.check_again(Outcome())
