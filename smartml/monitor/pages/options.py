"""Which settings of a plot, by Bokeh's names, a page draws, and what may be their values."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What a value must be."""

    meaning: str
    fits: Callable[[Any], bool]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def one_of(*words: str) -> Kind:
    return Kind(f"one of {', '.join(words)}", lambda value: value in words)


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(fits, value))


def _is_range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] < value[1]


TEXT = Kind("text", lambda value: isinstance(value, str))
TRUTH = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER = Kind("a number", _is_number)
POSITIVE = Kind("a number above 0", lambda value: _is_number(value) and value > 0)
SHARE = Kind("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
RANGE = Kind("a list of two numbers, the lower one first", _is_range)
# Only what cannot be anything but a colour or a length reaches the style of a page.
COLOR = Kind(
    "a colour, by name or as #rrggbb",
    lambda value: isinstance(value, str) and re.fullmatch(r"[A-Za-z]+|#([0-9A-Fa-f]{3,4}){1,2}", value) is not None,
)
FONT_SIZE = Kind(
    "a size, such as 12pt, 16px or 1.2em",
    lambda value: isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?(pt|px|em)", value) is not None,
)
# Beside linear ones: whether an axis is logarithmic, the address says.
AXIS_TYPE = one_of("linear", "log", "datetime")
DASH = one_of("solid", "dashed", "dotted", "dotdash", "dashdot")

_LINE = {
    "alpha": SHARE,
    "color": COLOR,
    "line_alpha": SHARE,
    "line_color": COLOR,
    "line_dash": DASH,
    "line_width": POSITIVE,
}
_SCATTER = {
    "alpha": SHARE,
    "color": COLOR,
    "fill_alpha": SHARE,
    "fill_color": COLOR,
    "marker": one_of("circle", "square"),
    "radius": POSITIVE,
    "size": POSITIVE,
}
# Bokeh has no field: these are settings of its colour mappers, the value in the middle of the colours, and where row 0
# is drawn.
_FIELD = {"alpha": SHARE, "center": NUMBER, "high": NUMBER, "low": NUMBER, "origin": one_of("lower", "upper")}
# Bokeh has no states, either: names and colours of the numbers 0, 1, ...
_STATES = {
    "colors": Kind("a list of colours", _is_list_of(COLOR.fits)),
    "labels": Kind("a list of texts", _is_list_of(TEXT.fits)),
}
GLYPHS: dict[str, Mapping[str, Kind]] = {
    "line": _LINE,
    "scatter": _SCATTER,
    "field": _FIELD,
    "image": _FIELD,
    "states": _STATES,
}

_TITLE = {
    "align": one_of("left", "center", "right"),
    "text": TEXT,
    "text_color": COLOR,
    "text_font_size": FONT_SIZE,
    "text_font_style": one_of("normal", "bold", "italic", "bold italic"),
    "visible": TRUTH,
}
_AXIS = {
    "axis_label": TEXT,
    "axis_label_text_color": COLOR,
    "axis_label_text_font_size": FONT_SIZE,
    "major_label_text_color": COLOR,
    "major_label_text_font_size": FONT_SIZE,
    "visible": TRUTH,
}
_LEGEND = {"label_text_font_size": FONT_SIZE, "title": TEXT, "visible": TRUTH}
# Settings of parts of a figure, by part.
PARTS: dict[str, Mapping[str, Kind]] = {"title": _TITLE, "xaxis": _AXIS, "yaxis": _AXIS, "legend": _LEGEND}
FIGURE = {
    "background_fill_color": COLOR,
    "x_axis_label": TEXT,
    "x_axis_type": AXIS_TYPE,
    "x_range": RANGE,
    "y_axis_label": TEXT,
    "y_axis_type": AXIS_TYPE,
    "y_range": RANGE,
}
# Bokeh's classes, whose other settings a schema may have, though they are not drawn here.
BOKEH = {
    "title": ("Title",),
    "xaxis": ("LinearAxis", "LogAxis"),
    "yaxis": ("LinearAxis", "LogAxis"),
    "legend": ("Legend",),
    "line": ("Line",),
    "scatter": ("Scatter", "Circle"),
    "figure": (),
}


def is_bokeh(part: str, name: str) -> bool:
    """Tell whether Bokeh knows a setting of a part of its figures."""
    if part not in BOKEH:
        return False
    # Takes a second to import: only where something is written that this page does not know.
    import bokeh.models
    from bokeh.plotting import figure

    classes: Iterable[Any] = [getattr(bokeh.models, each) for each in BOKEH[part]] or [figure]
    extra = {
        "tools",
        "x_axis_location",
        "y_axis_location",
        "active_drag",
        "active_scroll",
    }
    return any(name in each.properties() for each in classes) or (part == "figure" and name in extra)
