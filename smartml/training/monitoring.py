"""Metrics of a run for live pages, beside the files of the run."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import smartml.monitor as records
from smartml.monitor.access import ADDRESS_VARIABLE
from smartml.training.config import Monitor

# Takes a name and the values of its fields.
Log: TypeAlias = Callable[[str, Mapping[str, float]], None]


def log_nothing(name: str, values: Mapping[str, float]) -> None:
    """Log nothing."""


@contextlib.contextmanager
def monitored(settings: Monitor, run: str) -> Iterator[Log]:
    """Give a function that logs to the server of records that the configuration or the environment names, if any."""
    if settings.uri is None and not os.environ.get(ADDRESS_VARIABLE):
        yield log_nothing
        return
    # A run that is resumed goes on in its scope.
    scope = settings.scope or (run if settings.uri else None)
    with records.DataLogger(scope, delete_existing=False, grpc_uri=settings.uri) as logger:

        def log(name: str, values: Mapping[str, float]) -> None:
            # Fields are named in addresses of pages.
            fields: dict[str, Any] = {key.replace("-", "_"): value for key, value in values.items()}
            logger.write(name, **fields)

        yield log
