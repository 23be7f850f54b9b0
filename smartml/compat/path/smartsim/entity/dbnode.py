"""A server of a database."""

from smartml.experiment.node import Node as DBNode

__all__ = ["DBNode"]
