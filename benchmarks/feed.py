"""The whole way from a producer process to batches in a trainer process, beside peers.

    python benchmarks/feed.py [--batches 250,500,1000,2000] [--rounds 5] [--reverb-python PATH]

A producer process puts batches of 32 x 1024 float32 samples and as many targets, one after the other. Then a trainer
process takes all of them up and makes one pass over shuffled batches of 32 samples. The ways to do so, in turn, each
with a fresh server and fresh processes of its own:

- bare: bare sockets on both sides. The producer sends both tensors of a batch in one call and waits for both replies.
  The trainer is the ideal loader: it knows how many batches come, their keys, and how long each reply is: pipelined
  GETs, received straight into one array for samples and one for targets, both reserved before; then `numpy.take` of a
  random permutation. It looks at no error. Both processes load what the feed's load, and say PING when they connect,
  as clients do;
- bare, doubling: the same into arrays that are copied to others of twice the size when they are full;
- feed, keys: `Client.put_tensors` and `DataDownloader(sample_prefix=..., target_prefix=...)`;
- ideal, keys: the same producer and the ideal loader;
- feed, list: `TrainingDataUploader` and `DataDownloader(<name of the list>)`;
- ideal, list: the same producer and the ideal loader, which reads the list once to learn the keys;
- SmartSim: the algorithm of its loader with SmartRedis's client: asks for each tensor whether it exists, gets it, and
  copies all that came before by `np.concatenate`. Its time grows with the square of the data: small sizes only;
- Reverb, samples: DeepMind's replay server, each sample an item, sampled once each in random order, and put together to
  batches by its `TrajectoryDataset`;
- Reverb, batches: the same with whole batches as items, which it serves as they were put: the order of batches is
  random, what is in them is not. It keeps no training set, so that a second pass would cost as much again.

Counted is CPU time (user and system) of all threads of the three processes, from when they are up and connected to
the end of the pass. Every round divides by what the ideal loader took in that round, behind the same producer for a
feed, behind a bare socket for all others; shown are medians over the rounds, with the lowest and the highest for the
ratio of the whole. What others on the machine do mostly adds to a time: beside it stands the least of a way relative
to the least of its ideal; "/ bare" is relative to bare sockets on both sides. Memory is the peak of the trainer above
what it took before, relative to the data. Growth is the median of the whole for so many batches over that for half of
them.

A second table has what one more batch costs a trainer that holds so many already, without a pass.

Reverb needs a Python of its own: `python3.11 -m venv V && V/bin/pip install dm-reverb==0.14.0 tensorflow-cpu==2.15.*
"numpy<2"`, then `--reverb-python V/bin/python`.
"""

import argparse
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

# Everything else is imported where it is used: Reverb's Python has nothing of ours, ours nothing of Reverb's.

SAMPLES, WIDTH = 32, 1024
TENSOR_BYTES = SAMPLES * WIDTH * 4
# Samples and targets.
BATCH_BYTES = 2 * TENSOR_BYTES
DEFAULT_SIZES = (250, 500, 1000, 2000)
LARGEST_OF_SMARTSIM = 500
ROUNDS_OF_REVERB = 3
# So many batches come singly when all others are held.
SINGLE_BATCHES = 9
PREFIXES = ("points", "values")
# What the feed may cost at most: relative to the ideal, to Reverb with samples as items, to the data, per doubling.
MAX_OF_IDEAL, MAX_OF_REVERB, MAX_MEMORY, MAX_GROWTH = 1.1, 0.5, 1.03, 2.2


class Producer(Protocol):
    """Puts batches."""

    def put(self, samples: np.ndarray, targets: np.ndarray, number: int) -> None:
        """Put batch `number`, both arrays (32, 1024); they may change when this returns."""


