"""Numpy's arrays and numbers as maps in MessagePack, the way the package msgpack-numpy (0.4) writes them (pure).

    array         {b"nd": true, b"type": dtype, b"kind": b"" or b"V" or b"O", b"shape": [...], b"data": bytes}
    number        {b"nd": false, b"type": dtype, b"data": bytes}
    complex       {b"complex": true, b"data": text}

`type` is numpy's `dtype.str`, or, for structured arrays (kind `V`), `dtype.descr`; data lies in C order. Kind `O` is an
array of Python objects, pickled. Reading a pickle runs whatever its writer wanted, so these are neither read nor
written; msgpack-numpy itself does both and cannot be told not to, which is why it is not used here.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError

_ARRAY_FIELDS = frozenset((b"type", b"shape", b"data"))
_NUMBER_FIELDS = frozenset((b"type", b"data"))


def pack(value: Any) -> dict[bytes, Any]:
    """Return the map for a value that MessagePack does not know itself.

    Raises ArgumentTypeError for what has none, ArgumentValueError for a number that is too large.
    """
    if isinstance(value, np.ndarray):
        return _pack_array(value)
    if isinstance(value, np.generic) and _survives(value.dtype, value.dtype.str):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    if isinstance(value, complex):
        return {b"complex": True, b"data": repr(value)}
    if isinstance(value, int):
        raise ArgumentValueError(f"MessagePack takes whole numbers from -2**63 to 2**64 - 1, not {value}")
    raise ArgumentTypeError(
        "MessagePack takes None, bool, int, float, complex, str, bytes, lists, tuples and dicts of these, and numpy's "
        f"arrays and numbers, not {type(value).__name__}: {value!r:.80}"
    )


def _pack_array(array: NDArray[Any]) -> dict[bytes, Any]:
    check_array(array)
    is_structured = array.dtype.names is not None
    try:
        described: Any = array.dtype.descr if is_structured else array.dtype.str
        survives = _survives(array.dtype, described)
    except ValueError:
        # Fields that overlap have no description.
        survives = False
    if not survives:
        raise ArgumentTypeError(f"arrays of dtype {array.dtype} cannot be described in MessagePack: choose another")
    return {
        b"nd": True,
        b"type": described,
        b"kind": b"V" if is_structured else b"",
        b"shape": array.shape,
        b"data": array.tobytes(),
    }


def check_array(array: NDArray[Any]) -> None:
    """Raise ArgumentTypeError for arrays that no serializer takes: masked ones, and those of Python objects."""
    if isinstance(array, np.ma.MaskedArray):
        raise ArgumentTypeError("a masked array cannot be serialized: call .filled(value) or .compressed() first")
    if array.dtype.hasobject:
        raise ArgumentTypeError(
            f"an array of Python objects (dtype {array.dtype}) is not serialized, since it could only be pickled: give "
            "it a dtype of numbers or text, or turn it into a list"
        )


def unpack(stored: dict[Any, Any]) -> Any:
    """Return what a map stands for; maps of other content as they are.

    Arrays are the caller's own: fresh and writable. Raises ValueError for one that is damaged or pickled.
    """
    if b"nd" in stored:
        is_array = stored[b"nd"] is True
        if (_ARRAY_FIELDS if is_array else _NUMBER_FIELDS) <= stored.keys():
            return _unpack_array(stored) if is_array else _unpack_number(stored)
    elif b"complex" in stored and b"data" in stored:
        return complex(_text(stored[b"data"]))
    return stored


def _unpack_array(stored: dict[Any, Any]) -> NDArray[Any]:
    described, shape, data = stored[b"type"], stored[b"shape"], stored[b"data"]
    dtype = None if stored.get(b"kind") == b"O" else _as_dtype(described)
    if dtype is None or dtype.hasobject:
        raise ValueError("it holds an array of Python objects, pickled: that is not read, since it could run any code")
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError(f"it holds an array of shape {shape!r:.80}")
    if prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"it holds an array of {dtype} and shape {tuple(shape)} in {len(data)} bytes")
    # A copy of the bytes, not of the array: padding between fields stays as it is.
    return np.ndarray(tuple(shape), dtype, bytearray(data))


def _unpack_number(stored: dict[Any, Any]) -> Any:
    dtype, data = _as_dtype(stored[b"type"]), stored[b"data"]
    if dtype.hasobject or dtype.itemsize != len(data):
        raise ValueError(f"it holds a number of {dtype} in {len(data)} bytes")
    return np.ndarray((), dtype, data)[()]


def _survives(dtype: np.dtype[Any], described: Any) -> bool:
    """Tell whether a description leads back to its dtype; those of other packages (bfloat16) have none that does."""
    try:
        return _as_dtype(described) == dtype and not dtype.hasobject
    except (TypeError, ValueError):
        return False


def _as_dtype(described: Any) -> np.dtype[Any]:
    """Return the dtype of a description. Lists may be tuples, and text bytes, as old files have them."""
    if not isinstance(described, list | tuple):
        return np.dtype(_text(described))
    if len(described) == 1 and not described[0][0]:
        # Bytes without fields: a nameless one would be taken for padding.
        return np.dtype(_text(described[0][1]))
    # numpy has no types for this one.
    to_dtype: Callable[[Any], np.dtype[Any]] = np.lib.format.descr_to_dtype
    return to_dtype(_as_descr(described))


def _as_descr(fields: Any) -> list[Any]:
    """Give a description of fields the tuples that numpy wants."""
    return [
        (
            tuple(map(_text, name)) if isinstance(name, list | tuple) else _text(name),
            _as_descr(kind) if isinstance(kind, list | tuple) else _text(kind),
            *map(tuple, shape),
        )
        for name, kind, *shape in fields
    ]


def _text(stored: Any) -> str:
    return stored.decode() if isinstance(stored, bytes) else str(stored)
