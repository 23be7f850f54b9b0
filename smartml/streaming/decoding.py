"""Samples that came over the wire, read as the stream announces them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import MissingDependencyError, SampleFormatError, TensorFormatError
from smartml.extras import missing, require
from smartml.streaming.protocol import Data, Feature, Info
from smartml.streaming.samples import BINARY_TYPES, BLOB_MARK, NESTED_TYPES, Sample, images

try:
    import msgspec
except ImportError as error:
    raise MissingDependencyError(missing("msgspec", "smartml.streaming", "streaming")) from error
try:
    # An array of 48 KiB is decoded in 3 microseconds, which takes the standard library 130.
    import pybase64
except ImportError as error:
    raise MissingDependencyError(missing("pybase64", "smartml.streaming", "streaming")) from error


class Decoder:
    """Reads the samples of data messages. Raises SampleFormatError for those that are not as announced."""

    def __init__(self, info: Info) -> None:
        self.info = info
        # By name: the feature, and what errors call it.
        self._inputs = {name: (feature, f"input {name!r}") for name, feature in info.inputs.items()}
        self._targets = {name: (feature, f"target {name!r}") for name, feature in info.outputs.items()}
        self._plain = _plain_decoder(info)

    def read_plainly(self, raw: bytes | memoryview) -> Data | None:
        """Read a data message whose values stand in JSON as they are in Python; None for any other, right or wrong."""
        if self._plain is None:
            return None
        try:
            # What msgspec passes over would not have to be UTF-8 otherwise.
            message = self._plain.decode(str(raw, "utf-8"))
        # MsgspecError and UnicodeDecodeError are ValueErrors.
        except (ValueError, RecursionError):
            return None
        if not message.payload:
            return None
        return Data(message.payload, False, message.position, is_plain=True, size=len(raw))

    def decode(self, data: Data) -> list[Sample]:
        """Return the samples of a message. Arrays can be written to; those in memory that cannot are copied."""
        return list(self.each(data))

    def each(self, data: Data) -> Iterator[Sample]:
        """Give the samples of a message one by one.

        All at once would live so long that Python's garbage collector looks after them, at twice the cost.
        """
        if data.is_plain:
            return map(_as_sample, map(_parts, data.samples))
        try:
            read = _Reader(data.blobs, data.is_binary)
        except TensorFormatError as error:
            raise SampleFormatError(f"a message with samples: {error}") from error
        return (self._sample(raw, read) for raw in data.samples)

    def _sample(self, raw: Any, read: _Reader) -> Sample:
        if not isinstance(raw, dict) or not isinstance(raw.get("inputs"), dict) or "sample_id" not in raw:
            raise SampleFormatError(f"a sample is an object with inputs, target_labels and sample_id, not {raw!r:.80}")
        sample_id, targets = str(raw["sample_id"]), raw.get("target_labels")
        if not isinstance(targets, dict):
            raise SampleFormatError(f"target_labels of sample {sample_id!r:.80} are an object, not {targets!r:.80}")
        inputs, labels = {}, {}
        try:
            for name, value in raw["inputs"].items():
                # Others are passed over, as EIR's client does: targets of type sequence stand here, too.
                if name in self._inputs and value is not None:
                    inputs[name] = read(*self._inputs[name], value)
            for name, value in targets.items():
                if name not in self._targets:
                    continue
                feature, what = self._targets[name]
                if feature.type in NESTED_TYPES and isinstance(value, dict):
                    value = value.get(name)
                if value is not None:
                    labels[name] = read(feature, what, value)
        except SampleFormatError as error:
            raise SampleFormatError(f"sample {sample_id!r:.80}: {error}") from error
        return Sample(inputs, labels, sample_id)


# What makes a sample of a plain one: a chain of C functions.
_parts = attrgetter(*Sample._fields)
_as_sample: Callable[[Any], Sample] = partial(tuple.__new__, Sample)
# JSON's own values, by the types of features whose values they are.
_PLAIN_TYPES: dict[str, Any] = {"sequence": str, "tabular": dict[str, Any], "survival": dict[str, Any]}
_Position: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# Mappings of which names and types are known. A name for what makes them, as types are not made of variables otherwise.
_mapping_type: Any = TypedDict


def _plain_decoder(info: Info) -> msgspec.json.Decoder[Any] | None:
    """Return what reads data messages of a stream without blobs, and without targets that stand twice.

    It refuses what is not as announced, and passes over what was not.
    """
    inputs, targets = ({feature.type for feature in side.values()} for side in (info.inputs, info.outputs))
    is_plain = inputs | targets <= _PLAIN_TYPES.keys() and targets.isdisjoint(NESTED_TYPES)
    # In a mapping, msgspec does not find other names.
    if not is_plain or not all(name.isascii() for name in (*info.inputs, *info.outputs)):
        return None
    sides = [("inputs", _typed(info.inputs)), ("target_labels", _typed(info.outputs))]
    # Python's garbage collector need not look at what is in no circle.
    sample: Any = msgspec.defstruct("PlainSample", [*sides, ("sample_id", str)], gc=False)
    fields: list[Any] = [("type", Literal["data"]), ("payload", list[sample]), ("position", _Position | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("PlainData", fields))


def _typed(features: Mapping[str, Feature]) -> Any:
    types = {name: _PLAIN_TYPES[feature.type] for name, feature in features.items()}
    # What is missing may be.
    return _mapping_type("Features", types, total=False)


class _Reader:
    """Reads the values of one message."""

    def __init__(self, blobs: Sequence[Any], is_binary: bool) -> None:
        names = [b"%d" % number for number in range(len(blobs))] if is_binary else []
        self._blobs, self._is_binary = tensors.decode_all(blobs, names) if is_binary else blobs, is_binary
        # Where texts were left out of JSON, marks cannot be anything else; in the binary extension, texts may be.
        self._is_lifted = bool(blobs) and not is_binary

    def __call__(self, feature: Feature, what: str, value: Any) -> Any:
        if feature.type in BINARY_TYPES:
            return _FROM_BYTES[feature.type](self._blob(value, what), feature, what)
        if feature.type == "sequence":
            text = self._text(value)
            if not isinstance(text, str):
                raise SampleFormatError(f"{what} is announced as sequence: a text, not {type(text).__name__}")
            return text
        if not isinstance(value, dict):
            raise SampleFormatError(f"{what} is announced as {feature.type}: columns, not {value!r:.80}")
        return {column: self._text(cell) for column, cell in value.items()} if self._is_lifted else value

    def _text(self, value: Any) -> Any:
        if self._is_lifted and isinstance(value, str) and value.startswith(BLOB_MARK):
            return bytes(self._blobs[int(value[1:])]).decode()
        return value

    def _blob(self, value: Any, what: str) -> Any:
        if not isinstance(value, str):
            raise SampleFormatError(f"{what} is base64, not {type(value).__name__}")
        if value.startswith(BLOB_MARK):
            try:
                found = self._blobs[int(value[1:])]
            except (ValueError, IndexError):
                raise SampleFormatError(f"{what} is in no blob of its message: {value!r:.80}") from None
            if self._is_binary:
                return found if found.flags.writeable else found.copy()
            value = found
        try:
            return pybase64.b64decode_as_bytearray(value, validate=True)
        except ValueError as error:
            raise SampleFormatError(f"{what} is no base64: {error}") from None


def _read_array(raw: Any, feature: Feature, what: str) -> NDArray[Any]:
    dtype = np.dtype("float32") if feature.dtype is None else _dtype(feature.dtype, what)
    if not isinstance(raw, np.ndarray):
        raw = _shaped(np.frombuffer(raw, np.uint8), np.dtype("<f4"), feature, what)
    elif raw.shape != feature.shape:
        raise SampleFormatError(f"{what} has shape {raw.shape}, announced is {feature.shape}")
    array: NDArray[Any] = raw if raw.dtype == dtype else raw.astype(dtype)
    return array


def _read_omics(raw: Any, feature: Feature, what: str) -> NDArray[Any]:
    octets = raw.reshape(-1).view(np.uint8) if isinstance(raw, np.ndarray) else np.frombuffer(raw, np.uint8)
    if octets.size and octets.max() > 1:
        raise SampleFormatError(f"{what} is announced as omics: every element is 0 or 1")
    return _shaped(octets, np.dtype(bool), feature, what)


def _shaped(octets: NDArray[np.uint8], dtype: np.dtype[Any], feature: Feature, what: str) -> NDArray[Any]:
    assert feature.shape is not None
    expected = math.prod(feature.shape) * dtype.itemsize
    if octets.size != expected:
        raise SampleFormatError(
            f"{what} has {octets.size} bytes; {dtype.name} of the announced shape {feature.shape} has {expected}"
        )
    shaped: NDArray[Any] = octets.view(dtype).reshape(feature.shape)
    return shaped


def _read_bytes(raw: Any, feature: Feature, what: str) -> NDArray[Any]:
    return raw if isinstance(raw, np.ndarray) else np.frombuffer(raw, np.uint8)


def _read_image(raw: Any, feature: Feature, what: str) -> NDArray[Any]:
    pillow = images()
    try:
        with pillow.open(io.BytesIO(raw)) as image:
            return np.array(image if feature.mode is None else image.convert(feature.mode))
    # What Pillow raises for damaged files, and for such as would fill the memory.
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise SampleFormatError(f"{what} is no image: {error}") from None


def _dtype(name: str, what: str) -> np.dtype[Any]:
    if name == "bfloat16":
        return np.dtype(require("ml_dtypes", "bfloat16 in smartml.streaming", "bfloat16").bfloat16)
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise SampleFormatError(f"{what} is announced with the dtype {name!r:.80}, which arrays do not have")
    return dtype


_FROM_BYTES: dict[str, Callable[[Any, Feature, str], NDArray[Any]]] = {
    "array": _read_array,
    "omics": _read_omics,
    "image": _read_image,
    "bytes": _read_bytes,
}
