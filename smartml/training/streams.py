"""Samples that arrive while a model learns from them."""

from typing import Any

from smartml.errors import ConfigError
from smartml.training.config_files import Configuration
from smartml.training.data import Data, FileData
from smartml.training.processes import Processes


def open_data(configuration: Configuration, processes: Processes, state: dict[str, Any] | None) -> Data:
    """Open the source of a run's samples; `state` is that of a run that is resumed."""
    held_out = None if state is None else state["held_out"]
    if configuration.stream is None:
        return FileData(configuration, held_out)
    raise ConfigError(f"{configuration.stream}: streams are not there yet")
