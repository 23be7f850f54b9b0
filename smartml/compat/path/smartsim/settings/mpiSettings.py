"""The run commands of MPI."""

from smartml import experiment as _ours
from smartsim.error.errors import SMARTSIM
from smartsim.settings.base import RunSettings

__all__ = ["MpiexecSettings", "MpirunSettings", "OrterunSettings"]


@SMARTSIM.speaks
class MpiexecSettings(_ours.MpiexecSettings, RunSettings):
    __doc__ = _ours.MpiexecSettings.__doc__


@SMARTSIM.speaks
class MpirunSettings(_ours.MpirunSettings, RunSettings):
    __doc__ = _ours.MpirunSettings.__doc__


@SMARTSIM.speaks
class OrterunSettings(_ours.OrterunSettings, RunSettings):
    __doc__ = _ours.OrterunSettings.__doc__
