"""What it costs a feed to take up batches, as its training set grows.

    python benchmarks/feed_update.py [--repeats 3]

Batches of 32 x 1024 float32 lie in a database; a process of its own for every figure takes them up from zero, and then,
one by one, a few more. Beside the feed stand

- the ideal: pipelined GETs, received from the socket straight into one array that was reserved for all of them;
- SmartSim's algorithm: EXISTS and GET for each key by redis-py, and np.concatenate at each arrival, which copies all
  that came before. Its time grows with the square of the data: it runs at the small sizes only.

Time is CPU time of the process (user and system), the least of all repeats: what others on the machine do only adds to
it. Memory is the peak above what the process took before, relative to the data. The feed must grow no faster than the
data: at most 2.2 fold per doubling.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import redis
from rich.console import Console
from rich.table import Table

from smartml import Client, Orchestrator
from smartml.feeds import DataDownloader

SAMPLES, WIDTH = 32, 1024
BATCH_BYTES = SAMPLES * WIDTH * 4
SIZES = (125, 250, 500, 1000, 2000, 4000)
LARGEST_OF_SMARTSIM = 500
# So many batches come singly when all others are held.
SINGLE_BATCHES = 15
LIMIT_PER_DOUBLING = 2.2
# Where the limit is passed, that many more rounds tell whether it was another program's doing.
SECOND_LOOKS = 3


class Side(Protocol):
    """One way to take up batches."""

    def take_up(self, upto: int) -> None:
        """Take up all batches below this number."""

    def held(self) -> np.ndarray:
        """Return samples, to see that they are right: the first of every batch."""


class Feed:
    """The feed. Without a shuffle: what that costs belongs to a pass, and has a row of its own."""

    def __init__(self, room: int) -> None:
        self._feed = DataDownloader(sample_prefix="points", shuffle=False, init_samples=False)

    def take_up(self, upto: int) -> None:
        self._feed.update_data()

    def held(self) -> np.ndarray:
        return np.stack([self._feed.batch(number)[0] for number in range(len(self._feed))])


class Ideal:
    """Nothing but the transfer: knows how many batches come, and how long each reply is."""

    # Requests that are under way at once.
    WINDOW = 64
    HEADER = len(f"${BATCH_BYTES + 24}\r\n")
    # A tensor of two dimensions ends in 24 bytes of description; then comes the end of the line.
    TAIL = 24 + 2

    def __init__(self, room: int) -> None:
        host, port = os.environ["SSDB"].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)))
        self._rows = np.empty((room, SAMPLES, WIDTH), np.float32)
        self._count = 0

    def take_up(self, upto: int) -> None:
        header, tail = bytearray(self.HEADER), bytearray(self.TAIL)
        sent = self._count
        for number in range(self._count, upto):
            if sent < upto and sent - number <= self.WINDOW // 2:
                keys = [b"points_%d" % i for i in range(sent, min(upto, number + self.WINDOW))]
                self._socket.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys))
                sent += len(keys)
            payload = self._rows[number].reshape(-1).view(np.uint8).data
            size = self._socket.recvmsg_into([header, payload, tail], 0, socket.MSG_WAITALL)[0]
            assert size == len(header) + len(payload) + len(tail), "the reply came in pieces"
        self._count = upto

    def held(self) -> np.ndarray:
        return self._rows[: self._count, 0]


class SmartSim:
    """The algorithm of SmartSim's loader, without what its client takes on top."""

    def __init__(self, room: int) -> None:
        host, port = os.environ["SSDB"].rsplit(":", 1)
        self._redis = redis.Redis(host, int(port))
        self._samples: np.ndarray | None = None
        self._count = 0

    def take_up(self, upto: int) -> None:
        while self._redis.exists(f"points_{self._count}"):
            value = self._redis.get(f"points_{self._count}")
            batch = np.frombuffer(value, np.float32, SAMPLES * WIDTH).reshape(SAMPLES, WIDTH)
            self._samples = batch.copy() if self._samples is None else np.concatenate((self._samples, batch))
            self._count += 1

    def held(self) -> np.ndarray:
        assert self._samples is not None
        return self._samples[::SAMPLES]


SIDES: dict[str, Callable[[int], Side]] = {"ideal": Ideal, "feed": Feed, "SmartSim": SmartSim}


def make_batch(number: int) -> np.ndarray:
    """Return a batch whose every value tells its number."""
    return np.full((SAMPLES, WIDTH), number, np.float32)


