"""The nodes that a batch system has given to this script, and allocations of Slurm to ask for and give back.

    from smartml.experiment import allocations

    allocation = allocations.get_allocation(nodes=3, time="01:00:00")
    settings = exp.create_run_settings("simulation", run_command="srun", alloc=allocation)
    ...
    allocations.release_allocation(allocation)

In a job the four questions, `get_hosts`, `get_queue`, `get_tasks` and `get_tasks_per_node`, are answered by what the
batch system has told the job: Slurm, PBS, LSF and Grid Engine.
"""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from smartml.errors import AllocationError, ArgumentValueError, SchedulerError
from smartml.experiment.batch_watcher import ask
from smartml.experiment.schedulers.batch_system import BatchSystem, first_words
from smartml.experiment.schedulers.launchers import LAUNCHERS, batch_system
from smartml.experiment.schedulers.options import OptionValue, count, short_and_long
from smartml.experiment.schedulers.slurm import SLURM

logger = logging.getLogger(__name__)

# Options of salloc that have an argument here, or are smartml's.
_RESERVED = ("nodes", "N", "time", "t", "account", "A", "job-name", "J", "no-shell")


def hosts_of_allocation(launcher: str | None = None) -> list[str]:
    """Return the hosts of the job that this script is, or runs in, each once, in the order of the batch system.

    launcher: "slurm", "pbs", "pals", "lsf" or "sge"; by default the one whose job this is. Raises AllocationError.
    """
    return first_words(_hosts_text(_system(launcher)).splitlines())


def get_hosts(launcher: str | None = None) -> list[str]:
    """Return `hosts_of_allocation`, by SmartSim's name."""
    return hosts_of_allocation(launcher)


def get_queue(launcher: str | None = None) -> str:
    """Return the queue, or partition, of the job that this script is. Raises AllocationError."""
    variable = _system(launcher).queue_variable
    if not (queue := os.environ.get(variable)):
        raise AllocationError(f"the queue of this job is not told: {variable} is not set")
    return queue


def get_tasks(launcher: str | None = None) -> int:
    """Return the number of processes that the job is for. Raises AllocationError."""
    return sum(get_tasks_per_node(launcher).values())


def get_tasks_per_node(launcher: str | None = None) -> dict[str, int]:
    """Return the number of processes for each host. Raises AllocationError."""
    system = _system(launcher)
    return system.allocation_tasks(os.environ, _hosts_text(system))


def get_allocation(
    nodes: int = 1,
    time: str | None = None,
    account: str | None = None,
    options: Mapping[str, OptionValue] | None = None,
) -> str:
    """Ask Slurm for nodes, and return the id of the allocation once they are there; this may take long.

    It is held until its time is over or `release_allocation`, whatever becomes of this script. `options` are further
    ones of `salloc`. Raises AllocationError, ArgumentValueError, ProgramNotFoundError.
    """
    given = {name.strip().lstrip("-"): value for name, value in (options or {}).items()}
    if reserved := [name for name in given if name in _RESERVED]:
        raise ArgumentValueError(f"options {', '.join(reserved)} of salloc are set by get_allocation: leave them out")
    wanted: dict[str, OptionValue] = {
        "nodes": count("nodes", nodes),
        "job-name": "smartml",
        "time": time,
        "account": account,
    }
    words = short_and_long({name: value for name, value in wanted.items() if value is not None})
    answer = ask(["salloc", "--no-shell", *words, *short_and_long(given)], timeout_s=None)
    found = re.search(r"Granted job allocation (\d+)", answer.text)
    if answer.code or found is None:
        raise AllocationError(f"Slurm gave no allocation of {nodes} nodes: {answer.text}")
    return found[1]


def release_allocation(alloc_id: str | int) -> None:
    """Give an allocation of Slurm back; what runs in it is ended. Raises AllocationError when it has ended before."""
    name = str(alloc_id)
    try:
        state = SLURM.parse_query(ask(SLURM.query_command([name], arrays=False))).get(name)
    except SchedulerError as error:
        raise AllocationError(f"allocation {name} cannot be released: {error}") from error
    if state is None or state.status.is_terminal or state.is_ending:
        raise AllocationError(f"there is no allocation {name}, or it has ended already")
    answer = ask(SLURM.cancel_commands([name])[0])
    if answer.code:
        raise AllocationError(f"allocation {name} cannot be released: {answer.text}")


def get_default_partition() -> str:
    """Return the partition of Slurm that jobs wait in when they name none. Raises AllocationError."""
    names = [words[0] for words in _partitions() if words[0].endswith("*")]
    if not names:
        raise AllocationError("Slurm has no default partition: name one")
    return names[0].rstrip("*")


def validate(nodes: int = 1, ppn: int = 1, partition: str | None = None) -> bool:
    """Tell whether Slurm has so many nodes, each of `ppn` CPUs or more, in a partition, by default the default one.

    Nodes count whether they are free or not. Raises AllocationError for a partition that there is not.
    """
    name = partition or get_default_partition()
    known = [(words[0].rstrip("*"), words[1], int(words[2])) for words in _partitions()]
    if name not in {row[0] for row in known}:
        listed = ", ".join(dict.fromkeys(row[0] for row in known))
        raise AllocationError(f"Slurm has no partition {name!r}; it has: {listed}")
    found = len({node for part, node, cpus in known if part == name and cpus >= ppn})
    if found < nodes:
        logger.info("partition %s has %d nodes of %d CPUs or more, not %d", name, found, ppn, nodes)
    return found >= nodes


def _partitions() -> list[list[str]]:
    """Return partition, node and CPUs of each node of each partition."""
    answer = ask(["sinfo", "--noheader", "--Node", "--format=%P %N %c"])
    if answer.code:
        raise AllocationError(f"sinfo does not answer: {answer.text}")
    return [line.split() for line in answer.out.splitlines()]


def _system(launcher: str | None) -> BatchSystem:
    if launcher is not None:
        return batch_system(launcher)
    systems = [known.system for known in LAUNCHERS.values() if known.system is not None]
    inside = next((system for system in systems if system.allocation_hosts(os.environ) is not None), None)
    if inside is None:
        raise AllocationError("this script runs in no job of a batch system: submit it, or name the launcher")
    return inside


def _hosts_text(system: BatchSystem) -> str:
    source = system.allocation_hosts(os.environ)
    if source is None:
        raise AllocationError(f"this script runs in no job of {system.title}: submit it, or start it in an allocation")
    if source.file:
        try:
            return Path(source.file).read_text()
        except OSError as error:
            raise AllocationError(f"the file of hosts cannot be read: {error}") from error
    if not source.command:
        return source.text
    answer = ask(source.command)
    if answer.code:
        raise AllocationError(f"{source.command[0]} does not tell the hosts: {answer.text}")
    return answer.out
