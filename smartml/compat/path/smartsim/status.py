"""The states of entities: an enumeration, as from 0.7 on, whose members are the strings of the releases before."""

from smartml.experiment import Status as SmartSimStatus

__all__ = [
    "STATUS_CANCELLED",
    "STATUS_COMPLETED",
    "STATUS_FAILED",
    "STATUS_NEVER_STARTED",
    "STATUS_NEW",
    "STATUS_PAUSED",
    "STATUS_QUEUED",
    "STATUS_RUNNING",
    "TERMINAL_STATUSES",
    "SmartSimStatus",
]

STATUS_NEVER_STARTED = SmartSimStatus.STATUS_NEVER_STARTED
STATUS_NEW = SmartSimStatus.STATUS_NEW
STATUS_QUEUED = SmartSimStatus.STATUS_QUEUED
STATUS_RUNNING = SmartSimStatus.STATUS_RUNNING
STATUS_PAUSED = SmartSimStatus.STATUS_PAUSED
STATUS_COMPLETED = SmartSimStatus.STATUS_COMPLETED
STATUS_FAILED = SmartSimStatus.STATUS_FAILED
STATUS_CANCELLED = SmartSimStatus.STATUS_CANCELLED

TERMINAL_STATUSES = {status for status in SmartSimStatus if status.is_terminal}
