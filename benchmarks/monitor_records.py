"""What logging costs: calls of `write` per second, and bytes on disk, beside TensorBoard's SummaryWriter.

Run `pip install tensorboard` first to see TensorBoard's figures, too: with the writer it has of its own, and, where it
is installed, with TensorFlow's. Each figure is of one process that logs nothing but scalars: `x` an integer,
`y` a Python float. "written" is the time inside the calls alone, "kept" also what it takes until every point is on
the disk; the best of several rounds, taken in turn. "CPU" is what the process spends on a call in all its threads,
which other programs on the machine disturb least; the record server is one of them here.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from smartml.monitor import DataLogger, RecordServer

PEERS = {"own": "TensorBoard", "tensorflow": "TensorBoard with TensorFlow"}


def size_of(folder):
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def ours(count, values, folder, names=1):
    with RecordServer(folder, port=0) as server:
        log = DataLogger("run", grpc_uri=server.address)
        log.write("warm", x=0, y=0.5)
        log.flush()
        begin, cpu = time.perf_counter(), time.process_time()
        for step in range(count):
            log.write(f"loss {step % names}" if names > 1 else "loss", x=step, y=values[step])
        called_s = time.perf_counter() - begin
        log.flush()
        kept_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
        log.close()
        assert log.counts.sent == count + 1
    return called_s, kept_s, cpu_s, size_of(folder)


def tensorboard(count, values, folder):
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder)
    writer.add_scalar("warm", 0.5, 0)
    writer.flush()
    begin, cpu = time.perf_counter(), time.process_time()
    for step in range(count):
        writer.add_scalar("loss", values[step], step)
    called_s = time.perf_counter() - begin
    writer.flush()
    kept_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    writer.close()
    return called_s, kept_s, cpu_s, size_of(folder)


def peer(kind, count, folder):
    """Measure in another process, since what TensorBoard writes with is decided once."""
    command = [sys.executable, "-W", "ignore", __file__, "--peer", kind, "--peer-count", str(count), "--folder", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ImportError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def measure_peer(kind, count, folder):
    if kind == "own":
        # What tensorboard.compat looks for before it looks for TensorFlow.
        sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")
    else:
        importlib.import_module("tensorflow")
    print(json.dumps(tensorboard(count, values_of_float32(count), folder)))


def values_of_float32(count):
    """Return losses that come of float32, as `loss.item()` does."""
    return np.random.default_rng(0).random(count, dtype="float32").astype(float).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=400_000, help="calls of smartml")
    parser.add_argument("--peer-count", type=int, default=20_000, help="calls of TensorBoard, which take longer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        measure_peer(arguments.peer, arguments.peer_count, arguments.folder)
        return
    narrow = values_of_float32(arguments.count)
    wide = np.random.default_rng(0).random(arguments.count).tolist()
    cases = {
        "smartml, losses of float32": lambda folder: ours(arguments.count, narrow, folder),
        "smartml, any float": lambda folder: ours(arguments.count, wide, folder),
        "smartml, any float, 20 names": lambda folder: ours(arguments.count, wide, folder, names=20),
        PEERS["own"]: lambda folder: peer("own", arguments.peer_count, folder),
        PEERS["tensorflow"]: lambda folder: peer("tensorflow", arguments.peer_count, folder),
    }
    found = {}
    for _ in range(arguments.rounds):
        for name, measure in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found.setdefault(name, []).append(measure(folder))
                except ImportError as error:
                    Console(stderr=True).print(f"{name}: {error}")
    table = Table(
        "logger",
        "written/s",
        "kept/s",
        "CPU µs/call",
        "bytes/point",
        "times TensorBoard's calls",
        "and with TensorFlow",
    )
    best = {}
    for name, rounds in found.items():
        count = arguments.peer_count if name in PEERS.values() else arguments.count
        called_s, kept_s, cpu_s, size = map(min, zip(*rounds, strict=True))
        best[name] = count / called_s, count / kept_s, 1e6 * cpu_s / count, size / count
    for name, (called, kept, cpu, size) in best.items():
        factors = [f"{called / best[other][0]:.1f}" if other in best else "" for other in PEERS.values()]
        table.add_row(name, f"{called:,.0f}", f"{kept:,.0f}", f"{cpu:.1f}", f"{size:.1f}", *factors)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
