"""What the job of PBS has that this script runs in."""

from smartml.experiment import allocations
from smartsim.error.errors import SMARTSIM

__all__ = ["get_hosts", "get_queue", "get_tasks", "get_tasks_per_node"]


@SMARTSIM.call
def get_hosts() -> list[str]:
    """Return the hosts of this job."""
    return allocations.get_hosts("pbs")


@SMARTSIM.call
def get_queue() -> str:
    """Return the queue of this job."""
    return allocations.get_queue("pbs")


@SMARTSIM.call
def get_tasks() -> int:
    """Return the number of processes of this job."""
    return allocations.get_tasks("pbs")


@SMARTSIM.call
def get_tasks_per_node() -> dict[str, int]:
    """Return the number of processes of this job on each host."""
    return allocations.get_tasks_per_node("pbs")
