"""Models and scripts of PyTorch: TorchScript, which runs nothing but its own operators."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.inference.backends import RunModel, RunScript, device_index
from smartml.inference.calls import Array, Call, CallKind
from smartml.inference.values import StoredModel


def load(stored: StoredModel) -> RunModel:
    """Load what `torch.jit.save` has written."""
    device = _device(stored.device)
    try:
        model = torch.jit.load(io.BytesIO(stored.content), map_location=device).eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ArgumentValueError(
            "these bytes are no TorchScript model, as torch.jit.save writes it (what torch.save and torch.export.save "
            f"write is not loaded, since that can run any code): {str(error).strip().splitlines()[0]}"
        ) from error

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        with torch.inference_mode():
            return _arrays(model(*(_tensor(array, device) for array in inputs)))

    return run


def load_script(stored: StoredModel) -> RunScript:
    """Compile the source of functions."""
    device = _device(stored.device)
    unit = torch.jit.CompilationUnit(bytes(stored.content).decode())

    def run(call: Call) -> Sequence[Array]:
        function = unit.find_function(call.function)
        if function is None or (call.kind is CallKind.ENTRY_POINT and not _is_entry_point(call.function, stored)):
            raise ArgumentValueError(f"Function {call.function} does not exist in the given script.")
        inputs = [_tensor(array, device) for array in call.inputs]
        with torch.inference_mode():
            if call.kind is CallKind.ENTRY_POINT:
                return _arrays(function(inputs, list(call.keys), list(call.arguments)))
            return _arrays(function(*inputs))

    return run


def _is_entry_point(name: str, stored: StoredModel) -> bool:
    # A script that was stored without any, by AI.SCRIPTSET, leaves all open.
    return not stored.inputs or name in stored.inputs


def _device(name: str) -> torch.device:
    index = device_index(name)
    if index is None:
        return torch.device("cpu")
    if index >= torch.cuda.device_count():
        raise ArgumentValueError(
            f"device {name} is not there: the inference worker's torch sees {torch.cuda.device_count()} GPUs"
        )
    return torch.device("cuda", index)


def _tensor(array: Array, device: torch.device) -> torch.Tensor:
    # A model may write into what it gets. What was received by itself is nobody else's.
    try:
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
        return tensor if device.type == "cpu" else tensor.to(device)
    except TypeError as error:
        raise ArgumentTypeError(f"torch takes no tensor of {array.dtype.name}") from error


def _arrays(answer: Any) -> list[Array]:
    """Return the tensors that a model answers with."""
    if isinstance(answer, torch.Tensor):
        return [_array(answer)]
    if isinstance(answer, list | tuple) and all(isinstance(part, torch.Tensor) for part in answer):
        return [_array(part) for part in answer]
    raise ArgumentTypeError(f"a model or function must answer with tensors, not with {type(answer).__name__}")


def _array(tensor: torch.Tensor) -> Array:
    here = tensor.detach().cpu().contiguous()
    if here.dtype is torch.bfloat16:
        # numpy knows no bfloat16, and neither do programs of SmartRedis: float32 holds all of it.
        here = here.float()
    array: Array = np.asarray(here.numpy())
    return array
