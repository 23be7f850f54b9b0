"""Feeds of what programs put that know SmartRedis alone: its Python client, and the wire of its C++ client."""

import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from servers import wait_until

from smartml.feeds import DataInfo
from smartml.store.module import find_module

from .conftest import needs, one_pass

pytestmark = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")

# Programs of their own: SmartRedis holds the interpreter while it waits. They wait for a line before each batch.
BY_KEY = """
import sys
import numpy as np
from smartredis import Client

client = Client(cluster=False)
for iteration, _ in enumerate(sys.stdin):
    for rank in range(2):
        samples = np.arange(4, dtype="float32").reshape(2, 2) + 100 * iteration + 10 * rank
        client.put_tensor(f"points_{rank}_{iteration}", samples)
        client.put_tensor(f"values_{rank}_{iteration}", -samples[:, :1])
    print(flush=True)
"""
BY_LIST = """
import sys
import numpy as np
from smartredis import Client, Dataset

client = Client(cluster=False)
info = Dataset("training_info")
info.add_meta_string("sample_name", "points")
info.add_meta_string("target_name", "values")
client.put_dataset(info)
for iteration, _ in enumerate(sys.stdin):
    for rank in range(2):
        samples = np.arange(4, dtype="float32").reshape(2, 2) + 100 * iteration + 10 * rank
        dataset = Dataset(f"training_samples_{rank}_{iteration}")
        dataset.add_tensor("points", samples)
        dataset.add_tensor("values", -samples[:, :1])
        client.put_dataset(dataset)
        client.append_to_list("training", dataset)
    print(flush=True)
"""
ARGUMENTS = {
    BY_KEY: {"sample_prefix": "points", "target_prefix": "values", "uploader_ranks": 2},
    BY_LIST: {"data_info_or_list_name": "training"},
}


