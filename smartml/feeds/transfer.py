"""From the database into the training set: tensors are received straight into the rows that will hold them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smartml.errors import SampleMismatchError, SmartMLError
from smartml.feeds.buffer import Column, Slot, TrainingSet
from smartml.feeds.discovery import Arrival
from smartml.store import Database
from smartml.tensors import FOOTER_SIZE, MAX_DIMENSIONS, TensorDescription, read_description

_LARGEST_DESCRIPTION = 8 * MAX_DIMENSIONS + FOOTER_SIZE


def read_columns(database: Database, arrival: Arrival) -> list[Column] | None:
    """Read what columns a training set needs for tensors like these, without their payloads.

    Returns None when the tensors are gone again; raises SampleMismatchError when they are not batches of samples.
    """
    descriptions = []
    for key in arrival.keys:
        size, end = database.commands(key, (b"STRLEN", key), (b"GETRANGE", key, b"-%d" % _LARGEST_DESCRIPTION, b"-1"))
        if not size:
            return None
        descriptions.append(read_description(end, size, _text(key)))
    _check_rows(arrival, descriptions)
    return [Column(description.dtype, description.shape[1:]) for description in descriptions]


class Landing:
    """Receives arrivals into a training set: each gets rows when the size of its first tensor is known."""

    def __init__(self, training_set: TrainingSet, arrivals: Sequence[Arrival]) -> None:
        self._set = training_set
        self._arrivals = arrivals
        self._columns = training_set.columns
        self._slots: list[Slot | None] = [None] * len(arrivals)
        # What stands behind each payload, by column and arrival.
        self._ends = [np.zeros((len(arrivals), 8 * (len(c.shape) + 1) + FOOTER_SIZE), np.uint8) for c in self._columns]
        # Tensors that fit no rows are received here, so that the error can say what they are.
        self._astray: dict[int, NDArray[np.uint8]] = {}
        self._sizes: list[int | None] = []

    def receive(self, database: Database) -> tuple[list[Arrival], SmartMLError | None]:
        """Return the arrivals that joined the set, and the error of the first that does not fit.

        Others join all the same, unless they stand behind the misfit in the row of its source. What disappeared since
        it was found is left out, to be found again if it comes back.
        """
        try:
            self._sizes = database.receive([key for arrival in self._arrivals for key in arrival.keys], self._place)
        except BaseException:
            self._set.keep([])
            raise
        joined: list[tuple[Arrival, Slot]] = []
        stopped: set[int] = set()
        first_error: SmartMLError | None = None
        for number, arrival in enumerate(self._arrivals):
            if arrival.source in stopped:
                continue
            try:
                slot = self._checked_slot(number)
            except SmartMLError as error:
                first_error = first_error or error
                slot = None
            if slot is None:
                stopped.add(arrival.source)
            else:
                joined.append((arrival, slot))
        self._set.keep([slot for _, slot in joined])
        return [arrival for arrival, _ in joined], first_error

    def _place(self, index: int, size: int) -> list[memoryview]:
        number, column_number = divmod(index, len(self._columns))
        end = self._ends[column_number][number]
        payload_size = size - len(end)
        row_size = self._columns[column_number].row_size
        rows = payload_size // row_size if row_size and payload_size >= 0 and payload_size % row_size == 0 else None
        slot = self._slots[number]
        if slot is None and rows is not None:
            slot = self._slots[number] = self._set.reserve(rows)
        if slot is None or rows != slot.rows:
            self._astray[index] = np.empty(size, np.uint8)
            return [self._astray[index].data]
        self._astray.pop(index, None)
        return [slot.arrays[column_number].reshape(-1).view(np.uint8).data, end.data]

    def _checked_slot(self, number: int) -> Slot | None:
        """Return the rows of an arrival, None when it disappeared; raise the error that says why it does not fit."""
        arrival = self._arrivals[number]
        descriptions = []
        for column_number, (key, column) in enumerate(zip(arrival.keys, self._columns, strict=True)):
            index = number * len(self._columns) + column_number
            size = self._sizes[index]
            if size is None:
                return None
            end = self._astray.get(index, self._ends[column_number][number])
            description = read_description(end.data, size, _text(key))
            if (description.dtype, description.shape[1:]) != (column.dtype, column.shape) or not description.shape:
                raise SampleMismatchError(
                    f"tensor {_text(key)!r} is {description}, the training set holds {column.dtype.name} "
                    f"of shape (any number, {', '.join(map(str, column.shape))}): all batches of a feed must be alike"
                )
            descriptions.append(description)
        _check_rows(arrival, descriptions)
        return self._slots[number]


def _check_rows(arrival: Arrival, descriptions: Sequence[TensorDescription]) -> None:
    for key, description in zip(arrival.keys, descriptions, strict=True):
        if not description.shape or not description.payload_size:
            raise SampleMismatchError(
                f"tensor {_text(key)!r} is {description}: a batch has samples along axis 0, and each has a size"
            )
    rows = [description.shape[0] for description in descriptions]
    if len(set(rows)) > 1:
        raise SampleMismatchError(
            f"tensors {' and '.join(repr(_text(key)) for key in arrival.keys)} belong together, "
            f"but hold {' and '.join(map(str, rows))} samples"
        )


def _text(key: bytes) -> str:
    return key.decode(errors="replace")
