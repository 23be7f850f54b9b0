"""Allocations of Slurm, as before `smartsim.wlm`."""

from smartsim.wlm.slurm import get_allocation, release_allocation, validate

__all__ = ["get_allocation", "release_allocation", "validate"]
