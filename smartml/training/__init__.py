"""Runs described in YAML: models that learn from files, streams and live simulations, and what they have learned."""

from typing import TYPE_CHECKING, Any

from smartml.errors import MissingDependencyError as _MissingDependencyError
from smartml.extras import missing as _missing
from smartml.lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smartml.training.config_files import Configuration, read_configuration

__all__ = ["Configuration", "read_configuration"]

_find, __dir__ = _lazy_names(
    __name__,
    {
        "smartml.training.config_files": ("Configuration", "read_configuration"),
    },
)


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("smartml"):
            raise
        raise _MissingDependencyError(_missing(str(error.name), f"smartml.training.{name}", "training")) from error