class Trainer(Protocol):
    """Takes batches up and serves them."""

    def take_up(self, upto: int) -> None:
        """Take up all batches below this number."""

    def serve(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Make one pass."""


class BareProducer:
    """Two SETs by one system call, two replies."""

    # Two dimensions, dtype and magic, as smartml's format has them.
    END = SAMPLES.to_bytes(8, "little") + WIDTH.to_bytes(8, "little") + bytes([2, 2, 0, 0]) + b"SMT1"
    REPLIES = b"+OK\r\n+OK\r\n"

    def __init__(self, batches: int) -> None:
        self._socket = connect()

    def put(self, samples: np.ndarray, targets: np.ndarray, number: int) -> None:
        pieces: list[Any] = []
        for prefix, array in zip(PREFIXES, (samples, targets), strict=True):
            key, size = b"%s_%d" % (prefix.encode(), number), array.nbytes + len(self.END)
            pieces += (b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key, size), array, self.END + b"\r\n")
        sent = self._socket.sendmsg(pieces)
        assert sent == sum(memoryview(piece).nbytes for piece in pieces), "the kernel took a part only"
        assert self._socket.recv(len(self.REPLIES), socket.MSG_WAITALL) == self.REPLIES


class Ideal:
    """Nothing but the transfer."""

    # Requests for a batch that are under way at once.
    WINDOW = 32
    HEADER = len(f"${TENSOR_BYTES + len(BareProducer.END)}\r\n")
    TAIL = len(BareProducer.END) + len("\r\n")

    def __init__(self, batches: int) -> None:
        self._socket = connect()
        self._random = np.random.default_rng(0)
        self._count = 0
        self._columns = self._reserve(batches)

    def _reserve(self, batches: int) -> list[np.ndarray]:
        return [np.empty((batches + SINGLE_BATCHES, SAMPLES, WIDTH), np.float32) for _ in PREFIXES]

    def take_up(self, upto: int) -> None:
        header, tail = bytearray(self.HEADER), bytearray(self.TAIL)
        self._look(upto)
        sent = self._count
        for number in range(self._count, upto):
            if sent < upto and sent - number <= self.WINDOW // 2:
                asked = range(sent, min(upto, number + self.WINDOW))
                keys = [key for i in asked for key in self._keys_of(i)]
                self._socket.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys))
                sent = asked.stop
            self._make_room(number)
            for column in self._columns:
                payload = column[number].reshape(-1).view(np.uint8).data
                size = self._socket.recvmsg_into([header, payload, tail], 0, socket.MSG_WAITALL)[0]
                assert size == len(header) + len(payload) + len(tail), "the reply came in pieces"
        self._count = upto

    def _look(self, upto: int) -> None:
        """Nothing to do: the keys are known."""

    def _keys_of(self, number: int) -> tuple[bytes, ...]:
        return tuple(b"%s_%d" % (prefix.encode(), number) for prefix in PREFIXES)

    def _make_room(self, number: int) -> None:
        """Nothing to do: there is room for all."""

    def serve(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        x, y = (column[: self._count].reshape(-1, WIDTH) for column in self._columns)
        order = self._random.permutation(len(x))
        for first in range(0, len(order), SAMPLES):
            indices = order[first : first + SAMPLES]
            yield x.take(indices, axis=0), y.take(indices, axis=0)


class IdealOfList(Ideal):
    """Learns the keys from the list."""

    def _look(self, upto: int) -> None:
        self._socket.sendall(b"*4\r\n$6\r\nLRANGE\r\n$13\r\ntraining_data\r\n$1\r\n0\r\n$2\r\n-1\r\n")
        reply = bytearray()
        # A line that counts them, then two for each.
        while reply.count(b"\r\n") < 1 + 2 * upto:
            reply += self._socket.recv(1 << 20)
        self._entries = reply.split(b"\r\n")[2::2]

    def _keys_of(self, number: int) -> tuple[bytes, ...]:
        return self._entries[number] + b".samples", self._entries[number] + b".targets"


class Doubling(Ideal):
    """Does not know how many batches come."""

    def _reserve(self, batches: int) -> list[np.ndarray]:
        return [np.empty((1, SAMPLES, WIDTH), np.float32) for _ in PREFIXES]

    def _make_room(self, number: int) -> None:
        for place, column in enumerate(self._columns):
            if number == len(column):
                self._columns[place] = np.empty((2 * number, SAMPLES, WIDTH), np.float32)
                self._columns[place][:number] = column


class KeysProducer:
    """Both tensors of a batch in one call, under keys."""

    def __init__(self, batches: int) -> None:
        from smartml import Client

        self._client = Client()

    def put(self, samples: np.ndarray, targets: np.ndarray, number: int) -> None:
        self._client.put_tensors({f"points_{number}": samples, f"values_{number}": targets})


class ListProducer:
    """A dataset per batch, named by a list."""

    def __init__(self, batches: int) -> None:
        from smartml.feeds import TrainingDataUploader

        self._uploader = TrainingDataUploader("training_data")
        self._uploader.publish_info()

    def put(self, samples: np.ndarray, targets: np.ndarray, number: int) -> None:
        self._uploader.put_batch(samples, targets)


class Feed:
    """The feed; a pass begins with a look for news, which finds none."""

    def __init__(self, *names: str, **prefixes: str) -> None:
        from smartml.feeds import DataDownloader

        self._feed = DataDownloader(*names, **prefixes, batch_size=SAMPLES, init_samples=False)

    def take_up(self, upto: int) -> None:
        self._feed.update_data()

    def serve(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return iter(self._feed)


def feed_by_keys(batches: int) -> Feed:
    """Return a feed that follows keys."""
    return Feed(sample_prefix="points", target_prefix="values")


def feed_by_list(batches: int) -> Feed:
    """Return a feed that follows a list."""
    return Feed("training_data")


class SmartRedisProducer:
    """A call for each tensor: its client has none for several."""

    def __init__(self, batches: int) -> None:
        self._client = smartredis_client()

    def put(self, samples: np.ndarray, targets: np.ndarray, number: int) -> None:
        self._client.put_tensor(f"points_{number}", samples)
        self._client.put_tensor(f"values_{number}", targets)


class SmartSim:
    """What SmartSim's loader does when it looks for new batches, and when it serves them."""

    def __init__(self, batches: int) -> None:
        self._client = smartredis_client()
        self._samples = self._targets = np.empty((0, WIDTH), np.float32)
        self._count = 0

    def take_up(self, upto: int) -> None:
        client = self._client
        while client.tensor_exists(f"points_{self._count}") and client.tensor_exists(f"values_{self._count}"):
            self._samples = np.concatenate((self._samples, client.get_tensor(f"points_{self._count}")))
            self._targets = np.concatenate((self._targets, client.get_tensor(f"values_{self._count}")))
            self._indices = np.arange(len(self._samples))
            self._count += 1
        np.random.default_rng(0).shuffle(self._indices)

    def serve(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self._indices), SAMPLES):
            indices = self._indices[first : first + SAMPLES]
            yield self._samples[indices], self._targets[indices]


