"""Where clients stand in one stream that is read once: positions of their own, or parts of one that they share.

A thread reads the source, as far as the fastest client asks and a little ahead, and numbers the samples from 0. The
last ones, up to a number of bytes, are held; so clients read apart from each other, begin anew, and cost the source
nothing. Who needs what is no longer held gets a pass of its own over the source, if that can be read again, or else
goes on with the oldest that is held. So nobody waits for a slow client, and no memory grows with one.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from smartml.streaming.encoding import EncodedSample
from smartml.streaming.window import Window

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """What a client gets: samples, none at the end; and the position behind them, where each client has its own."""

    samples: list[EncodedSample]
    position: int | None


class Position(Protocol):
    """Where one client stands."""

    def take(self, number: int, max_bytes: int, *, is_full: bool) -> Batch | None:
        """Return the next samples: as many, or as many as the bytes allow, at least one; none of them at the end.

        None if they are not there yet; then the window notifies when it is worth asking again. Without `is_full`, fewer
        are returned, if there are any. Raises StreamingError if the source failed.
        """

    @property
    def has_some(self) -> bool:
        """Whether a part of the batch is there that `take` has not returned yet."""

    def sent(self) -> None:
        """Note that what was taken last has been sent."""

    def reset(self, position: int | None) -> int | None:
        """Go back to the beginning, or to a position; return where that is, if it can be told."""

    def status(self) -> dict[str, Any]:
        """Tell where the client stands."""

    def close(self) -> None:
        """Let others have what was taken and not sent."""


class _Gathered:
    """A batch that fills up. Its methods are called under the window's lock."""

    def __init__(self, number: int, max_bytes: int) -> None:
        self.samples: list[EncodedSample] = []
        self.is_full = False
        self._number, self._max_bytes = number, max_bytes
        # At most so many are sent for what is here: samples take more in memory than on the wire.
        self._bytes = 0

    @property
    def missing(self) -> int:
        """How many samples are to come."""
        return self._number - len(self.samples)

    def fill(self, window: Window, position: int, hidden: frozenset[str]) -> int:
        """Add what there is from a position on, but for what is hidden; return the position behind it."""
        while not self.is_full and position < (end := min(window.end, position + self.missing)):
            size = window.bytes_between(position, end)
            if hidden or self._bytes + size > self._max_bytes:
                position = self._fill_singly(window.between(position, end), position, hidden)
                continue
            self.samples += window.between(position, end)
            self._bytes += size
            self.is_full = not self.missing
            position = end
        return position

    def _fill_singly(self, samples: list[EncodedSample], position: int, hidden: frozenset[str]) -> int:
        for sample in samples:
            if not self.offer(sample, hidden):
                break
            position += 1
        return position

    def offer(self, sample: EncodedSample, hidden: frozenset[str]) -> bool:
        """Add a sample that is not hidden; False if there is no more room. The first one always has."""
        if sample.sample_id in hidden:
            return True
        if self.samples and self._bytes + sample.wire_bytes > self._max_bytes:
            self._bytes = sum(held.wire_bytes for held in self.samples)
            if self._bytes + sample.wire_bytes > self._max_bytes:
                self.is_full = True
                return False
        self.samples.append(sample)
        self._bytes += sample.wire_bytes
        self.is_full = not self.missing
        return True

    def is_ready(self, window: Window, position: int, *, is_full: bool) -> bool | None:
        """Tell whether to hand over what is here, all that there is before a position; None if there is more now.

        If not, more is asked for. Raises StreamingError if the source failed and nothing is left.
        """
        if not self.is_full and window.is_ended and position >= window.end:
            if not self.samples:
                window.check()
        elif not self.is_full and (is_full or not self.samples):
            demand = position + self.missing
            return False if window.ask(position, demand, demand if self.samples else position + 1) else None
        window.ask(position, position, None)
        return True


class OwnPosition:
    """A client that gets all of the stream. `hidden` tells the names of samples that nobody gets."""

    def __init__(
        self, window: Window, hidden: Callable[[], frozenset[str]], replay: Callable[[int], Window] | None
    ) -> None:
        # The one of all clients, and the one that is read: a pass of its own, where it fell too far behind.
        self._common = self._window = window
        self._hidden, self._replay = hidden, replay
        # Who comes late to a stream that cannot be read again has not missed what was before.
        self._position = 0 if replay is not None else window.first
        self._gathered: _Gathered | None = None
        self._missed = 0

    def take(self, number: int, max_bytes: int, *, is_full: bool) -> Batch | None:
        self._catch_up()
        window, hidden = self._window, self._hidden()
        gathered = self._gathered = self._gathered or _Gathered(number, max_bytes)
        with window.lock:
            is_ready = None
            while is_ready is None:
                self._position = gathered.fill(window, self._position, hidden)
                is_ready = gathered.is_ready(window, self._position, is_full=is_full)
        if not is_ready:
            return None
        self._gathered = None
        return Batch(gathered.samples, self._position)

    def _catch_up(self) -> None:
        """Find the samples of this position if they are held no more."""
        with self._window.lock:
            missed = self._window.first - self._position
            if missed <= 0:
                return
            if self._replay is None:
                self._miss(missed)
                return
        self._leave_replay()
        self._window = self._replay(self._position)

    def _miss(self, number: int) -> None:
        if not self._missed:
            logger.warning(
                "a client is slower than the stream: %d samples went by it; a larger window would hold more", number
            )
        self._missed += number
        self._position += number

    @property
    def has_some(self) -> bool:
        return self._gathered is not None and bool(self._gathered.samples)

    def sent(self) -> None:
        pass

    def reset(self, position: int | None) -> int | None:
        self._leave_replay()
        self._gathered = None
        with self._window.lock:
            # Behind the end nothing was ever served.
            self._position = min(position or 0, self._window.end)
            if self._replay is None:
                self._position = max(self._position, self._window.first)
        return self._position

    def _leave_replay(self) -> None:
        if self._window is not self._common:
            self._window.stop()
            self._window = self._common

    def status(self) -> dict[str, Any]:
        return {"current_position": self._position, "missed_samples": self._missed}

    def close(self) -> None:
        self._leave_replay()


