"""The states of a job, with SmartSim's names and texts.

    NeverStarted ──start──► New ──────► Running ⇄ Paused
                            │ ▲            │  exit code 0      ──► Completed
                            │ └─ restart ──┤  any other ending ──► Failed
                            │              └─ stop             ──► Cancelled
                            └─ stop, or what it waits for can never come ──► Cancelled

Queued belongs to batch schedulers. A started job may be started again once it has ended.
"""

import enum
from collections.abc import Iterable


class Status(str, enum.Enum):
    """What became of an entity; also a string, so that `status == "Completed"` holds."""

    STATUS_NEVER_STARTED = "NeverStarted"
    STATUS_NEW = "New"
    STATUS_QUEUED = "Queued"
    STATUS_RUNNING = "Running"
    STATUS_PAUSED = "Paused"
    STATUS_COMPLETED = "Completed"
    STATUS_FAILED = "Failed"
    STATUS_CANCELLED = "Cancelled"

    @property
    def is_terminal(self) -> bool:
        """True when the job has ended."""
        return self in (Status.STATUS_COMPLETED, Status.STATUS_FAILED, Status.STATUS_CANCELLED)

    def __str__(self) -> str:
        return self.value


def combined(states: Iterable[Status]) -> Status:
    """Return the state of what consists of several jobs: failed as soon as one has ended while others go on."""
    found = set(states)
    if not found:
        return Status.STATUS_NEVER_STARTED
    if Status.STATUS_COMPLETED in found and not all(state.is_terminal for state in found):
        return Status.STATUS_FAILED
    # The first that any of the jobs is in.
    order = (Status.STATUS_FAILED, Status.STATUS_PAUSED, Status.STATUS_RUNNING, Status.STATUS_CANCELLED)
    return next((state for state in order if state in found), Status.STATUS_COMPLETED)
