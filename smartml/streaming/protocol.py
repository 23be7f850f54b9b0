"""Every message of EIR's streaming protocol, version 1.0: typed, read from JSON and rendered as such.

A message is one JSON object with `type`, in a frame of text or of bytes.

    client to server          server to client
    handshake                 handshake (or error, and the end)
    getInfo                   info
    getData                   data: samples, or ["terminate"] alone at the end
    status                    status
    reset                     resetConfirmation and reset, both to the sender
    setValidationIds          validationIdsConfirmation
    heartbeat                 heartbeat
    anything else             error

Keys that are not part of the protocol are ignored by all sides, but for keys within a sample. smartml's own extension
lives in such keys: `smartml` of the handshakes, and `position` (see `Extension`); no other client or server notices.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from smartml.errors import MessageError

VERSION = "1.0"
DEFAULT_BATCH_SIZE = 32
# What stands in the place of the samples when there are no more.
TERMINATE = "terminate"
# Key of the extension within a handshake.
_EXTENSION = "smartml"
INPUT_TYPES = ("sequence", "bytes", "tabular", "omics", "array", "image")
OUTPUT_TYPES = ("tabular", "sequence", "array", "image", "survival")
IMAGE_MODES = ("L", "RGB", "RGBA")
_SHAPED = ("array", "omics")
_Json: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Feature:
    """One input or output as `info` announces it: its type, and what of shape and mode belongs to that type.

    `dtype`, a numpy name, is smartml's own: the one that arrays had before the protocol made float32 of them.
    """

    type: str
    shape: tuple[int, ...] | None = None
    mode: str | None = None
    dtype: str | None = None

    def to_json(self) -> _Json:
        """Return the feature as it stands in `info`."""
        shape = None if self.shape is None else list(self.shape)
        optional = {"shape": shape, "mode": self.mode, "dtype": self.dtype}
        return {"type": self.type, **{name: value for name, value in optional.items() if value is not None}}


@dataclass(frozen=True)
class Info:
    """What a stream is made of: its features by name, as `info` announces them."""

    inputs: Mapping[str, Feature]
    outputs: Mapping[str, Feature]

    @classmethod
    def from_json(cls, payload: Any) -> Info:
        """Read the payload of `info`; raises MessageError that names the field."""
        parts = _object("info", "payload", payload)
        features = {
            side: {
                name: _feature(f"payload.{side}.{name}", value, known)
                for name, value in _object("info", f"payload.{side}", parts.get(side)).items()
            }
            for side, known in (("inputs", INPUT_TYPES), ("outputs", OUTPUT_TYPES))
        }
        return cls(**features)

    def to_json(self) -> _Json:
        """Return the payload of `info`."""
        return {
            side: {name: feature.to_json() for name, feature in features.items()}
            for side, features in (("inputs", self.inputs), ("outputs", self.outputs))
        }


def _feature(field_name: str, value: Any, known: Sequence[str]) -> Feature:
    described = _object("info", field_name, value)
    kind = described.get("type")
    if not isinstance(kind, str) or kind not in known:
        raise _wrong("info", f"{field_name}.type", f"one of {', '.join(known)}", kind)
    shape = described.get("shape")
    if shape is not None or kind in _SHAPED:
        is_shape = isinstance(shape, list | tuple) and all(map(_is_count, shape))
        if not is_shape or (kind in _SHAPED and not shape):
            raise _wrong("info", f"{field_name}.shape", "a list of positive numbers", shape)
        shape = tuple(shape or ())
    mode = described.get("mode")
    if mode not in (None, *IMAGE_MODES):
        raise _wrong("info", f"{field_name}.mode", f"one of {', '.join(IMAGE_MODES)}", mode)
    dtype = described.get("dtype")
    return Feature(kind, shape, mode, dtype if isinstance(dtype, str) else None)


@dataclass(frozen=True)
class Extension:
    """What both sides of a connection know beyond the protocol; said in the handshakes under `smartml`.

    The client says what it can, the server what is done. With `binary`, data comes as described in `binary.py`. With
    `positions`, data and the confirmation of a reset tell the position of the next sample, and a reset may ask for one;
    positions belong to the stream of that name. `is_shared`: clients get parts of one stream, not all of it each.
    """

    binary: bool = False
    positions: bool = False
    is_shared: bool = False
    stream: str | None = None
    max_message_bytes: int | None = None

    @classmethod
    def from_json(cls, value: Any) -> Extension | None:
        """Read what stands in a handshake; None if nothing of ours does."""
        if not isinstance(value, Mapping):
            return None
        stream, size = value.get("stream"), value.get("max_message_bytes")
        return cls(
            binary=value.get("binary") is True,
            positions=value.get("positions") is True,
            is_shared=value.get("shared") is True,
            stream=stream if isinstance(stream, str) else None,
            max_message_bytes=size if _is_count(size) else None,
        )

    def to_json(self) -> _Json:
        """Return what stands in a handshake."""
        return {
            "binary": self.binary,
            "positions": self.positions,
            "shared": self.is_shared,
            "stream": self.stream,
            "max_message_bytes": self.max_message_bytes,
        }


# Messages of both directions


@dataclass(frozen=True)
class Handshake:
    """The first message of either side."""

    version: str = VERSION
    # The client's; a server says none.
    worker_id: int | None = None
    extension: Extension | None = None

    def to_json(self) -> _Json:
        own: _Json = {"type": "handshake", "version": self.version}
        if self.worker_id is not None:
            own["worker_id"] = self.worker_id
        if self.extension is not None:
            own[_EXTENSION] = self.extension.to_json()
        return own


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life, and the answer to one."""

    def to_json(self) -> _Json:
        return {"type": "heartbeat"}