class Pool:
    """One stream that several clients share: each sample goes to one of them.

    `renew` gives a window from the beginning, where the source can be read again.
    """

    def __init__(self, window: Window, renew: Callable[[], Window] | None) -> None:
        self.window = window
        self._renew = renew
        self._next = 0
        # Positions that were taken and given back.
        self._returned: list[int] = []
        self._clients = 0

    @property
    def position(self) -> int:
        """The first position that nobody has taken yet. Under the window's lock."""
        return self._next

    def peek(self) -> int | None:
        """Return the position that is to be taken next, if it is there. Under the window's lock."""
        while self._returned and self._returned[0] < self.window.first:
            heapq.heappop(self._returned)
        if self._returned:
            return self._returned[0]
        self._next = max(self._next, self.window.first)
        return self._next if self._next < self.window.end else None

    def pop(self) -> None:
        """Take it. Under the window's lock."""
        if self._returned:
            heapq.heappop(self._returned)
        else:
            self._next += 1

    def give_back(self, positions: list[int]) -> None:
        """Let others have them. Under the window's lock."""
        for position in positions:
            heapq.heappush(self._returned, position)

    def enter(self) -> None:
        """Count a client."""
        with self.window.lock:
            self._clients += 1

    def leave(self) -> None:
        """Count a client no more."""
        with self.window.lock:
            self._clients -= 1

    def rewind(self, own: list[int]) -> None:
        """Begin anew if there is but one client; give back what that client took if there are others."""
        with self.window.lock:
            if self._clients > 1:
                self.give_back(own)
                return
            self._returned.clear()
            self._next = 0
            is_lost = self.window.first > 0 and self._renew is not None
        if is_lost and self._renew is not None:
            old, self.window = self.window, self._renew()
            old.stop()


class SharedPosition:
    """A client that gets what no other client gets.

    A reset gives back what this connection took, for anyone to take, and disturbs nobody else. What was sent to a
    connection that broke is not served again.
    """

    def __init__(self, pool: Pool, hidden: Callable[[], frozenset[str]]) -> None:
        self._pool, self._hidden = pool, hidden
        self._gathered: _Gathered | None = None
        # Positions: since the last reset; of the batch that fills up; of the one that is being sent.
        self._taken: list[int] = []
        self._held: list[int] = []
        self._in_hand: list[int] = []
        # Number of positions from which on those that nobody can have again are dropped.
        self._most_taken = 4096
        pool.enter()

    def take(self, number: int, max_bytes: int, *, is_full: bool) -> Batch | None:
        window, hidden = self._pool.window, self._hidden()
        gathered = self._gathered = self._gathered or _Gathered(number, max_bytes)
        with window.lock:
            is_ready = None
            while is_ready is None:
                self._fill(gathered, hidden)
                is_ready = gathered.is_ready(window, self._pool.position, is_full=is_full)
        if not is_ready:
            return None
        self._gathered = None
        self._in_hand, self._held = self._held, []
        return Batch(gathered.samples, None)

    def _fill(self, gathered: _Gathered, hidden: frozenset[str]) -> None:
        while not gathered.is_full and (position := self._pool.peek()) is not None:
            if gathered.offer(self._pool.window[position], hidden):
                self._pool.pop()
                self._held.append(position)

    @property
    def has_some(self) -> bool:
        return self._gathered is not None and bool(self._gathered.samples)

    def sent(self) -> None:
        self._taken += self._in_hand
        self._in_hand = []
        if len(self._taken) > self._most_taken:
            first = self._pool.window.first
            self._taken = [position for position in self._taken if position >= first]
            self._most_taken = max(4096, 2 * len(self._taken))

    def reset(self, position: int | None) -> int | None:
        own = [*self._taken, *self._held, *self._in_hand]
        self._taken, self._held, self._in_hand, self._gathered = [], [], [], None
        self._pool.rewind(own)
        return None

    def status(self) -> dict[str, Any]:
        return {"current_position": self._pool.position, "taken_samples": len(self._taken)}

    def close(self) -> None:
        with self._pool.window.lock:
            self._pool.give_back([*self._held, *self._in_hand])
        self._pool.leave()