def measure(name: str, batches: int) -> dict[str, float]:
    """Take up so many batches in this process; return seconds of CPU and bytes of memory."""
    side = SIDES[name](batches + SINGLE_BATCHES)
    memory_before = _status("VmRSS")
    catch_up = _cpu_time(lambda: side.take_up(batches))
    peak = _status("VmHWM") - memory_before
    singles = []
    with Client() as client:
        for number in range(batches, batches + SINGLE_BATCHES):
            client.put_tensor(f"points_{number}", make_batch(number))
            singles.append(_cpu_time(lambda upto=number + 1: side.take_up(upto)))
        for number in range(batches, batches + SINGLE_BATCHES):
            client.delete_tensor(f"points_{number}")
    assert side.held()[:, 0].tolist() == list(range(batches + SINGLE_BATCHES)), f"{name} holds something else"
    indices = np.arange(batches * SAMPLES)
    shuffle = _cpu_time(lambda: np.random.default_rng(0).shuffle(indices))
    return {"catch up": catch_up, "peak": peak, "one more": statistics.median(singles), "shuffle": shuffle}


Found: TypeAlias = dict[tuple[str, int], dict[str, float]]


def measure_apart(found: Found, batches: int, address: str, repeats: int) -> None:
    """Measure every side in fresh processes, in turn; note the least of each figure."""
    environment = {**os.environ, "SSDB": address, "SR_DB_TYPE": "Standalone"}
    for _ in range(repeats):
        for name in SIDES:
            # SmartSim's takes long enough to be measured once.
            if name != "SmartSim" or (batches <= LARGEST_OF_SMARTSIM and (name, batches) not in found):
                command = [sys.executable, __file__, "--side", name, "--batches", str(batches)]
                run = json.loads(subprocess.check_output(command, env=environment))
                least = found.setdefault((name, batches), run)
                found[name, batches] = {what: min(run[what], least[what]) for what in run}


def growth_of(found: Found, name: str, batches: int) -> float | None:
    """Return how many times longer so many batches take than half of them; None when half were not measured."""
    figures, half = found[name, batches], found.get((name, batches // 2))
    return figures["catch up"] / half["catch up"] if half else None


def print_tables(found: Found) -> None:
    """Print what was found."""
    columns = (
        "batches",
        "MB",
        *(f"{name}\n{unit}" for name in SIDES for unit in ("ms", "/ ideal", "growth", "memory")),
    )
    table = Table(*columns, title="catching up from zero: CPU time, growth per doubling, peak memory / data")
    single = Table("held", *(f"{name} ms" for name in SIDES), "a pass's shuffle ms", title="one more batch: CPU time")
    for batches in SIZES:
        ideal = found["ideal", batches]
        row, single_row = [f"{batches}", f"{batches * BATCH_BYTES / 1e6:.0f}"], [f"{batches}"]
        for name in SIDES:
            figures = found.get((name, batches))
            if figures is None:
                row += ["", "", "", ""]
                single_row.append("")
                continue
            growth = growth_of(found, name, batches)
            row += [
                f"{figures['catch up'] * 1e3:.0f}",
                f"{figures['catch up'] / ideal['catch up']:.2f}",
                f"{growth:.2f}" if growth else "",
                f"{figures['peak'] / (batches * BATCH_BYTES):.2f}",
            ]
            single_row.append(f"{figures['one more'] * 1e3:.2f}")
        table.add_row(*row)
        single.add_row(*single_row, f"{found['feed', batches]['shuffle'] * 1e3:.2f}")
    console = Console(width=140)
    console.print(table)
    console.print(single)


def main() -> None:
    """Measure, print the tables, and fail when the feed grows faster than the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    # The processes that measure are this script, too.
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--batches", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.batches)))
        return
    found: Found = {}
    with Orchestrator(port=0) as database, Client(address=database.address) as client:
        there = 0
        for batches in SIZES:
            for number in range(there, batches):
                client.put_tensor(f"points_{number}", make_batch(number))
            there = batches
            measure_apart(found, batches, database.address, arguments.repeats)
            looks = 0
            while batches > 1000 and growth_of(found, "feed", batches) > LIMIT_PER_DOUBLING and looks < SECOND_LOOKS:
                measure_apart(found, batches, database.address, arguments.repeats)
                looks += 1
    print_tables(found)
    growth = max(growth_of(found, "feed", batches) for batches in SIZES if batches > 1000)
    print(f"feed: at most {growth:.2f} fold per doubling from 1000 batches on, allowed are {LIMIT_PER_DOUBLING}")
    if growth > LIMIT_PER_DOUBLING:
        sys.exit("the feed grows faster than the data")


def _cpu_time(action: Callable[[], Any]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def _status(field: str) -> int:
    """Read a figure of this process in bytes. Unlike ru_maxrss, it knows nothing of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


if __name__ == "__main__":
    main()
