"""Samples per second over WebSocket, beside a server as EIR's guide builds one, with FastAPI.

    python benchmarks/streaming.py [--quick] [--only WORD]

Each case is a server in a process of its own and a client in another, which reads batches of 32 for some seconds. All
servers have the same samples: arrays of 3 x 64 x 64 float32, or texts of about 40 characters. Servers:

    FastAPI         encodes each batch when it is asked for, as in the guide
    smartml         reads a stream once, encodes every sample once: `live`, while it does so; `held`, when a client
                    reads what another one has read before

Clients: `plain` is one question at a time with the library websockets, json and base64, as EIR's; `smartml` is
WebSocketSource, which asks ahead, and smartml's server for several batches in a message. In each of several rounds all
cases run in turn, and a case's rate is divided by FastAPI's with the same client; the table shows medians. The
microseconds of CPU that server and client take per sample, and FastAPI's with the plain client divided by those of
both, hold on a busy machine, too; best where all share one core: `taskset -c 1`.
"""

import argparse
import base64
import itertools
import json
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from websockets.sync.client import connect

from smartml.streaming import ClientOptions, WebSocketSource, serve

ROUNDS, QUICK_ROUNDS = 5, 2
SECONDS, QUICK_SECONDS = 3.0, 1.0
BATCH = 32
SHAPE = (3, 64, 64)
ARRAY_BYTES = int(np.prod(SHAPE)) * 4
POOL = 64
# What the server of the held stream keeps: 64 MB of arrays, or about 140 MB of texts.
HELD = {"arrays": 1024, "texts": 200_000}


def pool(kind: str) -> list[Any]:
    """Return the samples that all servers give, again and again."""
    if kind == "arrays":
        return list(np.random.default_rng(1).random((POOL, *SHAPE), dtype="float32"))
    return [f"the reading of sensor {number} is {number**3}, as always" for number in range(POOL)]


# Servers


def serve_fastapi(port: int, kind: str) -> None:
    """Serve as EIR's guide does: a batch is made, encoded and sent when it is asked for."""
    import uvicorn
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    app, samples = FastAPI(), pool(kind)
    described = {"type": "array", "shape": list(SHAPE)} if kind == "arrays" else {"type": "sequence"}
    position = itertools.count()

    def sample() -> dict[str, Any]:
        number = next(position)
        value = samples[number % POOL]
        if kind == "arrays":
            value = base64.b64encode(value.tobytes()).decode("utf-8")
        return {"inputs": {"x": value}, "target_labels": {}, "sample_id": f"s{number}"}

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                message = await websocket.receive_json()
                answer: dict[str, Any] = {"type": message["type"]}
                if message["type"] == "handshake":
                    answer["version"] = "1.0"
                elif message["type"] == "getInfo":
                    answer = {"type": "info", "payload": {"inputs": {"x": described}, "outputs": {}}}
                elif message["type"] == "getData":
                    batch = [sample() for _ in range(message["payload"]["batch_size"])]
                    answer = {"type": "data", "payload": batch}
                elif message["type"] == "reset":
                    await websocket.send_json({"type": "resetConfirmation", "payload": {"message": "done"}})
                    answer["payload"] = {"message": "done"}
                await websocket.send_json(answer)
        except WebSocketDisconnect:
            pass

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def serve_smartml(port: int, kind: str, is_held: bool, compression: bool) -> None:
    """Serve an endless stream, or one that ends and is held."""
    samples = pool(kind)

    def stream() -> Iterator[Any]:
        items = ({"x": samples[number % POOL]} for number in itertools.count())
        return itertools.islice(items, HELD[kind] if is_held else None)

    with serve(stream, port=port, compression=compression) as server:
        server.wait()


# Clients


def read_plainly(url: str, seconds: float, least: int = 0) -> tuple[int, float]:
    """Read with websockets, json and base64, for some seconds and at least so much; return samples and seconds."""
    with connect(url, compression=None, max_size=None, proxy=None, ping_interval=None) as socket_:

        def ask(message: dict[str, Any]) -> dict[str, Any]:
            socket_.send(json.dumps(message))
            return json.loads(socket_.recv())

        ask({"type": "handshake", "version": "1.0", "worker_id": 0})
        feature = ask({"type": "getInfo"})["payload"]["inputs"]["x"]
        began = time.perf_counter()
        count = 0
        while (passed := time.perf_counter() - began) < seconds or count < least:
            samples = ask({"type": "getData", "payload": {"batch_size": BATCH}})["payload"]
            if samples == ["terminate"]:
                ask({"type": "reset"})
                socket_.recv()
                continue
            for sample in samples:
                value = sample["inputs"]["x"]
                if feature["type"] == "array":
                    np.frombuffer(base64.b64decode(value), "float32").reshape(feature["shape"])
                count += 1
    return count, passed


