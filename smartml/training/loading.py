"""Batches to train on, pass after pass, from files or a stream; and those to validate with."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from smartml.errors import DataError, SampleError
from smartml.training.batches import Batch, Codec, Prepared, Sample
from smartml.training.config import BasicExperiment
from smartml.training.outputs import TabularDecoder
from smartml.training.sources import read_values


class TrainingBatches(Protocol):
    """What the training loop reads."""

    # Batches in a pass; None: not known before its end.
    steps: int | None

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Serve a pass, from its batch `first` on."""


class Samples:
    """Samples by number, read and prepared when they are asked for, or once."""

    def __init__(self, samples: Sequence[Sample], codec: Codec, *, are_kept: bool) -> None:
        self._samples, self._codec, self._are_kept = samples, codec, are_kept
        self._prepared: dict[int, Prepared] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> Prepared:
        if number in self._prepared:
            return self._prepared[number]
        prepared = prepare(self._codec, read_values(self._samples[number]))
        if self._are_kept:
            self._prepared[number] = prepared
        return prepared

    def batch(self, numbers: Sequence[int] | NDArray[Any], random: np.random.Generator | None = None) -> Batch:
        return self._codec.collate([self[int(number)] for number in numbers], random)


def prepare(codec: Codec, sample: Sample) -> Prepared:
    """Check a sample to learn from, or raise DataError that says which it is."""
    try:
        return codec.prepare(sample)
    except SampleError as error:
        raise DataError(f"sample {sample.id!r}: {error}") from error


class FileBatches:
    """Batches of samples in files, in an order that seed and pass decide; of several processes each has its share."""

    def __init__(
        self,
        samples: Samples,
        basic: BasicExperiment,
        weights: NDArray[np.float64] | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._samples, self._basic, self._weights = samples, basic, weights
        self._rank, self._processes = rank, processes
        self.steps: int | None = len(samples) // (basic.batch_size * processes)
        if not self.steps:
            raise DataError(
                f"{len(samples)} samples to train on make no batch of {basic.batch_size} for each of "
                f"{processes} processes"
            )

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        workers = self._basic.dataloader_workers
        batches = _Pass(self, number, self._order(number))
        # With a generator of its own, a loader takes nothing from the random numbers of the model.
        loader: DataLoader[Batch] = DataLoader(
            batches,
            batch_size=None,
            sampler=range(first, len(batches)),
            num_workers=workers,
            generator=torch.Generator(),
        )
        return iter(loader)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Return which samples each batch of this process has: (steps, batch)."""
        random = np.random.default_rng([self._basic.seed, epoch])
        total = len(self._samples)
        order = random.permutation(total) if self._weights is None else random.choice(total, total, p=self._weights)
        assert self.steps is not None
        size = self._basic.batch_size
        return order[: self.steps * size * self._processes].reshape(self.steps, self._processes, size)[:, self._rank]

    def batch(self, epoch: int, number: int, samples: NDArray[np.int64]) -> Batch:
        # Each batch has random numbers of its own, so that a resumed run draws the same ones.
        return self._samples.batch(samples, np.random.default_rng([self._basic.seed, epoch, number, self._rank]))


class _Pass(Dataset[Batch]):
    """The batches of one pass by number, as torch's workers ask for them."""

    def __init__(self, batches: FileBatches, epoch: int, order: NDArray[np.int64]) -> None:
        self._batches, self._epoch, self._order = batches, epoch, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int) -> Batch:
        return self._batches.batch(self._epoch, number, self._order[number])


def validation_batches(samples: Samples, size: int) -> Iterator[Batch]:
    """Serve all samples in order, the last batch as small as it is."""
    for first in range(0, len(samples), size):
        yield samples.batch(range(first, min(first + size, len(samples))))


def balanced_weights(samples: Sequence[Sample], codec: Codec, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return how often to draw each sample for classes to come equally often: (samples,), of sum 1.

    With several columns, the mean over them; samples without a class are drawn as the average one.
    """
    weights = np.zeros(len(samples))
    chosen = 0
    for name, decoder in codec.outputs.items():
        if not isinstance(decoder, TabularDecoder):
            continue
        codes = np.stack([decoder.prepare(sample.targets.get(name))[0] for sample in samples])
        for place, column in enumerate(decoder.categories):
            if list(columns) != ["all"] and column not in columns:
                continue
            known = codes[:, place] >= 0
            counts = np.bincount(codes[known, place], minlength=1)
            own = np.full(len(samples), 1 / len(samples))
            own[known] = 1 / counts[codes[known, place]] / np.count_nonzero(counts) * known.mean()
            weights += own
            chosen += 1
    if chosen == 0 or (list(columns) != ["all"] and chosen < len(columns)):
        raise DataError(f"weighted_sampling_columns: {list(columns)} are not all categorical target columns")
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised
