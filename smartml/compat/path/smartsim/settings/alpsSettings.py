"""The run command of ALPS."""

from smartml import experiment as _ours
from smartsim.error.errors import SMARTSIM
from smartsim.settings.base import RunSettings

__all__ = ["AprunSettings"]


@SMARTSIM.speaks
class AprunSettings(_ours.AprunSettings, RunSettings):
    __doc__ = _ours.AprunSettings.__doc__
