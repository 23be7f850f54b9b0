"""Samples on their way to the wire: written once, however many clients get them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import MissingDependencyError, SampleFormatError
from smartml.extras import missing
from smartml.streaming.protocol import Feature, Info
from smartml.streaming.samples import BINARY_TYPES, NESTED_TYPES, Sample, as_array, check_array, images

try:
    import msgspec
except ImportError as error:
    raise MissingDependencyError(missing("msgspec", "smartml.streaming", "streaming")) from error
try:
    # Several times as fast as the standard library.
    import pybase64
except ImportError as error:
    raise MissingDependencyError(missing("pybase64", "smartml.streaming", "streaming")) from error

_LONGEST_ID = 200
# What holds a sample, about.
_OVERHEAD_BYTES = 500
# Where a blob is left out of JSON, which escapes such characters.
_BLOB_PLACE = b"\0"
# A blob as it lies in memory, what describes it, and the size of both.
_Tensor: TypeAlias = "tuple[NDArray[Any], bytes, int]"
# Writes a value as JSON, and puts what does not belong there into the list.
_Writer: TypeAlias = "Callable[[Any, list[NDArray[Any]]], str]"


class TextSample(msgspec.Struct, gc=False):
    """A sample that is ready for the wire, all of it JSON.

    Many are held: Python's garbage collector does not look at it, nor at `BlobSample`, which are in no circle.
    """

    sample_id: str
    # As it stands in the payload of a data message.
    json: bytes

    @property
    def size(self) -> int:
        """About the bytes that it takes in memory, with all that holds it."""
        return 2 * len(self.json) + _OVERHEAD_BYTES

    @property
    def wire_bytes(self) -> int:
        """About the bytes that it takes in a message."""
        return len(self.json)

    @property
    def tensors(self) -> tuple[_Tensor, ...]:
        """What it has that is no JSON: nothing."""
        return ()

    def marked(self, first: int) -> bytes:
        """Return the sample in JSON with a mark for each blob, of which it has none."""
        return self.json


class BlobSample(msgspec.Struct, gc=False):
    """A sample that is ready for the wire: JSON in pieces, and between each two of them a blob.

    What it takes to send it is computed once, however many clients get it.
    """

    sample_id: str
    pieces: list[bytes]
    blobs: list[NDArray[Any]]
    # About the bytes that it takes in a message of JSON, the longer kind: base64 makes four bytes of three.
    wire_bytes: int = 0
    # About the bytes that it takes in memory once it was sent to clients of both kinds.
    size: int = 0
    _json: bytes | None = None
    _tensors: tuple[_Tensor, ...] | None = None

    def __post_init__(self) -> None:
        text_bytes = sum(map(len, self.pieces))
        blob_bytes = sum([blob.nbytes for blob in self.blobs])
        self.wire_bytes = blob_bytes * 4 // 3 + text_bytes
        self.size = self.wire_bytes + blob_bytes + text_bytes + _OVERHEAD_BYTES

    @property
    def json(self) -> bytes:
        """The sample as it stands in the payload of a data message."""
        if self._json is None:
            texts = [b'"' + pybase64.b64encode(_wire_bytes(blob)) + b'"' for blob in self.blobs]
            parts = [part for pair in zip(self.pieces, texts, strict=False) for part in pair]
            self._json = b"".join((*parts, self.pieces[-1]))
        return self._json

    def marked(self, first: int) -> bytes:
        """Return the sample in JSON with a mark for each blob, numbered from `first` on."""
        parts = [self.pieces[0]]
        for number, piece in enumerate(self.pieces[1:], first):
            parts += (b'"\\u0001%d"' % number, piece)
        return b"".join(parts)

    @property
    def tensors(self) -> tuple[_Tensor, ...]:
        """The blobs as values of `smartml.tensors`: payload, description, and the size of both."""
        if self._tensors is None:
            values = map(tensors.encode, self.blobs)
            self._tensors = tuple([(array, end, array.nbytes + len(end)) for array, end in values])
        return self._tensors


EncodedSample: TypeAlias = "TextSample | BlobSample"


def _wire_bytes(blob: NDArray[Any]) -> Any:
    if blob.dtype.itemsize == 1 and blob.dtype.kind in "bu":
        return blob.reshape(-1).view(np.uint8)
    return np.ascontiguousarray(blob, "<f4").reshape(-1).view(np.uint8)


class Encoder:
    """Makes samples of a stream ready for the wire. Raises SampleFormatError for those that are not as announced."""

    def __init__(self, info: Info) -> None:
        self.info = info
        features = [*info.inputs.values(), *info.outputs.values()]
        # Whether anything is base64 in JSON.
        self.has_blobs = any(feature.type in BINARY_TYPES for feature in features)
        # The names of all inputs, if those are texts, and what is around the texts in a sample without targets.
        is_texts = all(feature.type == "sequence" for feature in info.inputs.values()) and "inputs" not in info.inputs
        self._names = list(info.inputs) if is_texts else None
        self._around = _around(info.inputs)
        # By name, what writes a value: as target; as input, which targets may be as well; as input beside the target.
        self._targets = {name: _target_writer(name, feature) for name, feature in info.outputs.items()}
        twice = {name: _input_writer(name, feature, f"target {name!r}") for name, feature in info.outputs.items()}
        own = {name: _input_writer(name, feature, f"input {name!r}") for name, feature in info.inputs.items()}
        self._inputs = {**twice, **own}
        self._repeated = {
            name: twice[name] for name in twice if info.outputs[name].type == "sequence" and name not in own
        }

    def encode_texts(self, item: Any, position: int) -> TextSample | None:
        """Return what `encode` does of an item that is nothing but the inputs by name, all of them texts.

        None for any other item; it is the shorter way for streams that have none.
        """
        if type(item) is not dict or [*item] != self._names:
            return None
        sample_id = f"s{position}"
        try:
            text = (self._around % (*map(encode_basestring_ascii, item.values()), sample_id)).encode()
        except TypeError:
            return None
        return TextSample(sample_id, text)

    def encode(self, sample: Sample) -> EncodedSample:
        """Return the sample ready for the wire. Arrays are copied: the source may go on with its own."""
        sample_id, inputs = checked_id(sample.sample_id), sample.inputs
        blobs: list[NDArray[Any]] = []
        try:
            targets = {name: value for name, value in sample.target_labels.items() if value is not None}
            self._check_names(inputs, targets)
            given = [self._inputs[name](value, blobs) for name, value in inputs.items() if value is not None]
            for name, write in self._repeated.items():
                if name in targets and inputs.get(name) is None:
                    given.append(write(targets[name], blobs))
            wanted = [self._targets[name](value, blobs) for name, value in targets.items()]
        except SampleFormatError as error:
            raise SampleFormatError(f"sample {sample_id!r}: {error}") from error
        text = (
            f'{{"inputs": {{{", ".join(given)}}}, "target_labels": {{{", ".join(wanted)}}}, '
            f'"sample_id": {encode_basestring_ascii(sample_id)}}}'
        ).encode()
        if blobs:
            return BlobSample(sample_id, text.split(_BLOB_PLACE), blobs)
        return TextSample(sample_id, text)

    def _check_names(self, inputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        known = self.info.inputs
        for name in inputs:
            if name not in known and name not in targets and inputs[name] is not None:
                raise _unknown(known, name, "input")
        for name in targets:
            if name not in self._targets:
                raise _unknown(self._targets, name, "target")


def checked_id(sample_id: Any) -> str:
    """Return a name for a sample that clients can make a file name of; raises SampleFormatError."""
    if isinstance(sample_id, str) and sample_id.isalnum() and len(sample_id) <= _LONGEST_ID:
        return sample_id
    name = str(sample_id) if isinstance(sample_id, int) and not isinstance(sample_id, bool) else sample_id
    if not isinstance(name, str) or not name or len(name) > _LONGEST_ID:
        raise SampleFormatError(f"a sample_id is a text of 1 to {_LONGEST_ID} characters, not {sample_id!r:.80}")
    # EIR's client makes file names of them, unseen.
    if name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
        raise SampleFormatError(f"the sample_id {name!r} cannot be the name of a file, which clients make of it")
    return name


def _around(names: Iterable[str]) -> str:
    inputs = ", ".join(json.dumps(name).replace("%", "%%") + ": %s" for name in names)
    return f'{{"inputs": {{{inputs}}}, "target_labels": {{}}, "sample_id": "%s"}}'


def _unknown(known: Mapping[str, Any], name: str, side: str) -> SampleFormatError:
    return SampleFormatError(
        f"the stream announces no {side} {name!r}; announced are {', '.join(map(repr, known)) or 'none'}"
    )


def _target_writer(name: str, feature: Feature) -> _Writer:
    write = _input_writer(name, feature, f"target {name!r}")
    if feature.type not in NESTED_TYPES:
        return write
    return lambda value, blobs: f"{json.dumps(name)}: {{{write(value, blobs)}}}"


def _input_writer(name: str, feature: Feature, what: str) -> _Writer:
    """Return what writes a value with its name; blobs are left out, and put into a list."""
    key = f"{json.dumps(name)}: "

    def write_text(value: Any, blobs: list[NDArray[Any]]) -> str:
        if not isinstance(value, str):
            raise SampleFormatError(f"{what} is announced as sequence: a text, not {type(value).__name__}")
        return key + encode_basestring_ascii(value)

    def write_blob(value: Any, blobs: list[NDArray[Any]]) -> str:
        blobs.append(_to_blob(feature, value, what))
        return key + _BLOB_PLACE.decode()

    def write_columns(value: Any, blobs: list[NDArray[Any]]) -> str:
        columns = _columns(value, name, what)
        return key + json.dumps(_survival(columns, what) if feature.type == "survival" else columns)

    if feature.type in BINARY_TYPES:
        return write_blob
    return write_text if feature.type == "sequence" else write_columns


def _to_blob(feature: Feature, value: Any, what: str) -> NDArray[Any]:
    if feature.type == "image":
        return np.frombuffer(_image_file(value, what), np.uint8)
    if feature.type == "bytes":
        is_raw = isinstance(value, bytes | bytearray | memoryview)
        array = np.frombuffer(bytes(value), np.uint8) if is_raw else np.array(value)
        if array.dtype != np.uint8 or array.ndim != 1:
            raise SampleFormatError(f"{what} is announced as bytes, and is {array.dtype.name} of shape {array.shape}")
        return array
    array = as_array(value, what)
    if feature.type == "omics":
        check_array(array, feature, what)
        if array.dtype != bool and not np.isin(array, (0, 1)).all():
            raise SampleFormatError(f"{what} is announced as omics: every element is 0 or 1")
        return array.astype(bool)
    check_array(array, feature, what)
    return np.array(array, feature.dtype or "float32", order="C")


def _image_file(value: Any, what: str) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    array = np.asarray(value)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise SampleFormatError(
            f"{what} is announced as image: the bytes of an image file, or uint8 of shape (height, width[, 1, 3 or 4])"
            f", not {array.dtype.name} of shape {array.shape}"
        )
    file = io.BytesIO()
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    images().fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def _columns(value: Any, name: str, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        value = {name: value}
    return {str(column): _plain(cell, f"column {column!r} of {what}") for column, cell in value.items()}


def _plain(cell: Any, what: str) -> Any:
    if type(cell) in (float, int, str):
        return cell
    if isinstance(cell, np.generic) or (isinstance(cell, np.ndarray) and cell.ndim == 0):
        cell = cell.item()
    if hasattr(cell, "__array__") and np.ndim(cell) == 0:
        cell = np.asarray(cell).item()
    if cell is None or isinstance(cell, str | int | float):
        return cell
    raise SampleFormatError(f"{what} is a text, a number or None, not {type(cell).__name__}")


def _survival(columns: dict[str, Any], what: str) -> dict[str, Any]:
    columns = {name: str(int(cell)) if isinstance(cell, bool) else cell for name, cell in columns.items()}
    if sorted(isinstance(cell, str) for cell in columns.values()) != [False, True]:
        raise SampleFormatError(f"{what} is announced as survival: an event as text and a time as number, no others")
    return columns
