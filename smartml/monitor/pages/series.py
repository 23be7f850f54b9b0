"""The points of one group, as they grow: columns, where their extremes are, and which points have which value.

One thread appends, another one draws at the same time, without a lock: it takes an array of what is there, whose values
never change, though more may come behind them. What is found out about them is found by the one that draws.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from smartml.monitor.pages.reduction import BLOCK, Extremes, Positions, Values

_NO_POSITIONS: Positions = np.zeros(0, dtype=np.intp)


class Column:
    """Numbers, one behind the other."""

    def __init__(self, values: Values | None = None) -> None:
        self._reserved: Values = np.zeros(0, dtype=np.int64) if values is None else np.array(values)
        # All that came so far.
        self.values: Values = self._reserved
        self._extremes = Extremes(_NO_POSITIONS, _NO_POSITIONS)
        # Whether no value is below the one before it, or NaN; and up to where that is known.
        self._is_rising, self._judged = True, 0
        # Lowest and highest of all finite values and of the positive ones, and up to where they are known.
        self._ranges = {False: (np.inf, -np.inf), True: (np.inf, -np.inf)}
        self._ranged = {False: 0, True: 0}

    def __len__(self) -> int:
        return len(self.values)

    def append(self, fresh: Values) -> None:
        """Add values; integers become floats when floats join them."""
        count = len(self.values)
        dtype = np.result_type(self._reserved.dtype, fresh.dtype) if count else fresh.dtype
        if count + len(fresh) > len(self._reserved) or dtype != self._reserved.dtype:
            grown = np.empty(max(count + len(fresh), count * 3 // 2, 64), dtype=dtype)
            grown[:count] = self.values
            self._reserved = grown
        self._reserved[count : count + len(fresh)] = fresh
        self.values = self._reserved[: count + len(fresh)]

    @property
    def extremes(self) -> Extremes:
        """The extremes of all whole blocks; costs what is new."""
        known, values = self._extremes, self.values
        if len(known.lowest) < len(values) // BLOCK:
            known = known.then(Extremes.of(values, len(known.lowest) * BLOCK))
            self._extremes = known
        return known

    @property
    def is_rising(self) -> bool:
        """Whether no value is below the one before it; costs what is new."""
        values, judged = self.values, self._judged
        if self._is_rising and judged < len(values):
            fresh = values[max(0, judged - 1) :]
            self._is_rising = bool((fresh[1:] >= fresh[:-1]).all()) and not np.isnan(fresh[-1])
            self._judged = len(values)
        return self._is_rising

    def range(self, positive: bool = False) -> tuple[float, float]:
        """Return the lowest and highest finite value, or positive value; (inf, -inf) of none. Costs what is new."""
        values = self.values
        low, high = self._ranges[positive]
        fresh = values[self._ranged[positive] :]
        if fresh.dtype.kind == "f":
            fresh = fresh[np.isfinite(fresh)]
        if positive:
            fresh = fresh[fresh > 0]
        if len(fresh):
            low, high = min(low, float(fresh.min())), max(high, float(fresh.max()))
            self._ranges[positive] = low, high
        self._ranged[positive] = len(values)
        return low, high


class Occurrences:
    """Which points have which value of a column, known as they arrive; points of one value mostly come together."""

    def __init__(self) -> None:
        # Distinct values in the order in which they came; NaN is none.
        self.values: list[float] = []
        self._stretches: dict[float, list[tuple[int, int]]] = {}
        self._count = 0

    def __contains__(self, value: float) -> bool:
        return value in self._stretches

    def follow(self, column: Values) -> None:
        """Take up what is new in the column."""
        fresh = column[self._count :]
        if not len(fresh):
            return
        starts = np.flatnonzero(np.r_[True, fresh[1:] != fresh[:-1]])
        ends = np.r_[starts[1:], len(fresh)]
        for value, start, end in zip(fresh[starts].tolist(), starts.tolist(), ends.tolist(), strict=True):
            if value not in self._stretches:
                if value != value:
                    continue
                self.values.append(value)
                self._stretches[value] = []
            self._stretches[value].append((self._count + start, self._count + end))
        self._count = len(column)

    def positions(self, value: float) -> Positions:
        """Return where the value is, in order."""
        stretches = self._stretches.get(value, ())
        return np.concatenate([_NO_POSITIONS, *(np.arange(start, end) for start, end in stretches)])


class Choices:
    """The distinct values of a column over many groups, in order."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._known: set[float] = set()
        # How many values of each were taken up. By the thing itself: it is kept as long as it is looked at.
        self._taken: dict[Occurrences, int] = {}

    def follow(self, groups: Iterable[Occurrences]) -> None:
        """Take up the values that are new in these."""
        for occurrences in groups:
            taken = self._taken.get(occurrences, 0)
            for value in occurrences.values[taken:]:
                if value not in self._known:
                    self._known.add(value)
                    insort(self.values, value)
            self._taken[occurrences] = len(occurrences.values)


