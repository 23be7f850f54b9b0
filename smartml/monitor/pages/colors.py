"""Which colour a group has: the rules of a schema's `color`, over the palettes of Bokeh."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from smartml.extras import require

# A group as users name it: scope, name, index.
Group = tuple[str, str, int]


class Formula(Enum):
    """From what a colour is counted: k is the ordinal of a group's (scope, name), in order of appearance."""

    NAME_INDEX = "name_index"  # k * num_indices + index
    INDEX_NAME = "index_name"  # index * num_groups + k
    NAME = "name"  # k
    INDEX = "index"  # index


@dataclass(frozen=True)
class ColorRule:
    """The `color` of a plot in the schema."""

    palette: str = "Viridis8"
    # Counted by this formula, or else by the rank of a label made of these parts: s(cope), n(ame), i(ndex).
    formula: Formula | None = None
    key_fun: str = "sni"
    # The palette is interpolated to so many colours, where there is a formula.
    num_colors: int = 10
    num_indices: int = 1
    num_groups: int = 1


def palette_names() -> list[str]:
    """Return the names of the palettes of Bokeh."""
    return [name for name, value in vars(_palettes()).items() if _is_palette(name, value)]


def find_palette(name: str, count: int | None = None) -> tuple[str, ...]:
    """Return the colours of a palette as #rrggbb, interpolated to so many."""
    module = _palettes()
    colors: Sequence[str] = getattr(module, name)
    return tuple(str(color)[:7] for color in (module.interp_palette(colors, count) if count else colors))


def _palettes() -> Any:
    return require("bokeh.palettes", "drawing in the colours of a palette", "monitor")


def _is_palette(name: str, value: object) -> bool:
    return name[0].isupper() and isinstance(value, tuple) and all(isinstance(color, str) for color in value)


def label(group: Group, key: str) -> str:
    """Return the parts of a group that the letters of the key choose."""
    parts = dict(zip("sni", map(str, group), strict=True))
    return "-".join(parts[letter] for letter in key)


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Return what to sort by, so that 10 comes after 2."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]


@dataclass
class Colors:
    """The colours of one plot on one page; a group keeps the colour that it had first."""

    rule: ColorRule
    _ordinals: dict[tuple[str, str], int] = field(default_factory=dict)
    _labels: dict[str, str] = field(default_factory=dict)

    def of(self, groups: Iterable[Group]) -> list[str]:
        """Return a colour for each group. Those that come together for the first time are ordered by their labels."""
        groups = list(groups)
        if self.rule.formula is None:
            return self._by_label([label(group, self.rule.key_fun) for group in groups])
        colors = find_palette(self.rule.palette, self.rule.num_colors)
        return [colors[self._count(group) % len(colors)] for group in groups]

    def _count(self, group: Group) -> int:
        scope, name, index = group
        ordinal = self._ordinals.setdefault((scope, name), len(self._ordinals))
        match self.rule.formula:
            case Formula.INDEX:
                return index
            case Formula.NAME:
                return ordinal
            case Formula.INDEX_NAME:
                return index * self.rule.num_groups + ordinal
        return ordinal * self.rule.num_indices + index

    def _by_label(self, labels: list[str]) -> list[str]:
        fresh = sorted(set(labels) - set(self._labels), key=_natural)
        if fresh and not self._labels:
            # The whole palette over the labels that are there when the page is opened.
            colors = find_palette(self.rule.palette, len(fresh)) if len(fresh) > 1 else self._own()
            self._labels = dict(zip(fresh, colors, strict=False))
        else:
            # Later ones take the palette's own colours in turn: no colour that was seen changes.
            for text in fresh:
                own = self._own()
                free = [color for color in own if color not in self._labels.values()]
                self._labels[text] = free[0] if free else own[len(self._labels) % len(own)]
        return [self._labels[text] for text in labels]

    def _own(self) -> tuple[str, ...]:
        return find_palette(self.rule.palette)
