"""Find and end the processes of jobs, and the guardian, which does so when their owner can no longer.

A job is more than the process that was started: its children may leave its process group or its session.
Each job therefore carries a mark in the environment of its first process, which children inherit:

    SMARTML_JOB=3f2a91c0-1            job 1 of one owner
    SMARTML_JOB=3f2a91c0-1/77e01b2d-4 a job that job 1, an owner itself, has started: it belongs to both

A process belongs to a job when its mark names that job. Where no mark can be read (the environment was cleared,
or overwritten by a program that sets its own title), its session or its parent decides. Only what sheds all three
escapes.

The guardian is this file run as a script: one small process beside each owner, in a session of its own. It holds
the read end of a pipe whose write end only the owner has. When the owner ends, in whatever way, the kernel closes
that end, and the guardian ends every job it was told of. Lines on the pipe (`lifeline.py` writes them):

    + <mark> <mark> ...       jobs that may start from now on
    = <mark> <pid> <created> <grace>
                              its first process, that process's creation time, and the seconds between SIGTERM and
                              SIGKILL
    / <mark> <folder>         a folder (its path in hex), with a mark of its own, to delete after all jobs
    - <mark>                  the job, or the folder, is the owner's no more
"""

import contextlib
import os
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

if __name__ == "__main__":
    # Isolated mode (-I) keeps our own file names from hiding the standard library's; psutil's folder is given.
    sys.path.append(sys.argv[1])

import psutil

# The environment variable that carries the mark.
MARK_VARIABLE = "SMARTML_JOB"

# Time between SIGTERM and SIGKILL, unless the caller says otherwise.
GRACE_S = 5.0

# How long to wait for a killed process: the kernel may hold it in a system call.
_KILL_PATIENCE_S = 5.0

# Between two looks at the pipe: to wake up costs far more than to read a line, and many jobs start in a row.
_PAUSE_S = 0.02

# Two readings of one process's creation time may differ by this much when the clock is adjusted.
_CREATED_TOLERANCE_S = 2.0


class Root(NamedTuple):
    """The first process of a job: `created`, in seconds since the epoch, tells it from a later one of that pid."""

    pid: int
    created: float


def find_root(root: Root) -> psutil.Process | None:
    """Return the process that `root` names, or None when it has ended."""
    try:
        process = psutil.Process(root.pid)
        same = abs(process.create_time() - root.created) < _CREATED_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def find_processes(jobs: Mapping[str, Root | None]) -> list[psutil.Process]:
    """Return the living processes of the jobs (mark -> first process, where known)."""
    sessions = {root.pid for root in jobs.values() if root and not _is_recycled(root)}
    members: dict[int, psutil.Process] = {}
    unmarked: dict[int, psutil.Process] = {}
    for process in _all_processes():
        mark = _mark_of(process)
        if mark is None:
            unmarked[process.pid] = process
        elif not jobs.keys().isdisjoint(mark.split("/")):
            members[process.pid] = process
    members |= {pid: process for pid, process in unmarked.items() if _session_of(pid) in sessions}
    _add_descendants(members, unmarked)
    return [process for process in members.values() if not _is_gone(process)]


def end_processes(
    jobs: Mapping[str, Root | None], grace_s: float = GRACE_S, own_grace_s: Mapping[str, float] | None = None
) -> list[int]:
    """Ask the processes of the jobs to end (SIGTERM), kill those left after `grace_s`, return when all are gone.

    own_grace_s: the marks of the jobs that have other times. Processes that appear meanwhile are ended too.
    Returns the pids that even SIGKILL did not end.
    """
    begin = time.monotonic()
    by_grace: dict[float, dict[str, Root | None]] = {}
    for mark, root in jobs.items():
        by_grace.setdefault((own_grace_s or {}).get(mark, grace_s), {})[mark] = root
    asked: set[psutil.Process] = set()
    left: list[int] = []
    while by_grace:
        for grace, group in sorted(by_grace.items()):
            alive = find_processes(group)
            now = time.monotonic()
            if not alive or now > begin + grace + _KILL_PATIENCE_S:
                left += [process.pid for process in alive]
                del by_grace[grace]
                continue
            for process in alive:
                if now >= begin + grace:
                    _send(process, signal.SIGKILL)
                elif process not in asked:
                    # A stopped process sees SIGTERM only once it continues.
                    _send(process, signal.SIGTERM, signal.SIGCONT)
                    asked.add(process)
            # Where others have less time, those are looked after in between.
            until = begin + grace if now < begin + grace else now + 0.5
            _wait_until_gone(alive, until if len(by_grace) == 1 else min(until, now + 0.05))
    return left


