"""Bodies of `/predict` (pure): what a model says of its fields makes the types, the OpenAPI schemas and the answers.

A body is a JSON list of samples, each with every input by name; bytes, arrays and image files are base64. An answer is
`{"result": […]}` with an object per sample, in their order. The forms are those of EIR's `eirserve`.
"""

import binascii
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pybase64
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, FailFast, TypeAdapter, ValidationError, WithJsonSchema, create_model
from pydantic import Field as BodyField
from pydantic_core import PydanticCustomError, to_json

from smartml.serving.description import (
    ArrayField,
    BytesField,
    Field,
    ImageField,
    ModelDescription,
    TabularField,
    TextField,
)

# Of wrong fields so many are named; of their names, which the sender chose, so many characters.
_MOST_ERRORS = 20
_LONGEST_NAME = 100
# RFC 4648, section 4.
_BASE64_PATTERN = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_BASE64_ENDS = ("", "[A-Za-z0-9+/]{2}==", "[A-Za-z0-9+/]{3}=")
_BASE64_SCHEMA = {"type": "string", "format": "byte", "contentEncoding": "base64", "pattern": _BASE64_PATTERN}
_NUMBER_SCHEMA = {"type": ["number", "null"], "description": "null stands for what is no finite number"}
# Where the OpenAPI description keeps the types.
_REFERENCES = "#/components/schemas/{model}"


class PredictBody:
    """Reads bodies for one model, and says what they look like."""

    def __init__(self, description: ModelDescription, max_samples: int) -> None:
        self._names = list(description.inputs)
        fields: dict[str, Any] = {
            # Under names of ours: an input may be called what no attribute can.
            _attribute(number): (_body_type(name, field), BodyField(alias=name, title=name))
            for number, (name, field) in enumerate(description.inputs.items())
        }
        sample = create_model("Sample", __config__=ConfigDict(extra="forbid", strict=True), **fields)
        bounds = BodyField(min_length=1, max_length=max_samples)
        self._body: TypeAdapter[list[Any]] = TypeAdapter(Annotated[list[sample], bounds, FailFast()])  # type: ignore[valid-type, arg-type]

    def parse(self, body: bytes) -> list[dict[str, Any]]:
        """Return the samples with raw values. Raises ValidationError (see `list_problems`)."""
        attributes = [(name, _attribute(number)) for number, name in enumerate(self._names)]
        samples = [
            {name: getattr(sample, attribute) for name, attribute in attributes}
            for sample in self._body.validate_json(body)
        ]
        for sample in samples:
            for name, value in sample.items():
                if hasattr(value, "model_dump"):
                    sample[name] = value.model_dump(by_alias=True)
        return samples

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the schema of a body, and those that it refers to, by name."""
        schema = self._body.json_schema(ref_template=_REFERENCES)
        return schema, schema.pop("$defs", {})


def _attribute(number: int) -> str:
    return f"field_{number}"


def _body_type(name: str, field: Field) -> Any:
    if isinstance(field, BytesField | ImageField):
        return Annotated[str, AfterValidator(_decoded), WithJsonSchema(_BASE64_SCHEMA)]
    if isinstance(field, ArrayField):
        length = 4 * -(-field.size // 3)
        schema = _BASE64_SCHEMA | {
            "pattern": f"^[A-Za-z0-9+/]{{{4 * (field.size // 3)}}}{_BASE64_ENDS[field.size % 3]}$",
            "minLength": length,
            "maxLength": length,
            "description": f"{field.size} bytes: an array {list(field.shape)} of {field.dtype.str}, in C order",
        }
        return Annotated[str, AfterValidator(_array_reader(field)), WithJsonSchema(schema)]
    if isinstance(field, TextField):
        return str
    columns: dict[str, Any] = {
        _attribute(number): (_column_type(classes), BodyField(alias=column, title=column))
        for number, (column, classes) in enumerate(field.columns.items())
    }
    return create_model(f"Columns of {name}", __config__=ConfigDict(extra="forbid", strict=True), **columns)


def _column_type(classes: tuple[str, ...] | None) -> Any:
    if classes is None:
        return Annotated[float, BodyField(allow_inf_nan=False)]
    return Annotated[str, AfterValidator(_class_checker(classes)), WithJsonSchema({"enum": list(classes)})]


def _decoded(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PydanticCustomError("base64", "is not base64: {reason}", {"reason": str(error)}) from error


def _array_reader(field: ArrayField) -> Callable[[str], NDArray[Any]]:
    def read(text: str) -> NDArray[Any]:
        # A copy: whoever reads may write.
        data = bytearray(_decoded(text))
        if len(data) != field.size:
            raise PydanticCustomError(
                "array_size",
                "holds {got} bytes; an array {shape} of {dtype} takes {expected}",
                {"got": len(data), "shape": list(field.shape), "dtype": field.dtype.str, "expected": field.size},
            )
        return np.frombuffer(data, field.dtype).reshape(field.shape)

    return read


def _class_checker(classes: Sequence[str]) -> Callable[[str], str]:
    known = frozenset(classes)

    def check(text: str) -> str:
        if text not in known:
            near = difflib.get_close_matches(text[:_LONGEST_NAME], classes, 5, 0) or classes[:5]
            more = f", or one of {len(classes) - len(near)} others" if len(near) < len(classes) else ""
            raise PydanticCustomError(
                "class", "is not a class of this column: {near}{more}", {"near": ", ".join(near), "more": more}
            )
        return text

    return check


# What is wrong


def list_problems(error: ValidationError) -> list[dict[str, Any]]:
    """List what is wrong with a body: `type`, `loc` and `msg` each, as FastAPI does, but nothing of what was sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
    return [problem(one["type"], [_shown(part) for part in one["loc"]], one["msg"]) for one in found]


def problem(kind: str, location: Sequence[str | int], message: str) -> dict[str, Any]:
    """Word one thing that is wrong with a body, and where."""
    return {"type": kind, "loc": ["body", *location], "msg": message}


def _shown(part: str | int) -> str | int:
    if isinstance(part, str) and len(part) > _LONGEST_NAME:
        return part[:_LONGEST_NAME] + "…"
    return part


PROBLEMS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "loc", "msg"],
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                },
            },
        }
    },
}


# Answers


def encode_answers(answers: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the body of an answer; numbers that are not finite become null, which JSON has, and NaN it has not."""
    result = [{name: _encoded(value) for name, value in answer.items()} for answer in answers]
    return to_json({"result": result}, inf_nan_mode="null")


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return pybase64.b64encode_as_string(value.tobytes())
    return value


def answer_schema(description: ModelDescription) -> dict[str, Any]:
    """Return the schema of the body of an answer."""
    sample = _object_schema({name: _output_schema(field) for name, field in description.outputs.items()})
    return _object_schema({"result": {"type": "array", "items": sample}})


def _output_schema(field: Field) -> dict[str, Any]:
    if isinstance(field, TabularField):
        # A continuous column names itself once more, where a categorical one names its classes.
        return _object_schema(
            {
                column: _object_schema(dict.fromkeys(classes or (column,), _NUMBER_SCHEMA))
                for column, classes in field.columns.items()
            }
        )
    return {"type": "string"} if isinstance(field, TextField) else _BASE64_SCHEMA


def _object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
