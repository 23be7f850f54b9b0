"""What starts the servers of a database on other hosts: run commands in an allocation, or a batch job of its own.

Which server goes where, and by what words, is worked out here; nothing is started.
"""

import copy
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from smartml.errors import ArgumentValueError, UnsupportedError
from smartml.experiment.batch_jobs import BatchPlan
from smartml.experiment.cluster import Shape
from smartml.experiment.folder import DatabaseFolder
from smartml.experiment.places import Call
from smartml.experiment.schedulers.alps import AprunSettings
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.launchers import LAUNCHERS, create_run_settings
from smartml.experiment.schedulers.lsf import JsrunSettings
from smartml.experiment.schedulers.mpi import MpiSettings
from smartml.experiment.schedulers.options import OptionValue
from smartml.experiment.schedulers.pals import PalsMpiexecSettings
from smartml.experiment.schedulers.pbs import QsubBatchSettings
from smartml.experiment.schedulers.settings import Placement, RunSettings
from smartml.experiment.schedulers.sge import SgeQsubBatchSettings
from smartml.experiment.schedulers.slurm import SbatchSettings, SrunSettings

logger = logging.getLogger(__name__)

# What a run command starts; not imported here, for it is run as a script.
_PROGRAM = "smartml.experiment.placed_start"

# A database that a batch system began anew would be empty, and at another address than its clients know.
_BEGIN_ONCE: Mapping[str, tuple[str, OptionValue]] = {
    "slurm": ("no-requeue", None),
    "pbs": ("r", "n"),
    "pals": ("r", "n"),
    "lsf": ("rn", None),
    "sge": ("r", "n"),
}


@dataclass(frozen=True)
class Request:
    """What a launcher is asked for, so that it starts the servers of one database."""

    launcher: str
    run_command: str = "auto"
    # Empty: those of the allocation, or those that the batch system gives.
    hosts: tuple[str, ...] = ()
    # The allocation of Slurm to start in, where that is not the script's.
    alloc: str | None = None
    # One command for all servers, not one for each.
    single_cmd: bool = False
    # Of each server; None for what the run command gives by itself.
    cpus: int | None = None
    run_args: Mapping[str, OptionValue] | None = None
    # The batch job that runs them; None in an allocation.
    batch: BatchSettings | None = None


@dataclass(frozen=True)
class Step:
    """One run command: the servers that it starts, and where it writes."""

    settings: RunSettings
    placement: Placement
    names: tuple[str, ...]


def check_run_command(launcher: str, run_command: str) -> None:
    """Raise UnsupportedError when a launcher has no such run command for servers."""
    known = (*LAUNCHERS[launcher].run_commands, *(("orterun",) if launcher == "sge" else ()))
    if run_command != "auto" and run_command not in known:
        raise UnsupportedError(
            f"launcher {launcher!r} does not start databases by {run_command!r}; it does by 'auto', "
            f"{', '.join(map(repr, known))}"
        )


def spread(shape: Shape, hosts: Sequence[str]) -> list[str]:
    """Return the host of each server: one each, or with fewer hosts a replica never beside its own primary.

    (With a single host there is no other place.)
    """
    if len(hosts) >= shape.size:
        return list(hosts[: shape.size])
    # The replicas of one primary follow on the next hosts.
    numbers = (divmod(index, shape.primaries) for index in range(shape.size))
    return [hosts[(primary + replica) % len(hosts)] for replica, primary in numbers]


def steps(
    request: Request,
    shape: Shape,
    folder: DatabaseFolder,
    call: Call,
    hosts: Sequence[str],
) -> list[Step]:
    """Return the run commands that start the servers of `call`. Raises UnsupportedError, ProgramNotFoundError.

    hosts: of the allocation; none where a batch job gives them.
    """
    names = call.names
    outputs = [
        (str(folder.output_file(index, "out")), str(folder.output_file(index, "err"))) for index in range(len(names))
    ]
    settings = _settings(request)
    if len(names) == 1 or not _is_single(request, settings):
        # The hosts of a batch job are counted off.
        chosen = spread(shape, hosts or [str(number) for number in range(_nodes_of(request, shape))])
        found = []
        for name, port, host, (out, err) in zip(names, call.ports, chosen, outputs, strict=True):
            own = replace(call, names=(name,), ports=(port,))
            is_counted = not hosts and isinstance(settings, SrunSettings)
            placed = _placed(settings, request, own, [host] if hosts else [], 1, int(host) if is_counted else None)
            found.append(Step(placed, Placement(name, name, str(folder.path), out, err), (name,)))
        return found
    # The servers write to their own files, for the command can only write to one.
    own = replace(call, outputs=tuple(outputs))
    log_out, log_err = (str(folder.path / f"{folder.identifier}.servers.{kind}") for kind in ("out", "err"))
    name = folder.identifier
    placement = Placement(name, name, str(folder.path), log_out, log_err)
    chosen = spread(shape, hosts) if hosts else []
    return [Step(_placed(settings, request, own, chosen, len(names)), placement, tuple(names))]


def batch_job(request: Request, shape: Shape, folder: DatabaseFolder, call: Call) -> tuple[BatchPlan, list[Step]]:
    """Return the batch job of the servers, and the run commands in it."""
    assert request.batch is not None
    settings = copy.deepcopy(request.batch)
    name, value = _BEGIN_ONCE[request.launcher]
    settings.batch_args.setdefault(name, value)
    if request.hosts:
        settings.set_hostlist(request.hosts)
        if not isinstance(settings, SgeQsubBatchSettings):
            settings.set_nodes(len(request.hosts))
    _ask_for_cpus(settings, request.cpus, shape.size)
    in_job = steps(replace(request, batch=settings), shape, folder, call, ())
    identifier = folder.identifier
    out, err = (str(folder.path / f"{identifier}.job.{kind}") for kind in ("out", "err"))
    placement = Placement(identifier, identifier, str(folder.path), out, err)
    members = [(step.settings, step.placement) for step in in_job]
    return BatchPlan(request.launcher, settings, placement, members), in_job


