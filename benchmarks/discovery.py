"""What an update of a feed costs: looking for new tensors of 1 to 8,192 ranks, in CPU time of client plus server.

Three kinds of producers: those that only put tensors (a SET, as any Redis client sends), those that use our client,
which tells an index what it puts, and SmartRedis's (AI.TENSORSET, sent by hand), for which the module does so. Beside
the updates, alternating in the same rounds: PING (the least that a question costs), one EXISTS per key, as SmartSim
asks, and a single EXISTS of all keys, written once. And what the index costs a producer: a put of 32 x 1024 float32
with and without somebody who follows.

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
from smartml.store.index import make_header
from smartml.store.keys import index_key
from smartml.store.module import find_module
from smartml.tensors import encode

RANKS = (1, 64, 1024, 8192)
# Looking for gaps, and at all keys, comes on top every now and then; the medians leave it out, the means do not.
WARM_UP = 5
NEWS_ROUNDS = 12
# Longer than a feed or a client takes to learn of each other.
LEARNING_S = 1.1
# Puts in one measurement.
PUTS = 200
ONE = np.zeros(1)


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


# Puts tensors of one element under some keys.
Put = Callable[[list[str]], object]


def producers(client: Client) -> Mapping[str, Put]:
    """Return the kinds of producers, by name."""
    payload, description = encode(ONE)
    value = bytes(payload) + description
    found: dict[str, Put] = {
        "plain": lambda names: client.database.set_values({name.encode(): value for name in names}),
        "client": lambda names: client.put_tensors(dict.fromkeys(names, ONE)),
    }
    if find_module() is not None:
        found["module"] = lambda names: client.database.commands(
            b"", *((b"AI.TENSORSET", name.encode(), b"DOUBLE", b"1", b"BLOB", bytes(payload)) for name in names)
        )
    return found


class Feed:
    """What looks for tensors, and those that are put for it."""

    def __init__(self, client: Client, put: Put, ranks: int, targets: bool) -> None:
        self._put, self._ranks = put, ranks
        self._prefixes = ("points", "values") if targets else ("points",)
        scheme = KeyScheme("points", "values" if targets else None, ranks)
        self.discovery = KeyDiscovery(client.database, scheme, [""])
        self._iteration = 0
        self.update()
        # It begins to follow; then the producers learn of that, and it of them.
        for _ in range(3):
            time.sleep(LEARNING_S)
            self.update()
            self.put()
            self.update()

    def put(self) -> None:
        """Put one new batch of every rank."""
        for prefix in self._prefixes:
            self._put([f"{prefix}_{rank}_{self._iteration}" for rank in range(self._ranks)])
        self._iteration += 1

    def update(self) -> None:
        """Find what is new, and confirm it."""
        self.discovery.confirm(self.discovery.find())


def ping(client: Client) -> Callable[[], object]:
    return lambda: client.database.commands(b"", (b"PING",))


def measure_idle(client: Client, costs: Costs, ranks: int, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Return medians and means of looking in vain, by contestant, and medians of what a PING beside them cost."""
    keys = [b"points_%d_999999" % rank for rank in range(ranks)]
    asked: dict[str, Callable[[], object]] = {
        "PING": ping(client),
        "an EXISTS per key": lambda: [client.database.commands(key, (b"EXISTS", key)) for key in keys],
        "one EXISTS": client.database.prepare_count(keys),
    }
    found: dict[str, list[float]] = {}
    beside: dict[str, float] = {}
    for name, put in producers(client).items():
        client.database.command("FLUSHALL")
        asked[name] = Feed(client, put, ranks, targets=False).update
        for number in range(WARM_UP + rounds):
            # The slowest by far: a few rounds tell enough, and it leaves the caches to nobody behind it.
            for contestant in ("PING", "one EXISTS", name):
                found.setdefault(contestant, []).append(costs.of(asked[contestant]))
            if name == "plain" and number in (0, 1):
                found.setdefault("an EXISTS per key", []).append(costs.of(asked["an EXISTS per key"]))
        beside[name] = statistics.median(found["PING"][-rounds:])
    kept = {name: values[WARM_UP:] or values for name, values in found.items()}
    return {
        name: (statistics.median(values), statistics.mean(values), beside.get(name, 0)) for name, values in kept.items()
    }


def measure_news(client: Client, costs: Costs, ranks: int, put: Put, targets: bool) -> tuple[float, float]:
    """Return what an update costs that finds one new batch from every rank, and a PING in the same rounds."""
    client.database.command("FLUSHALL")
    feed = Feed(client, put, ranks, targets)
    updates, pings = [], []
    for _ in range(NEWS_ROUNDS):
        feed.put()
        pings.append(costs.of(ping(client)))
        updates.append(costs.of(feed.update))
    return statistics.median(updates), statistics.median(pings)


def measure_puts(database: Orchestrator, costs: Costs, rounds: int) -> tuple[float, float]:
    """Return what a put costs where nobody follows, in milliseconds, and the ratio to that where somebody does."""
    tensor = np.zeros((32, 1024), np.float32)
    with Client(address=database.address) as client:
        client.database.command("SET", index_key(b"followed"), make_header())

        def put(stem: str) -> Callable[[], object]:
            return lambda: [client.put_tensor(f"{stem}_{number % 8}_7", tensor) for number in range(PUTS)]

        ratios, alone = [], []
        for number in range(rounds):
            # Nobody comes always behind the same other.
            order = ("solitary", "followed") if number % 2 else ("followed", "solitary")
            spent = {stem: costs.of(put(stem)) for stem in order}
            ratios.append(spent["followed"] / spent["solitary"])
            alone.append(spent["solitary"] / PUTS)
    return statistics.median(alone), statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what looking for new tensors costs.")
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    idle = Table(title="nothing new: CPU time of client and server (ms; in brackets, so many PINGs)")
    news = Table(title="one new batch of every rank, found and confirmed (ms; in brackets, so many PINGs)")
    with Orchestrator(port=0) as database, Client(address=database.address) as client:
        costs = Costs(database.pid)
        kinds = list(producers(client))
        for name in ("ranks", "PING", "an EXISTS per key", "one EXISTS", *kinds, *(f"{kind}, mean" for kind in kinds)):
            idle.add_column(name, justify="right")
        for name in ("ranks", *(f"{kind}{also}" for kind in kinds for also in ("", ", with targets"))):
            news.add_column(name, justify="right")
        for ranks in RANKS:
            found = measure_idle(client, costs, ranks, rounds)
            beside = [f"{found[name][0]:.3f}" for name in ("PING", "an EXISTS per key", "one EXISTS")]
            medians = [f"{found[kind][0]:.3f} ({found[kind][0] / found[kind][2]:.1f})" for kind in kinds]
            idle.add_row(f"{ranks:,}", *beside, *medians, *(f"{found[kind][1]:.3f}" for kind in kinds))
            cells = []
            for put in producers(client).values():
                for targets in (False, True):
                    update, least = measure_news(client, costs, ranks, put, targets)
                    cells.append(f"{update:.3f} ({update / least:.1f})")
            news.add_row(f"{ranks:,}", *cells)
        alone, ratio = measure_puts(database, costs, max(20, rounds // 4))
    console = Console(width=150)
    console.print(idle)
    console.print(news)
    console.print(f"a put of 128 KiB costs {alone:.4f} ms, and {ratio:.3f} times that where somebody follows")


if __name__ == "__main__":
    main()
