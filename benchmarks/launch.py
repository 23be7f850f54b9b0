"""What it costs to start a database and a program by an Experiment, beside starting them bare.

    python benchmarks/launch.py [--repeats 7]

All in one run, in turn, medians: a database until it answers PING, and a program from its start to the return of the
call that waits for it. The bare side is `subprocess` with the same binary and the same program, nothing else.
SmartSim 0.8 on such a machine takes 10 s for the database, and 5 s beyond the program's own time.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

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


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    table = Table("", "bare (s)", "smartml (s)", "more (s)", "ratio", title=f"launching, median of {repeats}")
    with tempfile.TemporaryDirectory() as folder:
        exp = Experiment("launch", folder)
        database = measure(lambda: bare_database(folder), lambda: started_database(exp), repeats)
        program = measure(lambda: bare_program(folder), lambda: started_program(exp), repeats)
    for name, (bare, started) in {"start(db)": database, "start(model, block=True)": program}.items():
        table.add_row(name, f"{bare:.4f}", f"{started:.4f}", f"{started - bare:.4f}", f"{started / bare:.2f}")
    Console().print(table)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
    except OSError:
        return False


if __name__ == "__main__":
    main()
