"""Training data in single tensors, as in 0.4.0 and 0.4.1.

Their keys are `<prefix>_<iteration>`, or `<prefix>_<iteration>_<rank>`: so did the code have it. Their pages had the
two numbers the other way round; for producers that were written from those, say `key_order="rank_iteration"`.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml import feeds as _ours
from smartml.errors import ArgumentValueError, FeedTimeoutError
from smartml.feeds.batches import one_hot
from smartml.feeds.schemes import choose_producers
from smartml.store import Client, Dataset
from smartsim.error.errors import SMARTSIM

__all__ = ["DynamicDataDownloader", "KeyUploader", "StaticDataDownloader", "earlier_feed_arguments", "is_earlier"]

logger = logging.getLogger("smartml.compat")

# The arguments by which classes of these releases are told from later ones of the same name.
_EARLIER = frozenset(
    {"name", "num_ranks", "producer_prefixes", "sample_prefix", "target_prefix", "uploader_info", "uploader_name"}
    | {"uploader_ranks"}
)

# How often, and how many seconds apart, what an uploader publishes is looked for.
_TRIALS, _INTERVAL_S = 6, 5.0


def is_earlier(kwargs: dict[str, Any]) -> bool:
    """Tell whether arguments are those of 0.4.1 or before."""
    return bool(_EARLIER & set(kwargs))


@SMARTSIM.speaks
class KeyUploader:
    """Puts each batch as a tensor of samples, and one of targets."""

    def __init__(
        self,
        name: str = "training_data",
        sample_prefix: str = "samples",
        target_prefix: str = "targets",
        num_classes: int | None = None,
        producer_prefixes: str | Sequence[str] | None = None,
        cluster: bool = True,
        address: str | None = None,
        num_ranks: int | None = None,
        rank: int | None = None,
        verbose: bool = False,
    ) -> None:
        if not name or not sample_prefix:
            raise ArgumentValueError(f"name ({name!r}) and sample_prefix ({sample_prefix!r}) must not be empty")
        self.name = name
        self.sample_prefix = sample_prefix
        self.target_prefix = target_prefix
        self.num_classes = num_classes
        prefixes = [producer_prefixes] if isinstance(producer_prefixes, str) else list(producer_prefixes or [])
        self.producer_prefixes = prefixes
        self.num_ranks = None if num_ranks is None else int(num_ranks)
        self.rank = rank
        self.verbose = verbose
        self.batch_idx = 0
        self.client = Client(None if cluster else False, address)

    def publish_info(self) -> None:
        """Tell trainers what the keys are made of."""
        dataset = Dataset(f"{self.name}_info")
        texts = {"sample_prefix": [self.sample_prefix], "producer_prefixes": self.producer_prefixes}
        if self.target_prefix:
            texts["target_prefix"] = [self.target_prefix]
        for name, values in texts.items():
            for value in values:
                dataset.add_meta_string(name, value)
        for name, number in (("num_classes", self.num_classes), ("num_ranks", self.num_ranks)):
            if number:
                dataset.add_meta_scalar(name, number)
        self.client.put_dataset(dataset)

    def put_batch(self, samples: Any, targets: Any = None) -> None:
        """Put a batch: samples of shape (n, *sample_shape), targets of shape (n, *target_shape)."""
        batch = {self._key(self.sample_prefix): samples}
        if targets is not None and self.target_prefix and self.target_prefix != self.sample_prefix:
            batch[self._key(self.target_prefix)] = targets
        # Samples whose targets are not there yet would wait for them; together both come at once.
        self.client.put_tensors(batch)
        logger.log(logging.INFO if self.verbose else logging.DEBUG, "put %s", ", ".join(batch))
        self.batch_idx += 1

    def _key(self, prefix: str) -> str:
        return "_".join(str(part) for part in (prefix, self.batch_idx, self.rank) if part is not None)


@SMARTSIM.speaks
class DynamicDataDownloader(_ours.DataDownloader):
    """A training set of what uploaders of 0.4.1 have put, and put while it is used."""

    def __init__(
        self,
        batch_size: int = 32,
        shuffle: bool = True,
        uploader_info: str = "auto",
        uploader_name: str = "training_data",
        sample_prefix: str = "samples",
        target_prefix: str = "targets",
        uploader_ranks: int | None = None,
        num_classes: int | None = None,
        producer_prefixes: str | Sequence[str] | None = None,
        cluster: bool = True,
        address: str | None = None,
        replica_rank: int = 0,
        num_replicas: int = 1,
        verbose: bool = False,
        init_samples: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            **earlier_feed_arguments(
                {
                    "batch_size": batch_size,
                    "shuffle": shuffle,
                    "uploader_info": uploader_info,
                    "uploader_name": uploader_name,
                    "sample_prefix": sample_prefix,
                    "target_prefix": target_prefix,
                    "uploader_ranks": uploader_ranks,
                    "num_classes": num_classes,
                    "producer_prefixes": producer_prefixes,
                    "cluster": cluster,
                    "address": address,
                    "replica_rank": replica_rank,
                    "num_replicas": num_replicas,
                    "verbose": verbose,
                    "init_samples": init_samples,
                    **kwargs,
                }
            )
        )


@SMARTSIM.speaks
class StaticDataDownloader:
    """A training set of tensors without iterations: `<prefix>`, or `<prefix>_<rank>`, of each incoming entity.

    They are waited for and fetched once. Replicas share the sources between them; where there are fewer sources than
    replicas, each replica gets all.
    """

    def __init__(
        self,
        batch_size: int = 32,
        shuffle: bool = True,
        uploader_info: str = "auto",
        uploader_name: str = "training_data",
        sample_prefix: str = "samples",
        target_prefix: str = "targets",
        uploader_ranks: int | None = None,
        num_classes: int | None = None,
        producer_prefixes: str | Sequence[str] | None = None,
        cluster: bool = True,
        address: str | None = None,
        replica_rank: int = 0,
        num_replicas: int = 1,
        verbose: bool = False,
        init_samples: bool = True,
        **kwargs: Any,
    ) -> None:
        self.client = Client(None if cluster else False, address)
        named = {
            "sample_prefix": sample_prefix,
            "target_prefix": target_prefix,
            "uploader_ranks": uploader_ranks,
            "num_classes": num_classes,
            "producer_prefixes": producer_prefixes,
        }
        found = _names(self.client, uploader_info, uploader_name, named)
        self.batch_size, self.shuffle, self.verbose = batch_size, shuffle, verbose
        self.sample_prefix, self.target_prefix = found["sample_prefix"], found["target_prefix"]
        self.num_classes = found["num_classes"]
        self.sub_indices = [str(rank) for rank in range(found["uploader_ranks"] or 0)] or None
        self.autoencoding = self.sample_prefix == self.target_prefix
        self.need_targets = bool(self.target_prefix) and not self.autoencoding
        self._producers = choose_producers(self.client.sources, found["producer_prefixes"])
        self.replica_rank, self.num_replicas = replica_rank, num_replicas
        self.sources: list[list[str | None]] = []
        self.samples: NDArray[Any] | None = None
        self.targets: NDArray[Any] | None = None
        self.indices = np.arange(0)
        self.init_sources()
        if init_samples:
            self.init_samples()

    def init_sources(self) -> None:
        """List the sources of this replica, pairs of entity and rank, which may be changed before they are read."""
        ranks: Sequence[str | None] = self.sub_indices or [None]
        everything = [[producer, rank] for producer in self._producers for rank in ranks]
        share = len(everything) // self.num_replicas
        is_last = self.replica_rank == self.num_replicas - 1
        first = self.replica_rank * share
        self.sources = everything[first : None if is_last else first + share] if share else everything

    def init_samples(self, sources: list[list[str | None]] | None = None) -> None:
        """Wait for the tensors of each source, half a minute at most, and fetch them."""
        self.sources = self.sources if sources is None else sources
        fetched = [self._fetch(producer or "", rank) for producer, rank in self.sources]
        self.samples = np.concatenate([samples for samples, _ in fetched])
        targets = [targets for _, targets in fetched if targets is not None]
        self.targets = np.concatenate(targets) if targets else self.samples if self.autoencoding else None
        self.indices = np.arange(len(self.samples))
        self.update_data()

    @property
    def num_samples(self) -> int:
        """How many samples there are."""
        return 0 if self.samples is None else len(self.samples)

    def update_data(self) -> None:
        """Begin a new pass: in another order, where it is shuffled."""
        if self.shuffle:
            np.random.default_rng().shuffle(self.indices)

    def __len__(self) -> int:
        return self.num_samples // self.batch_size

    def __iter__(self) -> Iterator[Any]:
        self.update_data()
        if len(self) < 1:
            raise ArgumentValueError(f"{self.num_samples} samples make no batch of {self.batch_size}")
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> Any:
        """Return a batch of the running pass: `(x, y)`, or `x` alone."""
        if not 0 <= number < len(self):
            raise IndexError(f"there is no batch {number}: there are {len(self)}")
        assert self.samples is not None
        rows = self.indices[number * self.batch_size : (number + 1) * self.batch_size]
        if self.targets is None:
            return self.samples[rows]
        y = self.targets[rows]
        return self.samples[rows], y if self.num_classes is None or self.autoencoding else one_hot(y, self.num_classes)

    def _fetch(self, producer: str, rank: str | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if producer:
            self.client.set_data_source(producer)
        prefixes = [self.sample_prefix, *([self.target_prefix] if self.need_targets else [])]
        names = [prefix if rank is None else f"{prefix}_{rank}" for prefix in prefixes]
        for name in names:
            if not self.client.poll_tensor(name, int(1000 * _INTERVAL_S), _TRIALS):
                raise FeedTimeoutError(f"tensor {name!r} of {producer or 'no entity'} has not come")
        arrays = [self.client.get_tensor(name) for name in names]
        return arrays[0], arrays[1] if self.need_targets else None


def earlier_feed_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a feed of smartml, from those of a dynamic one of 0.4.1."""
    given = {"uploader_info": "auto", "uploader_name": "training_data", "cluster": True, "address": None, **kwargs}
    cluster, address = None if given["cluster"] else False, given["address"]
    defaults = {"sample_prefix": "samples", "target_prefix": "targets"}
    keys = ("sample_prefix", "target_prefix", "uploader_ranks", "num_classes", "producer_prefixes")
    named = {name: given.get(name, defaults.get(name)) for name in keys}
    with Client(cluster, address) as client:
        found = _names(client, given["uploader_info"], given["uploader_name"], named)
    kept = ("batch_size", "shuffle", "replica_rank", "num_replicas", "verbose", "init_samples", "key_order", "seed")
    return {
        "key_order": "iteration_rank",
        **{name: given[name] for name in kept if name in given},
        **found,
        "target_prefix": found["target_prefix"] or None,
        "cluster": cluster,
        "address": address,
        "wait_timeout_s": None,
    }


