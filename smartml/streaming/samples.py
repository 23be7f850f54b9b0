"""Samples between Python and the wire: each type of input and output, as EIR's client reads and writes it.

    type       in Python                                  on the wire
    sequence   str                                        the text itself
    bytes      bytes, or uint8 of shape (n,)              base64
    tabular    {column: text, number or None}, a number   {column: value}
    omics      bool (4, n), one-hot along axis 0          base64, a byte 0 or 1 per element
    array      numbers of 1 to 3 dimensions               base64 of float32, little endian, C order
    image      uint8 (height, width[, channel]); or the   base64 of an encoded image file, PNG where an array was given
               bytes of an image file
    survival   {event column: text, time column: number}  the same

Targets of the types sequence, array and image stand on the wire under their name twice. A target of type sequence
stands among the inputs as well, for that is where EIR's client looks for it. A value that is missing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smartml.errors import SampleFormatError
from smartml.extras import require
from smartml.streaming.protocol import Feature, Info

# Types that are base64 in JSON, and tensors in the binary extension.
BINARY_TYPES = ("array", "omics", "image", "bytes")
# Targets of these types stand under their name twice.
NESTED_TYPES = ("sequence", "array", "image")
# How image files begin that every reader of images knows: PNG, JPEG, GIF, BMP, TIFF.
_IMAGE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
# What stands in JSON for a blob that lies apart: this character, and a number.
BLOB_MARK = "\x01"


class Sample(NamedTuple):
    """One sample: inputs and targets by name, as the table above says, and what it is called."""

    inputs: Mapping[str, Any]
    target_labels: Mapping[str, Any]
    sample_id: str


# The schema of data


def derive_info(sample: Sample) -> Info:
    """Tell what a stream is made of, from one sample of it; raises SampleFormatError for what has no type."""
    return Info(
        {name: _derived(value, f"input {name!r}") for name, value in sample.inputs.items()},
        {name: _derived(value, f"target {name!r}", is_target=True) for name, value in sample.target_labels.items()},
    )


def _derived(value: Any, what: str, *, is_target: bool = False) -> Feature:
    if isinstance(value, str):
        return Feature("sequence")
    if isinstance(value, bytes | bytearray):
        if value.startswith(_IMAGE_MAGIC):
            return Feature("image")
        if not is_target:
            return Feature("bytes")
        raise SampleFormatError(f"{what}: bytes that are no image cannot be a target")
    if isinstance(value, Mapping) or _is_plain_number(value):
        return Feature("tabular")
    array = as_array(value, what)
    if array.ndim == 0:
        return Feature("tabular")
    if array.dtype == bool and array.ndim == 2 and len(array) == 4 and not is_target:
        return Feature("omics", array.shape)
    feature = Feature("array", array.shape, dtype=array.dtype.name)
    check_array(array, feature, what)
    return feature


def _is_plain_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_)


def as_array(value: Any, what: str) -> NDArray[Any]:
    """Return numbers as an array; raises SampleFormatError for anything else."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise SampleFormatError(
            f"{what} has no type that can be streamed: {type(value).__name__} {value!r:.80}; texts, bytes, arrays of "
            "numbers, and mappings of columns have"
        )
    return array


def check_array(array: NDArray[Any], feature: Feature, what: str) -> None:
    """Raise SampleFormatError if an array is not as its stream announces."""
    if array.shape != feature.shape:
        raise SampleFormatError(f"{what} has shape {array.shape}, the stream announces {feature.shape}")
    if array.ndim > 3 or not array.size:
        raise SampleFormatError(f"{what} has shape {array.shape}: arrays have one to three dimensions, and elements")


def images() -> Any:
    """Return Pillow's module of images; raises MissingDependencyError without it."""
    return require("PIL.Image", "images in smartml.streaming", "streaming")