class ReverbProducer:
    """Items of so many samples each; every batch has arrived when `put` returns."""

    def __init__(self, item: int) -> None:
        import reverb

        self._item = item
        self._writer = reverb.Client(os.environ["SSDB"]).trajectory_writer(num_keep_alive_refs=1)

    def put(self, samples: np.ndarray, targets: np.ndarray, number: int) -> None:
        writer = self._writer
        for first in range(0, SAMPLES, self._item):
            rows = slice(first, first + self._item)
            writer.append({"x": samples[rows], "y": targets[rows]})
            writer.create_item("batches", 1.0, {name: column[-1:] for name, column in writer.history.items()})
        writer.flush()


class ReverbTrainer:
    """Samples what is on the server, each item once."""

    def __init__(self, item: int, batches: int) -> None:
        import reverb

        self._item, self._items = item, batches * SAMPLES // item
        self._reverb = reverb

    def take_up(self, upto: int) -> None:
        """Nothing to do: items are taken up as they are served."""

    def serve(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for data in self._whole_batches() if self._item == SAMPLES else self._joined_samples():
            yield data["x"].reshape(SAMPLES, WIDTH), data["y"].reshape(SAMPLES, WIDTH)

    # Each of the two is the cheaper way for its items.

    def _whole_batches(self) -> Iterator[dict[str, np.ndarray]]:
        client = self._reverb.Client(os.environ["SSDB"])
        for sample in client.sample("batches", self._items, emit_timesteps=False, unpack_as_table_signature=True):
            yield sample.data

    def _joined_samples(self) -> Iterator[dict[str, np.ndarray]]:
        found = self._reverb.TrajectoryDataset.from_table_signature(
            os.environ["SSDB"], "batches", max_in_flight_samples_per_worker=2 * SAMPLES, num_workers_per_iterator=1
        )
        for sample in found.take(self._items).batch(SAMPLES).as_numpy_iterator():
            yield sample.data


class ReverbServer:
    """A table whose items are sampled once each, in random order."""

    def __init__(self, item: int) -> None:
        import reverb
        import tensorflow as tf

        column = tf.TensorSpec((1, item, WIDTH), tf.float32)
        table = reverb.Table(
            "batches",
            sampler=reverb.selectors.Uniform(),
            remover=reverb.selectors.Fifo(),
            max_size=10_000_000,
            max_times_sampled=1,
            rate_limiter=reverb.rate_limiters.MinSize(1),
            signature={"x": column, "y": column},
        )
        self._server = reverb.Server([table])
        self.address = f"localhost:{self._server.port}"


@dataclass(frozen=True)
class Side:
    """One way from a producer to a trainer."""

    # Both are made with the number of batches.
    producer: Callable[[int], Producer]
    trainer: Callable[[int], Trainer]
    # Samples in an item of Reverb's; None: a database is the server.
    item: int | None = None
    # Whether it holds what it took up, so that one more batch can be told from a pass.
    holds: bool = True
    # The way that it is compared with.
    ideal: str = "bare"
    # What takes long is measured at fewer sizes, and less often.
    largest: int = sys.maxsize
    most_rounds: int = sys.maxsize


def reverb_side(item: int) -> Side:
    """Return Reverb with so many samples in an item."""
    return Side(
        lambda _: ReverbProducer(item),
        lambda batches: ReverbTrainer(item, batches),
        item=item,
        holds=False,
        most_rounds=ROUNDS_OF_REVERB,
    )


SIDES = {
    "bare": Side(BareProducer, Ideal),
    "bare, doubling": Side(BareProducer, Doubling),
    "ideal, keys": Side(KeysProducer, Ideal),
    "feed, keys": Side(KeysProducer, feed_by_keys, ideal="ideal, keys"),
    "ideal, list": Side(ListProducer, IdealOfList),
    "feed, list": Side(ListProducer, feed_by_list, ideal="ideal, list"),
    "SmartSim": Side(SmartRedisProducer, SmartSim, largest=LARGEST_OF_SMARTSIM, most_rounds=1),
    "Reverb, samples": reverb_side(1),
    "Reverb, batches": reverb_side(SAMPLES),
}


def connect() -> socket.socket:
    """Connect to the database, as a client in Python would."""
    # In a process that has loaded no more than numpy each call into the kernel takes less than in one like the feed's.
    importlib.import_module("smartml.feeds")
    host, port = os.environ["SSDB"].rsplit(":", 1)
    connected = socket.create_connection((host, int(port)))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # What it says first decides how large the window gets (smartml/store/transport.py): as much as smartml says.
    connected.sendall(2 * (b"*2\r\n$4\r\nPING\r\n$15000\r\n" + bytes(15_000) + b"\r\n"))
    size = 2 * len(b"$15000\r\n" + bytes(15_000) + b"\r\n")
    if len(connected.recv(size, socket.MSG_WAITALL)) != size:
        raise RuntimeError("the server did not answer a PING")
    return connected


def smartredis_client() -> Any:
    """Return SmartRedis's own client."""
    import smartredis

    return smartredis.Client(None, logger_name="feed")


# The processes that are measured


class Acts:
    """What the processes of a side do when told; each act returns what it costs beside time, or nothing."""

    def __init__(self, side: Side, batches: int) -> None:
        self._side, self._batches = side, batches

    def be_producer(self) -> None:
        random = np.random.default_rng(0)
        self._samples, self._targets = (random.random((SAMPLES, WIDTH), np.float32) for _ in PREFIXES)
        self._producer = self._side.producer(self._batches)
        # Once, at some moment, what imports left is looked through: 30 ms that do not belong to a batch.
        gc.collect()

    def be_trainer(self) -> None:
        self._trainer = self._side.trainer(self._batches)
        self._seen = np.empty((self._batches, 2, SAMPLES), np.float32)
        gc.collect()
        # What imports took for a moment does not count.
        Path("/proc/self/clear_refs").write_text("5")
        self._memory_before = status("VmRSS")

    def be_server(self) -> str:
        assert self._side.item is not None
        self._server = ReverbServer(self._side.item)
        return self._server.address

    def put(self, first: int, upto: int) -> None:
        for number in range(first, upto):
            # Every sample tells its number, its target the same below zero.
            self._samples[:, 0] = np.arange(number * SAMPLES, (number + 1) * SAMPLES)
            self._targets[:, 0] = -self._samples[:, 0]
            self._producer.put(self._samples, self._targets, number)

    def take_up(self, upto: int) -> None:
        self._trainer.take_up(upto)

    def serve(self) -> None:
        count = 0
        for count, (x, y) in enumerate(self._trainer.serve(), 1):
            self._seen[count - 1] = x[:, 0], y[:, 0]
        assert count == self._batches, f"{count} batches came, {self._batches} were put"

    def check(self) -> int:
        """Make sure that each sample was served once, with its target; return the peak of memory."""
        peak = status("VmHWM") - self._memory_before
        x, y = self._seen[:, 0].ravel(), self._seen[:, 1].ravel()
        assert (np.sort(x) == np.arange(len(x))).all() and (x == -y).all(), "something else came than was put"
        return peak


def act(name: str, batches: int) -> None:
    """Do what the lines of standard input say, and tell what came of it, and the CPU time it took."""
    acts = Acts(SIDES[name], batches)
    for line in sys.stdin:
        verb, *numbers = line.split()
        start = time.process_time()
        result = getattr(acts, verb)(*map(int, numbers))
        print(json.dumps([time.process_time() - start, result]), flush=True)


class Process:
    """Another process of this script."""

    def __init__(self, python: str, name: str, role: str, batches: int, environment: dict[str, str]) -> None:
        self.role = role
        self._command = [python, __file__, "--side", name, "--batches", str(batches)]
        self._environment = environment

    def __enter__(self) -> "Process":
        with contextlib.ExitStack() as stack:
            # What it says besides; read when it fails.
            self._errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
            self._child = subprocess.Popen(self._command, env=self._environment, text=True, **pipes)
            stack.callback(self._child.communicate)
            stack.callback(self._child.kill)
            self.pid = self._child.pid
            self.result = self.do(f"be_{self.role}")[1]
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def do(self, verb: str, *numbers: int) -> tuple[float, Any]:
        """Let it act; return seconds of CPU time, and what the act returned."""
        assert self._child.stdin is not None and self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(verb, *numbers, file=self._child.stdin, flush=True)
        answer = self._child.stdout.readline()
        if not answer:
            self._errors.seek(0)
            sys.exit(f"{self.role}: {verb} failed\n{self._errors.read()[-2000:]}")
        seconds, result = json.loads(answer)
        return seconds, result


# Measuring


@dataclass(frozen=True)
class Run:
    """Seconds of CPU time, and the trainer's peak of memory relative to the data."""

    producer: float
    server: float
    take_up: float
    serve: float
    memory: float
    # For each of several single batches, by a trainer that holds all others.
    singles: tuple[float, ...] = ()

    @property
    def trainer(self) -> float:
        return self.take_up + self.serve

    @property
    def whole(self) -> float:
        return self.producer + self.server + self.trainer


def cpu_time(pid: int) -> float:
    """Return seconds of CPU time that all threads of a process have had, those that ended, too."""
    # The number of another process's clock, as Linux makes it (clock_getcpuclockid, which Python lacks).
    return time.clock_gettime((~pid << 3) | 2)


def measure(name: str, batches: int, reverb_python: str | None) -> Run:
    """Go the whole way once."""
    side = SIDES[name]
    # Memory that no process has used for a while a virtual machine may have to ask its host for, at many times the cost
    # of the transfer: what all processes will need together is there.
    np.ones(4 * batches * BATCH_BYTES, np.uint8)
    python = sys.executable if side.item is None else reverb_python
    assert python is not None
    environment = {**os.environ, "SR_DB_TYPE": "Standalone", "SR_LOG_LEVEL": "QUIET", "SR_THREAD_COUNT": "1"}
    environment |= {"SR_LOG_FILE": os.devnull, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    with contextlib.ExitStack() as stack:
        if side.item is None:
            from smartml import Orchestrator

            database = stack.enter_context(Orchestrator(port=0))
            address, server_pid = database.address, database.pid
        else:
            server = stack.enter_context(Process(python, name, "server", batches, environment))
            address, server_pid = server.result, server.pid
        environment["SSDB"] = address
        producer = stack.enter_context(Process(python, name, "producer", batches, environment))
        trainer = stack.enter_context(Process(python, name, "trainer", batches, environment))
        server_before = cpu_time(server_pid)
        put, _ = producer.do("put", 0, batches)
        take_up, _ = trainer.do("take_up", batches)
        serve, _ = trainer.do("serve")
        server_after = cpu_time(server_pid)
        _, peak = trainer.do("check")
        singles = []
        for number in range(batches, batches + SINGLE_BATCHES if side.holds else batches):
            producer.do("put", number, number + 1)
            singles.append(trainer.do("take_up", number + 1)[0])
        memory = peak / (batches * BATCH_BYTES)
        return Run(put, server_after - server_before, take_up, serve, memory, tuple(singles))


# By side and number of batches: a run per round.
Found: TypeAlias = dict[tuple[str, int], list[Run]]


def median(found: Found, name: str, batches: int, what: str) -> float:
    """Return the median of one figure over the rounds."""
    return statistics.median(getattr(run, what) for run in found[name, batches])


def ratios(found: Found, name: str, batches: int, what: str, other: str | None = None) -> list[float]:
    """Return, for each round, a figure relative to another side's in the same round; the ideal's if none is told."""
    pairs = zip(found[name, batches], found[other or SIDES[name].ideal, batches], strict=False)
    return [getattr(own, what) / getattr(others, what) for own, others in pairs]


def growth(found: Found, name: str, batches: int) -> float | None:
    """Return how many times more the whole costs than for half as many batches; None where those were not measured."""
    if (name, batches // 2) not in found:
        return None
    return median(found, name, batches, "whole") / median(found, name, batches // 2, "whole")


def print_tables(found: Found, sizes: Sequence[int]) -> None:
    """Print what was found."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="CPU time of the whole way, in ms")
    columns = ("producer", "server", "trainer\ntakes up", "trainer\nserves", "whole", "/ ideal", "lowest to\nhighest")
    columns += ("least\n/ least", "trainer\n/ ideal", "whole\n/ bare", "growth", "memory\n/ data", "rounds")
    for column in ("batches", "way", *columns):
        table.add_column(column, justify="left" if column == "way" else "right")
    single = Table("held", title="CPU time of a trainer that takes up one more batch, in ms")
    holders = [name for name, side in SIDES.items() if side.holds]
    for name in holders:
        single.add_column(name, justify="right")
    for batches in sizes:
        names = [name for name in SIDES if (name, batches) in found]
        for name in names:
            whole = ratios(found, name, batches, "whole")
            least = min(run.whole for run in found[SIDES[name].ideal, batches])
            grown = growth(found, name, batches)
            table.add_row(
                f"{batches}",
                name,
                *(
                    f"{median(found, name, batches, what) * 1e3:.1f}"
                    for what in ("producer", "server", "take_up", "serve", "whole")
                ),
                f"{statistics.median(whole):.2f}",
                f"{min(whole):.2f} to {max(whole):.2f}",
                f"{min(run.whole for run in found[name, batches]) / least:.2f}",
                f"{statistics.median(ratios(found, name, batches, 'trainer')):.2f}",
                f"{statistics.median(ratios(found, name, batches, 'whole', 'bare')):.2f}",
                "" if grown is None else f"{grown:.2f}",
                f"{median(found, name, batches, 'memory'):.3f}",
                f"{len(whole)}",
                end_section=name == names[-1],
            )
        singles = {name: [s for run in found[name, batches] for s in run.singles] for name in holders if name in names}
        single.add_row(
            f"{batches}", *(f"{statistics.median(singles[n]) * 1e3:.2f}" if n in singles else "" for n in holders)
        )
    console = Console(width=160)
    console.print(table)
    console.print(single)


def print_verdict(found: Found, sizes: Sequence[int]) -> None:
    """Print how the feed keeps to its limits. Said, not failed: others on the machine move the ratios, too."""
    for name in (name for name in SIDES if name.startswith("feed")):
        of_ideal = [statistics.median(ratios(found, name, batches, "whole")) for batches in sizes]
        memory = [median(found, name, batches, "memory") for batches in sizes]
        grown = [value for batches in sizes if (value := growth(found, name, batches)) is not None]
        figures = [("of the ideal", max(of_ideal), MAX_OF_IDEAL), ("of the data as memory", max(memory), MAX_MEMORY)]
        figures += [("per doubling", max(grown), MAX_GROWTH)] if grown else []
        if all(("Reverb, samples", batches) in found for batches in sizes):
            whole = [statistics.median(ratios(found, name, size, "whole", "Reverb, samples")) for size in sizes]
            figures.append(("of Reverb, samples", max(whole), MAX_OF_REVERB))
        said = (f"{value:.2f} {what} (limit {limit})" for what, value, limit in figures)
        too_much = any(value > limit for _, value, limit in figures)
        print(f"{name}, at most: {', '.join(said)}: {'more than it may' if too_much else 'within its limits'}")


def missing(name: str, reverb_python: str | None) -> str | None:
    """Return why a side cannot take part, None if it can."""
    if name == "SmartSim" and importlib.util.find_spec("smartredis") is None:
        return "the package smartredis is not installed"
    if SIDES[name].item is not None and reverb_python is None:
        return (
            "it needs a Python of its own: python3.11 -m venv V && V/bin/pip install dm-reverb==0.14.0 "
            "'tensorflow-cpu==2.15.*' 'numpy<2', then --reverb-python V/bin/python"
        )
    return None


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default=",".join(map(str, DEFAULT_SIZES)), help="sizes to measure, by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reverb-python", help="the Python that has dm-reverb")
    # The processes that are measured are this script, too.
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = sorted(map(int, arguments.batches.split(",")))
    if arguments.side:
        act(arguments.side, *sizes)
        return
    reasons = {name: missing(name, arguments.reverb_python) for name in SIDES}
    found: Found = {}
    for batches in sizes:
        order = [name for name, side in SIDES.items() if reasons[name] is None and batches <= side.largest]
        for number in range(arguments.rounds):
            # Nobody comes always behind the same other.
            order = order[1:] + order[:1] if number % 2 else order[::-1]
            for name in order:
                if number < SIDES[name].most_rounds:
                    found.setdefault((name, batches), []).append(measure(name, batches, arguments.reverb_python))
    print_tables(found, sizes)
    print_verdict(found, sizes)
    for name, reason in reasons.items():
        if reason is not None:
            print(f"{name} is left out: {reason}")


def status(field: str) -> int:
    """Read a figure of this process in bytes. Unlike ru_maxrss, it knows nothing of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


if __name__ == "__main__":
    main()
