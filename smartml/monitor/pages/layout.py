"""What the address of a page asks for: which plots, in which boxes, with what share of the page each.

A page is a list of boxes. With `rows` a box is a row, its plots share the width and the boxes the height of the page;
with `cols` a box is a column, and it is the other way round.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from smartml.errors import ArgumentValueError

PARAMETERS = ("rows", "cols", "names", "scopes", "width", "height", "axes")


class Axes(Enum):
    """Which axes of a plot are logarithmic."""

    LIN = "lin"
    XLOG = "xlog"
    YLOG = "ylog"
    XYLOG = "xylog"

    @property
    def is_log_x(self) -> bool:
        return self in (Axes.XLOG, Axes.XYLOG)

    @property
    def is_log_y(self) -> bool:
        return self in (Axes.YLOG, Axes.XYLOG)


@dataclass(frozen=True)
class Place:
    """One plot on a page."""

    plot: str
    # Of its box: along the width of a row, the height of a column.
    share: float
    # Chooses names of points by any part of them; None leaves it to the schema.
    names: re.Pattern[str] | None = None
    axes: Axes = Axes.LIN


@dataclass(frozen=True)
class Box:
    """A row or a column of plots."""

    share: float
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Layout:
    """A whole page."""

    # Whether boxes are columns, side by side.
    by_columns: bool
    boxes: tuple[Box, ...]
    # Chooses scopes by any part of them.
    scopes: re.Pattern[str] = re.compile(".*")

    @property
    def places(self) -> tuple[Place, ...]:
        """All plots in the order in which the address names them."""
        return tuple(place for box in self.boxes for place in box.places)


def parse_layout(query: Mapping[str, Sequence[str]], plots: Collection[str]) -> Layout:
    """Read the parameters of an address, each with all its values.

    Raises ArgumentValueError for whatever cannot be shown, with a message for people to read.
    """
    for name in query:
        if name not in PARAMETERS:
            raise ArgumentValueError(f"there is no parameter {name!r}: known are {', '.join(PARAMETERS)}")
    mode, written = _read_boxes(query)
    boxes = [box.split(",") for box in written.split(";")]
    chosen = [plot for box in boxes for plot in box]
    _check_plots(mode, chosen, plots)
    along, across = ("height", "width") if mode == "cols" else ("width", "height")
    plot_sizes = _read_sizes(query, along, len(chosen), "one for each plot")
    box_sizes = _read_sizes(query, across, len(boxes), f"one for each of the {mode}")
    names = _read_names(query, len(chosen))
    axes = _read_axes(query, len(chosen))
    ends = list(accumulate(map(len, boxes)))
    made = []
    for box, end, size in zip(boxes, ends, box_sizes, strict=True):
        own = slice(end - len(box), end)
        total = sum(plot_sizes[own])
        places = zip(chosen[own], plot_sizes[own], names[own], axes[own], strict=True)
        made.append(
            Box(
                size / sum(box_sizes),
                tuple(Place(plot, width / total, name, axis) for plot, width, name, axis in places),
            )
        )
    return Layout(mode == "cols", tuple(made), _read_pattern("scopes", _read_once(query, "scopes") or ".*"))


def _read_boxes(query: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    given = [name for name in ("rows", "cols") if name in query]
    if len(given) != 1:
        found = "both are given" if given else "none is given"
        raise ArgumentValueError(f"a page needs either rows or cols, and {found}: for example ?rows=A,B;C")
    return given[0], _read_once(query, given[0]) or ""


def _read_once(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = query.get(name, ())
    if len(values) > 1:
        raise ArgumentValueError(f"{name} is given {len(values)} times: give it once")
    return values[0] if values else None


def _check_plots(mode: str, chosen: Sequence[str], plots: Collection[str]) -> None:
    if not all(chosen):
        raise ArgumentValueError(f"{mode} has an empty item: name plots, separated by commas, and boxes by semicolons")
    for plot in chosen:
        if plot not in plots:
            raise ArgumentValueError(f"{mode} names the plot {plot!r}, which the schema has not: {_listed(plots)}")


def _listed(plots: Collection[str]) -> str:
    return f"it has {', '.join(map(repr, plots))}" if plots else "it has none"


def _read_sizes(query: Mapping[str, Sequence[str]], name: str, count: int, meaning: str) -> list[float]:
    written = _read_once(query, name)
    if written is None:
        return [1.0] * count
    items = written.split(",")
    if len(items) != count:
        raise ArgumentValueError(f"{name} has {len(items)} numbers, and there must be {count}: {meaning}")
    sizes = [_read_size(name, item) for item in items]
    if not math.isfinite(sum(sizes)):
        raise ArgumentValueError(f"{name} has numbers whose sum is too large: {written}")
    return sizes


def _read_size(name: str, item: str) -> float:
    try:
        size = float(item)
    except ValueError:
        raise ArgumentValueError(f"{name} has the item {item!r}, which is not a number") from None
    if not (size > 0 and math.isfinite(size)):
        raise ArgumentValueError(f"{name} has the number {item}: each must be above 0")
    return size


def _read_names(query: Mapping[str, Sequence[str]], count: int) -> list[re.Pattern[str] | None]:
    written = query.get("names")
    if written is None:
        return [None] * count
    if len(written) != count:
        raise ArgumentValueError(
            f"names is given {len(written)} times, and there must be {count}: once for each plot, or not at all"
        )
    return [_read_pattern("names", item) for item in written]


def _read_pattern(name: str, written: str) -> re.Pattern[str]:
    try:
        return re.compile(written)
    except (re.error, RecursionError, OverflowError) as error:
        raise ArgumentValueError(f"{name} is {written!r}, which is no regular expression: {error}") from None


def _read_axes(query: Mapping[str, Sequence[str]], count: int) -> list[Axes]:
    written = _read_once(query, "axes")
    if written is None:
        return [Axes.LIN] * count
    items = written.split(",")
    if len(items) != count:
        raise ArgumentValueError(f"axes has {len(items)} items, and there must be {count}: one for each plot")
    return [_read_axis(item) for item in items]


def _read_axis(item: str) -> Axes:
    try:
        return Axes(item)
    except ValueError:
        known = ", ".join(axes.value for axes in Axes)
        raise ArgumentValueError(f"axes has the item {item!r}: each is one of {known}") from None
