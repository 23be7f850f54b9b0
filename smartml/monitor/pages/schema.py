"""How logged points are drawn: a file of YAML that maps names of plots to their settings, checked when it is loaded."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from smartml.errors import MissingDependencyError, SchemaError
from smartml.extras import missing
from smartml.monitor.pages.colors import ColorRule, Formula, palette_names
from smartml.monitor.pages.options import FIGURE, GLYPHS, PARTS, Kind, is_bokeh

logger = logging.getLogger(__name__)

# Its settings are those of every plot that does not have its own.
DEFAULTS = "DEFAULTS"
_KEYS = ("color", "columns", "figure_kwargs", "filter_opts", "glyph_kind", "glyph_kwargs", "name_pattern")
_COLOR_KEYS = ("formula", "key_fun", "num_colors", "num_groups", "num_indices", "palette")


class Glyph(Enum):
    """What a group of points, or all groups of one name, is drawn as."""

    LINE = "line"
    SCATTER = "scatter"
    # All groups of a name together: rows are indices, columns the points of each.
    FIELD = "field"
    # A row for each group, with a bar from every point to the next; y is the number of the state.
    STATES = "states"


@dataclass(frozen=True)
class PlotSchema:
    """The settings of one plot."""

    name: str
    # Matches a whole name; None matches all.
    name_pattern: re.Pattern[str] | None = None
    glyph: Glyph = Glyph.LINE
    glyph_options: Mapping[str, Any] = field(default_factory=dict)
    # All fields that a point has; None takes those of the points, in their order.
    columns: tuple[str, ...] | None = None
    # Chooses by a slider which points are drawn.
    filter_column: str | None = None
    color: ColorRule = field(default_factory=ColorRule)
    figure: Mapping[str, Any] = field(default_factory=dict)


def load_schema(text: str) -> dict[str, PlotSchema]:
    """Read a schema: its plots by name, in order.

    Raises SchemaError, which names the plot, the key and what is allowed there.
    """
    content = _parse(text)
    if not isinstance(content, dict):
        raise SchemaError(f"a schema maps names of plots to their settings; this is {_described(content)}")
    defaults = content.get(DEFAULTS)
    if defaults is not None:
        _read_plot(DEFAULTS, defaults, {})
    plots = {}
    for name, settings in content.items():
        if name != DEFAULTS:
            _check_name(name)
            plots[name] = _read_plot(name, settings, defaults or {})
    if not plots:
        raise SchemaError("the schema has no plot: add one, for example `loss: {glyph_kind: line}`")
    return plots


def _parse(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(missing("yaml", "reading a schema", "monitor")) from error

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice in one mapping; YAML 1.2, section 3.2.1.1, wants them unique."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    line = node.start_mark.line + 1
                    raise SchemaError(f"the mapping at line {line} has the key {key!r} twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise SchemaError(f"the schema is not YAML: {error}") from None
    except (RecursionError, TypeError, ValueError) as error:
        raise SchemaError(f"the schema cannot be read: {error}") from None


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise SchemaError(f"the name of a plot is text, not {name!r}: put it in quotes")
    if re.search("[,;]", name):
        raise SchemaError(f"plot {name!r}: commas and semicolons part plots in an address, and cannot be in a name")


def _read_plot(name: str, settings: object, defaults: Mapping[str, Any]) -> PlotSchema:
    own = _Settings(name, "", {} if settings is None else settings).merged(defaults)
    own.check_keys(_KEYS)
    kind = own.one_of("glyph_kind", [*GLYPHS], "line")
    columns = own.texts("columns")
    filters = own.part("filter_opts")
    filters.check_keys(("column",))
    filter_column = filters.text("column")
    if columns and filter_column and filter_column not in columns:
        raise SchemaError(
            f"plot {name!r}, filter_opts.column: {filter_column!r} is none of the columns: {', '.join(columns)}"
        )
    return PlotSchema(
        name=name,
        name_pattern=own.pattern("name_pattern"),
        glyph=Glyph.FIELD if kind == "image" else Glyph(kind),
        glyph_options=own.part("glyph_kwargs").options(GLYPHS[kind], kind),
        columns=columns,
        filter_column=filter_column,
        color=_read_color(own.part("color")),
        figure=_read_figure(own.part("figure_kwargs")),
    )


def _read_color(own: "_Settings") -> ColorRule:
    own.check_keys(_COLOR_KEYS)
    known = ColorRule()
    formula = own.one_of("formula", [each.value for each in Formula], None)
    key = own.text("key_fun") or known.key_fun
    if not set(key) <= set("sni") or len(set(key)) < len(key):
        own.refuse("key_fun", key, "some of the letters s, n and i, each at most once")
    palette = own.text("palette") or known.palette
    if palette not in palette_names():
        own.refuse("palette", palette, f"a palette of Bokeh: {_some_like(palette, palette_names())}")
    return ColorRule(
        palette=palette,
        formula=Formula(formula) if formula else None,
        key_fun=key,
        num_colors=own.count("num_colors", known.num_colors),
        num_indices=own.count("num_indices", known.num_indices),
        num_groups=own.count("num_groups", known.num_groups),
    )


def _read_figure(own: "_Settings") -> dict[str, Any]:
    figure: dict[str, Any] = {}
    for part, kinds in PARTS.items():
        if isinstance(own.content.get(part), str) and part == "title":
            figure[part] = {"text": own.content[part]}
        elif part in own.content:
            figure[part] = own.part(part).options(kinds, part)
    rest = {key: value for key, value in own.content.items() if key not in PARTS}
    return figure | _Settings(own.plot, own.path, rest).options(FIGURE, "figure", also=PARTS)


class _Settings:
    """A mapping in a schema, and where it stands: for messages."""

    def __init__(self, plot: str, path: str, content: object) -> None:
        self.plot, self.path = plot, path
        if not isinstance(content, dict):
            where = f", {path}" if path else ""
            raise SchemaError(f"plot {plot!r}{where}: must be a mapping, not {_described(content)}")
        self.content: dict[str, Any] = content

    def merged(self, defaults: Mapping[str, Any]) -> "_Settings":
        return _Settings(self.plot, self.path, _merge(self.content, defaults))

    def part(self, key: str) -> "_Settings":
        content = self.content.get(key)
        return _Settings(self.plot, self._path(key), {} if content is None else content)

    def _path(self, key: object) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    def refuse(self, key: str, value: object, allowed: str) -> None:
        raise SchemaError(f"plot {self.plot!r}, {self._path(key)}: is {value!r}, must be {allowed}")

    def check_keys(self, known: Sequence[str]) -> None:
        for key in self.content:
            if key not in known:
                raise SchemaError(
                    f"plot {self.plot!r}, {self._path(key)}: there is no such setting; known are {', '.join(known)}"
                )

    def options(
        self, kinds: Mapping[str, Kind], part: str, also: Sequence[str] | Mapping[str, Any] = ()
    ) -> dict[str, Any]:
        """Return the settings that are drawn. Others that Bokeh has are named in the log."""
        drawn = {}
        for key, value in self.content.items():
            if key in kinds:
                if not kinds[key].fits(value):
                    self.refuse(key, value, kinds[key].meaning)
                drawn[key] = value
            elif is_bokeh(part, str(key)):
                logger.warning(
                    "plot %r, %s: a setting of Bokeh's that these pages do not draw", self.plot, self._path(key)
                )
            else:
                self.check_keys([*also, *kinds])
        return drawn

    def text(self, key: str) -> str | None:
        value = self.content.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            self.refuse(key, value, "text")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            self.refuse(key, value, "a list of names of fields")
        if len(set(value)) < len(value):
            self.refuse(key, value, "a list in which each field stands once")
        return tuple(value)

    def count(self, key: str, default: int) -> int:
        value = self.content.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1000:
            self.refuse(key, value, "a whole number from 1 to 1000")
        return int(value)

    def one_of(self, key: str, words: Sequence[str], default: Any) -> Any:
        value = self.content.get(key)
        if value is None:
            return default
        if value not in words:
            self.refuse(key, value, f"one of {', '.join(words)}")
        return value

    def pattern(self, key: str) -> re.Pattern[str] | None:
        value = self.text(key)
        try:
            return re.compile(value) if value is not None else None
        except (re.error, RecursionError, OverflowError) as error:
            raise SchemaError(
                f"plot {self.plot!r}, {self._path(key)}: is {value!r}, must be a regular expression: {error}"
            ) from None


def _merge(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults) | dict(own)
    for key, value in own.items():
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping):
            merged[key] = _merge(value, defaults[key])
    return merged


def _described(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"


def _some_like(name: str, known: Sequence[str]) -> str:
    """Return names that begin as this one does; of all, only how they look."""
    stem = name.rstrip("0123456789").lower()
    like = [each for each in known if stem and each.lower().startswith(stem)]
    return ", ".join(like) or f"there are {len(known)}, such as Viridis8, Category10_10, Magma256"


class SchemaFile:
    """A schema in a file, loaded again when the file changes. A change that cannot be loaded leaves the former one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        # Why the file as it is now cannot be loaded; None if it was.
        self.problem: str | None = None
        self.plots: dict[str, PlotSchema] = {}
        self.refresh()
        if self.problem:
            raise SchemaError(self.problem)

    def refresh(self) -> bool:
        """Look whether the file changed; tell whether there is anything new, plots or problem."""
        before = self.problem
        try:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_size
            if stamp == self._stamp:
                return False
            self.plots = load_schema(self._path.read_text(encoding="utf-8"))
        except SchemaError as error:
            self._stamp, self.problem = stamp, f"{self._path}: {error}"
            return True
        except (OSError, UnicodeDecodeError) as error:
            self._stamp, self.problem = None, f"the schema {self._path} cannot be read: {error}"
            return self.problem != before
        self._stamp, self.problem = stamp, None
        return True