def read_smartml(url: str, seconds: float, least: int = 0, *, binary: bool, compression: bool) -> tuple[int, float]:
    """Read with WebSocketSource, for some seconds and at least so much; return samples and seconds."""
    source = WebSocketSource(url, batch_size=BATCH, options=ClientOptions(binary=binary, compression=compression))
    began, count = None, 0
    while True:
        reading = iter(source)
        for _ in reading:
            if began is None:
                # The connection is made.
                began = time.perf_counter()
            count += 1
            if count % BATCH == 0 and (passed := time.perf_counter() - began) >= seconds and count >= least:
                reading.close()
                return count, passed


class Case(NamedTuple):
    """A server and a client."""

    name: str
    serve: Callable[..., None]
    read: Callable[..., tuple[int, float]]
    # The case that it is compared with.
    beside: str


def cases() -> list[Case]:
    """List what is measured, for one kind of samples."""
    plain, ours = read_plainly, partial(read_smartml, binary=False, compression=False)
    binary = partial(read_smartml, binary=True, compression=False)
    deflated = partial(read_smartml, binary=False, compression=True)
    live = partial(serve_smartml, is_held=False, compression=False)
    held = partial(serve_smartml, is_held=True, compression=False)
    deflating = partial(serve_smartml, is_held=False, compression=True)
    by_plain, by_ours = "FastAPI, plain client", "FastAPI, smartml client"
    return [
        Case(by_plain, serve_fastapi, plain, by_plain),
        Case("smartml live, plain client", live, plain, by_plain),
        Case("smartml held, plain client", held, plain, by_plain),
        Case(by_ours, serve_fastapi, ours, by_ours),
        Case("smartml live, smartml client", live, ours, by_ours),
        Case("smartml held, smartml client", held, ours, by_ours),
        Case("smartml live, smartml client, binary", live, binary, by_ours),
        Case("smartml held, smartml client, binary", held, binary, by_ours),
        Case("smartml live, smartml client, deflate", deflating, deflated, by_ours),
    ]


class Measured(NamedTuple):
    """Samples per second, and microseconds of CPU per sample on either side."""

    rate: float
    server_us: float
    client_us: float

    @property
    def cpu_us(self) -> float:
        """Of both sides."""
        return self.server_us + self.client_us


def measure(case: Case, kind: str, seconds: float) -> Measured:
    """Run one case."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = multiprocessing.get_context("spawn").Process(target=case.serve, args=(port, kind))
    server.start()
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        url = f"ws://127.0.0.1:{port}/ws"
        # What is held has to be read once before, and a live stream to have filled its window.
        case.read(url, seconds, HELD[kind])
        of_server, client_s = psutil.Process(server.pid), time.process_time()
        server_s = sum(of_server.cpu_times()[:2])
        count, passed = case.read(url, seconds)
        server_s = sum(of_server.cpu_times()[:2]) - server_s
        client_s = time.process_time() - client_s
    finally:
        server.kill()
        server.join()
    return Measured(count / passed, server_s / count * 1e6, client_s / count * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", default="", help="kinds of samples whose name holds this word: arrays, texts")
    options = parser.parse_args()
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if options.quick else (ROUNDS, SECONDS)
    for kind in ("arrays", "texts"):
        if options.only not in kind:
            continue
        found: dict[str, list[Measured]] = {case.name: [] for case in cases()}
        for _ in range(rounds):
            for case in cases():
                found[case.name].append(measure(case, kind, seconds))
        columns = (
            "samples/s",
            "MB/s",
            "beside FastAPI",
            "... with plain client",
            "... in CPU",
            "server us",
            "client us",
        )
        table = Table("server, client", *columns, title=kind)
        plainest = cases()[0].name
        for case in cases():
            own = found[case.name]
            rate, server_us, client_us = (statistics.median(values) for values in zip(*own, strict=True))
            ratios = [
                statistics.median(mine.rate / theirs.rate for mine, theirs in zip(own, found[name], strict=True))
                for name in (case.beside, plainest)
            ]
            both = zip(own, found[plainest], strict=True)
            ratios.append(statistics.median(theirs.cpu_us / mine.cpu_us for mine, theirs in both))
            size = ARRAY_BYTES if kind == "arrays" else 40
            cells = (f"{rate:,.0f}", f"{rate * size / 1e6:,.1f}", *(f"{ratio:.1f}" for ratio in ratios))
            table.add_row(case.name, *cells, f"{server_us:.1f}", f"{client_us:.1f}")
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
