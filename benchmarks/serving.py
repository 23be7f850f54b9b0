"""What it costs to have a model behind HTTP, beside the usual ways.

    python benchmarks/serving.py [--quick]

One network of torch, a residual MLP of 24 blocks of width 256 (64 numbers in, 64 out: a surrogate of a state), answers
1, 8 and 64 clients, each of which sends the next request when it has the answer to the one before. In turn, in one run,
it is served by

- `smartml.serving`;
- plain: FastAPI and torch without batching, the model called in the handler, as tutorials show it;
- LitServe with batches of the same size and wait, and each of its two queues, where it is installed
  (pip install litserve).

All take and give the same bytes: one sample, base64 of float32, in JSON. Each server is a process of its own with one
thread for torch; clients are one process of asyncio that sends ready-made bytes over connections that stay open, and
only counts the bytes of answers. Its share of a core is shown: where it came near 1, clients would be what is measured.

Batching gains where a batch costs less than its samples one by one; that is shown first, for the model alone. In a
network that a single sample keeps busy, such as a large transformer on a CPU, there is little to gain.

Every round measures all servers one after the other, in changing order; tables show medians over rounds of requests per
second, their ratios to the plain server in the same round, the 99th percentile of the time to the answer, and the CPU
time of the server per request, which others on the machine disturb the least.
"""

import argparse
import asyncio
import base64
import functools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

try:
    import litserve
except ImportError:
    litserve = None

CLIENTS = (1, 8, 64)
SIZE, WIDTH, BLOCKS = 64, 256, 24
MAX_BATCH_SIZE, MAX_WAIT_S = 64, 0.005
# At 64 clients, requests per second against the plain server, and against LitServe.
LEAST_OF_PLAIN, LEAST_OF_LITSERVE = 3.0, 1.0


def make_network():
    """Return the network, the same every time."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = (torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, WIDTH), torch.nn.SiLU())
            self.body = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, WIDTH))

        def forward(self, x):
            return x + self.body(x)

    blocks = (Residual() for _ in range(BLOCKS))
    return torch.nn.Sequential(torch.nn.Linear(SIZE, WIDTH), *blocks, torch.nn.Linear(WIDTH, SIZE)).eval()


def read_state(text: str) -> np.ndarray:
    """Decode what a request holds."""
    return np.frombuffer(bytearray(base64.b64decode(text)), "<f4")


def write_state(state: np.ndarray) -> str:
    """Encode what an answer holds."""
    return base64.b64encode(state.tobytes()).decode()


# The servers


def serve_smartml(port: int) -> None:
    """Serve by smartml."""
    import torch

    from smartml.serving import BatchLimits, Predictor, Server, ServerLimits, create_app
    from smartml.serving.description import ArrayField, ModelDescription

    network = make_network()

    class Model:
        needs_generation = False

        def encode(self, samples):
            return torch.from_numpy(np.stack([sample["state"] for sample in samples]))

        @torch.inference_mode()
        def forward(self, batch):
            return network(batch)

        def decode(self, outputs, samples):
            return [{"later": state} for state in outputs.numpy()]

        def generate(self, samples):
            raise NotImplementedError

    field = ArrayField((SIZE,), np.dtype("<f4"))
    predictor = Predictor(Model(), ModelDescription({"state": field}, {"later": field}), "benchmark")
    limits = ServerLimits(BatchLimits(MAX_BATCH_SIZE, MAX_WAIT_S))
    Server(create_app(predictor, limits), port=port).run()


def serve_plain(port: int) -> None:
    """Serve by FastAPI alone."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    network, app = make_network(), FastAPI()

    class Sample(BaseModel):
        state: str

    @app.post("/predict")
    async def predict(samples: list[Sample]) -> dict:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(np.stack([read_state(sample.state) for sample in samples])))
        return {"result": [{"later": write_state(state)} for state in outputs.numpy()]}

    uvicorn.run(app, port=port, access_log=False, log_level="warning")


class LitServeApi(litserve.LitAPI if litserve else object):
    """How LitServe is told what to do; by its name, for its processes are sent it."""

    def setup(self, device):
        import torch

        self.torch, self.network = torch, make_network()

    def decode_request(self, request):
        return read_state(request[0]["state"])

    def batch(self, inputs):
        return self.torch.from_numpy(np.stack(inputs))

    def predict(self, batch):
        with self.torch.inference_mode():
            return self.network(batch)

    def unbatch(self, output):
        return list(output.numpy())

    def encode_response(self, output):
        return {"result": [{"later": write_state(output)}]}


def serve_litserve(port: int, *, has_fast_queue: bool = False) -> None:
    """Serve by LitServe, with either of the queues that it has between its processes."""
    api = LitServeApi(max_batch_size=MAX_BATCH_SIZE, batch_timeout=MAX_WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=has_fast_queue)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", access_log=False)


SERVERS = {
    "smartml": serve_smartml,
    "plain": serve_plain,
    "LitServe": serve_litserve,
    "LitServe, fast queue": functools.partial(serve_litserve, has_fast_queue=True),
}


# The clients


class Run(NamedTuple):
    """What clients saw."""

    requests: int
    rate: float
    p99_ms: float
    client_cores: float
    # CPU time of the server, with all its processes, per request.
    cpu_ms: float = 0.0


