"""What a chain is made of, and what each of its steps takes in a measured pass."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

from smartml.pipeline.stage import Stage

# Longer descriptions of arguments are cut.
_WIDTH = 60


class Meter:
    """What one step took."""

    def __init__(self) -> None:
        self.items = 0
        # Seconds until items came, with what upstream took of them.
        self.seconds = 0.0
        # The thread that asks for them.
        self.thread: int | None = None
        # Items under way, summed over the times when one was asked for; None where a step works on one at a time.
        self.waiting: int | None = None

    def watch(self, items: Iterator[Any], stage: Stage) -> Iterator[Any]:
        """Pass on the items, and take note of how long each took."""
        self.thread = threading.get_ident()
        has_depth = hasattr(stage, "depth")
        if has_depth and self.waiting is None:
            self.waiting = 0
        while True:
            if has_depth:
                self.waiting = (self.waiting or 0) + stage.depth  # type: ignore[attr-defined]
            start = perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.seconds += perf_counter() - start
            self.items += 1
            yield item


class Meters:
    """The meters of one pass, by step."""

    def __init__(self) -> None:
        self._of: dict[int, Meter] = {}

    def of(self, step: Any) -> Meter:
        """Return the meter of a step; a loop has the same one in all its rounds."""
        return self._of.setdefault(id(step), Meter())


def met(stage: Stage, step: Any, meters: Meters | None) -> Stage:
    """Give the stage its step's meter, if the pass is a measured one."""
    if meters is not None:
        stage.meter = meters.of(step)
    return stage


def explained(stream: Any, n: int | None) -> str:
    """Describe a chain; with n, measure a pass over so many items."""
    if n is None:
        return "\n".join("  " * depth + described(step) for depth, step in _steps(stream, 0))
    meters = Meters()
    stage = stream.begin(None, meters)
    items = stage.items()
    try:
        deque(islice(items, n), maxlen=0)
    finally:
        stage.stop()
        items.close()
    rows: list[tuple[str, ...]] = [("step", "items", "own s", "us/item", "under way")]
    for depth, step in _steps(stream, 0):
        rows.append(_row("  " * depth + described(step), step, meters))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def described(step: Any) -> str:
    """Name a step with its arguments."""
    name = getattr(step, "name", type(step).__name__)
    arguments = ", ".join(_argument(given) for given in getattr(step, "arguments", ()) if given not in ((), {}, None))
    return f"{name}({arguments})" if arguments else name


def _argument(given: Any) -> str:
    while isinstance(given, partial):
        given = given.func
    text = str(getattr(given, "__name__", None) or repr(given))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _upstream(step: Any) -> list[Any]:
    """Give the steps that a step reads from."""
    sources = [*getattr(step, "members", ()), getattr(step, "source", None)]
    return [source for source in sources if hasattr(source, "begin")]


def _steps(step: Any, depth: int) -> Iterator[tuple[int, Any]]:
    """Give the steps of a chain, source first; members of a mixture stand further in."""
    for source in _upstream(step):
        yield from _steps(source, depth + 1 if hasattr(step, "members") else depth)
    yield depth, step


def _row(name: str, step: Any, meters: Meters) -> tuple[str, ...]:
    meter = meters.of(step)
    # What upstream did in another thread took nothing from this one.
    others = (meters.of(source) for source in _upstream(step))
    own = max(0.0, meter.seconds - sum(other.seconds for other in others if other.thread == meter.thread))
    asked = max(1, meter.items)
    depth = "" if meter.waiting is None else f"{meter.waiting / asked:.1f}"
    return name, str(meter.items), f"{own:.4f}", f"{own / asked * 1e6:.1f}", depth
