"""One open page: what it wants to see, and when it is sent what."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from smartml.errors import ArgumentValueError
from smartml.monitor.pages.collection import Collection
from smartml.monitor.pages.drawing import Plot, Span, Wish
from smartml.monitor.pages.frames import encode

# Pixels that a plot may claim to have, either way.
_LARGEST = 16_384


@dataclass
class _Shown:
    """How far the page is with one of its plots."""

    plot: Plot
    wish: Wish | None = None
    # Sent, and not yet drawn.
    is_underway: bool = False
    # The wish changed since the last picture: that is answered at once.
    is_asked: bool = False
    # What the last picture was made of.
    stamp: Hashable = None


class Session:
    """Sends pictures of plots when there is something new: as fast as the page draws them, none while it is hidden."""

    def __init__(
        self,
        plots: list[Plot],
        collection: Collection,
        send: Callable[[bytes], Awaitable[object]],
        executor: Executor,
        refresh_s: float,
    ) -> None:
        self._shown = [_Shown(plot) for plot in plots]
        self._collection = collection
        self._send = send
        self._executor = executor
        self._refresh_s = refresh_s
        self._is_visible = True
        self._serial = 0
        self._wakened = asyncio.Event()
        # The version of the collection that the last pictures were made of, and when that was.
        self._version = -1
        self._refreshed = -math.inf

    def wake(self) -> None:
        """Say that something may be new."""
        self._wakened.set()

    def receive(self, message: str | bytes) -> None:
        """Take what the page says. Raises ArgumentValueError for what no page of ours says."""
        said = _read(message)
        if "visible" in said:
            self._is_visible = said["visible"] is True
        if "drawn" in said:
            self._at(said["drawn"]).is_underway = False
        if "plot" in said:
            self._take_wish(self._at(said["plot"]), said)
        self.wake()

    def _at(self, number: object) -> _Shown:
        if not isinstance(number, int) or not 0 <= number < len(self._shown):
            raise ArgumentValueError(f"there is no plot {number!r} on this page")
        return self._shown[number]

    def _take_wish(self, shown: _Shown, said: dict[str, Any]) -> None:
        axes = shown.plot.place.axes
        shown.wish = Wish(
            _read_size(said.get("width")),
            _read_size(said.get("height")),
            _read_span(said.get("x"), axes.is_log_x),
            _read_span(said.get("y"), axes.is_log_y),
        )
        if "position" in said:
            if not isinstance(said["position"], int):
                raise ArgumentValueError("a slider stands on a whole number")
            shown.plot.choose(said["position"])
        shown.is_asked = True

    async def run(self) -> None:
        """Send pictures until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wakened.wait()
            self._wakened.clear()
            if not self._is_visible:
                continue
            is_due = self._version != self._collection.version
            rest_s = self._refreshed + self._refresh_s - loop.time()
            if is_due and rest_s > 0:
                loop.call_later(rest_s, self.wake)
                is_due = False
            if is_due:
                self._version, self._refreshed = self._collection.version, loop.time()
                for shown in self._shown:
                    # Whether there is anything new for this plot is found when its turn has come.
                    shown.is_asked |= shown.stamp != shown.plot.stamp(self._collection)
            for number, shown in enumerate(self._shown):
                if shown.is_asked and shown.wish and not shown.is_underway:
                    await self._draw(loop, number, shown, shown.wish)

    async def _draw(self, loop: asyncio.AbstractEventLoop, number: int, shown: _Shown, wish: Wish) -> None:
        shown.is_asked, shown.is_underway = False, True
        self._serial += 1
        shown.stamp, picture = await loop.run_in_executor(self._executor, self._make, shown.plot, number, wish)
        await self._send(picture)

    def _make(self, plot: Plot, number: int, wish: Wish) -> tuple[Hashable, bytes]:
        # Before the drawing: what comes meanwhile is drawn again rather than never.
        stamp = plot.stamp(self._collection)
        return stamp, encode(plot.draw(self._collection, wish), number, self._serial)


def _read(message: str | bytes) -> dict[str, Any]:
    try:
        said = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ArgumentValueError(f"a page says what it wants in JSON: {error}") from None
    if not isinstance(said, dict):
        raise ArgumentValueError("a page says what it wants in an object of JSON")
    return said


def _read_size(said: object) -> int:
    if not isinstance(said, int | float) or not 1 <= said <= _LARGEST:
        raise ArgumentValueError(f"a plot has from 1 to {_LARGEST} pixels either way, not {said!r}")
    return math.ceil(said)


def _read_span(said: object, is_log: bool) -> Span | None:
    if said is None:
        return None
    if not isinstance(said, list) or len(said) != 2 or not all(isinstance(end, int | float) for end in said):
        raise ArgumentValueError(f"an axis shows what lies between two numbers, not {said!r}")
    low, high = map(float, said)
    if not (low < high and math.isfinite(high - low)) or (is_log and low <= 0):
        raise ArgumentValueError(f"an axis cannot show what lies from {low} to {high}")
    return low, high
