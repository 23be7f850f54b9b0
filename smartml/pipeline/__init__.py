"""Lazily chained iterables: sources, steps, passes that can be resumed at any item, and stores of samples."""

from typing import TYPE_CHECKING

from smartml.lazy import lazy_names as _lazy_names
from smartml.pipeline.mixing import IterableSamplerSource, Multiplexer, MultiplexingStrategy, Schedule
from smartml.pipeline.policies import ErrorPolicy, Raise, Retry, Skip
from smartml.pipeline.sources import FilePathGenerator, IterableSource
from smartml.pipeline.stores import AbstractStore, MemoryStore
from smartml.pipeline.stream import Composable, Pass

if TYPE_CHECKING:
    # It lives with the feeds, which know how to find what is new.
    from smartml.feeds.live import RedisSource
    from smartml.pipeline.file_stores import FilesystemStore, SquirrelStore
    from smartml.pipeline.metrics import MetricsConf
    from smartml.pipeline.redis_store import RedisStore
    from smartml.pipeline.serializers import JsonSerializer, MessagepackSerializer, SquirrelSerializer
    from smartml.pipeline.splits import skip_k
    from smartml.pipeline.torch import SplitByRank, SplitByWorker, TorchIterable

__all__ = [
    "AbstractStore",
    "Composable",
    "ErrorPolicy",
    "FilePathGenerator",
    "FilesystemStore",
    "IterableSamplerSource",
    "IterableSource",
    "JsonSerializer",
    "MemoryStore",
    "MessagepackSerializer",
    "MetricsConf",
    "Multiplexer",
    "MultiplexingStrategy",
    "Pass",
    "Raise",
    "RedisSource",
    "RedisStore",
    "Retry",
    "Schedule",
    "Skip",
    "SplitByRank",
    "SplitByWorker",
    "SquirrelSerializer",
    "SquirrelStore",
    "TorchIterable",
    "skip_k",
]

# These need numpy, torch or a database, which take longer to import than all the rest.
__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.feeds.live": ("RedisSource",),
        "smartml.pipeline.file_stores": ("FilesystemStore", "SquirrelStore"),
        "smartml.pipeline.metrics": ("MetricsConf",),
        "smartml.pipeline.redis_store": ("RedisStore",),
        "smartml.pipeline.serializers": ("JsonSerializer", "MessagepackSerializer", "SquirrelSerializer"),
        "smartml.pipeline.splits": ("skip_k",),
        "smartml.pipeline.torch": ("SplitByRank", "SplitByWorker", "TorchIterable"),
    },
)
