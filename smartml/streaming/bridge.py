"""Samples of a streaming server, put into a database as a producer does."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import SampleFormatError, StreamingError
from smartml.feeds import TrainingDataUploader
from smartml.feeds.progress import Progress, Report
from smartml.pipeline.stage import Stage
from smartml.streaming.protocol import Feature, Info
from smartml.streaming.samples import Sample
from smartml.streaming.websocket_source import WebSocketSource

# Types whose values can be stacked along axis 0. Texts and bytes have lengths of their own.
_STACKED = ("array", "omics", "image", "tabular")
_STOP_POLL_S = 0.1


def pull(
    source: WebSocketSource,
    uploader: TrainingDataUploader,
    *,
    input_name: str | None = None,
    target_name: str | None = None,
    limit: int | None = None,
    stop: Callable[[], bool] | None = None,
    report: Report | None = None,
) -> Progress:
    """Put the samples of a streaming server on a list, in batches of the source's size; return how much that was.

    input_name, target_name: which of the server's features; needed where it has several. Arrays, omics and images go as
    they are; of tabular features the columns, in the order of the first sample, which all have to be numbers. Ends with
    the stream, after `limit` samples, or once `stop()` is true. Raises StreamingError for features that no tensor can
    hold, SampleFormatError for a sample that does not fit the first one or lacks a feature.
    """
    info = source.info()
    columns = [_Column("input", info.inputs, input_name)]
    if uploader.target_name is not None:
        columns.append(_Column("target", info.outputs, target_name))
    done = Progress()
    reading = source.begin(source.take_state())
    samples = itertools.islice(reading.items(), limit)
    with _stopping(reading, stop):
        while batch := list(itertools.islice(samples, source.batch_size)):
            arrays = [column.stacked(batch) for column in columns]
            uploader.put_batch(*arrays)
            done = done.with_batch(arrays)
            if report is not None:
                report(done)
    return done


@contextlib.contextmanager
def _stopping(reading: Stage, stop: Callable[[], bool] | None) -> Iterator[None]:
    """End the reading once `stop()` is true, also while nothing comes."""
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.wait(_STOP_POLL_S):
            if stop is not None and stop():
                break
        reading.stop()

    watching = threading.Thread(target=watch, name="smartml-streaming-stop")
    watching.start()
    try:
        yield
    finally:
        is_done.set()
        watching.join()


def describe(info: Info) -> str:
    """Tell in one line what a stream is made of."""
    sides = (("inputs", info.inputs), ("targets", info.outputs))
    return "; ".join(f"{side} {', '.join(_described(*it) for it in them.items()) or 'none'}" for side, them in sides)


def _described(name: str, feature: Feature) -> str:
    shape = "" if feature.shape is None else f" of shape {feature.shape}"
    return f"{name!r} ({feature.type}{shape})"


class _Column:
    """One feature of all samples, as an array."""

    def __init__(self, side: str, features: Mapping[str, Feature], name: str | None) -> None:
        if name is None and len(features) == 1:
            [name] = features
        if name is None or name not in features:
            known = ", ".join(_described(*it) for it in features.items()) or "none"
            raise StreamingError(f"name one of the {side}s of the stream: {known}")
        self.name, self._feature, self._what = name, features[name], f"{side} {name!r}"
        if self._feature.type not in _STACKED:
            raise StreamingError(
                f"{self._what} is of the type {self._feature.type}, which no tensor holds: one of these types can be "
                f"put: {', '.join(_STACKED)}"
            )
        self._is_input = side == "input"
        # Names of the columns of a tabular feature, and shape and dtype of all others, once the first sample is here.
        self._columns: list[str] | None = None
        self._like: NDArray[Any] | None = None

    def stacked(self, samples: list[Sample]) -> NDArray[Any]:
        """Return the values of this feature: (samples, *shape)."""
        return np.stack([self._value(sample) for sample in samples])

    def _value(self, sample: Sample) -> NDArray[Any]:
        value = (sample.inputs if self._is_input else sample.target_labels).get(self.name)
        if value is None:
            raise SampleFormatError(f"sample {sample.sample_id!r} has no {self._what}")
        array = self._row(sample, value) if self._feature.type == "tabular" else np.asarray(value)
        if self._like is None:
            self._like = array
        if (array.shape, array.dtype) != (self._like.shape, self._like.dtype):
            raise SampleFormatError(
                f"sample {sample.sample_id!r}: {self._what} is {array.dtype.name} of shape {array.shape}, in the first "
                f"sample it is {self._like.dtype.name} of shape {self._like.shape}"
            )
        return array

    def _row(self, sample: Sample, value: Mapping[str, Any]) -> NDArray[Any]:
        if self._columns is None:
            self._columns = list(value)
        row = [value.get(name) for name in self._columns]
        if any(not isinstance(cell, int | float) for cell in row):
            raise SampleFormatError(
                f"sample {sample.sample_id!r}: not all columns of {self._what} are numbers: {value}"
            )
        return np.array(row, "float32")
