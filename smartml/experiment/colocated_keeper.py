"""Keep the database of a node for as long as processes of its program live: see `colocated.py`.

Run as `python -m`, once for each node. It ends with them, however they end, and with it the server does.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from smartml.errors import LaunchError, PortTakenError, SmartMLError
from smartml.experiment.colocated import ColocatedDatabase, log_file
from smartml.experiment.colocated_start import hold, locked, start_time
from smartml.experiment.db_objects import from_fields
from smartml.experiment.guardian import MARK_VARIABLE
from smartml.experiment.orchestrator import Orchestrator

# The port may still be held by the server of an earlier run of the program.
_PORT_PATIENCE_S = 2.0
# For so long processes that the node was promised may be late, while there are no others.
_LATECOMERS_S = 10.0
# Where the system cannot say that a process has ended, it is looked at so often.
_LOOK_INTERVAL_S = 0.2


def keep(folder: Path, wanted: ColocatedDatabase, expected: int) -> None:
    """Start the server, tell where it is, and stop it when its last user has ended."""
    # The program ends first, and may need the database to do so.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Whoever ends the program must not end the server before it.
    os.environ.pop(MARK_VARIABLE, None)
    held = hold(folder / "keeper")
    assert held is not None, "who starts a keeper has made sure that there is none"
    try:
        _pin(wanted.cpus)
        database = _start(wanted)
        try:
            _fill(database, wanted)
        except BaseException:
            database.stop()
            raise
    except (SmartMLError, OSError) as error:
        _tell({"error": str(error)})
        return
    state = {"address": wanted.address if wanted.port is None else f"127.0.0.1:{database.port}"}
    if database.auth_file is not None:
        state["auth_file"] = database.auth_file
    (folder / "state").write_text(json.dumps(state))
    _tell(state)
    _wait_for_users(folder, expected, held)
    database.stop()


def _start(wanted: ColocatedDatabase) -> Orchestrator:
    own = Path(f"{wanted.name}-db", socket.gethostname()).absolute() if wanted.debug else None
    access = wanted.access()
    database = Orchestrator(
        own,
        wanted.port,
        wanted.interface,
        unix_socket=wanted.unix_socket,
        db_identifier=wanted.db_identifier,
        intra_op_threads=wanted.intra_op_threads,
        password=access.password,
        username=access.username,
        tls=access.tls,
    )
    for name, value in wanted.settings.items():
        database.set_db_conf(name, value)
    if wanted.unix_socket is not None:
        database.set_db_conf("unixsocketperm", str(wanted.socket_permissions))
    deadline = time.monotonic() + _PORT_PATIENCE_S
    while True:
        try:
            database.start()
            break
        except PortTakenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    if own is not None:
        log = log_file(own.parents[1], wanted)
        log.unlink(missing_ok=True)
        log.symlink_to(os.path.relpath(database.log, log.parent))
    return database


def _fill(database: Orchestrator, wanted: ColocatedDatabase) -> None:
    """Put models and scripts into the database."""
    if wanted.objects:
        with database.connect() as client:
            for fields in wanted.objects:
                from_fields(fields).put(client)


def _pin(cpus: tuple[int, ...] | None) -> None:
    """Keep this process, and the server that it starts, to some CPUs. Raises LaunchError where they are not there."""
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, cpus)
    if os.sched_getaffinity(0) == set(cpus):
        return
    os.sched_setaffinity(0, allowed)
    if cpus != tuple(range(len(cpus))) or len(cpus) > len(allowed):
        raise LaunchError(
            f"the database is to run on CPUs {', '.join(map(str, cpus))}, of which this job may use "
            f"{', '.join(map(str, sorted(allowed)))}: give it others by custom_pinning, or [] for no pinning"
        )
    # The first ones, of those that the job has.
    os.sched_setaffinity(0, sorted(allowed)[: len(cpus)])


def _tell(news: dict[str, str]) -> None:
    """Answer who has started this process, which then listens no more."""
    sys.stdout.write(f"{json.dumps(news)}\n")
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _wait_for_users(folder: Path, expected: int, held: int) -> None:
    """Return when all users have ended; from then on whoever comes finds no keeper."""
    late_s = 0.0
    while True:
        with locked(folder):
            users = _read_users(folder)
            living = [pid for pid, started in users if started and start_time(pid) == started]
            if not living and (len(users) >= expected or late_s > _LATECOMERS_S):
                os.close(held)
                shutil.rmtree(folder, ignore_errors=True)
                return
        if living:
            _wait_for_end(living[0])
            late_s = 0.0
        else:
            time.sleep(_LOOK_INTERVAL_S)
            late_s += _LOOK_INTERVAL_S


def _read_users(folder: Path) -> list[tuple[int, str]]:
    try:
        lines = (folder / "users").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(int(pid), started) for pid, _, started in (line.partition(" ") for line in lines)]


def _wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        # It has ended, or this system has no such descriptors.
        time.sleep(_LOOK_INTERVAL_S)
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), ColocatedDatabase.read(sys.argv[2]), int(sys.argv[3]))
