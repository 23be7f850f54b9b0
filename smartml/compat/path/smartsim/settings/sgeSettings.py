"""The batch jobs of Grid Engine."""

from smartml import experiment as _ours
from smartml.errors import ArgumentValueError, UnsupportedError
from smartsim.error.errors import SMARTSIM, LauncherUnsupportedFeature, SSConfigError
from smartsim.settings.base import BatchSettings

__all__ = ["SgeQsubBatchSettings"]

_GRID_ENGINE = SMARTSIM.with_rows(
    {ArgumentValueError: (SSConfigError,), UnsupportedError: (LauncherUnsupportedFeature,)}
)


@_GRID_ENGINE.speaks
class SgeQsubBatchSettings(_ours.SgeQsubBatchSettings, BatchSettings):
    __doc__ = _ours.SgeQsubBatchSettings.__doc__
