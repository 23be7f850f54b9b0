"""Values as columns: the shapes of one write, the three types that are stored, and their bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.monitor.records_pb2 import Column

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

Dtype = np.dtype[Any]

INT64: Dtype = np.dtype("<i8")
FLOAT32: Dtype = np.dtype("<f4")
FLOAT64: Dtype = np.dtype("<f8")
_TYPES = {INT64: Column.INT64, FLOAT32: Column.FLOAT32, FLOAT64: Column.FLOAT64}
_DTYPES = {stored: dtype for dtype, stored in _TYPES.items()}
_UNSIGNED: dict[int, Dtype] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}
# The least and the greatest integer that is stored.
LIMITS = -(2**63), 2**63 - 1
# With fewer points the description of an encoding is longer than what it saves.
_FEW = 3


def row_shape(name: str, field: str, shape: Shape) -> tuple[int, int]:
    """Return the shape (index, point) of a value: a scalar is one point, a vector one row.

    Raises ArgumentValueError.
    """
    if len(shape) > 2:
        raise ArgumentValueError(
            f"field {field!r} of {name!r} has shape {shape}: a scalar, a vector of points or a matrix "
            "(index, point) can be written"
        )
    rows, points = (1,) * (2 - len(shape)) + tuple(shape)
    return rows, points


def broadcast_shape(name: str, shapes: Mapping[str, Shape]) -> tuple[int, int]:
    """Return the shape (index, point) that all fields of a write have together. Raises ArgumentValueError."""
    whole = [row_shape(name, field, shape) for field, shape in shapes.items()]
    if all(shape == whole[0] for shape in whole):
        return whole[0]
    try:
        rows, points = np.broadcast_shapes(*whole)
    except ValueError as error:
        listed = ", ".join(f"{field} {shape}" for field, shape in shapes.items())
        raise ArgumentValueError(f"the fields of {name!r} do not broadcast against each other: {listed}") from error
    return rows, points


def host_array(name: str, field: str, value: object) -> Array:
    """Return a copy of a value in this process's memory, as one of the types that are stored.

    Booleans and integers become int64, float16 and float32 become float32, Python's floats and float64 stay float64.
    Raises ArgumentTypeError, and ArgumentValueError for an integer that int64 cannot hold.
    """
    try:
        array = np.array(value)
    except (ValueError, TypeError) as error:
        raise ArgumentTypeError(f"field {field!r} of {name!r} is no array of numbers: {error}") from error
    if array.size == 0 and not isinstance(value, np.ndarray | np.generic):
        # numpy takes an empty list for floats.
        return array.astype(INT64)
    stored = stored_dtype(array.dtype)
    if stored is None:
        if array.dtype == object and array.size and all(isinstance(item, int) for item in array.flat):
            raise _too_large(name, field, max(array.flat, key=abs))
        raise ArgumentTypeError(
            f"field {field!r} of {name!r} is of dtype {array.dtype}: integers, booleans and real floats can be written"
        )
    if array.dtype.kind == "u" and array.size and array.max() > LIMITS[1]:
        raise _too_large(name, field, array.max())
    return array.astype(stored, copy=False)


def stored_dtype(dtype: Dtype) -> Dtype | None:
    """Return the type in which values of a numpy type are stored, None when they cannot be."""
    if dtype.kind in "bui":
        return INT64
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return FLOAT64 if dtype.itemsize == 8 else FLOAT32
    # The types that ml_dtypes adds to numpy are of kind V.
    return FLOAT32 if dtype.name == "bfloat16" else None


def _too_large(name: str, field: str, value: object) -> ArgumentValueError:
    return ArgumentValueError(
        f"field {field!r} of {name!r} has the integer {value}: from {LIMITS[0]} to {LIMITS[1]} can be stored; "
        "write a float"
    )


def join(pieces: Sequence[Array]) -> Array:
    """Return the values of all pieces in one array, of the type that is wide enough for them."""
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def encode(values: Array) -> tuple[Column, bytes]:
    """Return the description of a column and its bytes, few where its values allow. The array is not empty."""
    column = Column(type=_TYPES[values.dtype.newbyteorder("<")])
    if len(values) >= _FEW and _is_constant(values):
        column.encoding = Column.CONSTANT
        values = values[:1]
    if values.dtype.kind == "i":
        return column, _encode_integers(column, values)
    # A Python float is often what a float32 was read into.
    if values.dtype.itemsize == 8 and np.array_equal(narrow := _narrowed(values), values, equal_nan=True):
        values = narrow
    column.width = values.dtype.itemsize
    return column, values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _narrowed(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(FLOAT32)


def _is_constant(values: Array) -> bool:
    # By their bytes: no NaN equals itself, and -0.0 is not 0.0.
    raw = values.view(f"<u{values.dtype.itemsize}")
    return bool(raw[0] == raw[-1]) and bool((raw == raw[0]).all())


def _encode_integers(column: Column, values: Array) -> bytes:
    if len(values) >= _FEW and column.encoding == Column.PLAIN:
        first, second = int(values[0]), int(values[1])
        # A difference that does not fit wraps, and cannot be equal to this one in every place of the column.
        if abs(second - first) < 2**31 and _is_range(values, first, second - first):
            column.encoding, column.base, column.step = Column.RANGE, first, second - first
            return b""
    low, high = int(values.min()), int(values.max())
    for width, dtype in _UNSIGNED.items():
        if high - low < 256**width:
            column.width, column.base = width, low
            return bytes((values - low).astype(dtype).tobytes())
    column.width = 8
    return bytes(values.astype(INT64, copy=False).tobytes())


def _is_range(values: Array, first: int, step: int) -> bool:
    last = first + step * (len(values) - 1)
    if not LIMITS[0] <= last <= LIMITS[1] or int(values[-1]) != last:
        return False
    return bool((np.diff(values) == step).all())


def byte_length(column: Column, points: int) -> int:
    """Return how many bytes a column of so many points has."""
    if column.encoding == Column.RANGE:
        return 0
    return column.width * (1 if column.encoding == Column.CONSTANT else points)


def flaw(columns: Sequence[Column], points: int, length: int) -> str | None:
    """Tell what is wrong with columns that claim to describe so many bytes, None when they can be decoded."""
    for column in columns:
        if column.type not in _DTYPES or column.encoding not in Column.Encoding.values():
            return f"unknown type {column.type} or encoding {column.encoding}"
        widths = (1, 2, 4, 8) if column.type == Column.INT64 else (4, 8)[: _DTYPES[column.type].itemsize // 4]
        if column.encoding == Column.RANGE:
            last = column.base + column.step * max(points - 1, 0)
            if column.type != Column.INT64 or not LIMITS[0] <= last <= LIMITS[1]:
                return "a range that is not of int64"
        elif column.width not in widths:
            return f"values of {column.width} bytes"
    expected = sum(byte_length(column, points) for column in columns)
    return None if length == expected else f"{length} bytes instead of {expected}"


def decode(columns: Sequence[Column], points: int, data: bytes | memoryview) -> list[Array]:
    """Return the values of the columns, each of its own type; of what `flaw` finds nothing wrong with."""
    arrays = []
    offset = 0
    for column in columns:
        length = byte_length(column, points)
        arrays.append(_decode(column, points, data[offset : offset + length]))
        offset += length
    return arrays


def _decode(column: Column, points: int, data: bytes | memoryview) -> Array:
    dtype = _DTYPES[column.type].newbyteorder("=")
    if column.encoding == Column.RANGE:
        return column.base + column.step * np.arange(points, dtype=dtype)
    if column.type != Column.INT64:
        values = np.frombuffer(data, f"<f{column.width}").astype(dtype)
    elif column.width == 8:
        values = np.frombuffer(data, INT64).astype(dtype)
    else:
        values = np.frombuffer(data, _UNSIGNED[column.width]).astype(dtype) + column.base
    return np.full(points, values[0]) if column.encoding == Column.CONSTANT else values
