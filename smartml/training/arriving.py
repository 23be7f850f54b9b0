"""Samples that arrive while a model learns from them: what all streams have in common."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from smartml.errors import DataError
from smartml.training.batches import Batch, Codec, Prepared, Sample
from smartml.training.config_files import Configuration
from smartml.training.data import part_again
from smartml.training.loading import prepare
from smartml.training.processes import Processes
from smartml.training.sources import hold_out


class Stream(Protocol):
    """What is read pass after pass."""

    def arriving(self) -> Iterator[Sample]:
        """Serve one pass over what arrives, without what is held out."""


class StreamBatches:
    """Batches of samples as they come; those that are left at the end of a pass and make no batch are left out.

    Of a pass that is taken up again, the samples that were learned from are passed over.
    """

    steps: int | None = None

    def __init__(self, data: Stream, codec: Codec, size: int, seed: int) -> None:
        self._data, self._codec, self._size, self._seed = data, codec, size, seed

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        samples = itertools.islice(self._data.arriving(), first * self._size, None)
        prepared = (prepare(self._codec, sample) for sample in samples)
        for place, rows in enumerate(_whole_batches(prepared, self._size), first):
            yield self._codec.collate(rows, np.random.default_rng([self._seed, number, place]))


def _whole_batches(samples: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    rows: list[Prepared] = []
    for sample in samples:
        rows.append(sample)
        if len(rows) == size:
            yield rows
            rows = []


class Streamed:
    """What both kinds of streams have in common."""

    def __init__(self, configuration: Configuration) -> None:
        self._basic = configuration.globals.basic_experiment
        self.training: list[Sample] = []
        self.held_out: list[Sample] = []

    def _part(self, samples: Sequence[Sample], held_out: Sequence[str] | None) -> None:
        self.training, self.held_out = (
            hold_out(samples, self._basic) if held_out is None else part_again(samples, held_out)
        )

    def _part_by(self, held_out: Sequence[str], samples: Sequence[Sample]) -> None:
        self.training, self.held_out = part_again(samples, held_out)
        if not self.held_out or not self.training:
            raise DataError(
                f"of {len(samples)} samples that were gathered, {len(self.held_out)} are held out: gather more "
                "(data_preparation.streaming_setup_samples), or hold out another valid_size"
            )

    def arriving(self) -> Iterator[Sample]:
        """Serve one pass over what arrives, without what is held out."""
        raise NotImplementedError

    def batches(self, codec: Codec, processes: Processes) -> StreamBatches:
        del processes
        return StreamBatches(self, codec, self._basic.batch_size, self._basic.seed)
