"""The batch jobs of PBS."""

from smartml import experiment as _ours
from smartml.errors import ArgumentValueError
from smartsim.error.errors import SMARTSIM, SSConfigError
from smartsim.settings.base import BatchSettings

__all__ = ["QsubBatchSettings"]

# Of options that do not go together, an error of the configuration.
_PBS = SMARTSIM.with_rows({ArgumentValueError: (SSConfigError,)})


@_PBS.speaks
class QsubBatchSettings(_ours.QsubBatchSettings, BatchSettings):
    __doc__ = _ours.QsubBatchSettings.__doc__
