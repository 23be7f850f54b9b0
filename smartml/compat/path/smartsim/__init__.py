"""SmartSim's names for smartml."""

from smartsim.experiment import Experiment

__all__ = ["Experiment"]

# The release of SmartSim whose names these are.
__version__ = "0.8.0"
