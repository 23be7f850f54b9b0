"""What it costs to start a database and a program by an Experiment, beside starting them bare.

    python benchmarks/launch.py [--repeats 7] [--jobs 200] [--rounds 1]

All in one run, in turn, medians: a database until it answers PING, and a program from its start to the return of the
call that waits for it. The bare side is `subprocess` with the same binary and the same program, nothing else.
SmartSim 0.8 on such a machine takes 10 s for the database, and 5 s beyond the program's own time.

Then the cost of many jobs: so many starts of `true`, collected, with the exit code of each. Side by side an ensemble,
submitit's local executor and Dask's LocalCluster, the latter with a worker per core, each task of which runs the
program; where submitit (`pip install submitit`) or distributed is missing its line is, too. "own CPU" is that of this
process, the workers' and executors' own processes not counted.

At last what it costs that so many jobs of one second run, in waves and all at once, in shares of one core: "supervisor"
is the CPU time of the supervisor's threads and of the guardian, which see to jobs that have started; "of a core" is
that of the guardian and this whole process, which makes folders and starts the jobs, too, beside `subprocess`, which
does no more than that. And whether a process is left when a script with so many jobs is ended by SIGINT, SIGTERM or
SIGKILL.
"""

import argparse
import importlib.util
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from smartml.experiment import Experiment
from smartml.experiment.ports import free_port
from smartml.experiment.server import find_server

# A program that does nothing, so that only the launching is seen.
PROGRAM = [sys.executable, "-c", "pass"]


def bare_database(folder: str) -> float:
    """Start a server and poll it without a pause until it answers; return the seconds."""
    port = free_port("127.0.0.1")
    start = time.perf_counter()
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        while not _answers(port):
            pass
        return time.perf_counter() - start
    finally:
        server.terminate()
        server.wait()


def started_database(exp: Experiment) -> float:
    """Start a database by an Experiment; return the seconds."""
    database = exp.create_database(port=0)
    start = time.perf_counter()
    exp.start(database)
    seconds = time.perf_counter() - start
    exp.stop(database)
    return seconds


def bare_program(folder: str) -> float:
    """Run the program and wait for it; return the seconds."""
    start = time.perf_counter()
    with open(os.path.join(folder, "out"), "wb") as out:
        subprocess.run(PROGRAM, cwd=folder, stdout=out, stderr=out, check=True)
    return time.perf_counter() - start


def started_program(exp: Experiment) -> float:
    """Run the program by an Experiment that blocks; return the seconds."""
    model = exp.create_model("program", exp.create_run_settings(PROGRAM[0], PROGRAM[1:]))
    start = time.perf_counter()
    exp.start(model, block=True)
    return time.perf_counter() - start


