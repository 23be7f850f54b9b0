"""What to run: databases, models and ensembles, started, watched and stopped by an Experiment."""

from smartml.experiment.ensemble import Ensemble
from smartml.experiment.experiment import Experiment
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.schedulers.local import RunSettings
from smartml.experiment.states import Status

__all__ = ["Ensemble", "Experiment", "Model", "Orchestrator", "RunSettings", "Status"]
