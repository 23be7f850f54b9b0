"""Where the samples of a run come from: files, a database that simulations fill, or a server of samples."""

from dataclasses import replace
from typing import Any

from smartml.errors import ConfigError
from smartml.training.config_files import Configuration
from smartml.training.data import Data, FileData
from smartml.training.feed_data import FeedData
from smartml.training.processes import Processes
from smartml.training.server_data import ServerData


def open_data(configuration: Configuration, processes: Processes, state: dict[str, Any] | None) -> Data:
    """Open the source of a run's samples; `state` is that of a run that is resumed."""
    held_out = None if state is None else state["held_out"]
    if configuration.stream is None:
        return FileData(configuration, held_out)
    if processes.number > 1:
        raise ConfigError(f"{configuration.stream}: a stream is read by one process; several train from files alone")
    if configuration.stream.startswith("redis://"):
        return FeedData(configuration, held_out)
    return ServerData(configuration, held_out)


def as_streamed(configuration: Configuration) -> Configuration:
    """Return a configuration as it holds for its source: a server of samples says itself when a run is over."""
    if configuration.stream is None or configuration.stream.startswith("redis://"):
        return configuration
    general = configuration.globals
    basic = general.basic_experiment.model_copy(update={"n_epochs": 1})
    return replace(configuration, globals=general.model_copy(update={"basic_experiment": basic}))