def check_hosts(request: Request, shape: Shape, hosts: Sequence[str], identifier: str) -> None:
    """See that there are hosts, and warn where several servers share one. Raises ArgumentValueError."""
    by_itself = isinstance(_settings(request), JsrunSettings)
    if by_itself and request.hosts:
        raise UnsupportedError(f"database {identifier!r}: jsrun chooses the hosts by itself: leave out hosts")
    if not hosts and not by_itself:
        raise ArgumentValueError(
            f"database {identifier!r}: launcher {request.launcher!r} must know where to run it, and this script is in "
            "none of its allocations: name hosts=[...], or an allocation of Slurm by alloc=, or hand the database in "
            "as a job of its own by batch=True"
        )
    if hosts and len(hosts) < shape.size:
        logger.warning(
            "database %s has %d servers on %d hosts (%s): some share one",
            identifier,
            shape.size,
            len(hosts),
            ", ".join(hosts),
        )


def _settings(request: Request) -> RunSettings:
    # The same interpreter, and this smartml, wherever it starts. By `env`, for each MPI has other words for a variable.
    package = str(Path(__file__).parents[2])
    folders = [package, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    path = os.pathsep.join(dict.fromkeys(filter(None, folders)))
    return create_run_settings(
        request.launcher,
        "env",
        [f"PYTHONPATH={path}", sys.executable, "-m", _PROGRAM],
        run_command=request.run_command,
    )


def _ask_for_cpus(settings: BatchSettings, cpus: int | None, servers: int) -> None:
    if isinstance(settings, SgeQsubBatchSettings) and (cpus is not None or servers > 1):
        # It gives no hosts, but CPUs, as many on each as the parallel environment says.
        settings.set_ncpus((cpus or 1) * servers)
    elif isinstance(settings, SbatchSettings) and cpus is not None:
        settings.set_cpus_per_task(cpus)
    elif isinstance(settings, QsubBatchSettings) and cpus is not None:
        settings.set_ncpus(cpus)


def _nodes_of(request: Request, shape: Shape) -> int:
    nodes = request.batch.batch_args.get("nodes") if isinstance(request.batch, SbatchSettings) else None
    # Slurm takes a range, too.
    return int(nodes) if nodes is not None and str(nodes).isdigit() else shape.size


def _is_single(request: Request, settings: RunSettings) -> bool:
    # jsrun chooses its hosts by itself; and where a batch job's hosts are not known before it runs, only srun can count
    # them off.
    by_itself = isinstance(settings, JsrunSettings)
    return request.single_cmd or by_itself or (request.batch is not None and not isinstance(settings, SrunSettings))


def _placed(
    template: RunSettings,
    request: Request,
    call: Call,
    hosts: Sequence[str],
    tasks: int,
    relative: int | None = None,
) -> RunSettings:
    """Return the settings of one run command that starts `tasks` servers on these hosts."""
    settings = copy.deepcopy(template)
    settings.add_exe_args([call.text()])
    # As many on each host as have to share one, which mostly is one.
    distinct = list(dict.fromkeys(hosts))
    per_host = -(-tasks // (len(distinct) or tasks))
    _PLACERS[_kind(settings)](settings, distinct, list(hosts), tasks, per_host)
    if isinstance(settings, SrunSettings):
        settings.alloc = request.alloc if request.batch is None else None
        if relative is not None:
            settings.set("relative", relative)
    if request.cpus is not None and isinstance(settings, PalsMpiexecSettings):
        settings.set("depth", request.cpus)
    elif request.cpus is not None:
        settings.set_cpus_per_task(request.cpus)
    for name, value in (request.run_args or {}).items():
        settings.set(name, value)
    return settings


def _kind(settings: RunSettings) -> type[RunSettings]:
    return next(kind for kind in _PLACERS if isinstance(settings, kind))


def _by_srun(settings: RunSettings, hosts: list[str], listed: list[str], tasks: int, per_host: int) -> None:
    settings.set_nodes(len(hosts) or tasks)
    settings.set_tasks(tasks)
    if tasks > 1:
        settings.set_tasks_per_node(per_host)
        # One server that ends must not end the others.
        settings.set("kill-on-bad-exit", 0)
    # Otherwise the steps of programs would wait for the CPUs of this one.
    settings.set("overlap")
    if hosts:
        settings.set_hostlist(hosts)


def _by_pals(settings: RunSettings, hosts: list[str], listed: list[str], tasks: int, per_host: int) -> None:
    settings.set_tasks(tasks)
    settings.set_tasks_per_node(per_host)
    if hosts:
        settings.set_hostlist(hosts)


def _by_mpi(settings: RunSettings, hosts: list[str], listed: list[str], tasks: int, per_host: int) -> None:
    settings.set_tasks(tasks)
    if listed:
        # Each time that a host is named it takes one process more.
        settings.set_hostlist(listed)


def _by_jsrun(settings: RunSettings, hosts: list[str], listed: list[str], tasks: int, per_host: int) -> None:
    assert isinstance(settings, JsrunSettings)
    settings.set_num_rs(tasks)
    settings.set_tasks_per_rs(1)
    settings.set_rs_per_host(per_host)


_PLACERS: Mapping[type[RunSettings], Callable[[RunSettings, list[str], list[str], int, int], None]] = {
    SrunSettings: _by_srun,
    AprunSettings: _by_pals,
    PalsMpiexecSettings: _by_pals,
    MpiSettings: _by_mpi,
    JsrunSettings: _by_jsrun,
}
