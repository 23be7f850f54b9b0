"""Containers that programs run in."""

from smartml.experiment import Container, Singularity

__all__ = ["Container", "Singularity"]
