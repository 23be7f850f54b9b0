"""Bytes of a dataset's metadata fields, as SmartRedis writes them (pure).

A field is one type byte and the values behind it: 1 float64, 2 float32, 3 int32, 4 int64, 5 uint32, 6 uint64, packed
little endian one after the other, or 7 for strings, each an unsigned 64 bit length and that many bytes of UTF-8.
"""

import struct
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, MetadataError

# Scalars are an array of one dimension, strings a list.
FieldValues: TypeAlias = NDArray[Any] | list[str]

_STRING = 7
_DTYPES = {code: np.dtype(name) for code, name in enumerate(["<f8", "<f4", "<i4", "<i8", "<u4", "<u8"], start=1)}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_LENGTH = struct.Struct("<Q")


def as_scalar(data: Any) -> NDArray[Any]:
    """Return one number as an array of shape (1,), of the dtype under which it would be stored.

    Python's int becomes int64 (uint64 from 2**63 on), float becomes float64. Raises ArgumentTypeError for anything
    that is not a single number of a dtype that the format knows.
    """
    try:
        array = np.asarray(data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentTypeError(f"metadata takes one number, not {type(data).__name__}: {error}") from error
    if isinstance(data, bool) or array.size != 1 or array.dtype.newbyteorder("<") not in _CODES:
        known = ", ".join(dtype.name for dtype in _CODES)
        raise ArgumentTypeError(
            f"metadata takes one number of {known}, not {type(data).__name__} "
            f"of dtype {array.dtype} and size {array.size}: {data!r:.80}"
        )
    return array.reshape(1).astype(array.dtype.newbyteorder("<"))


def encode_field(values: FieldValues) -> bytes:
    """Return the bytes of a field."""
    if isinstance(values, list):
        texts = [text.encode() for text in values]
        return bytes([_STRING]) + b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    return bytes([_CODES[values.dtype]]) + values.tobytes()


def decode_field(value: bytes, key: str, name: str) -> FieldValues:
    """Read the bytes of field `name` under `key`; raises MetadataError when they do not add up."""
    if not value:
        raise MetadataError(f"metadata field {name!r} of {key!r} is damaged: it is empty")
    code, payload = value[0], value[1:]
    if code == _STRING:
        return _decode_strings(payload, key, name)
    if code not in _DTYPES:
        raise MetadataError(f"metadata field {name!r} of {key!r} is damaged: unknown type {code}")
    dtype = _DTYPES[code]
    if len(payload) % dtype.itemsize:
        raise MetadataError(
            f"metadata field {name!r} of {key!r} is damaged: {len(payload)} bytes are no whole number of {dtype.name}"
        )
    return np.frombuffer(payload, dtype).copy()


def _decode_strings(payload: bytes, key: str, name: str) -> list[str]:
    texts: list[str] = []
    position = 0
    while position < len(payload):
        start = position + _LENGTH.size
        position = start + _LENGTH.unpack(payload[position:start])[0] if start <= len(payload) else start
        if position > len(payload):
            raise MetadataError(f"metadata field {name!r} of {key!r} is damaged: a string runs past its end")
        try:
            texts.append(payload[start:position].decode())
        except UnicodeDecodeError as error:
            raise MetadataError(f"metadata field {name!r} of {key!r} is damaged: no UTF-8: {error}") from error
    return texts
