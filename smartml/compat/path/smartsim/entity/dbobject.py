"""Models and scripts that a database holds."""

from smartml.experiment.db_objects import DBModel, DBObject, DBScript

__all__ = ["DBModel", "DBObject", "DBScript"]
