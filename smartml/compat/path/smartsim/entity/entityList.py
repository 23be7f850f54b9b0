"""What entities are that consist of several."""

__all__ = ["EntityList", "EntitySequence"]


class EntitySequence:
    """Several entities that are started as one."""


class EntityList(EntitySequence):
    """Several entities that are started as one."""
