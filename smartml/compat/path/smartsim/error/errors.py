"""The tree of errors of SmartSim 0.8, and which of them an error of smartml is.

Exception
├── SmartSimError
│   ├── EntityExistsError, UserStrategyError, ParameterWriterError, SSReservedKeywordError
│   └── SSDBIDConflictError, SSDBFilesNotParseable, SmartSimCLIActionCancelled
├── SSUnsupportedError
│   └── PreviewFormatError
└── SSInternalError
    ├── SSConfigError
    ├── LauncherError: LauncherUnsupportedFeature, AllocationError, ShellError
    └── TelemetryError: UnproxyableStepError
"""

from smartml import errors as ours
from smartml.compat.translation import Translation


class SmartSimError(Exception):
    """Something of an experiment cannot be done as asked."""


class EntityExistsError(SmartSimError):
    """There is one of that name already."""


class UserStrategyError(SmartSimError):
    """A strategy of the user's made no members."""


class ParameterWriterError(SmartSimError):
    """Parameters cannot be written into a file."""


class SSReservedKeywordError(SmartSimError):
    """An option that SmartSim sets itself was given."""


class SSDBIDConflictError(SmartSimError):
    """Two databases have one identifier."""


class SSDBFilesNotParseable(SmartSimError):
    """The files that tell where a database is cannot be read."""


class SmartSimCLIActionCancelled(SmartSimError):
    """The user did not want it after all."""


class SSUnsupportedError(Exception):
    """This cannot be done, or not together."""


class PreviewFormatError(SSUnsupportedError):
    """A preview has no such format."""


class SSInternalError(Exception):
    """Something went wrong within."""


class SSConfigError(SSInternalError):
    """Settings contradict each other, or something is not installed."""


class LauncherError(SSInternalError):
    """A launcher or batch system does not do what it should."""


class LauncherUnsupportedFeature(LauncherError):
    """A launcher or batch system cannot do this."""


class AllocationError(LauncherError):
    """There is no allocation."""


class ShellError(LauncherError):
    """A command failed."""


class TelemetryError(SSInternalError):
    """The run cannot be observed."""


class UnproxyableStepError(TelemetryError):
    """A program cannot be observed."""


# Where SmartSim raised an error of Python's own, so does smartml; `except SmartSimError` catches those, too, since some
# calls raised that in their place.
SMARTSIM = Translation(
    {
        ours.SmartMLError: (SmartSimError,),
        ours.UnsupportedError: (SSUnsupportedError,),
        ours.AlreadyStartedError: (SSUnsupportedError,),
        # Of a name that is taken: each of these by another call.
        ours.DuplicateNameError: (EntityExistsError, SSDBIDConflictError, SSUnsupportedError),
        # A KeyError, too: by one call this was that, by another a ValueError.
        ours.NotStartedError: (SmartSimError, ValueError),
        ours.StrategyError: (UserStrategyError,),
        ours.PlacementError: (ParameterWriterError,),
        ours.LaunchError: (LauncherError, SmartSimError),
        ours.AllocationError: (AllocationError, SmartSimError),
        ours.SchedulerError: (LauncherError, SmartSimError),
        ours.TensorModuleError: (SSConfigError, SmartSimError),
        ours.FeedTimeoutError: (SSInternalError, SmartSimError),
    }
)
