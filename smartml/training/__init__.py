"""Runs described in YAML: models that learn from files, streams and live simulations, and what they have learned."""

from typing import TYPE_CHECKING, Any

from smartml.errors import MissingDependencyError as _MissingDependencyError
from smartml.extras import missing as _missing
from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.training.batches import Batch, Sample
    from smartml.training.config_files import Configuration, read_configuration, resume_configuration
    from smartml.training.loop import Outcome, TrainingProgress, train
    from smartml.training.trained import TrainedModel, load_run

__all__ = [
    "Batch",
    "Configuration",
    "Outcome",
    "Sample",
    "TrainedModel",
    "TrainingProgress",
    "load_run",
    "read_configuration",
    "resume_configuration",
    "train",
]

_find, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.training.batches": ("Batch", "Sample"),
        "smartml.training.config_files": ("Configuration", "read_configuration", "resume_configuration"),
        "smartml.training.loop": ("Outcome", "TrainingProgress", "train"),
        "smartml.training.trained": ("TrainedModel", "load_run"),
    },
)


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("smartml"):
            raise
        raise _MissingDependencyError(_missing(str(error.name), f"smartml.training.{name}", "training")) from error
