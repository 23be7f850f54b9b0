"""SmartRedis's names for smartml."""

from smartredis.client import Client
from smartredis.configoptions import ConfigOptions
from smartredis.dataset import Dataset
from smartredis.dataset_utils import DatasetConverter
from smartredis.levels import LLDebug, LLDeveloper, LLInfo, LLQuiet
from smartredis.logcontext import LogContext
from smartredis.logger import log_data, log_error, log_warning
from smartredis.srobject import SRObject

__all__ = [
    "Client",
    "ConfigOptions",
    "Dataset",
    "DatasetConverter",
    "LLDebug",
    "LLDeveloper",
    "LLInfo",
    "LLQuiet",
    "LogContext",
    "SRObject",
    "log_data",
    "log_error",
    "log_warning",
]

# The release of SmartRedis whose names these are.
__version__ = "0.6.1"
