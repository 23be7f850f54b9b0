"""Training sets for Keras, and models of TensorFlow as bytes."""

from smartsim.ml.tf.data import DynamicDataGenerator, StaticDataGenerator
from smartsim.ml.tf.utils import freeze_model, serialize_model

__all__ = ["DynamicDataGenerator", "StaticDataGenerator", "freeze_model", "serialize_model"]
