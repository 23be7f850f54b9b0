"""What it costs to run a model in the database, beside the usual ways.

    python benchmarks/inference.py [--quick]

Two small networks of torch, an MLP (64 numbers in, 64 out) and a convolutional one (pictures of 28 x 28, 10 numbers
out), are run on 1 and on 64 samples at once, by one and by eight processes, each of which asks again when it has the
answer. In turn, in one run:

- in process: each has the network itself, as a simulation would that is linked with torch;
- HTTP: FastAPI, uvicorn and torch, bytes of the array in, bytes out, over connections that stay open (http.client);
- smartredis, smartml: put_tensor, run_model, get_tensor by either client;
- smartredis, run alone: run_model only, its input is there and its output stays there;
- smartredis, batched: as the first, on a model whose calls may be run together (batch_size).

All of them have float32 in numpy before and after, which is checked against the network itself. The HTTP server and the
inference worker are one process each, and torch has one thread everywhere; so have in process eight times as much of it
where there are eight, as far as there are cores. Clients are processes, since smartredis holds Python's lock while it
waits. Every round measures all ways one after the other, in changing order; tables show medians over rounds of round
trips per second, of their ratios within a round, and of the 50th and 99th percentile of their time.
"""

import argparse
import contextlib
import http.client
import importlib.util
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

NETWORKS = {"MLP": (64,), "CNN": (1, 28, 28)}
BATCHES = (1, 64)
CLIENTS = (1, 8)
# The most samples of calls that are run together: those of all clients.
BATCH_SIZE = 8 * 64
WARM_UP = 5


