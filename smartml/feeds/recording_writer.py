"""Writes a recording, batch by batch, so that all of its complete batches can be read whenever the writer dies."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import RecordingError
from smartml.extras import require
from smartml.feeds.buffer import Column
from smartml.feeds.recording import FIELDS, FOREIGN_ERRORS, LONGEST_NAME, Header, Origin, RecordedBatch, checksum
from smartml.feeds.schemes import DataInfo

# A chunk is a file. Smaller ones would make too many files; the last one is written anew until it is full.
_SMALLEST_CHUNK_BYTES = 1 << 18
# Larger ones take too long to compress at once, and from 2 GiB on cannot be.
_LARGEST_CHUNK_BYTES = 1 << 26
_ROWS_PER_CHUNK = 256
# Arrays have space for so many chunks more than are filled, then doubled: making them larger takes the longer the
# larger they are.
_FIRST_CHUNKS = 64


def make_folder(path: Path) -> None:
    """Make the folder of a recording; raises RecordingError for one that holds anything, or cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_empty = not any(path.iterdir())
    except OSError as error:
        raise RecordingError(f"no recording can be written to {path}: {error.strerror}") from error
    if not is_empty:
        raise RecordingError(f"{path} is not empty, and a recording overwrites nothing: remove it, or name another")


def chunk_shape(batch_rows: int, column: Column) -> tuple[int, ...]:
    """Choose the chunks of a column, by the first batch: whole batches of it, where these are neither small nor large.

    A sample that is too large for a chunk is divided along its first axes.
    """
    batch_bytes = max(1, batch_rows * column.row_size)
    parts = -(-batch_bytes // _LARGEST_CHUNK_BYTES)
    rows = -(-batch_rows // parts) * max(1, _SMALLEST_CHUNK_BYTES // batch_bytes)
    shape = [max(1, rows), *column.shape]
    while (size := prod(shape) * column.dtype.itemsize) > _LARGEST_CHUNK_BYTES:
        axis = next(axis for axis, length in enumerate(shape) if length > 1)
        shape[axis] = -(-shape[axis] // -(-size // _LARGEST_CHUNK_BYTES)) if shape[axis] > 2 else 1
    return tuple(shape)


def chunk_regions(first: int, last: int, chunks: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Divide the rows from `first` to `last` (without it) of an array into regions that lie in one chunk each."""
    starts = [first, *range((first // chunks[0] + 1) * chunks[0], last, chunks[0])] if first < last else []
    rows = [slice(start, end) for start, end in itertools.pairwise([*starts, last])]
    others = [
        [slice(start, min(start + step, length)) for start in range(0, length, step)]
        for step, length in zip(chunks[1:], shape[1:], strict=True)
    ]
    yield from itertools.product(rows, *others)


@dataclass(frozen=True)
class NewBatch:
    """A batch to be recorded: its samples, targets if there are any, when it came (after the first) and from where."""

    arrays: tuple[NDArray[Any], ...]
    seconds: float
    origin: Origin

    @property
    def num_samples(self) -> int:
        """How many samples it has."""
        return len(self.arrays[0])

    @property
    def nbytes(self) -> int:
        """Bytes of its samples and targets."""
        return sum(array.nbytes for array in self.arrays)


class RecordingWriter:
    """A recording that grows. `append` returns when its batches are in the hands of the operating system.

    Raises RecordingError when the folder cannot be written to; what was complete before remains.
    """

    def __init__(self, path: Path, header: Header, columns: Sequence[Column], batch_rows: int) -> None:
        self._path = path
        # Whether something could not be written.
        self._is_broken = False
        self.num_batches = 0
        self.num_samples = 0
        zarr = require("zarr", "recording a stream", "recording")
        with self._writing():
            # Releases before 3 write this format without being told.
            version = {"zarr_format": 2} if zarr.__version__[0] != "2" else {}
            self._group = zarr.open_group(str(path), mode="a", **version)
            self._columns = [
                self._make_column(name, column, batch_rows)
                for name, column in zip(("samples", "targets"), columns, strict=False)
            ]
            # Named as their dimension, they are its coordinates.
            self._make("field", (len(FIELDS),), (len(FIELDS),), np.array(FIELDS).dtype, ["field"])[:] = np.array(FIELDS)
            chunks = (_ROWS_PER_CHUNK, len(FIELDS))
            self._table = self._make("batches", (_ROWS_PER_CHUNK, len(FIELDS)), chunks, np.int64, ["batch", "field"])
            self._names = None
            if isinstance(header.scheme, DataInfo):
                name = np.dtype(f"S{LONGEST_NAME}")
                self._names = self._make("names", (_ROWS_PER_CHUNK,), (_ROWS_PER_CHUNK,), name, ["batch"])
            # Last: what bears them is a recording.
            self._group.attrs.update(header.to_attributes())

    def _make_column(self, name: str, column: Column, batch_rows: int) -> Any:
        chunks = chunk_shape(batch_rows, column)
        is_bfloat16 = column.dtype.name == "bfloat16"
        axes = [f"{name}_axis_{number}" for number in range(1, len(chunks))]
        shape = (_FIRST_CHUNKS * chunks[0], *column.shape)
        array = self._make(name, shape, chunks, np.dtype("<u2") if is_bfloat16 else column.dtype, ["sample", *axes])
        if is_bfloat16:
            array.attrs["dtype"] = "bfloat16"
        return array

    def _make(self, name: str, shape: Sequence[int], chunks: Sequence[int], dtype: Any, dimensions: list[str]) -> Any:
        # Keeps up with simulations, which Zstandard does not; sorted by their bytes, smooth fields become small.
        compressor = require("numcodecs", "recording a stream", "recording").Blosc("lz4", clevel=5, shuffle=1)
        fill = np.zeros((), dtype)[()]
        layout = {"shape": tuple(shape), "chunks": tuple(chunks), "dtype": dtype, "fill_value": fill}
        if hasattr(self._group, "create_array"):
            array = self._group.create_array(name, compressors=compressor, **layout)
        else:
            array = self._group.create_dataset(name, compressor=compressor, **layout)
        # Where xarray looks for the names of dimensions in this format.
        array.attrs["_ARRAY_DIMENSIONS"] = dimensions
        return array

    def append(self, batches: Sequence[NewBatch]) -> None:
        """Write batches, all with one access to each array."""
        rows = []
        first, last = self.num_samples, self.num_batches + len(batches)
        for batch in batches:
            checksums = tuple(map(checksum, batch.arrays))
            rows.append(RecordedBatch(batch.seconds, batch.origin, first, batch.num_samples, checksums).to_row())
            first += batch.num_samples
        with self._writing():
            for number, column in enumerate(self._columns):
                self._write(column, self.num_samples, [batch.arrays[number].view(column.dtype) for batch in batches])
            if self._names is not None:
                names = np.array([batch.origin.name for batch in batches], self._names.dtype)
                self._write(self._names, self.num_batches, [names])
            # Last: now they count.
            self._write(self._table, self.num_batches, [np.array(rows, np.int64)])
        self.num_batches, self.num_samples = last, first

    def _write(self, array: Any, first: int, parts: Sequence[NDArray[Any]]) -> None:
        new = parts[0] if len(parts) == 1 else np.concatenate(parts)
        last = first + len(new)
        if last > array.shape[0]:
            array.resize((max(last, 2 * array.shape[0]), *array.shape[1:]))
        # One chunk at a time: of several written together, Zarr raises the first failure only; asyncio would report
        # the others whenever it came upon them.
        for region in chunk_regions(first, last, array.chunks, array.shape):
            rows, *within = region
            part = (slice(rows.start - first, rows.stop - first), *within)
            array[region] = new[part]

    def close(self) -> None:
        """Cut off the space that no batch needed; does nothing when writing has failed before."""
        if self._is_broken:
            return
        with self._writing():
            for column in self._columns:
                column.resize((self.num_samples, *column.shape[1:]))
            self._table.resize((self.num_batches, len(FIELDS)))
            if self._names is not None:
                self._names.resize((self.num_batches,))
            self._group.attrs["closed"] = True

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except FOREIGN_ERRORS as error:
            self._is_broken = True
            kept = f"; the {self.num_batches} batches before can be replayed" if self.num_batches else ""
            raise RecordingError(f"the recording {self._path} cannot be written: {error}{kept}") from error
