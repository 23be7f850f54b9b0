"""What one plot of one page shows: which groups, in which colours, and the points of them that are drawn."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from smartml.monitor.pages.collection import Collection, Key
from smartml.monitor.pages.colors import Colors, find_palette, label
from smartml.monitor.pages.layout import Layout, Place
from smartml.monitor.pages.reduction import (
    Positions,
    Projection,
    Values,
    View,
    reduce_line,
    reduce_scatter,
    reduce_tangle,
)
from smartml.monitor.pages.schema import Glyph, PlotSchema
from smartml.monitor.pages.series import Choices, Group, Line

Span = tuple[float, float]

# Of the view, drawn on either side of it, so that there is something to see while one drags.
_MARGIN = {Glyph.LINE: 0.5, Glyph.STATES: 0.5, Glyph.SCATTER: 0.2}
# Of the extent of the data, left free around it.
_PADDING = 0.05
# Of the time before, shown of the last state.
_LAST_STATE = 0.08
# Data beyond lie outside of every axis: half as much again must still be a number.
_SMALLEST, _LARGEST = 1e-300, 1e300
# A field with more cells across, or up, than this is averaged.
_LARGEST_FIELD = 2048
# Colours of a field.
_SHADES = 256


class Wish(NamedTuple):
    """What a page wants to see of a plot."""

    # Of the part that holds the data, in pixels.
    width: int
    height: int
    # None follows the data.
    x: Span | None = None
    y: Span | None = None


@dataclass(frozen=True)
class Trace:
    """The points of one group that are drawn."""

    label: str
    color: str
    x: Values
    y: Values


@dataclass(frozen=True)
class Field:
    """All groups of one name as a matrix: a row for each index."""

    label: str
    values: Values  # (rows, columns), float32
    # Where its outer edges are on the axes.
    x: Span
    y: Span


@dataclass(frozen=True)
class Slider:
    """Where the slider of a plot stands."""

    column: str
    count: int
    position: int
    value: float


@dataclass(frozen=True)
class Picture:
    """All that a page draws in a plot."""

    # What the axes show.
    x: Span
    y: Span
    traces: tuple[Trace, ...] = ()
    fields: tuple[Field, ...] = ()
    # Colours of a field from its lowest to its highest value, and these values.
    shades: tuple[str, ...] = ()
    limits: Span = (0.0, 1.0)
    # All points of the plot, how many of them are drawn, and how many have no place on a logarithmic axis.
    total: int = 0
    shown: int = 0
    left_out: int = 0
    slider: Slider | None = None
    warnings: tuple[str, ...] = ()


class _Member(NamedTuple):
    """A group of the plot, and its columns by what they are for."""

    key: Key
    group: Group
    x: str | None
    y: str


@dataclass
class Plot:
    """One plot of one page; remembers colours, and the value that its slider was put on."""

    place: Place
    schema: PlotSchema
    scopes: re.Pattern[str]
    # Of the slider: None is the last one, whatever it is.
    chosen: float | None = None
    _belongs: dict[tuple[str, str], bool] = field(default_factory=dict)
    _choices: Choices = field(default_factory=Choices)

    def __post_init__(self) -> None:
        self._colors = Colors(self.schema.color)
        self._is_log = (self.place.axes.is_log_x, self.place.axes.is_log_y)
        self._project: tuple[Projection, Projection] = (
            np.log if self._is_log[0] else np.asarray,
            np.log if self._is_log[1] else np.asarray,
        )

    def choose(self, position: int) -> None:
        """Put the slider on the value at this position; on the last one it follows new values."""
        values = self._choices.values
        self.chosen = values[position] if 0 <= position < len(values) - 1 else None

    def stamp(self, collection: Collection) -> tuple[tuple[int, int], ...]:
        """Return what differs whenever there is something new to draw."""
        members = self._members(collection, [])
        return tuple((id(member.group), member.group.count) for member in members)

    def draw(self, collection: Collection, wish: Wish) -> Picture:
        """Return what is to be seen now."""
        warnings: list[str] = []
        members = list(self._members(collection, warnings))
        slider = self._slide(members)
        draw = self._draw_fields if self.schema.glyph is Glyph.FIELD else self._draw_traces
        picture = draw(members, slider, wish)
        if self.schema.glyph is Glyph.STATES:
            picture = self._in_rows(picture, collection, members, wish)
        total = sum(member.group.count for member in members)
        return replace(picture, total=total, slider=slider, warnings=tuple(warnings))

    def _members(self, collection: Collection, warnings: list[str]) -> Iterator[_Member]:
        for key, group in collection.groups.items():
            scope, name, _ = key
            if (scope, name) not in self._belongs:
                self._belongs[scope, name] = self._fits(scope, name)
            if not self._belongs[scope, name]:
                continue
            try:
                yield _Member(key, group, *self._columns(group))
            except _UnfitError as error:
                text = f"{name!r} of {scope!r} is not drawn: {error}"
                if text not in warnings:
                    warnings.append(text)

    def _fits(self, scope: str, name: str) -> bool:
        if not self.scopes.search(scope):
            return False
        if self.place.names:
            return self.place.names.search(name) is not None
        return self.schema.name_pattern is None or self.schema.name_pattern.fullmatch(name) is not None

    def _columns(self, group: Group) -> tuple[str | None, str]:
        fields = tuple(group.columns)
        columns = self.schema.columns or fields
        if set(columns) != set(fields):
            raise _UnfitError(f"it has {', '.join(fields)}, the schema's columns are {', '.join(columns)}")
        if self.schema.filter_column not in (None, *columns):
            raise _UnfitError(f"it has {', '.join(fields)}, and no {self.schema.filter_column} to choose by")
        drawn = [column for column in columns if column != self.schema.filter_column]
        if not drawn:
            raise _UnfitError("it has no column beside the one to choose by")
        return (drawn[0], drawn[1]) if len(drawn) > 1 else (None, drawn[0])

    def _slide(self, members: list[_Member]) -> Slider | None:
        column = self.schema.filter_column
        if column is None:
            return None
        self._choices.follow(member.group.occurrences(column) for member in members)
        values = self._choices.values
        if not values:
            return None
        if self.chosen is None:
            return Slider(column, len(values), len(values) - 1, values[-1])
        return Slider(column, len(values), values.index(self.chosen), self.chosen)

    def _draw_traces(self, members: list[_Member], slider: Slider | None, wish: Wish) -> Picture:
        lines = [member.group.line(member.x, member.y, *self._is_log) for member in members]
        whole = [self._whole(line, axis) for axis in (0, 1) for line in lines]
        extents = [_union(whole[: len(lines)]), _union(whole[len(lines) :])]
        x = wish.x or self._given("x_range") or self._padded(extents[0], 0, self.schema.glyph is Glyph.SCATTER)
        y = wish.y or self._given("y_range") or self._padded(extents[1], 1, True)
        view = self._view(x, y, wish)
        chosen = [self._choose_points(member, line, slider, view) for member, line in zip(members, lines, strict=True)]
        if wish.x and not wish.y and self.schema.glyph is Glyph.LINE:
            y = self._padded(_union(_visible(points, x, self._is_log[1]) for points in chosen), 1, True)
        keys = [member.key for member in members]
        traces = tuple(
            Trace(label(key, self.schema.color.key_fun), color, *points)
            for key, color, points in zip(keys, self._colors.of(keys), chosen, strict=True)
        )
        shown = sum(len(trace.x) for trace in traces)
        return Picture(x, y, traces, shown=shown, left_out=sum(line.left_out for line in lines))

    def _whole(self, line: Line, axis: int) -> Span:
        return line.columns()[axis].range(self._is_log[axis])

    def _given(self, key: str) -> Span | None:
        found = self.schema.figure.get(key)
        return (
            (float(found[0]), float(found[1]))
            if found and not (self._is_log[key == "y_range"] and found[0] <= 0)
            else None
        )

    def _padded(self, extent: Span, axis: int, has_padding: bool) -> Span:
        """Return what an axis shows of data that reach so far."""
        is_log = self._is_log[axis]
        if extent[0] > extent[1]:
            return (1.0, 10.0) if is_log else (0.0, 1.0)
        low, high = (min(max(end, _SMALLEST if is_log else -_LARGEST), _LARGEST) for end in extent)
        if low == high:
            if is_log:
                return low / 2, high * 2
            # A moment is one of a second, however long ago it was that time began.
            is_time = self.schema.figure.get(("x_axis_type", "y_axis_type")[axis]) == "datetime"
            space = 0.5 if is_time else max(0.5, abs(low) / 10)
            return low - space, high + space
        return _stretched((low, high), _PADDING, is_log) if has_padding else (low, high)

    def _view(self, x: Span, y: Span, wish: Wish) -> View:
        """Return what to choose points for: more than is on the screen, so that one can drag it."""
        margin = _MARGIN[self.schema.glyph]
        left, right = _stretched(x, margin, self._is_log[0])
        is_line = self.schema.glyph is not Glyph.SCATTER
        bottom, top = y if is_line else _stretched(y, margin, self._is_log[1])
        height = wish.height if is_line else round(wish.height * (1 + 2 * margin))
        return View(left, right, bottom, top, round(wish.width * (1 + 2 * margin)), height)

    def _choose_points(self, member: _Member, line: Line, slider: Slider | None, view: View) -> tuple[Values, Values]:
        columns = line.columns()
        if slider:
            x, y = self._filtered(member, columns[0].values, columns[1].values, slider)
            chosen = self._choose_few(x, y, view)
            return x[chosen], y[chosen]
        count = min(map(len, columns))
        x, y = columns[0].values[:count], columns[1].values[:count]
        if self.schema.glyph is not Glyph.SCATTER and columns[0].is_rising:
            chosen = reduce_line(x, y, columns[1].extremes, view, self._project[0])
        else:
            chosen = self._choose_few(x, y, view)
        return x[chosen], y[chosen]

    def _filtered(self, member: _Member, x: Values, y: Values, slider: Slider) -> tuple[Values, Values]:
        """Return the points for which the slider stands. Positions are those of the group: nothing may be left out."""
        columns = member.group.columns
        chosen = member.group.occurrences(slider.column).positions(slider.value)
        x = np.arange(len(chosen)) if member.x is None else columns[member.x].values[chosen]
        y = columns[member.y].values[chosen]
        drawn = np.ones(len(chosen), dtype=bool)
        for values, is_log in zip((x, y), self._is_log, strict=True):
            if is_log:
                drawn &= ~(values <= 0)
        return x[drawn], y[drawn]

    def _choose_few(self, x: Values, y: Values, view: View) -> Positions:
        if self.schema.glyph is Glyph.SCATTER:
            return reduce_scatter(x, y, view, self._project)
        return reduce_tangle(x, y)

    def _in_rows(self, picture: Picture, collection: Collection, members: list[_Member], wish: Wish) -> Picture:
        """Return the picture with a row for each group, and as far along x as anything of the same runs and column.

        States are told when they change: the last one lasts at least until the latest point that is known.
        """
        runs = {member.key[0].partition("/")[0] for member in members}
        same = [
            group.columns[x].range()
            for x in {member.x for member in members if member.x}
            for (scope, _, _), group in collection.groups.items()
            if x in group.columns and scope.partition("/")[0] in runs
        ]
        x = picture.x
        if same and not wish.x:
            end = max(x[1], _union(same)[1])
            # With room for the name of a state that has just begun.
            x = x[0], end + (end - x[0]) * _LAST_STATE
        return replace(picture, x=x, y=(-0.5, max(len(members), 1) - 0.5))

    def _draw_fields(self, members: list[_Member], slider: Slider | None, wish: Wish) -> Picture:
        by_name: dict[tuple[str, str], list[_Member]] = {}
        for member in members:
            by_name.setdefault(member.key[:2], []).append(member)
        fields = []
        for (scope, name), rows in by_name.items():
            if drawn := self._matrix(scope, name, sorted(rows), slider):
                fields.append(drawn)
        fields = _side_by_side(fields)
        options = self.schema.glyph_options
        finite = [each.values[np.isfinite(each.values)] for each in fields]
        low, high = _union((float(part.min()), float(part.max())) for part in finite if len(part))
        if low > high:
            low, high = 0.0, 1.0
        if "center" in options:
            reach = max(high - options["center"], options["center"] - low)
            low, high = options["center"] - reach, options["center"] + reach
        limits = float(options.get("low", low)), float(options.get("high", high))
        return Picture(
            wish.x or _outer([each.x for each in fields]),
            wish.y or _outer([each.y for each in fields]),
            fields=tuple(fields),
            shades=find_palette(self.schema.color.palette, _SHADES),
            limits=limits,
            shown=sum(each.values.size for each in fields),
        )

    def _matrix(self, scope: str, name: str, rows: list[_Member], slider: Slider | None) -> Field | None:
        values, edges = [], []
        for member in rows:
            chosen: Positions | slice = slice(0, member.group.count)
            if slider:
                chosen = member.group.occurrences(slider.column).positions(slider.value)
            values.append(member.group.columns[member.y].values[chosen])
            if member.x is not None:
                edges.append(member.group.columns[member.x].values[chosen])
        width = max(map(len, values), default=0)
        if not width:
            return None
        first, last = rows[0].key[2], rows[-1].key[2]
        matrix = np.full((last - first + 1, width), np.nan, dtype=np.float32)
        for member, row in zip(rows, values, strict=True):
            matrix[member.key[2] - first, : len(row)] = row
        x = _cell_edges(_union((float(each.min()), float(each.max())) for each in edges if len(each)), width)
        shown = label((scope, name, 0), self.schema.color.key_fun.replace("i", "") or "n")
        return Field(shown, _averaged(matrix), x, (first - 0.5, last + 0.5))


class _UnfitError(Exception):
    """Points do not have the columns that the schema wants."""


def make_plots(layout: Layout, schemas: dict[str, PlotSchema]) -> list[Plot]:
    """Return the plots of a page, in the order of its address."""
    return [Plot(place, schemas[place.plot], layout.scopes) for place in layout.places]


def _stretched(span: Span, share: float, is_log: bool) -> Span:
    """Return the span with this share of it more on either side."""
    low, high = map(math.log, span) if is_log else span
    space = (high - low) * share
    low, high = low - space, high + space
    # Of what a double can hold on a logarithmic axis there is always more room below and above.
    return (math.exp(max(low, -745.0)), math.exp(min(high, 709.0))) if is_log else (low, high)


def _union(spans: Iterable[Span]) -> Span:
    low, high = math.inf, -math.inf
    for span in spans:
        low, high = min(low, span[0]), max(high, span[1])
    return low, high


def _visible(points: tuple[Values, Values], x: Span, is_log: bool) -> Span:
    """Return how far y reaches within a span of x."""
    inside = points[1][(points[0] >= x[0]) & (points[0] <= x[1]) & np.isfinite(points[1])]
    if is_log:
        inside = inside[inside > 0]
    return (float(inside.min()), float(inside.max())) if len(inside) else (math.inf, -math.inf)


def _outer(spans: list[Span]) -> Span:
    return _union(spans) if spans else (0.0, 1.0)


def _cell_edges(centres: Span, count: int) -> Span:
    """Return the outer edges of so many cells whose first and last centres are these; without any, of ordinals."""
    low, high = centres
    if not low < high or count < 2:
        return -0.5, count - 0.5
    half = (high - low) / (count - 1) / 2
    return low - half, high + half


def _side_by_side(fields: list[Field]) -> list[Field]:
    """Return the fields moved along x, so that none hides another."""
    moved: list[Field] = []
    for each in fields:
        low, high = each.x
        if moved:
            start = moved[-1].x[1] + (high - low) * _PADDING
            each = replace(each, x=(start, start + high - low))
        moved.append(each)
    return moved


def _averaged(matrix: Values) -> Values:
    """Return means of cells where there are more than anybody can see."""
    rows, columns = (-(-size // _LARGEST_FIELD) for size in matrix.shape)
    if rows == columns == 1:
        return matrix
    height, width = (-(-size // step) * step for size, step in zip(matrix.shape, (rows, columns), strict=True))
    padded = np.pad(matrix, ((0, height - matrix.shape[0]), (0, width - matrix.shape[1])), mode="edge")
    cells = padded.reshape(height // rows, rows, width // columns, columns)
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float32))