def make_network(name: str):
    """Return a network, the same every time."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    n = torch.nn
    if name == "MLP":
        layers = [n.Linear(64, 256), n.SiLU(), n.Linear(256, 256), n.SiLU(), n.Linear(256, 64)]
    else:
        layers = [n.Conv2d(1, 16, 3, padding=1), n.ReLU(), n.MaxPool2d(2)]
        layers += [n.Conv2d(16, 32, 3, padding=1), n.ReLU(), n.MaxPool2d(2), n.Flatten(), n.Linear(1568, 10)]
    return n.Sequential(*layers).eval()


def make_input(name: str, batch: int) -> np.ndarray:
    """Return samples, the same every time."""
    return np.random.default_rng(0).standard_normal((batch, *NETWORKS[name]), np.float32)


def answer_of(network, samples: np.ndarray) -> np.ndarray:
    """Run a network here."""
    import torch

    with torch.inference_mode():
        return network(torch.from_numpy(samples)).numpy()


def serve_http(port: int) -> None:
    """Serve both networks by FastAPI."""
    import uvicorn
    from fastapi import FastAPI, Request, Response

    networks, app = {name: make_network(name) for name in NETWORKS}, FastAPI()

    @app.post("/{name}")
    async def run(name: str, request: Request) -> Response:
        samples = np.frombuffer(bytearray(await request.body()), np.float32).reshape(-1, *NETWORKS[name])
        return Response(answer_of(networks[name], samples).tobytes(), media_type="application/octet-stream")

    uvicorn.run(app, port=port, access_log=False, log_level="warning")


# The clients


class Job(NamedTuple):
    """What a client shall do."""

    way: str
    network: str
    batch: int
    seconds: float
    # By which it knows its tensors from those of others.
    number: int


Call = Callable[[], np.ndarray]


def in_process(job: Job, samples: np.ndarray) -> Call:
    network = make_network(job.network)
    return lambda: answer_of(network, samples)


def over_http(job: Job, samples: np.ndarray) -> Call:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["HTTP_PORT"]))

    def call() -> np.ndarray:
        connection.request("POST", f"/{job.network}", samples.tobytes())
        response = connection.getresponse()
        assert response.status == 200
        return np.frombuffer(bytearray(response.read()), np.float32).reshape(job.batch, -1)

    return call


def in_database(client: Any, model: str, *, run_alone: bool = False) -> Callable[[Job, np.ndarray], Call]:
    def prepare(job: Job, samples: np.ndarray) -> Call:
        name, source, result = f"{job.network}{model}", f"in{job.number}", f"out{job.number}"

        def call() -> np.ndarray:
            client.put_tensor(source, samples)
            client.run_model(name, [source], [result])
            return client.get_tensor(result)

        if not run_alone:
            return call
        found = call()

        def run() -> np.ndarray:
            client.run_model(name, [source], [result])
            return found

        return run

    return prepare


def prepare(job: Job, samples: np.ndarray) -> Call:
    """Return what makes one round trip."""
    if job.way == "in process":
        return in_process(job, samples)
    if job.way == "HTTP":
        return over_http(job, samples)
    if job.way == "smartml":
        from smartml import Client

        return in_database(Client(), "")(job, samples)
    import smartredis

    model = ", batched" if job.way.endswith("batched") else ""
    return in_database(smartredis.Client(None), model, run_alone=job.way.endswith("alone"))(job, samples)


WAYS = ["in process", "HTTP", "smartml"]
if importlib.util.find_spec("smartredis"):
    WAYS += ["smartredis", "smartredis, run alone", "smartredis, batched"]


def work() -> None:
    """Do the jobs that come, one in a line; answer when ready, and with the time of each round trip."""
    for line in sys.stdin:
        job = Job(*json.loads(line))
        samples = make_input(job.network, job.batch)
        call = prepare(job, samples)
        expected = np.array(json.loads(sys.stdin.readline()), np.float32)
        for _ in range(WARM_UP):
            np.testing.assert_allclose(call()[0], expected, rtol=1e-4, atol=1e-5)
        print(flush=True)
        sys.stdin.readline()
        times = []
        now = began = time.perf_counter()
        while now < began + job.seconds:
            call()
            before, now = now, time.perf_counter()
            times.append(now - before)
        print(json.dumps(times), flush=True)


class Run(NamedTuple):
    """What clients saw."""

    rate: float
    p50_ms: float
    p99_ms: float
    # Of clients and servers together, per round trip.
    cpu_ms: float


class Clients:
    """Processes that do as they are told."""

    def __init__(self, environment: dict[str, str], servers: list[psutil.Process]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(max(CLIENTS))
        ]
        self._measured = [*servers, *(psutil.Process(one.pid) for one in self._processes)]

    def measure(self, way: str, network: str, batch: int, count: int, seconds: float, expected: list[float]) -> Run:
        """Let so many clients ask for a while."""
        chosen = self._processes[:count]
        for number, one in enumerate(chosen):
            self._tell(one, Job(way, network, batch, seconds, number))
            self._tell(one, expected)
        for one in chosen:
            self._hear(one)
        before = self._cpu_seconds()
        for one in chosen:
            self._tell(one, None)
        found = [json.loads(self._hear(one)) for one in chosen]
        cpu_seconds = self._cpu_seconds() - before
        times = 1000 * np.concatenate(found)
        rate = sum(len(own) / sum(own) for own in found)
        p50_ms, p99_ms = (float(one) for one in np.percentile(times, (50, 99)))
        return Run(rate, p50_ms, p99_ms, 1000 * cpu_seconds / len(times))

    def _cpu_seconds(self) -> float:
        return sum(times.user + times.system for times in (one.cpu_times() for one in self._measured))

    def _tell(self, one: subprocess.Popen, what: object) -> None:
        one.stdin.write(f"{json.dumps(what)}\n")
        one.stdin.flush()

    def _hear(self, one: subprocess.Popen) -> str:
        line = one.stdout.readline()
        if not line:
            raise SystemExit("a client has failed, see above")
        return line

    def close(self) -> None:
        for one in self._processes:
            one.stdin.close()
            one.wait()
            one.stdout.close()


# The servers


@contextlib.contextmanager
def http_server() -> Iterator[tuple[int, psutil.Process]]:
    """Run the HTTP server; return its port and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
    try:
        for _ in range(600):
            assert process.poll() is None, "the HTTP server has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                break
            time.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def store_networks(client: Any) -> None:
    """Put the networks into the database."""
    import torch

    for name in NETWORKS:
        content = io.BytesIO()
        torch.jit.save(torch.jit.trace(make_network(name), torch.from_numpy(make_input(name, 1))), content)
        client.set_model(name, content.getvalue(), "TORCH")
        client.set_model(f"{name}, batched", content.getvalue(), "TORCH", batch_size=BATCH_SIZE)


