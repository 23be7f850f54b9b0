"""What to run: databases, models and ensembles, started, watched and stopped by an Experiment."""

from smartml.experiment.orchestrator import Orchestrator

__all__ = ["Orchestrator"]
