"""What is drawn of very many points: a few per column of pixels, so that lines look as if all were drawn.

Lines keep the first, lowest, highest and last point of each column of pixels: U. Jugel et al., "M4: a
visualization-oriented time series data aggregation", PVLDB 7(10), 2014. Scatters keep one point per cell of pixels.
What is kept are points that were logged, never means: a spike of one point is seen among ten million.

Datashader would be the field's package; it draws a picture of the whole anew for each view, in time proportional to
all points. Here extremes of blocks of points are noted as they arrive, and a view costs what it shows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

# Values of a column, or positions of points in it.
Values: TypeAlias = npt.NDArray[Any]
Positions: TypeAlias = npt.NDArray[np.intp]
# To where on an axis a value is drawn, up to scale and offset: the value itself, or its logarithm.
Projection: TypeAlias = Callable[[Values], Values]

# Points per block. Fewer make a view of everything dearer, more a view of about BLOCK points per pixel.
BLOCK = 256
# From so many points in view on, blocks save time.
_MANY = 100_000
# So few points of a scatter are drawn one by one.
_FEW = 20_000
# So many points are put into cells at a time.
_PART = 1 << 16
# As much of a line that goes to and fro is drawn: it has no order that columns of pixels could use.
_TANGLED = 20_000


@dataclass(frozen=True)
class View:
    """The part of a plot that is on the screen, in the values of its axes, and its size in pixels."""

    left: float
    right: float
    bottom: float
    top: float
    width: int
    height: int


@dataclass(frozen=True)
class Extremes:
    """Where in each whole block of a column the lowest and the highest value are; NaN counts as neither."""

    lowest: Positions
    highest: Positions

    @classmethod
    def of(cls, values: Values, start: int = 0) -> "Extremes":
        """Look at the whole blocks from position `start` on, which must be a multiple of BLOCK."""
        end = len(values) // BLOCK * BLOCK
        blocks = values[start:end].reshape(-1, BLOCK)
        origin = np.arange(start, end, BLOCK, dtype=np.intp)
        if blocks.size and np.isnan(blocks.min()):
            low, high = np.where(np.isnan(blocks), np.inf, blocks), np.where(np.isnan(blocks), -np.inf, blocks)
        else:
            low = high = blocks
        return cls(origin + low.argmin(axis=1), origin + high.argmax(axis=1))

    def then(self, later: "Extremes") -> "Extremes":
        """Return these and those of later blocks."""
        return Extremes(np.concatenate([self.lowest, later.lowest]), np.concatenate([self.highest, later.highest]))


def reduce_line(x: Values, y: Values, extremes: Extremes, view: View, project: Projection) -> Positions:
    """Choose points of a line whose x never falls: at most four per column of pixels, and one beyond either edge.

    x, y: (points,). `extremes` are those of y, for as many whole blocks as there are.
    """
    start = max(0, _count_below(x, view.left, "left") - 1)
    end = min(len(x), _count_below(x, view.right, "right") + 1)
    if end - start <= 4 * view.width:
        return np.arange(start, end)
    left, right = project(np.array([view.left, view.right], dtype=float))
    scale = view.width / (right - left) if right > left else 0.0

    def column(positions: Any) -> Values:
        """Return in which column of pixels points are, as a real number."""
        return np.asarray((project(x[positions]) - left) * scale)

    chosen = np.arange(start, end) if end - start <= _MANY else _candidates(column, extremes, start, end)
    columns = np.floor(np.clip(column(chosen), -1, view.width)).astype(np.int64)
    found: Positions = chosen[_first_low_high_last(columns, y[chosen])]
    return found


def _count_below(x: Values, bound: float, side: Literal["left", "right"]) -> int:
    """Return how many values are below the bound; with "right", how many are not above it."""
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return int(np.searchsorted(x, x.dtype.type(bound), side))
    # Of the same type: numpy would copy all of x as floats.
    limits = np.iinfo(x.dtype)
    whole = math.ceil(bound) if side == "left" else math.floor(bound)
    if not limits.min <= whole <= limits.max:
        return 0 if whole < 0 else len(x)
    return int(np.searchsorted(x, x.dtype.type(whole), side))


def _candidates(column: Callable[[Any], Values], extremes: Extremes, start: int, end: int) -> Positions:
    """Return points from which to choose: the extremes of blocks narrower than a pixel, all points elsewhere."""
    first, last = -(-start // BLOCK), min(end // BLOCK, len(extremes.lowest))
    if last <= first:
        return np.arange(start, end)
    begin, stop = first * BLOCK, last * BLOCK
    width = column(slice(begin + BLOCK - 1, stop, BLOCK)) - column(slice(begin, stop, BLOCK))
    narrow = width < 1
    blocks = np.arange(first, last)
    wide = (blocks[~narrow, None] * BLOCK + np.arange(BLOCK)).ravel()
    parts = [
        np.arange(start, begin),
        extremes.lowest[first:last][narrow],
        extremes.highest[first:last][narrow],
        wide,
        np.arange(stop, end),
    ]
    return np.sort(np.concatenate(parts), kind="stable")


def _first_low_high_last(columns: Values, y: Values) -> Positions:
    """Choose four points of each run of equal columns; where they coincide, fewer."""
    starts = np.flatnonzero(np.r_[True, columns[1:] != columns[:-1]])
    ends = np.r_[starts[1:], len(columns)]
    run = np.repeat(np.arange(len(starts)), ends - starts)
    chosen = [starts, ends - 1]
    for extreme in (np.fmin, np.fmax):
        found = np.flatnonzero(y == extreme.reduceat(y, starts)[run])
        chosen.append(found[np.flatnonzero(np.diff(run[found], prepend=-1))])
    return _distinct(chosen)


def _distinct(chosen: list[Positions]) -> Positions:
    found: Positions = np.unique(np.concatenate(chosen))
    return found


def reduce_tangle(x: Values, y: Values) -> Positions:
    """Choose points of a line that goes to and fro: all of few, of more the extremes of each stretch, both ways."""
    if len(x) <= _TANGLED:
        return np.arange(len(x))
    length = -(-len(x) * 4 // _TANGLED)
    whole = len(x) // length * length
    origin = np.arange(0, whole, length)
    chosen = [np.arange(whole, len(x)), origin]
    for values in (x, y):
        stretches = values[:whole].reshape(-1, length)
        for fill, find in ((np.inf, np.argmin), (-np.inf, np.argmax)):
            filled = np.where(np.isnan(stretches), fill, stretches) if stretches.dtype.kind == "f" else stretches
            chosen.append(origin + find(filled, axis=1))
    return _distinct(chosen)


def reduce_scatter(
    x: Values, y: Values, view: View, project: tuple[Projection, Projection], cell: int = 2
) -> Positions:
    """Choose points of a scatter: all that are in view where they are few, else the last in each cell of pixels.

    x, y: (points,). `cell` is the side of a cell in pixels.
    """
    across, up = -(-view.width // cell), -(-view.height // cell)
    last = np.full(across * up, -1, dtype=np.intp)
    few: list[Positions] = []
    count = 0
    # In parts that the caches of a core hold: one go through everything takes three times as long.
    for start in range(0, len(x), _PART):
        part_x, part_y = x[start : start + _PART], y[start : start + _PART]
        inside = (part_x >= view.left) & (part_x <= view.right) & (part_y >= view.bottom) & (part_y <= view.top)
        chosen = np.flatnonzero(inside)
        if count <= _FEW:
            few.append(chosen + start)
        count += len(chosen)
        cells = _cells(part_y[chosen], project[1], view.bottom, view.top, up)
        cells *= across
        cells += _cells(part_x[chosen], project[0], view.left, view.right, across)
        last[cells] = chosen + start
    return np.concatenate([last[:0], *few]) if count <= _FEW else np.sort(last[last >= 0])


def _cells(values: Values, project: Projection, low: float, high: float, count: int) -> Values:
    low, high = project(np.array([low, high], dtype=float))
    scale = count / (high - low) if high > low else 0.0
    cells = (project(values) - low) * scale
    return np.minimum(cells.astype(np.int64), count - 1)
