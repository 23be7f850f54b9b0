"""Samples over WebSocket, in EIR's streaming protocol: served from any stream, received as one."""

from typing import TYPE_CHECKING

from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.streaming.protocol import Feature, Info
    from smartml.streaming.samples import Sample

__all__ = ["Feature", "Info", "Sample"]

__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.streaming.protocol": ("Feature", "Info"),
        "smartml.streaming.samples": ("Sample",),
    },
)
