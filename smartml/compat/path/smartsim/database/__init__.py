"""The database of an experiment."""

from smartsim.database.orchestrator import Orchestrator

__all__ = ["Orchestrator"]
