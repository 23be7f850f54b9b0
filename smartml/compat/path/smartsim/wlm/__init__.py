"""What the batch system has given to this script."""

from smartml.experiment import allocations
from smartml.experiment.schedulers import launchers
from smartsim.error.errors import SMARTSIM
from smartsim.wlm import pbs, slurm

__all__ = ["detect_launcher", "get_hosts", "get_queue", "get_tasks", "get_tasks_per_node", "pbs", "slurm"]

detect_launcher = SMARTSIM.call(launchers.detect_launcher)
get_hosts = SMARTSIM.call(allocations.get_hosts)
get_queue = SMARTSIM.call(allocations.get_queue)
get_tasks = SMARTSIM.call(allocations.get_tasks)
get_tasks_per_node = SMARTSIM.call(allocations.get_tasks_per_node)
