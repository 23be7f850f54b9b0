"""The run command of PALS."""

from smartml import experiment as _ours
from smartsim.error.errors import SMARTSIM
from smartsim.settings.base import RunSettings

__all__ = ["PalsMpiexecSettings"]


@SMARTSIM.speaks
class PalsMpiexecSettings(_ours.PalsMpiexecSettings, RunSettings):
    __doc__ = _ours.PalsMpiexecSettings.__doc__
