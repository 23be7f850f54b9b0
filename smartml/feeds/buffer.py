"""A training set in memory that grows without ever moving what it holds.

Samples lie in blocks. Each new block is as large as all blocks before it together, up to a limit, so that there are
few of them; memory that no sample has reached yet is not touched, hence not resident. Samples are received straight
into their place: reserve it, fill it, keep it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smartml.feeds.packing import pack, unpack
from smartml.feeds.storage import MemoryStorage, Storage

# The first block has at least this size, so that small samples do not make many blocks.
_FIRST_BLOCK_BYTES = 1 << 20
# Larger blocks could be refused by systems that limit how much memory may be promised at once.
LARGEST_BLOCK_BYTES = 1 << 30


@dataclass(frozen=True)
class Column:
    """What every sample has in this place: its dtype and the shape behind the first axis."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_size(self) -> int:
        """Bytes of one sample."""
        return int(prod(self.shape)) * self.dtype.itemsize


@dataclass
class _Block:
    arrays: list[NDArray[Any]]
    # Its place among the blocks.
    number: int
    # Index of its first sample in the whole set.
    first: int
    # Rows that are part of the set, and rows that were given out; equal but while samples are under way.
    held: int = 0
    reserved: int = 0

    @property
    def capacity(self) -> int:
        return len(self.arrays[0])


class Slot(NamedTuple):
    """Rows reserved for samples that are under way."""

    block: _Block
    start: int
    rows: int

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """One array (rows, *column.shape) per column."""
        return tuple(array[self.start : self.start + self.rows] for array in self.block.arrays)


class Served(NamedTuple):
    """Samples that were copied out, in order of arrival."""

    # One array (rows, *column.shape) per column.
    arrays: tuple[NDArray[Any], ...]
    # Identifiers: (rows,), int64.
    ids: NDArray[np.int64]
    # Where each of them stood among the indices that were asked for: (rows,).
    order: NDArray[np.intp]


class TrainingSet:
    """Samples in order of arrival, each a row in one or more columns (samples and targets, say).

    A sample's index is its identifier, too: its number among all that arrived, from 0.
    """

    def __init__(self, columns: Sequence[Column], storage: Storage | None = None) -> None:
        self.columns = tuple(columns)
        self._storage = storage or MemoryStorage()
        self._blocks: list[_Block] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def arrived(self) -> int:
        """Number of samples that ever arrived: all are held."""
        return self._count

    taken = arrived

    @property
    def row_size(self) -> int:
        """Bytes of one sample in all columns."""
        return sum(column.row_size for column in self.columns)

    def reserve(self, rows: int, expected: int = 0) -> Slot:
        """Give out memory for so many rows, next to each other. They join the set when they are kept.

        Where a new block is needed, it has room for as many as are expected, these among them. Until they are kept
        the set does not know them: samples that never come leave no trace.
        """
        block = self._blocks[-1] if self._blocks else None
        if block is None or block.reserved + rows > block.capacity:
            block = self._add_block(rows, expected)
        start = block.reserved
        block.reserved += rows
        return Slot(block, start, rows)

    def _add_block(self, rows: int, expected: int) -> _Block:
        row_size = max(1, self.row_size)
        so_far = sum(block.reserved for block in self._blocks)
        # One block of the size that is needed lies in huge pages from end to end; many small ones would cost a page
        # fault every 4 kB, which takes as long as the transfer.
        wanted = min(max(so_far, expected, _FIRST_BLOCK_BYTES // row_size), LARGEST_BLOCK_BYTES // row_size)
        capacity = max(rows, wanted)
        arrays = [self._storage.allocate((capacity, *column.shape), column.dtype) for column in self.columns]
        self._blocks.append(_Block(arrays, len(self._blocks), so_far))
        return self._blocks[-1]

    def keep(self, slots: Sequence[Slot]) -> None:
        """Make these slots part of the set, in the order in which they were reserved, and take back all others.

        Where a slot before them is not kept, their rows move up: the only samples that are ever moved.
        """
        # In another order, rows that move up could fall on rows that have not moved yet.
        for slot in sorted(slots, key=lambda slot: (slot.block.number, slot.start)):
            block = slot.block
            if slot.start != block.held:
                for array in block.arrays:
                    array[block.held : block.held + slot.rows] = array[slot.start : slot.start + slot.rows]
            block.held += slot.rows
        first = 0
        for block in self._blocks:
            block.first, block.reserved = first, block.held
            first += block.held
        self._count = first

    def state_dict(self) -> dict[str, Any]:
        """Return all samples, as plain bytes."""
        return {"columns": [pack(self.column(number)) for number in range(len(self.columns))]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the samples of another set of the same columns; this one must be empty."""
        arrays = [unpack(packed) for packed in state["columns"]]
        slot = self.reserve(len(arrays[0]))
        for rows, array in zip(slot.arrays, arrays, strict=True):
            rows[...] = array
        self.keep([slot])

    def order(self) -> range:
        """Return all indices in the order in which their samples arrived."""
        return range(self._count)

    def ids(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the identifiers of samples."""
        return indices.astype(np.int64)

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the indices of the samples with these identifiers; -1 where there is none."""
        return np.where((ids >= 0) & (ids < self._count), ids, -1)

    def serve(self, indices: NDArray[np.integer[Any]]) -> Served:
        """Copy samples out as `take` does, and tell which they are."""
        order = indices.argsort(kind="stable")
        # What numpy itself counts by: others it would convert at every look.
        ids = indices[order].astype(np.int64, copy=False)
        return Served(self._copy(ids), ids, order)

    def take(self, indices: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], ...]:
        """Copy the samples of these indices out, one array (len(indices), *column.shape) per column.

        Rows come in the order of the set, whatever the order of the indices: a batch is a set of samples. May run
        while another thread reserves and keeps.
        """
        return self._copy(np.sort(indices))

    def _copy(self, indices: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], ...]:
        # Another thread may be adding blocks; all samples that can be asked for lie in these.
        blocks = list(self._blocks)
        if len(blocks) == 1:
            return tuple(array.take(indices, axis=0) for array in blocks[0].arrays)
        batch = tuple(np.empty((len(indices), *column.shape), column.dtype) for column in self.columns)
        bounds = [*indices.searchsorted([block.first for block in blocks]).tolist(), len(indices)]
        for block, start, end in zip(blocks, bounds[:-1], bounds[1:], strict=True):
            if start < end:
                rows = indices[start:end] - block.first
                for array, out in zip(block.arrays, batch, strict=True):
                    # Any mode but "raise" lets numpy write to `out` without a buffer in between.
                    array.take(rows, axis=0, out=out[start:end], mode="clip")
        return batch

    def column(self, number: int) -> NDArray[Any]:
        """Copy one column of all samples out, in the order of the set."""
        return np.concatenate(
            [np.empty((0, *self.columns[number].shape), self.columns[number].dtype)]
            + [block.arrays[number][: block.held] for block in self._blocks]
        )