def _names(client: Client, uploader_info: str, uploader_name: str, named: dict[str, Any]) -> dict[str, Any]:
    """Return what the keys are made of: as an uploader has published it, or as it was given."""
    if uploader_info == "manual":
        return named
    if uploader_info != "auto" or not uploader_name:
        raise ArgumentValueError(
            f"uploader_info must be 'auto', with the uploader_name of what is published, or 'manual', got "
            f"{uploader_info!r} and {uploader_name!r}"
        )
    dataset = _published(client, f"{uploader_name}_info")
    fields = dataset.get_metadata_field_names()
    texts = {name: dataset.get_meta_strings(name) for name in fields if dataset.get_metadata_field_type(name) is str}
    numbers = {name: int(dataset.get_meta_scalars(name)[0]) for name in fields if name not in texts}
    return {
        "sample_prefix": texts["sample_prefix"][0],
        "target_prefix": texts.get("target_prefix", [""])[0],
        "uploader_ranks": numbers.get("num_ranks"),
        "num_classes": numbers.get("num_classes"),
        "producer_prefixes": texts.get("producer_prefixes"),
    }


def _published(client: Client, name: str) -> Dataset:
    for trial in range(_TRIALS):
        if trial:
            time.sleep(_INTERVAL_S)
        for source in client.sources or ("",):
            if source:
                client.set_data_source(source)
            if client.dataset_exists(name):
                return client.get_dataset(name)
    raise FeedTimeoutError(f"nothing was published under {name!r} within {_TRIALS * _INTERVAL_S:g} s")
