"""Samples on their way to the wire: written once, however many clients get them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import MissingDependencyError, SampleFormatError
from smartml.extras import missing
from smartml.streaming.protocol import Feature, Info
from smartml.streaming.samples import BINARY_TYPES, NESTED_TYPES, Sample, as_array, check_array, images

try:
    # Several times as fast as the standard library.
    import pybase64
except ImportError as error:
    raise MissingDependencyError(missing("pybase64", "smartml.streaming", "streaming")) from error

_LONGEST_ID = 200


class EncodedSample:
    """A sample that is ready for the wire: JSON in pieces, and between each two of them a blob.

    What it takes to send it is computed once, however many clients get it. Many are held: it has no lists, through
    which Python's garbage collector would look again and again.
    """

    __slots__ = ("_blobs", "_json", "_pieces", "_tensors", "sample_id", "size", "wire_bytes")

    def __init__(self, sample_id: str, pieces: Sequence[bytes], blobs: Sequence[NDArray[Any]]) -> None:
        self.sample_id = sample_id
        self._pieces, self._blobs = tuple(pieces), tuple(blobs)
        self._json: bytes | None = None if blobs else pieces[0]
        self._tensors: tuple[tuple[NDArray[Any], bytes, int], ...] | None = None if blobs else ()
        text_bytes = sum(map(len, pieces))
        blob_bytes = sum([blob.nbytes for blob in blobs])
        # About the bytes that it takes in a message of JSON, the longer kind: base64 makes four bytes of three.
        self.wire_bytes = blob_bytes * 4 // 3 + text_bytes
        # About the bytes that it takes in memory once it was sent to clients of both kinds.
        self.size = self.wire_bytes + blob_bytes + text_bytes + 500

    @property
    def json(self) -> bytes:
        """The sample as it stands in the payload of a data message."""
        if self._json is None:
            texts = [b'"' + pybase64.b64encode(_wire_bytes(blob)) + b'"' for blob in self._blobs]
            parts = [part for pair in zip(self._pieces, texts, strict=False) for part in pair]
            self._json = b"".join((*parts, self._pieces[-1]))
        return self._json

    def marked(self, first: int) -> bytes:
        """Return the sample in JSON with a mark for each blob, numbered from `first` on."""
        if not self._blobs:
            return self._pieces[0]
        parts = [self._pieces[0]]
        for number, piece in enumerate(self._pieces[1:], first):
            parts += (b'"\\u0001%d"' % number, piece)
        return b"".join(parts)

    @property
    def tensors(self) -> tuple[tuple[NDArray[Any], bytes, int], ...]:
        """The blobs as values of `smartml.tensors`: payload, description, and the size of both."""
        if self._tensors is None:
            values = map(tensors.encode, self._blobs)
            self._tensors = tuple([(array, end, array.nbytes + len(end)) for array, end in values])
        return self._tensors


def _wire_bytes(blob: NDArray[Any]) -> Any:
    if blob.dtype.itemsize == 1 and blob.dtype.kind in "bu":
        return blob.reshape(-1).view(np.uint8)
    return np.ascontiguousarray(blob, "<f4").reshape(-1).view(np.uint8)


class Encoder:
    """Makes samples of a stream ready for the wire. Raises SampleFormatError for those that are not as announced."""

    def __init__(self, info: Info) -> None:
        self.info = info
        # By name, what stands before a value, what writes it, and what errors call it.
        self._inputs = {name: _Slot.of(name, feature, "input") for name, feature in info.inputs.items()}
        self._targets = {name: _Slot.of(name, feature, "target") for name, feature in info.outputs.items()}

    def encode(self, sample: Sample) -> EncodedSample:
        """Return the sample ready for the wire. Arrays are copied: the source may go on with its own."""
        sample_id = checked_id(sample.sample_id)
        try:
            return self._encode(sample, sample_id)
        except SampleFormatError as error:
            raise SampleFormatError(f"sample {sample_id!r}: {error}") from error

    def _encode(self, sample: Sample, sample_id: str) -> EncodedSample:
        writer = _Writer('{"inputs": {')
        targets: Mapping[str, Any] = sample.target_labels
        if targets:
            targets = {name: value for name, value in targets.items() if value is not None}
        separator = ""
        for slot, value in self._input_values(sample.inputs, targets):
            writer.text(f"{separator}{slot.key}: ")
            slot.write(writer, slot.feature, value, slot.name, slot.what)
            separator = ", "
        writer.text('}, "target_labels": {')
        separator = ""
        for name, value in targets.items():
            slot = self._targets[name]
            writer.text(f"{separator}{slot.key}: {{{slot.key}: " if slot.is_nested else f"{separator}{slot.key}: ")
            slot.write(writer, slot.feature, value, name, slot.what)
            separator = "}, " if slot.is_nested else ", "
        end = "}}" if separator == "}, " else "}"
        writer.text(f'{end}, "sample_id": {encode_basestring_ascii(sample_id)}}}')
        return EncodedSample(sample_id, *writer.finished())

    def _input_values(self, inputs: Mapping[str, Any], targets: Mapping[str, Any]) -> list[tuple[_Slot, Any]]:
        """Return what stands among the inputs: targets of type sequence do, too."""
        own = self._inputs
        values = [
            (own[name] if name in own else _known(self._targets if name in targets else own, name, "input"), value)
            for name, value in inputs.items()
            if value is not None
        ]
        for name, value in targets.items():
            slot = _known(self._targets, name, "target")
            if slot.feature.type == "sequence" and name not in own and inputs.get(name) is None:
                values.append((slot, value))
        return values


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


def _known(slots: Mapping[str, _Slot], name: str, side: str) -> _Slot:
    try:
        return slots[name]
    except KeyError:
        known = ", ".join(map(repr, slots)) or "none"
        raise SampleFormatError(f"the stream announces no {side} {name!r}; announced are {known}") from None


class _Writer:
    """Collects JSON, in pieces between blobs."""

    def __init__(self, beginning: str) -> None:
        self._pieces: list[bytes] = []
        self._blobs: list[NDArray[Any]] = []
        self._running = beginning

    def text(self, part: str) -> None:
        self._running += part

    def blob(self, array: NDArray[Any]) -> None:
        self._pieces.append(self._running.encode())
        self._running = ""
        self._blobs.append(array)

    def finished(self) -> tuple[list[bytes], list[NDArray[Any]]]:
        self._pieces.append(self._running.encode())
        return self._pieces, self._blobs


def _write_blob(writer: _Writer, feature: Feature, value: Any, name: str, what: str) -> None:
    writer.blob(_to_blob(feature, value, what))


def _write_text(writer: _Writer, feature: Feature, value: Any, name: str, what: str) -> None:
    if not isinstance(value, str):
        raise SampleFormatError(f"{what} is announced as sequence: a text, not {type(value).__name__}")
    writer.text(encode_basestring_ascii(value))


def _write_columns(writer: _Writer, feature: Feature, value: Any, name: str, what: str) -> None:
    columns = _columns(value, name, what)
    if feature.type == "survival":
        columns = _survival(columns, what)
    writer.text(json.dumps(columns))


class _Slot(NamedTuple):
    """Where values of one feature stand in a sample."""

    name: str
    feature: Feature
    what: str
    # The name in JSON.
    key: str
    is_nested: bool
    write: Callable[[_Writer, Feature, Any, str, str], None]

    @classmethod
    def of(cls, name: str, feature: Feature, side: str) -> _Slot:
        write = _write_text if feature.type == "sequence" else _write_columns
        if feature.type in BINARY_TYPES:
            write = _write_blob
        return cls(name, feature, f"{side} {name!r}", json.dumps(name), feature.type in NESTED_TYPES, write)


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
