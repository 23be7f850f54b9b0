"""Lazily chained iterables: sources, steps, and passes that can be resumed at any item."""

from smartml.pipeline.mixing import IterableSamplerSource, Multiplexer, MultiplexingStrategy, Schedule
from smartml.pipeline.policies import ErrorPolicy, Raise, Retry, Skip
from smartml.pipeline.sources import FilePathGenerator, IterableSource
from smartml.pipeline.stream import Composable, Pass

__all__ = [
    "Composable",
    "ErrorPolicy",
    "FilePathGenerator",
    "IterableSamplerSource",
    "IterableSource",
    "Multiplexer",
    "MultiplexingStrategy",
    "Pass",
    "Raise",
    "Retry",
    "Schedule",
    "Skip",
]
