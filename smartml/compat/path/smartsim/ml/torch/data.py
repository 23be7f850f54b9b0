"""Growing training sets for PyTorch."""

from collections.abc import Iterator
from typing import Any

import torch

from smartml.feeds import torch as _ours
from smartsim.error.errors import SMARTSIM
from smartsim.ml.data import EitherArguments, FeedNames, WaitingNames
from smartsim.ml.earlier import StaticDataDownloader, is_earlier

__all__ = ["DataLoader", "DynamicDataGenerator", "StaticDataGenerator"]


@SMARTSIM.speaks
class StaticDataGenerator(EitherArguments, WaitingNames, _ours.StaticDataGenerator, FeedNames):  # type: ignore[misc]
    __doc__ = _ours.StaticDataGenerator.__doc__

    def __new__(cls, **kwargs: Any) -> Any:
        """Make a generator; with the arguments of 0.4.1, one of tensors that are found by their keys."""
        return _EarlierStaticGenerator(**kwargs) if is_earlier(kwargs) else super().__new__(cls)


@SMARTSIM.speaks
class DynamicDataGenerator(EitherArguments, WaitingNames, _ours.DynamicDataGenerator, FeedNames):  # type: ignore[misc]
    __doc__ = _ours.DynamicDataGenerator.__doc__


class _EarlierStaticGenerator(StaticDataDownloader, torch.utils.data.IterableDataset[Any]):
    """The generator of 0.4.1 whose tensors have no iterations; workers of a DataLoader share its sources."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "init_samples": False})

    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None and self.samples is None and len(self.sources) >= worker.num_workers:
            self.sources = self.sources[worker.id :: worker.num_workers]
        if self.samples is None:
            self.init_samples()
        for batch in super().__iter__():
            yield tuple(map(torch.from_numpy, batch)) if isinstance(batch, tuple) else torch.from_numpy(batch)


class DataLoader(_ours.DataLoader):
    __doc__ = _ours.DataLoader.__doc__

    def __new__(cls, dataset: Any, **kwargs: Any) -> Any:
        """Make a loader; of torch's own kind for tensors without iterations."""
        if isinstance(dataset, _EarlierStaticGenerator):
            return torch.utils.data.DataLoader(dataset, **{"batch_size": None, **kwargs})
        return super().__new__(cls)
