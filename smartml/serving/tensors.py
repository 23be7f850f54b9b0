"""Samples as tensors, and answers as tensors (pure): what a solver puts and gets, for each type of field.

Axis 0 counts samples. An array is (n, *shape); raw bytes are (n, length), uint8; a table is (n, columns), of a category
the number of its class. Answers are float32: an array (n, *shape); of a table each column by itself, a number (n,), a
category (n, classes), the probability of each class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentValueError, SampleError
from smartml.serving.description import ArrayField, BytesField, Field, ModelDescription, TabularField


def check_fields(description: ModelDescription) -> None:
    """Raise ArgumentValueError for a model with fields that no tensor can hold."""
    for side, fields in (("input", description.inputs), ("output", description.outputs)):
        for name, field in fields.items():
            is_tensor = isinstance(field, ArrayField | TabularField) or (
                side == "input" and isinstance(field, BytesField)
            )
            if not is_tensor:
                raise ArgumentValueError(
                    f"the {side} {name!r} of this model is {field.describe()['type']}, which no tensor of the store "
                    "holds: serve it over HTTP"
                )


def samples_from(inputs: Mapping[str, NDArray[Any]], description: ModelDescription) -> list[dict[str, Any]]:
    """Divide tensors into samples. Raises SampleError that says what is wrong with which."""
    sizes = {name: len(tensor) if tensor.ndim else -1 for name, tensor in inputs.items()}
    if min(sizes.values()) < 1 or len(set(sizes.values())) > 1:
        shapes = ", ".join(f"{name!r} {tensor.shape}" for name, tensor in inputs.items())
        raise SampleError(f"axis 0 has to count samples, at least one and the same for all inputs; shapes are {shapes}")
    columns = {name: _values(name, tensor, description.inputs[name]) for name, tensor in inputs.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(name: str, tensor: NDArray[Any], field: Field) -> Sequence[Any]:
    if isinstance(field, BytesField):
        if tensor.dtype != np.uint8 or tensor.ndim != 2:
            raise SampleError(
                f"{name!r} is {tensor.dtype.name} {tensor.shape}; bytes are uint8 (samples, length)", field=name
            )
        return [row.tobytes() for row in tensor]
    shape = (len(field.columns),) if isinstance(field, TabularField) else field.shape  # type: ignore[union-attr]
    if tensor.shape[1:] != shape or tensor.dtype.kind not in "fiub":
        raise SampleError(
            f"{name!r} is {tensor.dtype.name} {tensor.shape}; the model takes numbers, (samples, "
            f"{', '.join(map(str, shape))})",
            field=name,
        )
    return [_row(name, row, field) for row in tensor] if isinstance(field, TabularField) else list(tensor)


def _row(name: str, row: NDArray[Any], field: TabularField) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for value, (column, classes) in zip(row.tolist(), field.columns.items(), strict=True):
        if classes is None:
            values[column] = float(value)
        elif value in range(len(classes)):
            values[column] = classes[int(value)]
        else:
            raise SampleError(f"{name!r}, column {column!r}: no class {value}, there are {len(classes)}", field=name)
    return values


def tensors_from(answers: Sequence[Mapping[str, Any]], description: ModelDescription) -> dict[str, NDArray[Any]]:
    """Join answers to tensors, by the beginnings of their names: `<output>`, or `<output>_<column>` of tables."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, field in description.outputs.items():
        values = [answer[name] for answer in answers]
        if not isinstance(field, TabularField):
            tensors[name] = np.stack(values).astype(np.float32)
            continue
        for column, classes in field.columns.items():
            if classes is None:
                tensors[f"{name}_{column}"] = np.array([value[column][column] for value in values], np.float32)
            else:
                rows = [[value[column][one] for one in classes] for value in values]
                tensors[f"{name}_{column}"] = np.array(rows, np.float32)
    return tensors
