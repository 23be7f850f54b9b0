"""The part of a stream that is held for all who look at it; a thread reads the stream as far as they ask."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from smartml.errors import StreamingError
from smartml.streaming.encoding import EncodedSample

logger = logging.getLogger(__name__)

_JOIN_TIMEOUT_S = 5.0


class Readable(Protocol):
    """One pass over a source."""

    def items(self) -> Iterator[Any]:
        """Give what the source holds, from the beginning."""

    def stop(self) -> None:
        """Wake what waits within, from another thread."""


@dataclass(frozen=True)
class Extent:
    """How much of a stream is held, and read before anybody asks for it."""

    window_bytes: int = 256 << 20
    ahead: int = 256
    # Not more than this is read before it is sent, however large the batch that is asked for.
    ahead_bytes: int = 64 << 20


class Window:
    """The part of a stream that is held. Its reader is a thread of its own; any thread may look.

    `encode` makes a sample of an item and its position. `on_change` is called, in the reader's thread, when what
    somebody waited for has come, or nothing more will.
    """

    def __init__(
        self,
        open_source: Callable[[], Readable],
        encode: Callable[[Any, int], EncodedSample],
        extent: Extent,
        on_change: Callable[[], object],
        start: int = 0,
    ) -> None:
        self.lock = threading.RLock()
        # Positions of the oldest sample that is held, and of the next that will be read.
        self.first = self.end = start
        self.is_ended = False
        self.error: BaseException | None = None
        self._open_source, self._encode, self._extent, self._on_change = open_source, encode, extent, on_change
        self._start = start
        # By position: the samples, and the bytes of all that came before each.
        self._held: dict[int, EncodedSample] = {}
        self._before: dict[int, int] = {}
        self._bytes = 0
        # Where the fastest client stands, and how far somebody wants to read.
        self._fastest = self._demand = start
        # When the end is here, somebody waits.
        self._notify_at: int | None = None
        self._room = threading.Condition(self.lock)
        self._is_closed = False
        self._source: Readable | None = None
        self._reader = threading.Thread(target=self._read, name="smartml-streaming-reader", daemon=True)
        self._reader.start()

    def __getitem__(self, position: int) -> EncodedSample:
        """Return a sample that is held. Called under the lock."""
        return self._held[position]

    @property
    def held_bytes(self) -> int:
        """About the bytes of what is held."""
        with self.lock:
            return self._bytes - self._bytes_before(self.first)

    def _bytes_before(self, position: int) -> int:
        return self._before.get(position, self._bytes)

    def ask(self, position: int, demand: int, notify_at: int | None) -> None:
        """Note that a client stands at a position and wants samples up to another. Called under the lock."""
        self._fastest = max(self._fastest, min(position, self.end))
        self._demand = max(self._demand, demand)
        if notify_at is not None:
            self._notify_at = notify_at if self._notify_at is None else min(notify_at, self._notify_at)
        self._trim()
        self._room.notify()

    def _trim(self) -> None:
        while self.first < self._fastest and self._bytes - self._bytes_before(self.first) > self._extent.window_bytes:
            del self._held[self.first], self._before[self.first]
            self.first += 1

    def check(self) -> None:
        """Raise StreamingError if the source failed. Called under the lock."""
        if self.error is not None:
            raise StreamingError(f"the source of the stream failed: {self.error}") from self.error

    def stop(self) -> None:
        """Let the reader end, without waiting for it."""
        with self.lock:
            self._is_closed = True
            self._room.notify()
            source = self._source
        if source is not None:
            source.stop()

    def close(self) -> None:
        """End the reader."""
        self.stop()
        self._reader.join(_JOIN_TIMEOUT_S)
        if self._reader.is_alive():
            logger.warning("the source of a stream did not end within %g s: its thread is left behind", _JOIN_TIMEOUT_S)

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            self._read_source()
        # The source is the user's: whatever it raises, those who wait for it have to know.
        except Exception as problem:  # noqa: BLE001
            error = problem
        with self.lock:
            self.error = error
            self.is_ended = True
            is_closed = self._is_closed
        if not is_closed:
            if error is not None:
                logger.error("the source of a stream failed after %d samples: %s", self.end, error, exc_info=error)
            self._on_change()

    def _read_source(self) -> None:
        source = self._open_source()
        with self.lock:
            self._source = source
            if self._is_closed:
                return
        skipped = self._start
        for item in source.items():
            if skipped:
                skipped -= 1
                continue
            sample = self._encode(item, self.end)
            if not self._take_up(sample):
                return

    def _take_up(self, sample: EncodedSample) -> bool:
        """Hold a sample, and wait until the next is wanted; tell whether it is."""
        with self.lock:
            self._held[self.end], self._before[self.end] = sample, self._bytes
            self._bytes += sample.size
            self.end += 1
            if self._bytes > self._extent.window_bytes:
                self._trim()
            is_waited_for = self._notify_at is not None and self.end >= self._notify_at
            if is_waited_for:
                self._notify_at = None
            elif self._is_wanted() and not self._is_closed:
                return True
        if is_waited_for:
            self._on_change()
        with self.lock:
            self._room.wait_for(lambda: self._is_closed or self._is_wanted())
            return not self._is_closed

    def _is_wanted(self) -> bool:
        waiting = self._bytes - self._bytes_before(self._fastest)
        return self.end < self._demand + self._extent.ahead and waiting < self._extent.ahead_bytes
