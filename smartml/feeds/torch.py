"""Growing training sets for PyTorch."""

import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError, MissingDependencyError
from smartml.extras import missing
from smartml.feeds.batches import BatchInfo
from smartml.feeds.downloader import DataDownloader

try:
    import torch
    from torch import distributed
    from torch.utils import data
except ImportError as error:
    raise MissingDependencyError(missing("torch", "smartml.feeds.torch", "torch")) from error

__all__ = ["DataLoader", "DynamicDataGenerator", "StaticDataGenerator"]

# What torchrun tells its processes (https://docs.pytorch.org/docs/stable/elastic/run.html, environment variables).
_RUN_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")


class _DataGenerator(DataDownloader, data.IterableDataset):  # type: ignore[type-arg]
    """A feed of torch tensors. Samples are first fetched when they are asked for, by the process that asks."""

    def __init__(self, **kwargs: Any) -> None:
        # Whether this process has found out that it is a DataLoader's worker.
        self._is_worker = False
        # Unless told otherwise, processes of torch.distributed are each other's replicas.
        self._is_told = "replica_rank" in kwargs or "num_replicas" in kwargs
        # In a DataLoader with workers, the process that builds the feed never sees a sample.
        DataDownloader.__init__(self, **{**kwargs, "init_samples": False})
        self._find_replica()

    @property
    def _shares(self) -> frozenset[str]:
        return frozenset({"rank", "worker"})

    def _find_replica(self) -> None:
        if self._is_told or not distributed.is_available() or not distributed.is_initialized():
            return
        self._is_told = True
        self.set_replica_parameters(distributed.get_rank(), distributed.get_world_size())
        if self.num_replicas > 1:
            # The same in all processes of a run of torchrun, another one when that has started them again.
            self._run = ":".join(filter(None, map(os.environ.get, _RUN_VARIABLES)))

    def init_samples(self, wait_timeout_s: float | None = None) -> None:
        self._find_replica()
        super().init_samples(wait_timeout_s)

    def __iter__(self) -> Iterator[Any]:
        """Begin a new pass over what is there now; in a DataLoader's worker, over that worker's part of it."""
        self._find_worker()
        if self._share is None:
            # No more for workers.
            self._take_share()
        return super().__iter__()

    def __len__(self) -> int:
        """Number of batches in the running pass; of all workers together, where workers serve them."""
        if self._share is None:
            return self.lead_epoch(self._loading_workers, is_served=False)
        return super().__len__()

    def batch(self, number: int) -> Any:
        """Copy batch `number` of the running pass, as `DataDownloader.batch` does: of this process, not its workers."""
        if self._share is None:
            self._take_share()
        return super().batch(number)

    def _find_worker(self) -> None:
        worker = data.get_worker_info()
        if worker is not None and not self._is_worker:
            self._is_worker = True
            is_led = self._share is None
            if not is_led and self.num_replicas == 1:
                # In a DataLoader of torch's own: what its workers, and nobody else, have in common.
                self._run = f"{os.getppid()}:{worker.seed - worker.id}"
            self._take_share(worker.id, worker.num_workers, is_led=is_led)

    def state_dict(self, with_samples: bool | None = None) -> dict[str, Any]:
        self._find_worker()
        return super().state_dict(with_samples)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._find_replica()
        self._find_worker()
        super().load_state_dict(state_dict)

    def lead_epoch(self, workers: int, *, is_served: bool) -> int:
        """Begin an epoch that so many workers are to serve, unless one is begun and not served; return its batches.

        Waits until there is a batch for each replica; raises FeedTimeoutError as `init_samples` does.
        """
        if self._share is not None or self._loading_workers != workers:
            self._take_share(None, workers, is_led=True)
            if self.num_replicas == 1:
                self._run = uuid.uuid4().hex
        if self._epochs is None or self._epochs.epoch is None:
            self.init_samples()
        elif is_served and self._passes.is_used:
            self._begin_epoch()
        self._passes.is_used = self._passes.is_used or is_served
        assert self._epochs is not None and self._epochs.epoch is not None
        first = self.replica_rank * workers
        return sum(self._epochs.epoch.batches[first : first + workers])

    def __getstate__(self) -> dict[str, Any]:
        # A process that it is sent to fetches its own part.
        return {**self.__dict__, **self._empty_state(), "_is_worker": False}

    def _convert(self, batch: Any) -> Any:
        if isinstance(batch, BatchInfo):
            return BatchInfo(*map(self._convert, batch))
        if isinstance(batch, tuple):
            return tuple(map(self._convert, batch))
        # A transform may have made something else of it.
        return _as_torch(batch) if isinstance(batch, np.ndarray) else batch


def _as_torch(array: NDArray[Any]) -> torch.Tensor:
    if array.dtype.name == "bfloat16":
        # torch does not know numpy's way to have this dtype.
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


class StaticDataGenerator(_DataGenerator):
    """A training set of what is in the database when the first samples are asked for.

    Takes the keyword arguments of `DataDownloader`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dynamic": False})


class DynamicDataGenerator(_DataGenerator):
    """A training set that takes up what is new at the start of every pass.

    Takes the keyword arguments of `DataDownloader`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dynamic": True})


class DataLoader(data.DataLoader[Any]):
    """torch's DataLoader for these generators: batches come from the generator, workers live as long as the loader.

    With `num_workers` processes, each fetches and serves its own share of the samples, in batches of its own; the
    workers of every replica together serve as many in an epoch. With 0 the calling process does. Where an epoch is
    asked for, its beginning is waited for, as by the generator alone: that a batch is there for every replica.
    """

    def __init__(self, dataset: _DataGenerator, **kwargs: Any) -> None:
        if not isinstance(dataset, _DataGenerator):
            raise ArgumentTypeError(
                f"this DataLoader takes a StaticDataGenerator or DynamicDataGenerator, not {type(dataset).__name__}"
            )
        if kwargs.setdefault("batch_size", None) is not None:
            raise ArgumentValueError("the generator makes the batches: give it batch_size, not the DataLoader")
        kwargs.setdefault("persistent_workers", kwargs.get("num_workers", 0) > 0)
        super().__init__(dataset, **kwargs)

    def __iter__(self) -> Any:
        """Begin an epoch."""
        if self.num_workers:
            self._generator.lead_epoch(self.num_workers, is_served=True)
        return super().__iter__()

    def __len__(self) -> int:
        """Number of batches of the running epoch, of all workers together."""
        if self.num_workers:
            return self._generator.lead_epoch(self.num_workers, is_served=False)
        return len(self._generator)

    @property
    def _generator(self) -> _DataGenerator:
        assert isinstance(self.dataset, _DataGenerator)
        return self.dataset
