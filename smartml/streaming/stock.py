"""What a server has: one stream for all its clients, the info that describes it, and the names of held-back samples."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from smartml.errors import ArgumentTypeError, StreamingError
from smartml.streaming.encoding import EncodedSample, Encoder
from smartml.streaming.positions import OwnPosition, Pool, Position, SharedPosition
from smartml.streaming.protocol import Extension, Info
from smartml.streaming.samples import derive_info
from smartml.streaming.sources import Source, as_sample
from smartml.streaming.window import Extent, Window


class Stock:
    """One stream to be served. `on_change` is called, in any thread, when waiting clients should look again.

    Without `info`, it is derived from the first sample.
    """

    def __init__(
        self, source: Source, info: Info | None, is_shared: bool, extent: Extent, on_change: Callable[[], object]
    ) -> None:
        self._source, self._info, self.changed = source, info, on_change
        self._encoder = None if info is None else Encoder(info)
        self._names = source.names if info is None else _only_names(info, source.names)
        self._extent = extent
        self.validation_ids: frozenset[str] = frozenset()
        self._name = uuid.uuid4().hex
        self._window = self._open()
        self._pool = Pool(self._window, self._open if source.is_replayable else None) if is_shared else None

    def _open(self) -> Window:
        return Window(self._source.open, self._encode, self._extent, self.changed)

    def _replay(self, start: int) -> Window:
        # Nobody else looks at it: what was sent need not be held.
        extent = replace(self._extent, window_bytes=0)
        return Window(self._source.open, self._encode, extent, self.changed, start)

    def _encode(self, item: Any, position: int) -> EncodedSample:
        if self._encoder is None:
            self._info = derive_info(as_sample(item, position, self._names))
            self._encoder = Encoder(self._info)
        encoded: EncodedSample | None = self._encoder.encode_texts(item, position)
        if encoded is None:
            encoded = self._encoder.encode(as_sample(item, position, self._names, self._info))
        if position == 0 and self._source.is_replayable:
            # Another server of the same source goes on where this one ended.
            self._name = hashlib.sha256(encoded.json).hexdigest()[:32]
        return encoded

    @property
    def extension(self) -> Extension:
        """What clients that know the extension are told. Positions mean nothing in a stream of another name."""
        is_shared = self._pool is not None
        return Extension(binary=True, positions=not is_shared, is_shared=is_shared, stream=self._name)

    @property
    def window(self) -> Window:
        """The part of the stream that is held for all."""
        return self._window if self._pool is None else self._pool.window

    @property
    def is_ready(self) -> bool:
        """Whether there is something to tell. Asks for the first sample if it is not there yet.

        Raises StreamingError if the source failed before.
        """
        window = self.window
        with window.lock:
            if window.end:
                return True
            window.check()
            if window.is_ended:
                return True
            return not window.ask(0, 1, 1)

    @property
    def has_blobs(self) -> bool:
        """Whether samples have parts that the binary extension is for."""
        return self._encoder is not None and self._encoder.has_blobs

    def info(self) -> Info:
        """Tell what the stream is made of; raises StreamingError if that cannot be known."""
        if self._info is None:
            with self.window.lock:
                self.window.check()
            raise StreamingError("the stream ended before its first sample: what it is made of was not told either")
        return self._info

    def begin(self) -> Position:
        """Begin to read the stream, as a new client."""
        if self._pool is not None:
            return SharedPosition(self._pool, lambda: self.validation_ids)
        return OwnPosition(
            self._window, lambda: self.validation_ids, self._replay if self._source.is_replayable else None
        )

    def status(self) -> dict[str, Any]:
        """Tell how much of the stream was read, and how much of it is held."""
        window = self.window
        with window.lock:
            return {
                "first_held_position": window.first,
                "samples_read": window.end,
                "held_bytes": window.held_bytes,
                "has_ended": window.is_ended,
                "validation_ids_count": len(self.validation_ids),
                "is_shared": self._pool is not None,
            }

    def check(self) -> None:
        """Raise StreamingError if the source failed."""
        with self.window.lock:
            self.window.check()

    def close(self) -> None:
        """End reading."""
        self.window.close()


def _only_names(info: Info, otherwise: tuple[str, str]) -> tuple[str, str]:
    """Return the names of input and target where there is but one of each."""
    inputs, outputs = ([*info.inputs], [*info.outputs])
    return (inputs[0] if len(inputs) == 1 else otherwise[0], outputs[0] if len(outputs) == 1 else otherwise[1])


def checked_info(info: Info | Mapping[str, Any] | None) -> Info | None:
    """Return the info that a caller gave, as an object or as the protocol writes it."""
    if info is None or isinstance(info, Info):
        return info
    if not isinstance(info, Mapping):
        raise ArgumentTypeError(f"info is an Info or a mapping with inputs and outputs, not {type(info).__name__}")
    return Info.from_json(dict(info))