def _all_processes() -> Iterator[psutil.Process]:
    """Yield all processes but this one."""
    # Not psutil's process_iter: it keeps an ended process for the one that has got its pid since, and that one would
    # seem to have ended, too.
    for pid in psutil.pids():
        if pid != os.getpid():
            with contextlib.suppress(psutil.Error):
                yield psutil.Process(pid)


def _is_recycled(root: Root) -> bool:
    try:
        return abs(psutil.Process(root.pid).create_time() - root.created) >= _CREATED_TOLERANCE_S
    except psutil.Error:
        return False


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK_VARIABLE)
    except (psutil.Error, OSError):
        return None


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _add_descendants(members: dict[int, psutil.Process], unmarked: dict[int, psutil.Process]) -> None:
    """Move every unmarked process whose parent is a member to the members, generation by generation."""
    children = _children_by_parent(unmarked)
    generation = list(members)
    while generation:
        found = [child for parent in generation for child in children.get(parent, ()) if child.pid not in members]
        members |= {child.pid: child for child in found}
        generation = [child.pid for child in found]


def _children_by_parent(processes: Mapping[int, psutil.Process]) -> dict[int, list[psutil.Process]]:
    children: dict[int, list[psutil.Process]] = {}
    for process in processes.values():
        try:
            children.setdefault(process.ppid(), []).append(process)
        except psutil.Error:
            continue
    return children


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _send(process: psutil.Process, *signals: signal.Signals) -> None:
    for number in signals:
        try:
            process.send_signal(number)
        except psutil.Error:
            return  # Gone meanwhile, or not ours to end: the caller's last look tells.


def _wait_until_gone(processes: Iterable[psutil.Process], until: float) -> None:
    # Not psutil's own wait: on a child of ours it would take the exit code that the supervisor waits for.
    delay_s = 0.001
    for process in processes:
        while not _is_gone(process) and time.monotonic() < until:
            time.sleep(delay_s)
            delay_s = min(2 * delay_s, 0.05)


def _apply(lines: bytes, jobs: dict[str, Root | None], graces: dict[str, float], folders: dict[str, bytes]) -> bytes:
    """Apply the complete lines to the tables of jobs and folders; return the rest, an unfinished line."""
    *complete, rest = lines.split(b"\n")
    for line in complete:
        act, mark, *more = line.decode().split(" ")
        if act == "-":
            jobs.pop(mark, None)
            graces.pop(mark, None)
            folders.pop(mark, None)
        elif act == "/":
            folders[mark] = bytes.fromhex(more[0])
        elif act == "+":
            jobs.update(dict.fromkeys((mark, *more)))
        else:
            jobs[mark] = Root(int(more[0]), float(more[1]))
            graces[mark] = float(more[2])
    return rest


def _guard(owner: int) -> None:
    jobs: dict[str, Root | None] = {}
    graces: dict[str, float] = {}
    folders: dict[str, bytes] = {}
    rest = b""
    os.set_blocking(0, False)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    # Besides the pipe, watch the owner itself: a copy of the write end may live on in a process it forked. On an old
    # kernel, another system, or when the owner has ended already, the pipe alone has to tell.
    with contextlib.suppress(AttributeError, OSError):
        selector.register(os.pidfd_open(owner), selectors.EVENT_READ)
    is_owned = True
    while is_owned:
        ready = {key.fd for key, _ in selector.select()}
        is_owned = ready == {0}
        try:
            while chunk := os.read(0, 65536):
                rest = _apply(rest + chunk, jobs, graces, folders)
            is_owned = False
        except BlockingIOError:
            if is_owned:
                time.sleep(_PAUSE_S)
    end_processes(jobs, own_grace_s=graces)
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(int(sys.argv[2]))
