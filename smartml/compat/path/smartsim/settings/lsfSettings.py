"""The run command and the batch jobs of LSF."""

from smartml import experiment as _ours
from smartsim.error.errors import SMARTSIM
from smartsim.settings.base import BatchSettings, RunSettings

__all__ = ["BsubBatchSettings", "JsrunSettings"]


@SMARTSIM.speaks
class JsrunSettings(_ours.JsrunSettings, RunSettings):
    __doc__ = _ours.JsrunSettings.__doc__


@SMARTSIM.speaks
class BsubBatchSettings(_ours.BsubBatchSettings, BatchSettings):
    __doc__ = _ours.BsubBatchSettings.__doc__
