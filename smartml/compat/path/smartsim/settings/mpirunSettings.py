"""The run commands of MPI, as this file was called before 0.4."""

from smartsim.settings.mpiSettings import MpiexecSettings, MpirunSettings, OrterunSettings

__all__ = ["MpiexecSettings", "MpirunSettings", "OrterunSettings"]
