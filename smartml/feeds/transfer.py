"""From the database into the training set: tensors are received straight into the rows that will hold them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import MetadataError, SampleMismatchError, SmartMLError, TensorFormatError
from smartml.feeds.buffer import Column, Slot, TrainingSet
from smartml.feeds.discovery import Arrival
from smartml.store import Database
from smartml.store.descriptions import LARGEST_DESCRIPTION, find_descriptions, read_descriptions
from smartml.store.keys import key_text
from smartml.tensors import FOOTER_SIZE, TensorDescription, read_description


def read_columns(database: Database, arrivals: Sequence[Arrival]) -> list[Column] | None:
    """Read what columns a training set needs, from the first arrival that holds a sample, without its payload.

    Returns None when there is none, or raises why, if nothing that is there can be taken: TensorFormatError,
    SampleMismatchError, MetadataError.
    """
    first_error: SmartMLError | None = None
    for arrival in arrivals:
        try:
            if arrival.problem is not None:
                raise arrival.problem
            descriptions = _read_descriptions(database, arrival)
            if descriptions and descriptions[0].shape[0]:
                return [Column(description.dtype, description.shape[1:]) for description in descriptions]
        except (TensorFormatError, SampleMismatchError, MetadataError) as error:
            first_error = first_error or error
    if first_error is not None:
        raise first_error
    return None


def _read_descriptions(database: Database, arrival: Arrival) -> list[TensorDescription] | None:
    """Return what the tensors of an arrival are; None when they are gone again."""
    descriptions = [found for found in read_descriptions(database, arrival.keys) if found is not None]
    if len(descriptions) < len(arrival.keys):
        return None
    _check_samples(arrival, descriptions)
    return descriptions


@dataclass
class Outcome:
    """What became of the arrivals. Those of neither list disappeared again: to be found anew if they come back."""

    joined: list[Arrival] = field(default_factory=list)
    # What does not fit the training set, and why; not to be tried again.
    misfits: list[tuple[Arrival, SmartMLError]] = field(default_factory=list)
    # How many samples each of those that joined has.
    rows: list[int] = field(default_factory=list)
    # What broke the transfer off, where some had joined before.
    failure: BaseException | None = None

    @property
    def samples(self) -> int:
        """How many samples have joined."""
        return sum(self.rows)


def receive(database: Database, training_set: TrainingSet, arrivals: Sequence[Arrival]) -> Outcome:
    """Receive arrivals into a training set; none of them when the transfer itself fails."""
    landing = Landing(training_set, [arrival for arrival in arrivals if arrival.problem is None])
    try:
        landing.receive(database)
        outcome, slots = landing.check()
    except BaseException:
        training_set.keep([])
        raise
    training_set.keep(slots)
    outcome.rows = [slot.rows for slot in slots]
    outcome.misfits += [(arrival, arrival.problem) for arrival in arrivals if arrival.problem is not None]
    return outcome


class Landing:
    """Gives each arrival its rows when the size of its first tensor is known, and checks what has come down there."""

    def __init__(self, training_set: TrainingSet, arrivals: Sequence[Arrival]) -> None:
        self._set = training_set
        self._arrivals = arrivals
        self._columns = training_set.columns
        self._slots: list[Slot | None] = [None] * len(arrivals)
        # Arrivals that have no rows yet.
        self._missing = len(arrivals)
        self._row_sizes = [column.row_size for column in self._columns]
        # Of each column, the size of a value that came last, and its rows: mostly, the next one has as many.
        self._usual = [(-1, 0)] * len(self._columns)
        # The memory of blocks, as bytes, one for each column: to cut a piece out of it takes less than out of an array.
        self._memories: dict[int, list[memoryview]] = {}
        # What stands behind the payloads: for each arrival the descriptions of its tensors, of the size that is right.
        self._end_sizes = [8 * (len(column.shape) + 1) + FOOTER_SIZE for column in self._columns]
        self._end_starts = [0, *accumulate(self._end_sizes)]
        self._ends = memoryview(bytearray(len(arrivals) * self._end_starts[-1]))
        # Sizes and descriptions of arrivals that were found to fit: mostly all have the same.
        self._fitting: set[tuple[Any, ...]] = set()
        # Tensors that fit no rows are received here, so that the error can say what they are.
        self._astray: dict[int, NDArray[np.uint8]] = {}
        self._keys = [key for arrival in arrivals for key in arrival.keys]
        self._sizes: list[int | None] = [None] * len(self._keys)
        # Why keys hold no value that could be received.
        self._errors: dict[int, TensorFormatError] = {}

    def receive(self, database: Database) -> None:
        """Receive what is there."""
        if database.is_cluster:
            self._reserve_in_order(database)
        try:
            self._sizes = database.receive(self._keys, self._place)
        except TensorFormatError:
            # It speaks of the first key that holds something else than a string; all others were received.
            without = [index for index in range(len(self._keys)) if self._sizes[index] is None]
            found = find_descriptions(database, [self._keys[index] for index in without])
            self._errors |= {
                i: error for i, error in zip(without, found, strict=True) if isinstance(error, SmartMLError)
            }

    def _reserve_in_order(self, database: Database) -> None:
        """Give arrivals their rows before the first lands: the nodes of a cluster answer in no order."""
        column = self._columns[0]
        for number, found in enumerate(find_descriptions(database, [arrival.keys[0] for arrival in self._arrivals])):
            if isinstance(found, TensorDescription) and found.shape and found.shape[1:] == column.shape:
                self._reserve(number, found.shape[0])

    def _reserve(self, number: int, rows: int) -> Slot:
        # All batches are mostly alike.
        slot = self._slots[number] = self._set.reserve(rows, expected=rows * self._missing)
        self._missing -= 1
        return slot

    def _place(self, index: int, size: int) -> list[memoryview]:
        self._sizes[index] = size
        number, column = divmod(index, len(self._columns))
        slot = self._slots[number]
        usual, rows = self._usual[column]
        fits = True
        if size != usual:
            rows, rest = divmod(size - self._end_sizes[column], self._row_sizes[column])
            fits = rest == 0 and rows >= 0
            if fits:
                self._usual[column] = size, rows
        if slot is None and fits:
            slot = self._reserve(number, rows)
        if slot is None or not fits or rows != slot.rows:
            self._astray[index] = np.empty(size, np.uint8)
            return [self._astray[index].data]
        if self._astray:
            # A broken connection may have brought something else here before.
            self._astray.pop(index, None)
        return [self._rows(slot, column), self._end(number, column)]

    def _rows(self, slot: Slot, column: int) -> memoryview:
        memories = self._memories.get(slot.block.number)
        if memories is None:
            memories = [array.reshape(-1).view(np.uint8).data for array in slot.block.arrays]
            self._memories[slot.block.number] = memories
        row_size = self._row_sizes[column]
        return memories[column][slot.start * row_size : (slot.start + slot.rows) * row_size]

    def _arrival_ends(self, number: int) -> memoryview:
        """What stands behind the payloads of one arrival."""
        size = self._end_starts[-1]
        return self._ends[number * size : (number + 1) * size]

    def _end(self, number: int, column: int) -> memoryview:
        first = number * self._end_starts[-1]
        return self._ends[first + self._end_starts[column] : first + self._end_starts[column + 1]]

    def check(self) -> tuple[Outcome, list[Slot]]:
        """Tell what became of each arrival, and which rows hold samples now: one slot per arrival that joins."""
        outcome = Outcome()
        slots = []
        stopped: set[int | None] = set()
        for number, arrival in enumerate(self._arrivals):
            if arrival.line in stopped:
                continue
            try:
                slot = self._checked_slot(number)
            except SmartMLError as error:
                outcome.misfits.append((arrival, error))
                continue
            if slot is not None:
                outcome.joined.append(arrival)
                slots.append(slot)
            elif arrival.line is not None:
                stopped.add(arrival.line)
        return outcome, slots

    def _checked_slot(self, number: int) -> Slot | None:
        """Return the rows of an arrival, None when it is not there (any more); raise the error that says what is."""
        first = number * len(self._columns)
        kind = (*self._sizes[first : first + len(self._columns)], bytes(self._arrival_ends(number)))
        if kind in self._fitting and not self._astray:
            return self._slots[number]
        indices = range(first, first + len(self._columns))
        for index in indices:
            if index in self._errors:
                raise self._errors[index]
        if any(self._sizes[index] is None for index in indices):
            return None
        descriptions = [self._read_description(index) for index in indices]
        check_fit(self._arrivals[number], descriptions, self._columns)
        # Of a tensor that was replaced while it was under way, only the next update can make sense.
        if any(index in self._astray for index in indices):
            return None
        self._fitting.add(kind)
        return self._slots[number]

    def _read_description(self, index: int) -> TensorDescription:
        number, column_number = divmod(index, len(self._columns))
        key = key_text(self._arrivals[number].keys[column_number])
        size = self._sizes[index]
        assert size is not None
        if index in self._astray:
            return read_description(self._astray[index].data, size, key)
        end = self._end(number, column_number)
        try:
            return read_description(end, size, key)
        except TensorFormatError:
            # With more dimensions than expected, the description begins within the rows.
            slot = self._slots[number]
            assert slot is not None
            rows = self._rows(slot, column_number)
            return read_description(bytes(rows[-LARGEST_DESCRIPTION:]) + bytes(end), size, key)


def check_fit(arrival: Arrival, descriptions: Sequence[TensorDescription], columns: Sequence[Column]) -> None:
    """Raise SampleMismatchError unless the tensors of an arrival are samples for these columns."""
    for key, column, description in zip(arrival.keys, columns, descriptions, strict=True):
        if not description.shape or (description.dtype, description.shape[1:]) != (column.dtype, column.shape):
            expected = ", ".join(["any number", *map(str, column.shape)])
            raise SampleMismatchError(
                f"tensor {key_text(key)!r} is {description}, the training set holds {column.dtype.name} "
                f"of shape ({expected}): all batches of a feed must be alike"
            )
    _check_samples(arrival, descriptions)


def _check_samples(arrival: Arrival, descriptions: Sequence[TensorDescription]) -> None:
    """Raise SampleMismatchError unless the tensors hold samples along axis 0, all as many."""
    for key, description in zip(arrival.keys, descriptions, strict=True):
        if not description.shape or 0 in description.shape[1:]:
            raise SampleMismatchError(
                f"tensor {key_text(key)!r} is {description}: a batch has samples along axis 0, and each has a size"
            )
    rows = [description.shape[0] for description in descriptions]
    if len(set(rows)) > 1:
        raise SampleMismatchError(
            f"tensors {' and '.join(repr(key_text(key)) for key in arrival.keys)} belong together, "
            f"but hold {' and '.join(map(str, rows))} samples"
        )
