"""Optional packages: imported where a feature first needs them, never with `import smartml`."""

from importlib import import_module
from types import ModuleType

from smartml.errors import MissingDependencyError


def require(module: str, feature: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Raises MissingDependencyError naming the feature that needs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(missing(module, feature, extra)) from error


def missing(module: str, feature: str, extra: str) -> str:
    """Word the one sentence that a user reads when an optional package is absent."""
    return f'{feature} needs the package {module!r}: pip install "smartml[{extra}]"'
