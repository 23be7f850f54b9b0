"""Train while the simulation runs: tensors from live simulations to Keras and PyTorch through Redis."""

from typing import TYPE_CHECKING

from smartml._version import __version__
from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.experiment import Ensemble, Experiment, Model, Orchestrator
    from smartml.store import Client, Dataset

__all__ = ["Client", "Dataset", "Ensemble", "Experiment", "Model", "Orchestrator", "__version__"]

__getattr__, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.experiment": ("Ensemble", "Experiment", "Model", "Orchestrator"),
        "smartml.store": ("Client", "Dataset"),
    },
)
