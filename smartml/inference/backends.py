"""The frameworks that models and scripts are run by, each imported when it is first needed."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol, TypeAlias

from smartml.errors import ArgumentValueError, MissingDependencyError
from smartml.extras import missing
from smartml.inference.calls import Array, Call
from smartml.inference.values import StoredModel

# Runs a model on its inputs.
RunModel: TypeAlias = Callable[[Sequence[Array]], Sequence[Array]]
# Runs a function of a script as a call asks for it.
RunScript: TypeAlias = Callable[[Call], Sequence[Array]]


class Backend(Protocol):
    """What a framework's file offers."""

    def load(self, stored: StoredModel) -> RunModel:
        """Load a model to its device."""


# Backend of a model -> module, the package that it needs, and what brings that.
_BACKENDS = {
    "TORCH": ("smartml.inference.torch", "torch", "torch"),
    "ONNX": ("smartml.inference.onnx", "onnxruntime", "onnx"),
    "TF": ("smartml.inference.tensorflow", "tensorflow", "tensorflow"),
}


def load_model(stored: StoredModel) -> RunModel:
    """Load a model by its framework. Raises MissingDependencyError, and whatever the framework does."""
    load: Callable[[StoredModel], RunModel] = _backend(stored.backend, f"a {stored.backend} model").load
    return load(stored)


def load_script(stored: StoredModel) -> RunScript:
    """Compile a script. Raises MissingDependencyError, and whatever TorchScript's compiler does."""
    load: Callable[[StoredModel], RunScript] = _backend("TORCH", "a script").load_script
    return load(stored)


def device_index(device: str) -> int | None:
    """Return the number of the GPU that a device names, 0 where it names none; None for the CPU."""
    name, _, number = device.partition(":")
    return None if name == "CPU" else int(number or 0)


def _backend(name: str, feature: str) -> Any:
    if name not in _BACKENDS:
        raise ArgumentValueError(f"backend {name!r} is unknown; there are {', '.join(_BACKENDS)}")
    module, package, extra = _BACKENDS[name]
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingDependencyError(missing(package, feature, extra)) from error