@dataclass(frozen=True)
class ErrorMessage:
    """What was wrong with the message before."""

    message: str

    def to_json(self) -> _Json:
        return _said("error", self.message)


# What a client asks


@dataclass(frozen=True)
class GetInfo:
    """Ask what the stream is made of."""

    def to_json(self) -> _Json:
        return {"type": "getInfo"}


@dataclass(frozen=True)
class GetData:
    """Ask for the next samples."""

    batch_size: int = DEFAULT_BATCH_SIZE

    def to_json(self) -> _Json:
        return {"type": "getData", "payload": {"batch_size": self.batch_size}}


@dataclass(frozen=True)
class GetStatus:
    """Ask how the stream is doing."""

    def to_json(self) -> _Json:
        return {"type": "status", "payload": {}}


@dataclass(frozen=True)
class ResetRequest:
    """Ask for the stream from its beginning, or (the extension) from a position."""

    position: int | None = None

    def to_json(self) -> _Json:
        return {"type": "reset", "payload": {} if self.position is None else {"position": self.position}}


@dataclass(frozen=True)
class SetValidationIds:
    """Tell which samples are kept for validation, so that they are not served any more."""

    validation_ids: frozenset[str]

    def to_json(self) -> _Json:
        return {"type": "setValidationIds", "payload": {"validation_ids": sorted(self.validation_ids)}}


# What a server answers


@dataclass(frozen=True)
class InfoMessage:
    """What the stream is made of."""

    info: Info

    def to_json(self) -> _Json:
        return {"type": "info", "payload": self.info.to_json()}


@dataclass(frozen=True)
class Data:
    """Samples, as they stand in JSON; none at the end of the stream.

    `blobs` holds long values apart from it, which `samples.py` puts back.
    """

    samples: Sequence[Any]
    # Whether nothing comes behind these.
    is_end: bool = False
    # Of the next sample, where the server tells it.
    position: int | None = None
    blobs: Sequence[Any] = field(default=(), repr=False)
    # Whether samples were read, and found in order, by a `Decoder` already.
    is_plain: bool = False
    # Whether blobs are tensors, rather than texts.
    is_binary: bool = False
    # Bytes of the message as it came; 0 where that is not known.
    size: int = field(default=0, compare=False)

    def to_json(self) -> _Json:
        samples = [*self.samples, TERMINATE] if self.is_end else list(self.samples)
        position = {} if self.position is None else {"position": self.position}
        return {"type": "data", "payload": samples, **position}


@dataclass(frozen=True)
class Status:
    """How the stream is doing, in the server's own words."""

    payload: Mapping[str, Any]

    def to_json(self) -> _Json:
        return {"type": "status", "payload": dict(self.payload)}


@dataclass(frozen=True)
class ResetConfirmation:
    """The first answer to a reset."""

    message: str = "the stream begins anew"
    # Of the next sample, where the server tells it.
    position: int | None = None

    def to_json(self) -> _Json:
        position = {} if self.position is None else {"position": self.position}
        return {"type": "resetConfirmation", "payload": {"message": self.message, **position}}


@dataclass(frozen=True)
class ResetNotice:
    """The second answer to a reset."""

    message: str = "the stream was reset"

    def to_json(self) -> _Json:
        return _said("reset", self.message)


@dataclass(frozen=True)
class ValidationIdsConfirmation:
    """The answer to validation ids."""

    message: str

    def to_json(self) -> _Json:
        return _said("validationIdsConfirmation", self.message)


Request: TypeAlias = "Handshake | GetInfo | GetData | GetStatus | ResetRequest | SetValidationIds | Heartbeat"
Reply: TypeAlias = (
    "Handshake | InfoMessage | Data | Status | ResetConfirmation | ResetNotice | ValidationIdsConfirmation"
    " | Heartbeat | ErrorMessage"
)


def _said(kind: str, message: str) -> _Json:
    return {"type": kind, "payload": {"message": message}}


# JSON


def render(message: Request | Reply) -> str:
    """Return a message as JSON."""
    return json.dumps(message.to_json())


def parse_request(raw: str | bytes | bytearray) -> Request:
    """Read what a client sent; raises MessageError that names message and field."""
    return _read(_parse(raw), _REQUESTS)


def parse_reply(raw: str | bytes | bytearray) -> Reply:
    """Read what a server sent; raises MessageError that names message and field."""
    return read_reply(_parse(raw))


def read_reply(content: Any) -> Reply:
    """Read what a server sent, from its JSON; raises MessageError that names message and field."""
    return _read(content, _REPLIES)


