"""The run command and the batch jobs of Slurm."""

from smartml import experiment as _ours
from smartsim.error.errors import SMARTSIM
from smartsim.settings.base import BatchSettings, RunSettings

__all__ = ["SbatchSettings", "SrunSettings"]


@SMARTSIM.speaks
class SrunSettings(_ours.SrunSettings, RunSettings):
    __doc__ = _ours.SrunSettings.__doc__


@SMARTSIM.speaks
class SbatchSettings(_ours.SbatchSettings, BatchSettings):
    __doc__ = _ours.SbatchSettings.__doc__
