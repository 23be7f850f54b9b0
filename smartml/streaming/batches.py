"""Samples stacked to batches, as trainers take them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from smartml.streaming.samples import Sample

# By name: an array with axis 0 for the samples, or a list of what cannot be stacked.
Features: TypeAlias = "dict[str, Any]"


def batches_of(samples: Iterable[Sample], size: int) -> Iterator[tuple[Features, Features]]:
    """Give inputs and targets of so many samples each; of fewer in the last batch.

    Arrays of one shape and dtype are stacked. Of tabular features whose columns are all numbers, the columns are, in
    the order of the first sample: (batch, columns), float32; None is NaN. Everything else is a list, with None where a
    sample lacks it.
    """
    iterator = iter(samples)
    while batch := list(itertools.islice(iterator, size)):
        yield _columns([sample.inputs for sample in batch]), _columns([sample.target_labels for sample in batch])


def _columns(samples: Sequence[Mapping[str, Any]]) -> Features:
    names = dict.fromkeys(name for sample in samples for name in sample)
    return {name: _stacked([sample.get(name) for sample in samples]) for name in names}


def _stacked(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict) and all(_is_like(value, first) for value in values):
        return np.array([[value[column] for column in first] for value in values], "float32")
    if isinstance(first, np.ndarray) and all(
        isinstance(value, np.ndarray) and (value.shape, value.dtype) == (first.shape, first.dtype) for value in values
    ):
        return np.stack(values)
    return values


def _is_like(value: Any, first: dict[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == first.keys()
        and all(cell is None or isinstance(cell, int | float) for cell in value.values())
    )
