"""Records of a run while it goes on: logged without disturbing it, kept through crashes, read as they grow."""

from typing import TYPE_CHECKING, Any

from smartml.errors import MissingDependencyError as _MissingDependencyError
from smartml.extras import missing as _missing
from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.monitor.access import Access
    from smartml.monitor.client import RecordClient
    from smartml.monitor.logger import DataLogger
    from smartml.monitor.reader import RecordReader
    from smartml.monitor.records import Block, Cursor, Records, Removal, Update
    from smartml.monitor.service import Guard, RecordServer
    from smartml.monitor.sources import open_records

__all__ = [
    "Access",
    "Block",
    "Cursor",
    "DataLogger",
    "Guard",
    "RecordClient",
    "RecordReader",
    "RecordServer",
    "Records",
    "Removal",
    "Update",
    "open_records",
]

# They need numpy and grpc, which take longer to import than all the rest.
_find, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.monitor.access": ("Access",),
        "smartml.monitor.client": ("RecordClient",),
        "smartml.monitor.logger": ("DataLogger",),
        "smartml.monitor.reader": ("RecordReader",),
        "smartml.monitor.records": ("Block", "Cursor", "Records", "Removal", "Update"),
        "smartml.monitor.service": ("Guard", "RecordServer"),
        "smartml.monitor.sources": ("open_records",),
    },
)


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("google", "grpc"):
            raise
        module = {"google": "protobuf", "grpc": "grpcio"}[package]
        raise _MissingDependencyError(_missing(module, "records of a run", "monitor")) from error