def request_bytes(number: int) -> bytes:
    """Return one request, ready to be sent."""
    state = np.random.default_rng(number).standard_normal(SIZE, np.float32)
    body = json.dumps([{"state": write_state(state)}]).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Client(asyncio.Protocol):
    """Asks again and again until a moment; notes how long each answer took."""

    def __init__(self, request: bytes, end: float, times: list[float]) -> None:
        self._request, self._end, self._times = request, end, times
        self._answer, self._wanted = bytearray(), 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._wanted:
            head = self._answer.find(b"\r\n\r\n")
            if head < 0:
                return
            assert self._answer.startswith(b"HTTP/1.1 200"), bytes(self._answer)
            line = self._answer[:head].lower().partition(b"content-length:")[2]
            self._wanted = head + 4 + int(line.partition(b"\r\n")[0])
        if len(self._answer) < self._wanted:
            return
        now = time.perf_counter()
        self._times.append(now - self._sent)
        self._answer.clear()
        self._wanted = 0
        if now < self._end:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def ask(port: int, clients: int, seconds: float) -> Run:
    """Let so many clients ask for a while."""
    loop, times = asyncio.get_running_loop(), []
    began, cpu = time.perf_counter(), time.process_time()
    made = [
        await loop.create_connection(
            lambda number=number: Client(request_bytes(number), began + seconds, times), "127.0.0.1", port
        )
        for number in range(clients)
    ]
    await asyncio.gather(*(client.done for _, client in made))
    took = time.perf_counter() - began
    p99 = float(np.percentile(times, 99))
    return Run(len(times), len(times) / took, 1000 * p99, (time.process_time() - cpu) / took)


def wait_until_it_answers(port: int, process: subprocess.Popen) -> None:
    """Return when the server has given its first answer."""
    for _ in range(600):
        assert process.poll() is None, "the server has ended"
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                probe.settimeout(5)
                probe.sendall(request_bytes(0))
                if b" 200 " in probe.recv(64):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server does not answer")


def measure(name: str, clients: tuple[int, ...], seconds: float) -> dict[int, Run]:
    """Start a server, ask it, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--serve", name, "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_it_answers(port, process)
        # What is learned and made ready at the first requests is not what is measured.
        asyncio.run(ask(port, 64, 0.5))
        return {number: measure_clients(process.pid, port, number, seconds) for number in clients}
    finally:
        # With all the processes that it has.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure_clients(pid: int, port: int, clients: int, seconds: float) -> Run:
    """Let clients ask, and see what it costs the server."""
    before = cpu_seconds(pid)
    run = asyncio.run(ask(port, clients, seconds))
    return run._replace(cpu_ms=1000 * (cpu_seconds(pid) - before) / run.requests)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and all that it has started."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


# The tables


def print_gain() -> None:
    """Show what batching gains for the model alone."""
    import torch

    network = make_network()
    took = {}
    for size in (1, 8, 64):
        batch = torch.randn(size, SIZE)
        with torch.inference_mode():
            times = []
            for _ in range(60):
                began = time.perf_counter()
                network(batch)
                times.append(time.perf_counter() - began)
        took[size] = statistics.median(times)
    shown = ", ".join(f"{size}: {1000 * seconds:.2f} ms" for size, seconds in took.items())
    print(f"the model alone, by batch size: {shown}; a batch of 64 costs {took[64] / took[1]:.1f} of one sample")


def print_tables(found: dict[str, list[dict[int, Run]]]) -> None:
    """Print what was measured."""
    for clients in CLIENTS:
        columns = ("server", "requests/s", "of plain", "p99 (ms)", "CPU per request (ms)", "clients' cores")
        table = Table(*columns, title=f"{clients} clients")
        for name, rounds in found.items():
            runs = [measured[clients] for measured in rounds]
            table.add_row(
                name,
                f"{statistics.median(run.rate for run in runs):.0f}",
                f"{ratio(found, name, 'plain', clients):.2f}",
                f"{statistics.median(run.p99_ms for run in runs):.1f}",
                f"{statistics.median(run.cpu_ms for run in runs):.2f}",
                f"{statistics.median(run.client_cores for run in runs):.2f}",
            )
        Console().print(table)


def ratio(found: dict[str, list[dict[int, Run]]], one: str, other: str, clients: int) -> float:
    """Return the median over rounds of how much more one server answers than another."""
    pairs = zip(found[one], found[other], strict=True)
    return statistics.median(first[clients].rate / second[clients].rate for first, second in pairs)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    # The processes that are measured are this script, too.
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        SERVERS[arguments.serve](arguments.port)
        return
    names = [name for name in SERVERS if litserve or not name.startswith("LitServe")]
    print_gain()
    found: dict[str, list[dict[int, Run]]] = {name: [] for name in names}
    for number in range(2 if arguments.quick else 5):
        for name in names if number % 2 else reversed(names):
            found[name].append(measure(name, CLIENTS, 1.5 if arguments.quick else 4))
    print_tables(found)
    for other in names[1:]:
        least = LEAST_OF_PLAIN if other == "plain" else LEAST_OF_LITSERVE
        reached = ratio(found, "smartml", other, 64)
        verdict = "reached" if reached >= least else "missed"
        print(f"64 clients: {reached:.2f} times {other} (at least {least:g} wanted: {verdict})")
    if not litserve:
        print("LitServe is left out: pip install litserve")


if __name__ == "__main__":
    main()
