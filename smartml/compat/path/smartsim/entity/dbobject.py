"""Models and scripts that a database holds."""

__all__ = ["DBModel", "DBObject", "DBScript"]


class DBObject:
    """What is put into a database before programs start."""


class DBModel(DBObject):
    """A model that a database holds."""


class DBScript(DBObject):
    """A script that a database holds."""
