"""Models of TensorFlow as one graph with their weights in it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from smartml.errors import UnsupportedError
from smartsim.error.errors import SMARTSIM

__all__ = ["freeze_model", "serialize_model"]


@SMARTSIM.call
def freeze_model(model: Any, output_dir: str | os.PathLike[str], file_name: str) -> tuple[str, list[str], list[str]]:
    """Write a Keras model as a frozen graph; return the file, and the names of its inputs and outputs.

    A file name without an ending gets `.pb`. Needs TensorFlow as the backend of Keras.
    """
    graph, inputs, outputs = _frozen(model)
    name = file_name if Path(file_name).suffix else f"{file_name}.pb"
    tf.io.write_graph(graph, os.fspath(output_dir), name, as_text=False)
    return str(Path(output_dir, name)), inputs, outputs


@SMARTSIM.call
def serialize_model(model: Any) -> tuple[bytes, list[str], list[str]]:
    """Return a Keras model as the bytes of a frozen graph, and the names of its inputs and outputs."""
    graph, inputs, outputs = _frozen(model)
    return graph.as_graph_def().SerializeToString(), inputs, outputs


def _frozen(model: Any) -> tuple[Any, list[str], list[str]]:
    backend = keras.backend.backend() if isinstance(model, keras.Model) else "tensorflow"
    if backend != "tensorflow":
        raise UnsupportedError(
            f"the model runs on {backend}, a graph of TensorFlow is made of KERAS_BACKEND=tensorflow"
        )
    shapes = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    called = tf.function(lambda *inputs: model(inputs[0] if len(inputs) == 1 else list(inputs)))
    frozen = convert_variables_to_constants_v2(called.get_concrete_function(*shapes))
    return frozen.graph, _names(frozen.inputs), _names(frozen.outputs)


def _names(tensors: Iterable[Any]) -> list[str]:
    # The operation that makes a tensor; behind the colon is which of its results that is.
    return [tensor.name.partition(":")[0] for tensor in tensors]
