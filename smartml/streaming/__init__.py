"""Samples over WebSocket, in EIR's streaming protocol: served from any stream, received as one."""

from typing import TYPE_CHECKING

from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.streaming.access import Access
    from smartml.streaming.client import ClientOptions, StreamingClient
    from smartml.streaming.protocol import Feature, Info
    from smartml.streaming.samples import Sample
    from smartml.streaming.server import Limits, StreamingServer, serve
    from smartml.streaming.session import HeartbeatRule, Patience
    from smartml.streaming.websocket_source import SetUp, WebSocketSource
    from smartml.streaming.window import Extent

__all__ = [
    "Access",
    "ClientOptions",
    "Extent",
    "Feature",
    "HeartbeatRule",
    "Info",
    "Limits",
    "Patience",
    "Sample",
    "SetUp",
    "StreamingClient",
    "StreamingServer",
    "WebSocketSource",
    "serve",
]

# Most of these need websockets and numpy.
__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.streaming.access": ("Access",),
        "smartml.streaming.client": ("ClientOptions", "StreamingClient"),
        "smartml.streaming.protocol": ("Feature", "Info"),
        "smartml.streaming.samples": ("Sample",),
        "smartml.streaming.server": ("Limits", "StreamingServer", "serve"),
        "smartml.streaming.session": ("HeartbeatRule", "Patience"),
        "smartml.streaming.websocket_source": ("SetUp", "WebSocketSource"),
        "smartml.streaming.window": ("Extent",),
    },
)
