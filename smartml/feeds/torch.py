"""Growing training sets for PyTorch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError, MissingDependencyError
from smartml.extras import missing
from smartml.feeds.batches import BatchInfo
from smartml.feeds.downloader import DataDownloader

try:
    import torch
    from torch.utils import data
except ImportError as error:
    raise MissingDependencyError(missing("torch", "smartml.feeds.torch", "torch")) from error

__all__ = ["DataLoader", "DynamicDataGenerator", "StaticDataGenerator"]


class _DataGenerator(DataDownloader, data.IterableDataset):  # type: ignore[type-arg]
    """A feed of torch tensors. Samples are first fetched when they are asked for, by the process that asks."""

    def __init__(self, **kwargs: Any) -> None:
        # In a DataLoader with workers, the process that builds the feed never sees a sample.
        DataDownloader.__init__(self, **{**kwargs, "init_samples": False})
        self._is_split = False

    def __iter__(self) -> Iterator[Any]:
        """Begin a new pass over what is there now; in a DataLoader's worker, over that worker's part of it."""
        worker = data.get_worker_info()
        if worker is not None and not self._is_split:
            self._is_split = True
            # What the process that made the worker may hold is not this worker's part.
            self.__dict__.update(self._empty_state())
            self.set_replica_parameters(
                self.replica_rank * worker.num_workers + worker.id, self.num_replicas * worker.num_workers
            )
        return super().__iter__()

    def __getstate__(self) -> dict[str, Any]:
        # A process that it is sent to fetches its own part.
        return {**self.__dict__, **self._empty_state()}

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

    With `num_workers` processes, each fetches, waits for and serves its own part of the samples, in batches of
    its own; with 0 the calling process does.
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

    def __len__(self) -> int:
        """Number of batches in the running pass; a TypeError with workers, each of which knows only its own part."""
        if self.num_workers:
            raise ArgumentTypeError("a DataLoader with workers does not know how many batches they hold")
        return len(self.dataset)  # type: ignore[arg-type]
