"""The part of a stream that is held for all who look at it; a thread reads the stream as far as they ask."""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from smartml.errors import StreamingError
from smartml.streaming.encoding import EncodedSample

logger = logging.getLogger(__name__)

_JOIN_TIMEOUT_S = 5.0
# Of what is held, this part is let go at once.
_TRIMMED_AT_ONCE = 64


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

    The reader adds samples without the lock, and takes it only where it has to look around: at a certain position, or
    at so many bytes. Whoever changes these under the lock looks afterwards how far the reader has come meanwhile.
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
        # Samples, from this position on, and the bytes of all that came before each. None stands for one that is held
        # no more: taking it from the front of a list moves all that are behind it.
        self._base = start
        self._samples: list[EncodedSample | None] = []
        self._before = [0]
        # Where the fastest client stands, and how far somebody wants to read.
        self._fastest = self._demand = start
        # When the end is here, somebody waits.
        self._notify_at: int | None = None
        # At this position, or so many bytes, the reader looks around.
        self._look_at, self._look_at_bytes = start, 0
        self._room = threading.Condition(self.lock)
        self._is_closed = False
        self._source: Readable | None = None
        self._reader = threading.Thread(target=self._read, name="smartml-streaming-reader", daemon=True)
        self._reader.start()

    # What others ask, under the lock

    def __getitem__(self, position: int) -> EncodedSample:
        """Return a sample that is held."""
        return self.between(position, position + 1)[0]

    def between(self, first: int, end: int) -> list[EncodedSample]:
        """Return samples that are held."""
        return self._samples[first - self._base : end - self._base]  # type: ignore[return-value]

    def bytes_between(self, first: int, end: int) -> int:
        """Tell about how many bytes samples that are held take in memory."""
        return self._before[end - self._base] - self._before[first - self._base]

    @property
    def held_bytes(self) -> int:
        """About the bytes of what is held."""
        with self.lock:
            return self.bytes_between(self.first, self.end)

    def ask(self, position: int, demand: int, notify_at: int | None) -> bool:
        """Note that a client stands at a position and wants samples up to another; tell whether it has to wait.

        If `notify_at` has come already, nobody will be notified.
        """
        self._fastest = max(self._fastest, min(position, self.end))
        self._demand = max(self._demand, demand)
        if notify_at is not None:
            self._notify_at = notify_at if self._notify_at is None else min(notify_at, self._notify_at)
        self._trim()
        self._look_later()
        self._room.notify()
        return notify_at is None or self.end < notify_at

    def check(self) -> None:
        """Raise StreamingError if the source failed."""
        if self.error is not None:
            raise StreamingError(f"the source of the stream failed: {self.error}") from self.error

    def _trim(self) -> None:
        """Let go of the oldest samples, of a few more than necessary, so that this is not to be done for each one."""
        most = self._extent.window_bytes
        if self.first == self._fastest or self.bytes_between(self.first, self.end) <= most:
            return
        least = self._before[self.end - self._base] - most + most // _TRIMMED_AT_ONCE
        first = min(self._fastest, self._base + bisect.bisect_left(self._before, least))
        gone = first - self._base
        self._samples[self.first - self._base : gone] = [None] * (first - self.first)
        self.first = first
        if gone > len(self._samples) // 2:
            del self._samples[:gone], self._before[:gone]
            self._base = first

    def _look_later(self) -> None:
        """Set where the reader looks around next."""
        wanted = self._start if self._is_closed else self._demand + self._extent.ahead
        self._look_at = wanted if self._notify_at is None else min(wanted, self._notify_at)
        limit = self._before[self._fastest - self._base] + self._extent.ahead_bytes
        if self.first < self._fastest:
            limit = min(limit, self._before[self.first - self._base] + self._extent.window_bytes + 1)
        self._look_at_bytes = limit

    # The reader

    def stop(self) -> None:
        """Let the reader end, without waiting for it."""
        with self.lock:
            self._is_closed = True
            self._look_later()
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
        items = source.items()
        if self._start:
            items = itertools.islice(items, self._start, None)
        encode, hold, hold_bytes = self._encode, self._samples.append, self._before.append
        held_bytes = 0
        for position, item in enumerate(items, self._start):
            sample = encode(item, position)
            held_bytes += sample.size
            hold(sample)
            hold_bytes(held_bytes)
            # Only now may others look at it.
            self.end = position + 1
            if (position >= self._look_at - 1 or held_bytes >= self._look_at_bytes) and not self._look_around():
                return

    def _look_around(self) -> bool:
        """Notify, make room, and wait until the next sample is wanted; tell whether it is."""
        with self.lock:
            self._trim()
            is_waited_for = self._notify_at is not None and self.end >= self._notify_at
            if is_waited_for:
                self._notify_at = None
        if is_waited_for:
            self._on_change()
        with self.lock:
            self._room.wait_for(lambda: self._is_closed or self._is_wanted())
            self._look_later()
            return not self._is_closed

    def _is_wanted(self) -> bool:
        waiting = self.bytes_between(self._fastest, self.end)
        return self.end < self._demand + self._extent.ahead and waiting < self._extent.ahead_bytes
