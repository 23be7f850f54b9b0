"""Models in ONNX, run by ONNX Runtime."""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.inference.backends import RunModel, device_index
from smartml.inference.calls import Array
from smartml.inference.values import StoredModel


def load(stored: StoredModel) -> RunModel:
    """Load a model from its bytes."""
    options = onnxruntime.SessionOptions()
    # Its warnings are about models, which their authors have seen; errors are raised.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(bytes(stored.content), options, providers=_providers(stored.device))
    names = [it.name for it in session.get_inputs()]

    def run(inputs: Sequence[Array]) -> Sequence[Array]:
        if len(inputs) != len(names):
            raise ArgumentValueError(f"the model has {len(names)} inputs ({', '.join(names)}), got {len(inputs)}")
        try:
            answer = session.run(None, dict(zip(names, inputs, strict=True)))
        except Exception as error:
            # Of several lines, the last of which says that something is to be done.
            raise ArgumentValueError(" ".join(str(error).split())) from error
        for part in answer:
            if not isinstance(part, np.ndarray):
                raise ArgumentTypeError(f"a model must answer with tensors, not with {type(part).__name__}")
        return list(answer)

    return run


def _providers(device: str) -> list[object]:
    index = device_index(device)
    if index is None:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ArgumentValueError(f"device {device}: the inference worker's onnxruntime cannot use GPUs")
    return [("CUDAExecutionProvider", {"device_id": index})]
