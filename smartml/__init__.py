"""Train while the simulation runs: tensors from live simulations to Keras and PyTorch through Redis."""

from smartml._version import __version__
from smartml.experiment import Ensemble, Experiment, Model, Orchestrator
from smartml.store import Client, Dataset

__all__ = ["Client", "Dataset", "Ensemble", "Experiment", "Model", "Orchestrator", "__version__"]