def _parse(raw: str | bytes | bytearray) -> Any:
    try:
        return json.loads(raw)
    # RecursionError: brackets within brackets, by the thousand.
    except (ValueError, RecursionError) as error:
        raise MessageError(f"a message is one JSON object, not {_excerpt(raw)}: {error}") from None


_Message = TypeVar("_Message")


def _read(content: Any, readers: Mapping[str, Callable[[_Json], _Message]]) -> _Message:
    if not isinstance(content, dict):
        raise MessageError(f"a message is one JSON object, not {_excerpt(content)}")
    kind = content.get("type")
    reader = readers.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise MessageError(f"unknown message type {_excerpt(kind)}; known are {', '.join(readers)}")
    return reader(content)


def _handshake(content: _Json) -> Handshake:
    version, worker = content.get("version"), content.get("worker_id")
    if not isinstance(version, str):
        raise _wrong("handshake", "version", "a text", version)
    if worker is not None and (isinstance(worker, bool) or not isinstance(worker, int)):
        raise _wrong("handshake", "worker_id", "a number", worker)
    return Handshake(version, worker, Extension.from_json(content.get(_EXTENSION)))


def _heartbeat(content: _Json) -> Heartbeat:
    return Heartbeat()


def _get_data(content: _Json) -> GetData:
    size = _optional("getData", content).get("batch_size", DEFAULT_BATCH_SIZE)
    if not _is_count(size):
        raise _wrong("getData", "payload.batch_size", "a positive number", size)
    return GetData(size)


def _reset_request(content: _Json) -> ResetRequest:
    position = _optional("reset", content).get("position")
    if position is not None and not _is_position(position):
        raise _wrong("reset", "payload.position", "a number from 0 on", position)
    return ResetRequest(position)


def _set_validation_ids(content: _Json) -> SetValidationIds:
    ids = _object("setValidationIds", "payload", content.get("payload")).get("validation_ids")
    if not isinstance(ids, list):
        raise _wrong("setValidationIds", "payload.validation_ids", "a list", ids)
    for number, each in enumerate(ids):
        if isinstance(each, bool) or not isinstance(each, str | int):
            raise _wrong("setValidationIds", f"payload.validation_ids[{number}]", "a text", each)
    # What is a number on one side comes back as a text.
    return SetValidationIds(frozenset(map(str, ids)))


def _data(content: _Json) -> Data:
    samples = content.get("payload")
    if not isinstance(samples, list):
        raise _wrong("data", "payload", "a list of samples", samples)
    position = content.get("position")
    position = position if _is_position(position) else None
    # Servers end with it alone, with nothing, or behind the last samples.
    if not samples or samples[-1] == TERMINATE:
        return Data(samples[:-1], True, position)
    return Data(samples, False, position)


def _status(content: _Json) -> Status:
    return Status(_object("status", "payload", content.get("payload")))


def _reset_confirmation(content: _Json) -> ResetConfirmation:
    payload = content.get("payload")
    position = payload.get("position") if isinstance(payload, dict) else None
    return ResetConfirmation(_message_in(content), position if _is_position(position) else None)


_REQUESTS: dict[str, Callable[[_Json], Request]] = {
    "handshake": _handshake,
    "getInfo": lambda content: GetInfo(),
    "getData": _get_data,
    "status": lambda content: GetStatus(),
    "reset": _reset_request,
    "setValidationIds": _set_validation_ids,
    "heartbeat": _heartbeat,
}
_REPLIES: dict[str, Callable[[_Json], Reply]] = {
    "handshake": _handshake,
    "info": lambda content: InfoMessage(Info.from_json(content.get("payload"))),
    "data": _data,
    "status": _status,
    "resetConfirmation": _reset_confirmation,
    "reset": lambda content: ResetNotice(_message_in(content)),
    "validationIdsConfirmation": lambda content: ValidationIdsConfirmation(_message_in(content)),
    "heartbeat": _heartbeat,
    "error": lambda content: ErrorMessage(_message_in(content)),
}


def _message_in(content: _Json) -> str:
    """Return what a server says to be read by people; nothing depends on it."""
    payload = content.get("payload")
    message = payload.get("message") if isinstance(payload, dict) else payload
    return message if isinstance(message, str) else ""


def _optional(kind: str, content: _Json) -> _Json:
    payload = content.get("payload")
    return {} if payload is None else _object(kind, "payload", payload)


def _object(kind: str, name: str, value: Any) -> _Json:
    if not isinstance(value, dict):
        raise _wrong(kind, name, "an object", value)
    return value


def _is_position(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_count(value: Any) -> bool:
    return _is_position(value) and value > 0


def _wrong(kind: str, name: str, expected: str, value: Any) -> MessageError:
    return MessageError(f"{kind}: {name!r:.200} must be {expected}, not {_excerpt(value)}")


def _excerpt(value: Any) -> str:
    """Return the beginning of a value, which may be as large as a message."""
    if isinstance(value, str | bytes | bytearray):
        return repr(value[:80])
    return repr(value)[:80] if isinstance(value, int | float | None) else type(value).__name__
