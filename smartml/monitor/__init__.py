"""Records of a run while it goes on: logged without disturbing it, kept through crashes, read as they grow."""

from typing import TYPE_CHECKING

from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.monitor.records import Block, Cursor, Records, Removal, Update

__all__ = ["Block", "Cursor", "Records", "Removal", "Update"]

# They need numpy and grpc, which take longer to import than all the rest.
__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.monitor.records": ("Block", "Cursor", "Records", "Removal", "Update"),
    },
)
