"""The files that a program finds in its folder."""

from smartml.experiment.files import AttachedFiles as TaggedFilesHierarchy

__all__ = ["TaggedFilesHierarchy"]
