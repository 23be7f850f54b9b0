"""A training set of bounded memory, in which new samples take the place of old ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentValueError
from smartml.feeds.buffer import LARGEST_BLOCK_BYTES, Column, Served
from smartml.feeds.locks import Guard
from smartml.feeds.packing import pack, unpack
from smartml.feeds.policies import Choices, Held, Policy
from smartml.feeds.storage import MemoryStorage, Storage


class BoundedSet:
    """Rows for so many samples, in which a policy decides who stays.

    Memory is allocated once; a row, once filled, is never empty again, so that indices stay valid. Each sample has an
    identifier: its number among all that arrived, from 0.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        capacity: int,
        policy: Policy,
        random: np.random.Generator,
        storage: Storage | None = None,
    ) -> None:
        self.columns = tuple(columns)
        self.capacity = capacity
        # Samples that were offered, whether or not they were taken in.
        self.arrived = 0
        self._policy = policy
        self._random = random
        self._storage = storage or MemoryStorage()
        # A row belongs to one block, and none has a part that is not used: rows here are placed one by one.
        self._block_rows = max(1, min(capacity, LARGEST_BLOCK_BYTES // max(1, self.row_size)))
        self._blocks: list[list[NDArray[Any]]] = []
        # Samples that were taken in, whether or not they were replaced since.
        self.taken = 0
        self._count = 0
        self._ids = np.zeros(capacity, np.int64)
        self._uses = np.zeros(capacity, np.uint32)
        # Samples may be taken by one thread while another one replaces them.
        self._guard = Guard()

    def __len__(self) -> int:
        return self._count

    @property
    def row_size(self) -> int:
        """Bytes of one sample in all columns."""
        return sum(column.row_size for column in self.columns)

    def choose(self, sizes: Sequence[int]) -> Choices:
        """Choose which samples of arrivals, of so many samples each, to take in."""
        return self._policy.choose(sizes, self._held())

    def _held(self) -> Held:
        count = self._count
        return Held(self.capacity, self.arrived, self.taken, self._ids[:count], self._uses[:count], self._random)

    def offer(self, chosen: NDArray[np.bool_], arrays: Sequence[NDArray[Any]]) -> None:
        """Let an arrival come: copy its chosen samples into their rows.

        `chosen` is (rows,); the arrays, one (rows, *column.shape) per column, are not looked at when none is chosen.
        """
        with self._guard:
            numbers = np.flatnonzero(chosen)
            # Those before the last `fresh` find rows that nobody has; the policy places the others.
            free = min(len(numbers), self.capacity - self._count)
            if free:
                rows = np.arange(self._count, self._count + free)
                self._store(rows, numbers[:free], arrays)
                self._count += free
                self.taken += free
            if free < len(numbers):
                rows = self._policy.replace(len(numbers) - free, self._held())
                rows, last = _last_of_each(rows)
                self._store(rows, numbers[free:][last], arrays)
                self.taken += len(numbers) - free
            self.arrived += len(chosen)

    def _store(self, rows: NDArray[np.intp], numbers: NDArray[np.intp], arrays: Sequence[NDArray[Any]]) -> None:
        blocks, within = np.divmod(rows, self._block_rows)
        for block in np.unique(blocks).tolist():
            while block >= len(self._blocks):
                self._add_block()
            here = blocks == block
            for column, array in zip(self._blocks[block], arrays, strict=True):
                column[within[here]] = array[numbers[here]]
        self._ids[rows] = self.arrived + numbers
        self._uses[rows] = 0

    def _add_block(self) -> None:
        rows = min(self._block_rows, self.capacity - len(self._blocks) * self._block_rows)
        self._blocks.append(
            [self._storage.allocate((rows, *column.shape), column.dtype) for column in self.columns],
        )

    def ids(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the identifiers of the samples in these rows."""
        ids: NDArray[np.int64] = self._ids[indices]
        return ids

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the rows of the samples with these identifiers; -1 where a sample is not held (any more)."""
        order = self.order()
        if not len(order):
            return np.full(len(ids), -1, np.intp)
        places = np.searchsorted(self._ids[order], ids).clip(max=len(order) - 1)
        rows = order[places]
        found: NDArray[np.intp] = np.where(self._ids[rows] == ids, rows, -1)
        return found

    def order(self) -> NDArray[np.intp]:
        """Return all rows in the order in which their samples arrived."""
        return np.argsort(self._ids[: self._count])

    def serve(self, indices: NDArray[np.integer[Any]]) -> Served:
        """Copy the samples of these rows out, in order of arrival, and note that they were used.

        May run while another thread offers samples.
        """
        with self._guard:
            order = np.argsort(self._ids[indices], kind="stable")
            rows = indices[order]
            # A row may come more than once.
            np.add.at(self._uses, rows, 1)
            return Served(self._copy(rows), self._ids[rows], order)

    def _copy(self, rows: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], ...]:
        batch = tuple(np.empty((len(rows), *column.shape), column.dtype) for column in self.columns)
        blocks, within = np.divmod(rows, self._block_rows)
        for number, block in enumerate(self._blocks):
            here = np.flatnonzero(blocks == number)
            for array, out in zip(block, batch, strict=True):
                if len(here) == len(rows):
                    # Any mode but "raise" lets numpy write to `out` without a buffer in between.
                    np.take(array, within, axis=0, out=out, mode="clip")
                elif len(here):
                    out[here] = array[within[here]]
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return all samples and what is known of them, as plain numbers and bytes."""
        with self._guard:
            columns = self._copy(np.arange(self._count))
            return {
                "columns": [pack(column) for column in columns],
                "ids": pack(self._ids[: self._count]),
                "uses": pack(self._uses[: self._count]),
                "arrived": self.arrived,
                "taken": self.taken,
            }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the samples of another set of the same columns, each in its row; this one must be empty.

        Raises ArgumentValueError when they are more than there is room for.
        """
        arrays = [unpack(packed) for packed in state["columns"]]
        if len(arrays[0]) > self.capacity:
            raise ArgumentValueError(
                f"the checkpoint holds {len(arrays[0])} samples, this feed has room for {self.capacity}: give it the "
                "capacity that it had"
            )
        with self._guard:
            rows = np.arange(len(arrays[0]))
            self._store(rows, rows, arrays)
            self._count = len(rows)
            self._ids[rows], self._uses[rows] = unpack(state["ids"]), unpack(state["uses"])
            self.arrived, self.taken = state["arrived"], state["taken"]

    def column(self, number: int) -> NDArray[Any]:
        """Copy one column of all samples out, in order of arrival."""
        with self._guard:
            return self._copy(self.order())[number]


def _last_of_each(rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the different rows, and for each where in `rows` it comes last."""
    different, from_behind = np.unique(rows[::-1], return_index=True)
    return different, len(rows) - 1 - from_behind
