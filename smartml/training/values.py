"""Raw values of samples, as files, streams and requests have them: checked and given one form."""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import SampleError
from smartml.store.similar import nearest_names

Array = NDArray[Any]


def read_bytes(value: Any) -> NDArray[np.uint8]:
    """Return raw bytes as numbers."""
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8:
            raise SampleError(f"is an array of {value.dtype.name}, raw bytes are uint8")
        return value.reshape(-1)
    if not isinstance(value, bytes | bytearray | memoryview):
        raise SampleError(f"is {type(value).__name__}, not bytes")
    return np.frombuffer(value, np.uint8)


def read_text(value: Any) -> str:
    """Return text."""
    if not isinstance(value, str):
        raise SampleError(f"is {type(value).__name__}, not text")
    return value


def read_columns(value: Any, columns: list[str], *, are_all_needed: bool) -> Mapping[str, Any]:
    """Return the columns of a row, or say which is missing or unknown."""
    if not isinstance(value, Mapping):
        raise SampleError(f"is {type(value).__name__}, not columns with their values")
    if are_all_needed:
        for name in columns:
            if name not in value:
                raise SampleError(f"column {name!r} is missing")
    for name in value:
        if name not in columns:
            near = nearest_names(str(name), columns)
            raise SampleError(f"unknown column {name!r}" + (f", perhaps {near[0]!r}" if near else ""))
    return value


def read_category(value: Any) -> str | None:
    """Return the name of a category; None where there is none."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        # What has passed through JSON or a float column.
        value = int(value)
    if not isinstance(value, str | int | float):
        raise SampleError(f"is {type(value).__name__}, not the name of a category")
    return str(value)


def read_number(value: Any) -> float:
    """Return a number; NaN where there is none."""
    if value is None or value == "":
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SampleError(f"{value!r:.40} is no number") from error
    if math.isinf(number):
        raise SampleError(f"{value!r:.40} is no finite number")
    return number


def read_array(value: Any, shape: tuple[int, ...] | None) -> NDArray[np.float32]:
    """Return numbers of a shape (None: any); bytes are little-endian float32 in C order."""
    if isinstance(value, bytes | bytearray | memoryview):
        expected = None if shape is None else 4 * math.prod(shape)
        if shape is None or len(value) != expected:
            raise SampleError(f"has {len(value)} bytes, float32 of shape {shape} has {expected}")
        array: Array = np.frombuffer(value, "<f4").reshape(shape)
    else:
        array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise SampleError(f"is {array.dtype.name}, not numbers")
    if shape is not None and array.shape != shape:
        raise SampleError(f"has shape {array.shape}, the model's is {shape}")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise SampleError("holds NaN or infinity")
    return array


def read_image(value: Any, height: int, width: int, mode: str) -> NDArray[np.uint8]:
    """Decode a picture of any kind that Pillow knows: (height, width, channels)."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(value, np.ndarray):
        # (height, width[, channels]), as streams have pictures.
        if value.dtype != np.uint8 or value.ndim not in (2, 3):
            raise SampleError(f"is an array of {value.dtype.name} and {value.ndim} axes, not a picture of uint8")
        value = _as_file(value)
    if not isinstance(value, bytes | bytearray | memoryview):
        raise SampleError(f"is {type(value).__name__}, not the bytes of a file with a picture")
    try:
        with Image.open(io.BytesIO(value)) as picture:
            scaled = picture.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SampleError(f"is no picture that can be decoded: {error}") from error
    return np.asarray(scaled, np.uint8).reshape(height, width, len(mode))


def _as_file(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    try:
        Image.fromarray(picture.squeeze(-1) if picture.shape[2:] == (1,) else picture).save(
            file, "PNG", compress_level=0
        )
    except (TypeError, ValueError, OSError) as error:
        raise SampleError(f"is no picture: {error}") from error
    return file.getvalue()
