"""Join the database of this node, starting it where there is none yet, and become the program: see `colocated.py`.

Run as a script, once for each process of the program, and therefore of the standard library alone. What the processes
of one program share on a node lies in one folder of the node:

    lock    held by who looks or changes anything; deleted, as all others, when the database ends
    keeper  held by the keeper of the server for as long as it lives
    state   what the keeper has to tell: {"address": "127.0.0.1:6780"}, and where clients have to show anything,
            "auth_file": the file with that (store/credentials.py)
    users   a line for each process that became the program: its pid, and when it started
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

# Tell one job of a batch system from another on the same node.
_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
# How many processes of the program this node gets, as Hydra, Open MPI and jsrun say.
_COUNT_VARIABLES = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "JSM_NAMESPACE_LOCAL_SIZE")

# A program that cannot be run, as shells say.
_CANNOT_RUN = 127
# No database: "service unavailable" of sysexits.h.
_NO_DATABASE = 69


def shared_folder(token: str) -> Path:
    """Return the folder that the processes of one program share on this node."""
    job = "-".join(os.environ[name] for name in _JOB_VARIABLES if os.environ.get(name))
    # The host, too: a temporary folder may be one for all nodes.
    host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    name = "-".join(filter(None, ["smartml-beside", str(os.getuid()), host, job, token]))
    return Path(tempfile.gettempdir(), name.replace("/", "_"))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and keep all others out."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to somebody else")
        try:
            lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_still(folder / "lock", lock):
                yield
                return
        finally:
            os.close(lock)


def hold(file: Path) -> int | None:
    """Hold a file until the returned descriptor is closed, or this process ends; None when another process does."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def start_time(pid: int) -> str:
    """Return what tells a process from a later one of that number; empty when it has ended, or nobody knows."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        # Other systems have a command for it.
        return "" if os.path.exists("/proc/self/stat") else _ask_ps(pid)
    # Fields 3 and 22 (man 5 proc): a zombie has ended.
    return "" if fields[0] in "ZX" else fields[19]


def expected_processes(environ: Mapping[str, str]) -> int:
    """Return how many processes of the program this node gets, 1 where nobody says."""
    for name in _COUNT_VARIABLES:
        if environ.get(name, "").isdigit():
            return int(environ[name])
    # For example "4(x2),3": four on each of two nodes, then three.
    counts: list[int] = []
    for part in environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        count, _, times = part.partition("(x")
        if count.isdigit():
            counts += [int(count)] * (int(times.rstrip(")")) if times else 1)
    node = environ.get("SLURM_NODEID", "")
    return counts[int(node)] if node.isdigit() and int(node) < len(counts) else 1


def _join(folder: Path, text: str) -> dict[str, str]:
    """Return what the keeper tells of the node's database, which lives from now on as long as this process."""
    with locked(folder):
        keeper = hold(folder / "keeper")
        if keeper is None:
            found = json.loads((folder / "state").read_text())
        else:
            os.close(keeper)
            (folder / "users").unlink(missing_ok=True)
            found = _start_keeper(folder, text)
        if "address" not in found:
            shutil.rmtree(folder, ignore_errors=True)
            raise OSError(found.get("error", "its keeper has ended"))
        with open(folder / "users", "a") as users:
            users.write(f"{os.getpid()} {start_time(os.getpid())}\n")
    return dict(found)


def _start_keeper(folder: Path, text: str) -> dict[str, str]:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "smartml.experiment.colocated_keeper", str(folder), text]
    reader, writer = os.pipe()
    # Through a child that ends at once: the program is not to find a child that it did not start.
    child = os.fork()
    if child == 0:
        try:
            # Its error output is the program's: what happens to the server is told there.
            subprocess.Popen(
                [*command, str(expected_processes(os.environ))],
                stdin=subprocess.DEVNULL,
                stdout=writer,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, encoding="utf-8") as news:
        line = news.readline()
    return dict(json.loads(line)) if line else {}


def _is_still(file: Path, descriptor: int) -> bool:
    """Tell whether an open file was not deleted meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _ask_ps(pid: int) -> str:
    done = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, started = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def main(text: str, command: list[str]) -> NoReturn:
    """Become the program."""
    wanted = json.loads(text)
    try:
        found = _join(shared_folder(wanted["token"]), text)
    except OSError as error:
        sys.stderr.write(f"{command[0]} has no database beside it: {error}\n")
        sys.exit(_NO_DATABASE)
    suffix = f"_{wanted['identifier']}" if wanted["identifier"] not in ("", "orchestrator") else ""
    environment = {**os.environ, f"SSDB{suffix}": found["address"], f"SR_DB_TYPE{suffix}": "Standalone"}
    if "auth_file" in found:
        environment[f"SMARTML_DB_AUTH{suffix}"] = found["auth_file"]
    # Python ignores these, and a program would inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error}\n")
        sys.exit(_CANNOT_RUN)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
