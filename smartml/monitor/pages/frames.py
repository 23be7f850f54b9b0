"""What a page server sends: a picture as bytes.

| where | bytes | what |
|---|---|---|
| from 0 | 4 | length of the header, unsigned, little endian; a multiple of 4 |
| then | so many | the header: JSON in UTF-8, filled up with spaces |
| then | the rest | float32, little endian: x and y of each trace less its origin, or the cells of each field |

Coordinates are differences to an origin that lies in view, so that four bytes tell neighbours apart at any zoom, also
where x is the time of day.
"""

import json
import math
import struct
from typing import Any

import numpy as np

from smartml.monitor.pages.drawing import Picture, Span
from smartml.monitor.pages.reduction import Values


def encode(picture: Picture, plot: int, serial: int) -> bytes:
    """Return the bytes of a picture of the plot with this number; the page says the serial when it has drawn it."""
    header: dict[str, Any] = {
        "plot": plot,
        "serial": serial,
        "x": picture.x,
        "y": picture.y,
        "total": picture.total,
        "shown": picture.shown,
        "left_out": picture.left_out,
        "warnings": picture.warnings,
        "slider": picture.slider and vars(picture.slider) | {"value": _written(picture.slider.value)},
    }
    body: list[Values] = []
    if picture.fields:
        header |= {"limits": picture.limits, "shades": picture.shades, "fields": []}
        for field in picture.fields:
            rows, columns = field.values.shape
            told = {"label": field.label, "rows": rows, "columns": columns, "x": field.x, "y": field.y}
            header["fields"].append(told)
            body.append(field.values)
    else:
        origin = _origin(picture.x), _origin(picture.y)
        header |= {"origin": origin, "traces": []}
        for trace in picture.traces:
            header["traces"].append({"label": trace.label, "color": trace.color, "count": len(trace.x)})
            body += [_relative(trace.x, origin[0]), _relative(trace.y, origin[1])]
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([struct.pack("<I", len(text)), text, *(part.astype("<f4").tobytes() for part in body)])


def _written(value: float) -> float | str:
    """Return a value that JSON has: infinity it has not."""
    return value if math.isfinite(value) else str(value)


def _origin(span: Span) -> float:
    return float(span[0])


def _relative(values: Values, origin: float) -> Any:
    with np.errstate(over="ignore"):
        return (values.astype(np.float64) - origin).astype(np.float32)