class Line:
    """Two columns as they are drawn: without points that a logarithmic axis has no place for.

    Where there are none such, these are the columns themselves.
    """

    def __init__(self, x: Column, y: Column, is_log_x: bool, is_log_y: bool) -> None:
        self._sources = (x, y)
        self._is_log = (is_log_x, is_log_y)
        self._kept: tuple[Column, Column] | None = None
        # Up to where the sources were looked through, and how many points were left out of that.
        self._seen = 0
        self.left_out = 0

    def columns(self) -> tuple[Column, Column]:
        """Return x and y of the points that can be drawn; costs what is new."""
        sources = [column.values for column in self._sources]
        count = min(map(len, sources))
        if self._seen < count and any(self._is_log):
            fresh = [values[self._seen : count] for values in sources]
            drawn = np.ones(count - self._seen, dtype=bool)
            for values, is_log in zip(fresh, self._is_log, strict=True):
                if is_log:
                    # NaN is no number to leave out: it parts a line.
                    drawn &= ~(values <= 0)
            missing = len(drawn) - int(drawn.sum())
            if missing and self._kept is None:
                self._kept = Column(sources[0][: self._seen]), Column(sources[1][: self._seen])
            if self._kept is not None:
                for column, values in zip(self._kept, fresh, strict=True):
                    column.append(values[drawn])
            self.left_out += missing
        self._seen = count
        return self._kept or self._sources


class Group:
    """The points of one (scope, name, index), with what was found out about them."""

    def __init__(self, fields: Sequence[str]) -> None:
        self.columns = {name: Column() for name in fields}
        self.count = 0
        self._order = Column()
        self._lines: dict[tuple[str | None, str, bool, bool], Line] = {}
        self._occurrences: dict[str, Occurrences] = {}

    def append(self, fields: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add points, given as one array for each field."""
        for name, values in fields.items():
            self.columns[name].append(values)
        self.count += len(next(iter(fields.values())))

    @property
    def order(self) -> Column:
        """The ordinals of the points: x of those that have one field only."""
        if len(self._order) < self.count:
            self._order.append(np.arange(len(self._order), self.count))
        return self._order

    def line(self, x: str | None, y: str, is_log_x: bool, is_log_y: bool) -> Line:
        """Return two columns as drawn on such axes; x=None takes the ordinals."""
        key = (x, y, is_log_x, is_log_y)
        if key not in self._lines:
            source = self.order if x is None else self.columns[x]
            self._lines[key] = Line(source, self.columns[y], is_log_x, is_log_y)
        if x is None:
            _ = self.order
        return self._lines[key]

    def occurrences(self, column: str) -> Occurrences:
        """Return where the values of a column are; costs what is new."""
        found = self._occurrences.setdefault(column, Occurrences())
        found.follow(self.columns[column].values[: self.count])
        return found
