"""A trained model that answers: in Python, over HTTP, and beside a simulation through the store."""

from typing import TYPE_CHECKING, Any

from smartml.errors import MissingDependencyError as _MissingDependencyError
from smartml.extras import missing as _missing
from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.serving.app import create_app
    from smartml.serving.files import predict_files
    from smartml.serving.limits import BatchLimits, ServerLimits
    from smartml.serving.predictor import Predictor
    from smartml.serving.reload import CheckpointWatch
    from smartml.serving.server import Server
    from smartml.serving.worker import StoreWorker

__all__ = [
    "BatchLimits",
    "CheckpointWatch",
    "Predictor",
    "Server",
    "ServerLimits",
    "StoreWorker",
    "create_app",
    "predict_files",
]

# Some need packages that take long to import, or are not installed with the others.
_find, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.serving.app": ("create_app",),
        "smartml.serving.files": ("predict_files",),
        "smartml.serving.limits": ("BatchLimits", "ServerLimits"),
        "smartml.serving.predictor": ("Predictor",),
        "smartml.serving.reload": ("CheckpointWatch",),
        "smartml.serving.server": ("Server",),
        "smartml.serving.worker": ("StoreWorker",),
    },
)


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("smartml"):
            raise
        # What serving needs itself is named where it is imported; the rest belongs to the models of runs.
        raise _MissingDependencyError(_missing(str(error.name), f"smartml.serving.{name}", "training")) from error
