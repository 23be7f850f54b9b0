"""Models of TensorFlow as bytes, as before `smartsim.ml.tf`."""

from smartsim.ml.tf.utils import freeze_model, serialize_model

__all__ = ["freeze_model", "serialize_model"]
