"""What a served model takes and gives, input by input and output by output (pure).

Everything else follows from it: what `/info` says, which bodies are accepted, how the page asks, and what the OpenAPI
description promises.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np


@dataclass(frozen=True)
class BytesField:
    """Raw bytes of any length, cut from the start or padded to `max_length`."""

    max_length: int

    def describe(self) -> dict[str, Any]:
        return {"type": "bytes", "encoding": "base64", "max_length": self.max_length}


@dataclass(frozen=True)
class TextField:
    """Text, cut or padded to `max_length` tokens; as an output, generated text of as many at most."""

    max_length: int | None = None

    def describe(self) -> dict[str, Any]:
        return {"type": "sequence", "max_length": self.max_length}


@dataclass(frozen=True)
class ArrayField:
    """An array of one shape and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of one array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def describe(self) -> dict[str, Any]:
        return {"type": "array", "encoding": "base64", "shape": list(self.shape), "dtype": self.dtype.str}


@dataclass(frozen=True)
class ImageField:
    """An image file, brought to `shape` (channels, height, width); as an output, float32 values of that shape."""

    shape: tuple[int, int, int]

    def describe(self) -> dict[str, Any]:
        return {"type": "image", "encoding": "base64", "shape": list(self.shape)}


@dataclass(frozen=True)
class TabularField:
    """Named columns: the classes of each, None for a number."""

    columns: Mapping[str, tuple[str, ...] | None]

    def describe(self) -> dict[str, Any]:
        columns = {
            name: {"type": "number"} if classes is None else {"type": "category", "values": list(classes)}
            for name, classes in self.columns.items()
        }
        return {"type": "tabular", "columns": columns}


Field: TypeAlias = BytesField | TextField | ArrayField | ImageField | TabularField


@dataclass(frozen=True)
class ModelDescription:
    """The inputs and outputs of a model, by name."""

    inputs: Mapping[str, Field]
    outputs: Mapping[str, Field]

    def describe(self) -> dict[str, Any]:
        return {
            "inputs": {name: field.describe() for name, field in self.inputs.items()},
            "outputs": {name: field.describe() for name, field in self.outputs.items()},
        }


def example_of(field: Field) -> Any:
    """Return a value as `/predict` takes it, for people to begin from."""
    if isinstance(field, TabularField):
        return {name: 0.0 if classes is None else classes[0] for name, classes in field.columns.items()}
    if isinstance(field, TextField):
        return "some text"
    if isinstance(field, ArrayField):
        return _base64_of_zeros(field.size)
    return "aGVsbG8="


def example_sample(inputs: Mapping[str, Field]) -> dict[str, Any]:
    """Return a sample as `/predict` takes it."""
    return {name: example_of(field) for name, field in inputs.items()}


def _base64_of_zeros(size: int) -> str:
    whole, rest = divmod(size, 3)
    return "AAAA" * whole + ("", "AA==", "AAA=")[rest]
