"""The one format of a tensor in the database: payload first, its description behind it.

A value is one string of bytes, integers little endian, payload in C order and little endian:

    from 0          product(dims) * itemsize   payload
    then            8 * ndim                   dimensions, unsigned 64 bit
    last 8 bytes    1 dtype code | 1 ndim | 2 zero | 4 magic "SMT1" (the digit is the version)

The description stands behind the payload so that a writer appends it without moving the payload, and a reader
that knows the shape receives the payload straight into its destination, aligned. Dtype codes 1 to 8 are the
numbers that SmartRedis gives its types; 9 to 15 are smartml's own. An element of bool is a byte 0 or 1.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError, TensorFormatError
from smartml.extras import require

# Bytes, in whatever holds them.
Memory: TypeAlias = "bytes | bytearray | memoryview"

MAGIC = b"SMT1"
MAX_DIMENSIONS = 32
# The last bytes of every value: dtype code, number of dimensions, two zero bytes, magic.
_FOOTER = struct.Struct("<BBH4s")
FOOTER_SIZE = _FOOTER.size
# Larger sizes cannot be addressed by any reader, and their product could wrap around in one written in C.
_MAX_PAYLOAD_SIZE = 2**63 - 1

_BFLOAT16_CODE = 13
# By numpy's own short names, in which byte order and platform aliases (long, longlong) do not show.
_CODES = {
    "f8": 1,
    "f4": 2,
    "i1": 3,
    "i2": 4,
    "i4": 5,
    "i8": 6,
    "u1": 7,
    "u2": 8,
    "b1": 9,
    "u4": 10,
    "u8": 11,
    "f2": 12,
    "c8": 14,
    "c16": 15,
}
_DTYPES = {code: np.dtype("<" + name) for name, code in _CODES.items()}
SUPPORTED_DTYPES = (*(str(dtype.name) for dtype in _DTYPES.values()), "bfloat16")


@dataclass(frozen=True)
class TensorDescription:
    """Shape and dtype of a tensor, as they stand behind its payload."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def payload_size(self) -> int:
        """Bytes of the payload."""
        return int(prod(self.shape)) * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Bytes of the description itself."""
        return 8 * len(self.shape) + FOOTER_SIZE

    def to_bytes(self) -> bytes:
        """Return the bytes that stand behind the payload."""
        footer = _FOOTER.pack(_dtype_code(self.dtype), len(self.shape), 0, MAGIC)
        return struct.pack(f"<{len(self.shape)}Q", *self.shape) + footer

    def __str__(self) -> str:
        return f"{self.dtype.name} of shape {self.shape}"


def describe(array: NDArray[Any]) -> TensorDescription:
    """Return the description under which an array would be stored.

    Raises ArgumentTypeError for a dtype without a code and ArgumentValueError for more than 32 dimensions.
    """
    return _describe(array.dtype, array.shape)[0]


# The tensors of one run have few different shapes: their descriptions are made once.
@lru_cache(maxsize=1024)
def _describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[TensorDescription, bytes]:
    _dtype_code(dtype)
    if len(shape) > MAX_DIMENSIONS:
        raise ArgumentValueError(f"a tensor has at most {MAX_DIMENSIONS} dimensions, this array has {len(shape)}")
    little_endian = dtype.newbyteorder("<")
    # One and the same object is compared faster.
    description = TensorDescription(dtype if dtype == little_endian else little_endian, shape)
    return description, description.to_bytes()


def as_tensor(data: Any) -> NDArray[Any]:
    """Return data as an array that can be stored, without a copy where it is one.

    Anything with an `__array__` method is taken (a torch tensor on the CPU, say). Raises ArgumentTypeError for what is
    not an array, for a dtype that the format does not know, and for masked arrays, whose mask it cannot hold;
    ArgumentValueError for more than 32 dimensions.
    """
    if isinstance(data, np.ma.MaskedArray):
        raise ArgumentTypeError("a masked array cannot be stored: call .filled(value) or .compressed() first")
    array = data if isinstance(data, np.ndarray) else _converted(data)
    _describe(array.dtype, array.shape)
    return array


def _converted(data: Any) -> NDArray[Any]:
    if not hasattr(data, "__array__"):
        raise ArgumentTypeError(f"a tensor must be a numpy array, not {type(data).__name__}: {data!r:.80}")
    try:
        return np.asarray(data)
    except (TypeError, ValueError, RuntimeError) as error:
        # A torch tensor that needs gradients or lies on a GPU, for one.
        raise ArgumentTypeError(f"{type(data).__name__} cannot be turned into a numpy array: {error}") from error


def encode(data: Any) -> tuple[NDArray[Any], bytes]:
    """Split an array into the two parts of its value: payload and description.

    The payload is the array itself where it lies in C order and little endian, a copy otherwise. Raises as `as_tensor`
    does.
    """
    array = data if type(data) is np.ndarray else as_tensor(data)
    description, end = _describe(array.dtype, array.shape)
    return np.ascontiguousarray(array, description.dtype), end


def encode_all(arrays: Iterable[Any]) -> list[tuple[NDArray[Any], bytes]]:
    """Split arrays into the two parts of their values, each as `encode` does."""
    values: list[tuple[NDArray[Any], bytes]] = []
    # Tensors that are put together mostly are of one kind: one like the one before is not looked at again.
    dtype, shape, end = None, (), b""
    for data in arrays:
        if type(data) is np.ndarray and data.dtype is dtype and data.shape == shape and data.flags.c_contiguous:
            values.append((data, end))
            continue
        array, end = value = encode(data)
        values.append(value)
        if array is data:
            dtype, shape = array.dtype, array.shape
        else:
            dtype = None
    return values


def decode(value: Memory, key: "str | bytes") -> NDArray[Any]:
    """Return the tensor held by a value, as a view on its memory.

    `key` is named in the TensorFormatError that a damaged value raises.
    """
    description = read_description(value, len(value), key)
    array: NDArray[Any] = np.ndarray(description.shape, description.dtype, value)
    check_elements(array, key)
    return array


def decode_all(values: Sequence[Memory], keys: Sequence[bytes]) -> list[NDArray[Any]]:
    """Return the tensors that values hold, each as `decode` does."""
    arrays: list[NDArray[Any]] = []
    # Tensors that are fetched together mostly are of one kind: what ends as the one before is not looked at again.
    size, end, dtype = -1, b"", np.dtype(np.uint8)
    shape: tuple[int, ...] = ()
    start = 0
    for value, key in zip(values, keys, strict=True):
        if len(value) == size and value[start:] == end:
            arrays.append(np.ndarray(shape, dtype, value))
            continue
        array = decode(value, key)
        arrays.append(array)
        # Every bool has to be checked.
        if array.dtype.kind != "b":
            size, start, dtype, shape = len(value), array.nbytes, array.dtype, array.shape
            end = bytes(value[start:])
    return arrays


def check_elements(array: NDArray[Any], key: "str | bytes") -> None:
    """Make sure that what was received as bool is; raises TensorFormatError that names `key`.

    numpy gives odd answers for a bool that is neither 0 nor 1. In every other dtype all bytes mean something.
    """
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise TensorFormatError(f"tensor {_text(key)!r} is damaged: bytes of a bool tensor are 0 or 1, not others")


def read_description(end: Memory, value_size: int, key: "str | bytes") -> TensorDescription:
    """Read and check the description at the end of a value.

    `end` holds the last bytes of the value, at least its description, or all of it; `value_size` is the whole length.
    Raises TensorFormatError that names `key` when the value is not a tensor or does not add up, and
    MissingDependencyError for bfloat16 without ml_dtypes.
    """
    if value_size < FOOTER_SIZE:
        raise TensorFormatError(f"key {_text(key)!r} does not hold a tensor: {value_size} bytes are too few")
    ndim = end[1 - FOOTER_SIZE]
    try:
        return _read_description(bytes(end[-FOOTER_SIZE - 8 * ndim :]), value_size)
    except _NoTensorError as reason:
        raise TensorFormatError(f"key {_text(key)!r} does not hold a tensor: {reason}") from None
    except _DamageError as damage:
        raise TensorFormatError(f"tensor {_text(key)!r} is damaged: {damage}") from None


class _NoTensorError(Exception):
    """Why a value is no tensor at all."""


class _DamageError(Exception):
    """What is wrong with the description of a tensor."""


# As with `_describe`: a value of a kind seen before is known by its last bytes and its size.
@lru_cache(maxsize=1024)
def _read_description(end: bytes, value_size: int) -> TensorDescription:
    code, ndim, zero, magic = _FOOTER.unpack(end[-FOOTER_SIZE:])
    if magic != MAGIC:
        raise _NoTensorError(f"it ends in {magic!r}, expected {MAGIC!r}")
    if zero != 0:
        raise _DamageError(f"reserved bytes are {zero:#06x}, expected 0")
    if ndim > MAX_DIMENSIONS:
        raise _DamageError(f"{ndim} dimensions, at most {MAX_DIMENSIONS} are allowed")
    if len(end) != 8 * ndim + FOOTER_SIZE:
        raise _DamageError(f"{value_size} bytes cannot hold {ndim} dimensions")
    dtype = _dtype_of(code)
    shape = struct.unpack(f"<{ndim}Q", end[:-FOOTER_SIZE])
    # Zeros apart: numpy refuses (0, 2**63), too.
    if prod(d for d in shape if d) * dtype.itemsize > _MAX_PAYLOAD_SIZE:
        raise _DamageError(f"the shape {shape} is larger than any memory")
    description = TensorDescription(dtype, shape)
    if description.payload_size + description.size != value_size:
        expected = description.payload_size + description.size
        raise _DamageError(f"{description} takes {expected} bytes, the value has {value_size}")
    return description


def _text(key: "str | bytes") -> str:
    return key if isinstance(key, str) else key.decode(errors="replace")


def _dtype_code(dtype: np.dtype[Any]) -> int:
    if dtype.name == "bfloat16":
        return _BFLOAT16_CODE
    try:
        return _CODES[dtype.str[1:]]
    except KeyError:
        raise ArgumentTypeError(
            f"dtype {dtype.name!r} cannot be stored as a tensor; these can: {', '.join(SUPPORTED_DTYPES)}"
        ) from None


def _dtype_of(code: int) -> np.dtype[Any]:
    if code == _BFLOAT16_CODE:
        # numpy has no bfloat16 of its own; ml_dtypes gives it one.
        return np.dtype(require("ml_dtypes", "reading a bfloat16 tensor", "bfloat16").bfloat16)
    try:
        return _DTYPES[code]
    except KeyError:
        raise _DamageError(f"unknown dtype code {code}") from None