def measure(bare: Callable[[], float], started: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Return the median seconds of both sides, measured in turn; the first of each only warms up."""
    pairs = [(bare(), started()) for _ in range(repeats + 1)][1:]
    bare_seconds, started_seconds = zip(*pairs, strict=True)
    return statistics.median(bare_seconds), statistics.median(started_seconds)


class Cost(NamedTuple):
    """What a piece of work has taken."""

    wall_s: float
    # Of this process.
    cpu_s: float
    # Of its threads but the one that does the work.
    threads_s: float
    # Of the guardian beside it, where that was asked for.
    guardian_s: float = 0.0


def cost_of(work: Callable[[], object]) -> Cost:
    """Measure a piece of work."""
    wall, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
    work()
    wall, cpu, own = time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - own
    return Cost(wall, cpu, cpu - own)


def run_ensemble(folder: str, jobs: int, command: list[str], waves: int = 1) -> None:
    """Run a program so many times by ensembles of an experiment, one after the other."""
    exp = Experiment("many", folder)
    settings = exp.create_run_settings(command[0], command[1:])
    for wave in range(waves):
        ensemble = exp.create_ensemble(f"wave{wave}", run_settings=settings, replicas=jobs // waves)
        exp.start(ensemble)
        assert set(exp.get_status(ensemble)) == {"Completed"}


def run_submitit(folder: str, jobs: int, command: list[str]) -> None:
    """Run a program so many times by submitit's local executor."""
    import submitit  # type: ignore[import-not-found, unused-ignore]

    executor = submitit.LocalExecutor(folder)
    with executor.batch():
        started = [executor.submit(subprocess.call, command) for _ in range(jobs)]
    assert [job.result() for job in started] == [0] * jobs


def run_dask(jobs: int, command: list[str]) -> None:
    """Run a program so many times by the workers of a Dask cluster, which is started and stopped for it."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=os.cpu_count(), threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        started = [client.submit(subprocess.call, command, pure=False) for _ in range(jobs)]
        assert client.gather(started) == [0] * jobs


def many_jobs(jobs: int, rounds: int) -> Table:
    """Compare what it costs to start and collect many jobs."""
    sides: dict[str, Callable[[str], None]] = {"smartml": lambda folder: run_ensemble(folder, jobs, ["true"])}
    if importlib.util.find_spec("submitit"):
        sides["submitit, local"] = lambda folder: run_submitit(folder, jobs, ["true"])
    if importlib.util.find_spec("distributed"):
        sides["Dask, LocalCluster"] = lambda folder: run_dask(jobs, ["true"])
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                costs[name].append(cost_of(lambda run=run, folder=folder: run(folder)))  # type: ignore[misc]
    medians = {name: Cost(*map(statistics.median, zip(*found, strict=True))) for name, found in costs.items()}
    table = Table("", "wall (s)", "own CPU (s)", "wall, ratio", title=f"{jobs} jobs of `true`, median of {rounds}")
    for name, cost in medians.items():
        ratio = cost.wall_s / medians["smartml"].wall_s
        table.add_row(name, f"{cost.wall_s:.2f}", f"{cost.cpu_s:.2f}", f"{ratio:.1f}")
    return table


def run_bare(folder: str, jobs: int, command: list[str], waves: int = 1) -> None:
    """Run a program so many times by `subprocess`: each with a folder, two output files, and a session of its own."""
    for wave in range(waves):
        processes = []
        for number in range(jobs // waves):
            path = Path(folder, f"job{wave}_{number}")
            path.mkdir()
            with open(path / "out", "wb") as out, open(path / "err", "wb") as err:
                processes.append(
                    subprocess.Popen(
                        command,
                        cwd=path,
                        env=dict(os.environ),
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=err,
                        start_new_session=True,
                    )
                )
        assert {process.wait() for process in processes} == {0}


def supervision(jobs: int, rounds: int) -> Table:
    """Measure shares of a core while jobs of one second run, beside what starts them and no more."""
    title = f"supervising {jobs} jobs of `sleep 1`, median of {rounds}"
    head = ("at a time", "by", "wall (s)", "own CPU (s)", "guardian", "ms a job", "supervisor", "of a core")
    table = Table(*head, title=title)
    sides = {"smartml": run_ensemble, "bare": run_bare}
    for at_a_time in (10, 20, jobs):
        costs: dict[str, list[Cost]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, run in sides.items():
                with tempfile.TemporaryDirectory() as folder:
                    arguments = (folder, jobs, ["sleep", "1"], jobs // at_a_time)
                    guardian = guardian_cpu_s()
                    cost = cost_of(lambda run=run, arguments=arguments: run(*arguments))  # type: ignore[misc]
                    costs[name].append(cost._replace(guardian_s=guardian_cpu_s() - guardian))
        for name, found in costs.items():
            cost = Cost(*map(statistics.median, zip(*found, strict=True)))
            own_s = cost.cpu_s + cost.guardian_s
            shares = (f"{seconds / cost.wall_s:.1%}" for seconds in (cost.threads_s + cost.guardian_s, own_s))
            figures = (f"{cost.wall_s:.2f}", f"{cost.cpu_s:.3f}", f"{cost.guardian_s:.2f}")
            table.add_row(str(at_a_time), name, *figures, f"{1000 * own_s / jobs:.2f}", *shares)
    return table


def guardian_cpu_s() -> float:
    """Return the CPU time of this process's guardian, which ends what it leaves; nothing where there is none."""
    guardians = [child for child in psutil.Process().children() if "guardian.py" in " ".join(child.cmdline())]
    return sum(sum(child.cpu_times()[:2]) for child in guardians)


# A script with many jobs, each of which has a child in a session of its own; it is ended from outside.
MANY = """
import sys, time
from smartml.experiment import Experiment
exp = Experiment("many", sys.argv[1])
settings = exp.create_run_settings("sh", ["-c", "setsid sleep 1000 & sleep 1000"])
exp.start(exp.create_ensemble("ens", run_settings=settings, replicas=int(sys.argv[2])), block=False)
print(flush=True)
time.sleep(1000)
"""


def left_behind(jobs: int) -> Table:
    """Count the processes of a script with many jobs before and after it was ended by a signal."""
    table = Table("", "processes before", "left", "gone after (s)", title=f"a script with {jobs} jobs is ended")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with tempfile.TemporaryDirectory() as folder:
            script = subprocess.Popen(
                [sys.executable, "-c", MANY, folder, str(jobs)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                # In the background of a shell Ctrl-C is switched off, which would be handed on.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            assert script.stdout is not None
            script.stdout.readline()
            time.sleep(1)
            before = len(list(_processes_in(folder)))
            start = time.perf_counter()
            script.send_signal(number)
            script.communicate()
            while (left := len(list(_processes_in(folder)))) and time.perf_counter() - start < 30:
                time.sleep(0.05)
            table.add_row(number.name, str(before), str(left), f"{time.perf_counter() - start:.1f}")
    return table


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    repeats = arguments.repeats
    table = Table("", "bare (s)", "smartml (s)", "more (s)", "ratio", title=f"launching, median of {repeats}")
    with tempfile.TemporaryDirectory() as folder:
        exp = Experiment("launch", folder)
        database = measure(lambda: bare_database(folder), lambda: started_database(exp), repeats)
        program = measure(lambda: bare_program(folder), lambda: started_program(exp), repeats)
    for name, (bare, started) in {"start(db)": database, "start(model, block=True)": program}.items():
        table.add_row(name, f"{bare:.4f}", f"{started:.4f}", f"{started - bare:.4f}", f"{started / bare:.2f}")
    console = Console()
    console.print(table)
    console.print(many_jobs(arguments.jobs, arguments.rounds))
    console.print(supervision(arguments.jobs, arguments.rounds))
    console.print(left_behind(arguments.jobs))


def _processes_in(folder: str) -> Iterator[psutil.Process]:
    """Find the processes that run in a folder, whoever their parents are."""
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                yield process
        except psutil.Error:
            continue


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
    except OSError:
        return False


if __name__ == "__main__":
    main()
