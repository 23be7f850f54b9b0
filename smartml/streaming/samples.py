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

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import MissingDependencyError, SampleFormatError, TensorFormatError
from smartml.extras import missing, require
from smartml.streaming.protocol import Data, Feature, Info

try:
    # An array of 48 KiB is decoded in 3 microseconds, which takes the standard library 130.
    import pybase64
except ImportError as error:
    raise MissingDependencyError(missing("pybase64", "smartml.streaming", "streaming")) from error

# Types that are base64 in JSON, and tensors in the binary extension.
_BINARY_TYPES = ("array", "omics", "image", "bytes")
# Targets of these types stand under their name twice.
_NESTED_TYPES = ("sequence", "array", "image")
# How image files begin that every reader of images knows: PNG, JPEG, GIF, BMP, TIFF.
_IMAGE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
# What stands in JSON for a blob that lies apart: this character, and a number.
BLOB_MARK = "\x01"
_LONGEST_ID = 200


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
    array = _as_array(value, what)
    if array.ndim == 0:
        return Feature("tabular")
    if array.dtype == bool and array.ndim == 2 and len(array) == 4 and not is_target:
        return Feature("omics", array.shape)
    feature = Feature("array", array.shape, dtype=array.dtype.name)
    _check_array(array, feature, what)
    return feature


def _is_plain_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_)


def _as_array(value: Any, what: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise SampleFormatError(
            f"{what} has no type that can be streamed: {type(value).__name__} {value!r:.80}; texts, bytes, arrays of "
            "numbers, and mappings of columns have"
        )
    return array


def _check_array(array: NDArray[Any], feature: Feature, what: str) -> None:
    if array.shape != feature.shape:
        raise SampleFormatError(f"{what} has shape {array.shape}, the stream announces {feature.shape}")
    if array.ndim > 3 or not array.size:
        raise SampleFormatError(f"{what} has shape {array.shape}: arrays have one to three dimensions, and elements")


# To the wire


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
        if feature.type in _BINARY_TYPES:
            write = _write_blob
        return cls(name, feature, f"{side} {name!r}", json.dumps(name), feature.type in _NESTED_TYPES, write)


def _to_blob(feature: Feature, value: Any, what: str) -> NDArray[Any]:
    if feature.type == "image":
        return np.frombuffer(_image_file(value, what), np.uint8)
    if feature.type == "bytes":
        is_raw = isinstance(value, bytes | bytearray | memoryview)
        array = np.frombuffer(bytes(value), np.uint8) if is_raw else np.array(value)
        if array.dtype != np.uint8 or array.ndim != 1:
            raise SampleFormatError(f"{what} is announced as bytes, and is {array.dtype.name} of shape {array.shape}")
        return array
    array = _as_array(value, what)
    if feature.type == "omics":
        _check_array(array, feature, what)
        if array.dtype != bool and not np.isin(array, (0, 1)).all():
            raise SampleFormatError(f"{what} is announced as omics: every element is 0 or 1")
        return array.astype(bool)
    _check_array(array, feature, what)
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
    _images().fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def _images() -> Any:
    return require("PIL.Image", "images in smartml.streaming", "streaming")


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


# From the wire


class Decoder:
    """Reads the samples of data messages. Raises SampleFormatError for those that are not as announced."""

    def __init__(self, info: Info) -> None:
        self.info = info
        # By name: the feature, and what errors call it.
        self._inputs = {name: (feature, f"input {name!r}") for name, feature in info.inputs.items()}
        self._targets = {name: (feature, f"target {name!r}") for name, feature in info.outputs.items()}

    def decode(self, data: Data) -> list[Sample]:
        """Return the samples of a message. Arrays can be written to; those in memory that cannot are copied."""
        return list(self.each(data))

    def each(self, data: Data) -> Iterator[Sample]:
        """Give the samples of a message one by one.

        All at once would live so long that Python's garbage collector looks after them, at twice the cost.
        """
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
                if feature.type in _NESTED_TYPES and isinstance(value, dict):
                    value = value.get(name)
                if value is not None:
                    labels[name] = read(feature, what, value)
        except SampleFormatError as error:
            raise SampleFormatError(f"sample {sample_id!r:.80}: {error}") from error
        return Sample(inputs, labels, sample_id)


class _Reader:
    """Reads the values of one message."""

    def __init__(self, blobs: Sequence[Any], is_binary: bool) -> None:
        names = [b"%d" % number for number in range(len(blobs))] if is_binary else []
        self._blobs, self._is_binary = tensors.decode_all(blobs, names) if is_binary else blobs, is_binary
        # Where texts were left out of JSON, marks cannot be anything else; in the binary extension, texts may be.
        self._is_lifted = bool(blobs) and not is_binary

    def __call__(self, feature: Feature, what: str, value: Any) -> Any:
        if feature.type in _BINARY_TYPES:
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
    images = _images()
    try:
        with images.open(io.BytesIO(raw)) as image:
            return np.array(image if feature.mode is None else image.convert(feature.mode))
    # What Pillow raises for damaged files, and for such as would fill the memory.
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
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
