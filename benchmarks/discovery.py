"""What an update of a feed costs: looking for new tensors of 1 to 8,192 ranks, in CPU time of client plus server.

Beside it, alternating in the same rounds: PING (the least that a question costs), one EXISTS per key, as SmartSim asks,
and a single EXISTS of all keys, written once.

usage: python benchmarks/discovery.py [--rounds N]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from smartml import Client, Orchestrator
from smartml.feeds.key_discovery import KeyDiscovery
from smartml.feeds.schemes import KeyScheme

RANKS = (1, 64, 1024, 8192)
# Looking for gaps comes on top every now and then; the medians leave it out, as the column of means shows.
WARM_UP = 5


class Costs:
    """CPU time of this thread and of the server, in milliseconds."""

    def __init__(self, server_pid: int) -> None:
        self._file = Path(f"/proc/{server_pid}/schedstat")

    def of(self, action: Callable[[], object]) -> float:
        """Run an action and return what it cost."""
        before = time.thread_time_ns() + self._server_ns()
        action()
        return (time.thread_time_ns() + self._server_ns() - before) / 1e6

    def _server_ns(self) -> int:
        return int(self._file.read_text().split()[0])


def contestants(client: Client, ranks: int) -> Mapping[str, Callable[[], object]]:
    """Return what is measured, by name."""
    database = client.database
    keys = [b"points_%d_0" % rank for rank in range(ranks)]
    feed = KeyDiscovery(database, KeyScheme("points", "values", ranks), [""])
    return {
        "PING": lambda: database.commands(b"", (b"PING",)),
        "an EXISTS per key": lambda: [database.commands(key, (b"EXISTS", key)) for key in keys],
        "one EXISTS": database.prepare_count(keys),
        "smartml": feed.find,
    }


def measure_idle(client: Client, costs: Costs, ranks: int, rounds: int) -> tuple[dict[str, float], float]:
    """Return the medians of looking in vain, by contestant, and the mean of smartml's."""
    asked = contestants(client, ranks)
    found: dict[str, list[float]] = {}
    for number in range(WARM_UP + rounds):
        for name, action in asked.items():
            # The slowest by far: a few rounds tell enough.
            if name == "an EXISTS per key" and number > WARM_UP + 3:
                continue
            found.setdefault(name, []).append(costs.of(action))
    kept = {name: values[WARM_UP:] or values for name, values in found.items()}
    return {name: statistics.median(values) for name, values in kept.items()}, statistics.mean(kept["smartml"])


def measure_news(client: Client, costs: Costs, ranks: int) -> float:
    """Return what an update costs that finds one new batch from every rank."""
    feed = KeyDiscovery(client.database, KeyScheme("points", "values", ranks), [""])
    feed.find()
    found: list[object] = []
    results = []
    for iteration in range(3):
        for prefix in ("points", "values"):
            client.put_tensors({f"{prefix}_{rank}_{iteration}": np.zeros(1) for rank in range(ranks)})
        results.append(costs.of(lambda: found.append(feed.find())))
        feed.confirm(found[-1])
    client.database.command("FLUSHALL")
    return statistics.median(results)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what looking for new tensors costs.")
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    table = Table(title="one update, CPU time of client and server (ms)")
    names = ("PING", "an EXISTS per key", "one EXISTS", "smartml", "smartml, mean", "one new batch per rank")
    for name in ("ranks", *names):
        table.add_column(name, justify="right")
    with Orchestrator(port=0) as database, Client(address=database.address) as client:
        costs = Costs(database.pid)
        for ranks in RANKS:
            medians, mean = measure_idle(client, costs, ranks, rounds)
            values = [*medians.values(), mean, measure_news(client, costs, ranks)]
            table.add_row(f"{ranks:,}", *(f"{value:.3f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()
