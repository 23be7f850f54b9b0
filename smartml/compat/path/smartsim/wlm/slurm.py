"""Allocations of Slurm, and what the one of this script has."""

from collections.abc import Mapping

from smartml.errors import ArgumentValueError, ProgramNotFoundError
from smartml.experiment import allocations
from smartml.experiment.schedulers.options import OptionValue
from smartsim.error.errors import SMARTSIM, AllocationError, LauncherError, SSReservedKeywordError

__all__ = [
    "get_allocation",
    "get_default_partition",
    "get_hosts",
    "get_queue",
    "get_tasks",
    "get_tasks_per_node",
    "release_allocation",
    "validate",
]

_SLURM = SMARTSIM.with_rows(
    {ArgumentValueError: (SSReservedKeywordError, AllocationError), ProgramNotFoundError: (LauncherError,)}
)


@_SLURM.call
def get_allocation(
    nodes: int = 1,
    time: str | None = None,
    account: str | None = None,
    options: Mapping[str, OptionValue] | None = None,
) -> str:
    """Ask for nodes, and return the id of the allocation."""
    return allocations.get_allocation(nodes, time, account, options)


release_allocation = _SLURM.call(allocations.release_allocation)
validate = _SLURM.call(allocations.validate)
get_default_partition = _SLURM.call(allocations.get_default_partition)


@_SLURM.call
def get_hosts() -> list[str]:
    """Return the hosts of this job."""
    return allocations.get_hosts("slurm")


@_SLURM.call
def get_queue() -> str:
    """Return the partition of this job."""
    return allocations.get_queue("slurm")


@_SLURM.call
def get_tasks() -> int:
    """Return the number of processes of this job."""
    return allocations.get_tasks("slurm")


@_SLURM.call
def get_tasks_per_node() -> dict[str, int]:
    """Return the number of processes of this job on each host."""
    return allocations.get_tasks_per_node("slurm")
