"""Live pages of a run's records: a schema says how points are drawn, the address of a page which plots are where on it.

Plots are drawn by our own script on uPlot's axes, whatever their kind: lines, scatters and fields come the same way, as
the few points per column of pixels that can be seen. Bokeh gives the names of colours and settings.
"""

from typing import TYPE_CHECKING

from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.monitor.pages.layout import Axes, Box, Layout, Place, parse_layout
    from smartml.monitor.pages.schema import PlotSchema, SchemaFile, load_schema
    from smartml.monitor.pages.server import FixedSchema, PageServer, read_address, serve_pages
    from smartml.monitor.pages.watch import WATCH_PAGE, find_records, watch_schema

__all__ = [
    "WATCH_PAGE",
    "Axes",
    "Box",
    "FixedSchema",
    "Layout",
    "PageServer",
    "Place",
    "PlotSchema",
    "SchemaFile",
    "find_records",
    "load_schema",
    "parse_layout",
    "read_address",
    "serve_pages",
    "watch_schema",
]

# The server needs Tornado, schemas PyYAML.
__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.monitor.pages.layout": ("Axes", "Box", "Layout", "Place", "parse_layout"),
        "smartml.monitor.pages.schema": ("PlotSchema", "SchemaFile", "load_schema"),
        "smartml.monitor.pages.server": ("FixedSchema", "PageServer", "read_address", "serve_pages"),
        "smartml.monitor.pages.watch": ("WATCH_PAGE", "find_records", "watch_schema"),
    },
)
