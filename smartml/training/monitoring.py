"""Metrics of a run for live pages, beside the files of the run."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, TypeAlias

from smartml.training.config import Monitor

# Takes a name and the values of its fields.
Log: TypeAlias = Callable[[str, Mapping[str, float]], None]

# Where an experiment that is monitored tells its programs of its server of records.
_ADDRESS_VARIABLE = "SMARTML_MONITOR"


def log_nothing(name: str, values: Mapping[str, float]) -> None:
    """Log nothing."""


@contextlib.contextmanager
def monitored(settings: Monitor, run: str) -> Iterator[Log]:
    """Give a function that logs to the server of records that the configuration or the environment names, if any."""
    if settings.uri is None and not os.environ.get(_ADDRESS_VARIABLE):
        yield log_nothing
        return
    monitor: Any = import_module("smartml.monitor")
    # A run that is resumed goes on in its scope.
    scope = settings.scope or (run if settings.uri else None)
    with monitor.DataLogger(scope, delete_existing=False, grpc_uri=settings.uri) as logger:

        def log(name: str, values: Mapping[str, float]) -> None:
            # Fields are named in addresses of pages.
            logger.write(name, **{key.replace("-", "_"): value for key, value in values.items()})

        yield log