def processes_of(client: Any, address: str) -> list[psutil.Process]:
    """Return the process of the server and that of its worker, which is there once a model has been run."""
    for name in NETWORKS:
        client.put_tensor("x", make_input(name, 1))
        client.run_model(name, "x", "y")
    workers = [
        one
        for one in psutil.process_iter(["cmdline"])
        if {"smartml.inference", address} <= {*(one.info["cmdline"] or ())}
    ]
    assert len(workers) == 1, workers
    return [psutil.Process(int(client.database.command("INFO", "server")["process_id"])), *workers]


# The tables


def print_tables(found: dict[tuple[str, int, int], dict[str, list[Run]]]) -> None:
    """Print what was measured."""
    for (network, batch, clients), ways in found.items():
        columns = ("way", "round trips/s", "of in process", "of HTTP", "p50 (ms)", "p99 (ms)", "CPU (ms)")
        table = Table(*columns, title=f"{network}, batch {batch}, {clients} client{'s' if clients > 1 else ''}")
        for way, runs in ways.items():
            ratios = [
                statistics.median(one.rate / other.rate for one, other in zip(runs, ways[base], strict=True))
                for base in ("in process", "HTTP")
            ]
            median = [statistics.median(column) for column in zip(*runs, strict=True)]
            table.add_row(way, f"{median[0]:.0f}", *(f"{one:.2f}" for one in (*ratios, *median[1:])))
        Console(width=110).print(table)


def measure(clients: Clients, rounds: int, seconds: float) -> dict[tuple[str, int, int], dict[str, list[Run]]]:
    """Measure all ways in everything they are to do."""
    found: dict[tuple[str, int, int], dict[str, list[Run]]] = {}
    for network in NETWORKS:
        for batch in BATCHES:
            expected = answer_of(make_network(network), make_input(network, batch))[0].tolist()
            for count in CLIENTS:
                ways = found[network, batch, count] = {way: [] for way in WAYS}
                for number in range(rounds):
                    for way in WAYS if number % 2 else reversed(WAYS):
                        ways[way].append(clients.measure(way, network, batch, count, seconds, expected))
    return found


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    # The processes that are measured are this script, too.
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return
    if arguments.serve:
        serve_http(arguments.serve)
        return
    from smartml import Orchestrator

    # For the worker, the server and the clients alike.
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.ExitStack() as stack:
        port, web = stack.enter_context(http_server())
        database = stack.enter_context(Orchestrator(port=0, intra_op_threads=1))
        with database.connect() as client:
            store_networks(client)
            servers = [web, *processes_of(client, database.address)]
        environment = os.environ | {"SSDB": database.address, "SR_DB_TYPE": "Standalone", "HTTP_PORT": str(port)}
        environment |= {"SR_LOG_LEVEL": "QUIET", "SR_LOG_FILE": os.devnull, "SR_SOCKET_TIMEOUT": "60000"}
        clients = Clients(environment, servers)
        stack.callback(clients.close)
        print_tables(measure(clients, 2 if arguments.quick else 5, 0.5 if arguments.quick else 2))
    if "smartredis" not in WAYS:
        print("smartredis is left out: pip install smartredis, up to Python 3.11")


if __name__ == "__main__":
    main()