@pytest.fixture
def start_program(server, tmp_path, client):
    """Start a program with the environment that an Experiment gives it: `start_program(text)`, then call it."""
    started = []

    def start(text, **environment):
        script = tmp_path / f"producer{len(started)}.py"
        script.write_text(text)
        environment |= {"SSDB": server.address, "SR_DB_TYPE": "Standalone", "SR_THREAD_COUNT": "1"}
        environment |= {"SR_LOG_LEVEL": "QUIET", "SR_LOG_FILE": "/dev/null"}
        process = subprocess.Popen(
            [sys.executable, str(script)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)

        def put():
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "\n"

        return put

    yield start
    for process in started:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def batch(iteration, rank):
    first = 100 * iteration + 10 * rank
    samples = [[first, first + 1], [first + 2, first + 3]]
    return samples, [[-row[0]] for row in samples]


def batches(count):
    return [batch(iteration, rank) for iteration in range(count) for rank in range(2)]


@needs("smartredis")
@pytest.mark.parametrize("text", [BY_KEY, BY_LIST], ids=["by-key", "by-list"])
def test_a_feed_grows_with_what_a_program_of_smartredis_puts(start_program, make_plain_feed, text):
    put = start_program(text)
    put()
    feed = make_plain_feed(**ARGUMENTS[text], wait_timeout_s=20)
    assert sorted(one_pass(feed)) == sorted(batches(1))

    put()
    put()
    assert sorted(one_pass(feed)) == sorted(batches(3))


@needs("smartredis")
@pytest.mark.parametrize("text", [BY_KEY, BY_LIST], ids=["by-key", "by-list"])
def test_programs_of_smartredis_are_told_apart_by_their_prefix(
    start_program, make_plain_feed, text, monkeypatch, close_later
):
    for name in ("run_0", "run_1"):
        put = start_program(text, SSKEYOUT=name)
        put()
    monkeypatch.setenv("SSKEYIN", "run_0,run_1")

    feed = make_plain_feed(**ARGUMENTS[text], wait_timeout_s=20)
    assert sorted(one_pass(feed)) == sorted(batches(1) * 2)


class Wire:
    """What a C++ client sends: whole pipelines in one write."""

    def __init__(self, address):
        host, port = address.split(":")
        self._socket = socket.create_connection((host, int(port)))
        self._replies = self._socket.makefile("rb")

    def send(self, *commands, piece=None):
        data = b"".join(encoded(command) for command in commands)
        for start in range(0, len(data), piece or len(data)):
            self._socket.sendall(data[start : start + (piece or len(data))])

    def read(self, count):
        """Return so many replies, none of which is a bulk string."""
        return [self._replies.readline() for _ in range(count)]

    def close(self):
        self._replies.close()
        self._socket.close()


def encoded(words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def names_field(*names):
    """A metadata field of strings: type 7, then each with its length in 8 bytes."""
    return b"\7" + b"".join(len(name).to_bytes(8, "little") + name for name in names)


def put_dataset(name, samples, targets):
    """The pipeline of `put_dataset`, its tensors in the reverse of the order of adding, and `append_to_list`."""
    key = b"{%b}" % name
    return [
        (b"DEL", key + b".meta"),
        (b"HMSET", key + b".meta", b".tensor_names", names_field(b"points", b"values"), b"step", b"\4" + bytes(8)),
        (b"AI.TENSORSET", key + b".values", b"FLOAT", *targets.shape, b"BLOB", targets.tobytes()),
        (b"AI.TENSORSET", key + b".points", b"FLOAT", *samples.shape, b"BLOB", samples.tobytes()),
        (b"HSET", key + b".meta", b".COMPLETE", b"1"),
        (b"RPUSH", b"training", key),
    ]


@pytest.fixture
def wire(server, client, close_later):
    return close_later(Wire(server.address))


def random_batch(number, rows=2, columns=3):
    samples = np.random.default_rng(number).random((rows, columns), "f4")
    return samples, samples[:, :1] + 1


def test_a_dataset_that_a_cpp_client_appends_joins_the_training_set(wire, make_plain_feed):
    feed_arguments = {"data_info_or_list_name": DataInfo("training", "points", "values"), "wait_timeout_s": 20}
    samples, targets = random_batch(0)
    wire.send(*put_dataset(b"first", samples, targets))
    assert wire.read(6)[2:] == [b"+OK\r\n", b"+OK\r\n", b":1\r\n", b":1\r\n"]

    feed = make_plain_feed(**feed_arguments)
    assert one_pass(feed) == [(samples.tolist(), targets.tolist())]

    # The next one is on the list before it is whole, and no part of the set until it is.
    samples, targets = random_batch(1)
    commands = put_dataset(b"second", samples, targets)
    for done in range(len(commands) - 1):
        wire.send(commands[-1] if done == 0 else commands[done - 1])
        wire.read(1)
        assert len(one_pass(feed)) == 1
    wire.send(commands[-2])
    wire.read(1)
    assert len(one_pass(feed)) == 2
    assert one_pass(feed)[1] == (samples.tolist(), targets.tolist())


def test_an_entry_that_was_sent_again_counts_once(wire, make_plain_feed):
    samples, targets = random_batch(0)
    commands = put_dataset(b"first", samples, targets)
    # Their client repeats an append, or a whole pipeline, when the reply is late.
    wire.send(*commands, commands[-1], *commands[:-1], commands[-1])
    wire.read(12)

    feed = make_plain_feed(data_info_or_list_name=DataInfo("training", "points", "values"))
    assert one_pass(feed) == [(samples.tolist(), targets.tolist())]


def test_no_sample_is_lost_or_torn_while_many_cpp_clients_append(server, client, make_plain_feed):
    """Each pipeline arrives in pieces, cut at odd places, while the feed looks again and again."""
    clients, rounds = 4, 25

    def produce(number):
        wire = Wire(server.address)
        for count in range(rounds):
            samples, targets = random_batch(number * rounds + count, columns=200)
            wire.send(*put_dataset(b"d%d_%d" % (number, count), samples, targets), piece=701)
            wire.read(6)
        wire.close()

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    feed = make_plain_feed(data_info_or_list_name=DataInfo("training", "points", "values"), wait_timeout_s=20)
    wait_until(lambda: feed.update_data() or feed.num_samples >= 2 * clients * rounds)
    for thread in threads:
        thread.join()

    wanted = [tuple(part.tolist() for part in random_batch(number, columns=200)) for number in range(clients * rounds)]
    assert sorted(one_pass(feed)) == sorted(wanted)
