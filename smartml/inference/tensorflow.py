"""Models of TensorFlow: frozen graphs, as SmartSim's `freeze_model` and `serialize_model` make them."""

from collections.abc import Sequence

import tensorflow as tf

from smartml.errors import ArgumentTypeError
from smartml.inference.backends import RunModel, device_index
from smartml.inference.calls import Array
from smartml.inference.values import StoredModel


def load(stored: StoredModel) -> RunModel:
    """Load the definition of a graph, whose inputs and outputs the stored model names."""
    definition = tf.compat.v1.GraphDef.FromString(bytes(stored.content))
    index = device_index(stored.device)
    place = "/CPU:0" if index is None else f"/GPU:{index}"

    def build() -> None:
        with tf.device(place):
            tf.import_graph_def(definition, name="")

    whole = tf.compat.v1.wrap_function(build, [])
    inputs, outputs = (
        [whole.graph.get_tensor_by_name(_tensor_name(name)) for name in names]
        for names in (stored.inputs, stored.outputs)
    )
    function = whole.prune(inputs, outputs)

    def run(arrays: Sequence[Array]) -> Sequence[Array]:
        answer = function(*map(tf.constant, arrays))
        return [_array(part) for part in answer]

    return run


def _tensor_name(name: str) -> str:
    # The name of an operation stands for its first output.
    return name if ":" in name else f"{name}:0"


def _array(part: tf.Tensor) -> Array:
    if part.dtype == tf.string:
        raise ArgumentTypeError("a model must answer with tensors of numbers, not of text")
    array: Array = part.numpy()
    return array
