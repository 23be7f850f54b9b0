"""What a feed keeps: bounded memory by policies, for both schemes and all frameworks."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, SampleMismatchError
from smartml.feeds.policies import Fifo

from .conftest import flat, needs, numbers, one_pass, peak_memory, skip_without

FRAMEWORKS = pytest.mark.parametrize(
    "framework",
    [
        pytest.param(None, id="plain"),
        pytest.param("keras", marks=needs("keras")),
        pytest.param("torch", marks=needs("torch")),
    ],
)
POLICIES = pytest.mark.parametrize("policy", ["fifo", "reservoir", "firo"])


@FRAMEWORKS
def test_a_feed_of_policy_fifo_serves_the_newest(framework, producer, make_feed):
    producer.put(numbers(1, 2, 3), numbers(10, 20, 30))
    feed = make_feed(framework, targets=True, capacity=4, policy="fifo")
    assert one_pass(feed) == [([1, 2], [10, 20])]

    producer.put(numbers(4, 5, 6), numbers(40, 50, 60))

    assert one_pass(feed) == [([3, 4], [30, 40]), ([5, 6], [50, 60])]
    assert (feed.samples.tolist(), feed.targets.tolist()) == ([3, 4, 5, 6], [30, 40, 50, 60])
    assert (feed.num_samples, len(feed)) == (4, 2)


@FRAMEWORKS
@POLICIES
def test_no_feed_holds_more_than_its_capacity(framework, policy, producer, make_feed):
    producer.put(numbers(0, 1), numbers(0, 10))
    feed = make_feed(framework, targets=True, shuffle=True, capacity=5, policy=policy, seed=1)
    for first in range(2, 30, 2):
        batches = one_pass(feed)
        assert feed.num_samples <= 5
        samples = flat(x for x, _ in batches)
        assert len(set(samples)) == len(samples)
        assert [10 * value for value in samples] == flat(y for _, y in batches)
        producer.put(numbers(first, first + 1), numbers(10 * first, 10 * first + 10))

    stats = feed.stats
    assert stats.arrived == stats.held + stats.dropped <= 30
    assert stats.held == feed.num_samples == 5


def test_what_firo_has_no_room_for_waits_in_the_database(producer, make_feed):
    for first in range(0, 12, 2):
        producer.put(numbers(first, first + 1))
    feed = make_feed(capacity=4, policy="firo", seed=1)

    served = [one_pass(feed) for _ in range(3)]

    # Each pass uses up what is held; all that comes is used once before it can leave.
    assert served == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]
    assert feed.stats.arrived == 12


@pytest.mark.parametrize(("policy", "kept"), [("fifo", [16, 17, 18, 19]), ("firo", [0, 1, 2, 3])])
def test_a_long_backlog_is_looked_at_in_parts(policy, kept, producer, make_feed, monkeypatch, command_counts):
    monkeypatch.setattr("smartml.feeds.intake._ASKED_AT_ONCE", 3)
    for first in range(0, 20, 2):
        producer.put(numbers(first, first + 1))
    command_counts()

    feed = make_feed(capacity=4, policy=policy)

    assert feed.samples.tolist() == kept
    # Of what has to wait, no more is looked at than is asked about at once; one more look tells the dtype.
    assert command_counts()["strlen"] == 1 + (3 if policy == "firo" else 10)


def test_a_batch_that_firo_could_never_take_in_is_named(producer, make_feed):
    producer.put(numbers(1, 2))
    producer.put(numbers(*range(5)))
    producer.put(numbers(3, 4))

    feed = make_feed(capacity=4, policy="firo", init_samples=False)
    with pytest.raises(SampleMismatchError, match=r"holds 5 samples, the feed has room for 4.*smaller batches"):
        feed.update_data()

    assert one_pass(feed) == [[1, 2], [3, 4]]


def test_a_batch_larger_than_a_fifo_leaves_its_end(producer, make_feed):
    producer.put(numbers(*range(10)))

    assert one_pass(make_feed(capacity=4, policy="fifo")) == [[6, 7], [8, 9]]


def test_producers_share_a_fifo(client, make_plain_feed):
    for rank in range(2):
        client.put_tensors({f"points_{rank}_{iteration}": numbers(10 * rank + iteration) for iteration in range(5)})

    feed = make_plain_feed(sample_prefix="points", uploader_ranks=2, capacity=4, policy="fifo")

    # The newest of both, not all of the last rank.
    assert feed.samples.tolist() == [3, 13, 4, 14]


@POLICIES
def test_the_same_seed_keeps_the_same_samples(policy, producer, make_feed):
    for first in range(0, 40, 4):
        producer.put(numbers(*range(first, first + 4)))

    def kept(seed):
        feed = make_feed(capacity=6, policy=policy, seed=seed)
        passes = [one_pass(feed) for _ in range(3)]
        return passes, feed.samples.tolist()

    assert kept(1) == kept(1)


def test_a_misfit_replaces_nothing(client, make_plain_feed):
    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in range(3)})
    feed = make_plain_feed(sample_prefix="points", capacity=3, policy="fifo")
    client.put_tensors({"points_3": numbers(3, dtype="int8"), "points_4": numbers(4)})
    client.database.set_values({b"points_5": b"garbage"})

    with pytest.raises(SampleMismatchError, match="'points_3' is int8"):
        feed.update_data()

    assert feed.samples.tolist() == [1, 2, 4]


def test_a_transfer_that_breaks_off_loses_and_doubles_nothing(client, make_plain_feed, monkeypatch):
    monkeypatch.setattr("smartml.feeds.intake._STAGING_BYTES", 8)
    feed = make_plain_feed(sample_prefix="points", capacity=6, policy="fifo", init_samples=False)
    client.put_tensors({f"points_{iteration}": numbers(iteration, iteration) for iteration in range(3)})
    receive, calls = type(client.database).receive, []

    def break_off(database, keys, place):
        calls.append(keys)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return receive(database, keys, place)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(client.database), "receive", break_off)
        with pytest.raises(KeyboardInterrupt):
            feed.update_data()
    assert feed.samples.tolist() == [0, 0]

    feed.update_data()

    assert feed.samples.tolist() == [0, 0, 1, 1, 2, 2]
    assert feed.stats.arrived == 6


@pytest.mark.parametrize("gone", ["points_1", "values_1"])
def test_a_tensor_that_disappears_is_taken_in_its_turn(gone, client, make_plain_feed, monkeypatch):
    for iteration in range(3):
        client.put_tensors({f"points_{iteration}": numbers(iteration), f"values_{iteration}": numbers(iteration)})
    feed = make_plain_feed(
        sample_prefix="points", target_prefix="values", capacity=2, policy="fifo", init_samples=False
    )
    receive = type(client.database).receive

    def delete_first(database, keys, place):
        client.delete_tensor(gone)
        return receive(database, keys, place)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(type(client.database), "receive", delete_first)
        feed.update_data()
    feed.update_data()
    client.put_tensor(gone, numbers(1))
    feed.update_data()

    assert feed.samples.tolist() == feed.targets.tolist() == [1, 2]


# Memory


@POLICIES
def test_memory_stays_near_the_capacity_however_much_comes(policy, client, make_plain_feed):
    batch = np.ones((32, 4096), "float32")
    client.put_tensors({f"points_{iteration}": batch for iteration in range(100)})
    capacity = 24 * batch.nbytes
    feed = make_plain_feed(sample_prefix="points", capacity=f"{capacity}b", policy=policy, init_samples=False)

    def take_up():
        for _ in range(3):
            one_pass_over = iter(feed)
            for _ in range(0, 24 * 32, 2):
                next(one_pass_over)

    peak = peak_memory(take_up)

    assert feed.stats.bytes_held == capacity
    # Beside it: 8 MB of what is under way, and counts.
    assert peak < capacity + (8 << 20) + (1 << 20)


@pytest.mark.parametrize("bounds", [{}, {"capacity": 6, "policy": "fifo"}])
def test_samples_may_lie_on_disk(bounds, producer, make_feed, tmp_path):
    folder = tmp_path / "scratch for\nsamples"
    folder.mkdir()
    producer.put(numbers(1, 2), numbers(10, 20))
    feed = make_feed(targets=True, storage=folder, **bounds)
    producer.put(numbers(3, 4), numbers(30, 40))

    assert one_pass(feed) == [([1, 2], [10, 20]), ([3, 4], [30, 40])]
    # The files have no name: nothing is left behind, however the process ends.
    assert list(folder.iterdir()) == []
    files = [os.readlink(link) for link in Path("/proc/self/map_files").iterdir()] if os.geteuid() == 0 else None
    assert files is None or any("smartml-feed-" in name or str(folder.name) in name for name in files)


def test_a_feed_on_disk_takes_no_memory_of_the_process(client, make_plain_feed, tmp_path):
    batch = np.ones((32, 4096), "float32")
    client.put_tensors({f"points_{iteration}": batch for iteration in range(40)})
    feed = make_plain_feed(sample_prefix="points", init_samples=False, storage=tmp_path)

    assert peak_memory(feed.update_data) < batch.nbytes
    assert feed.num_samples == 40 * 32


def test_a_process_that_is_killed_leaves_no_file(client, tmp_path):
    client.put_tensor("points_0", numbers(1, 2))
    code = (
        "import os, signal, sys\n"
        "from smartml.feeds import DataDownloader\n"
        "feed = DataDownloader(sample_prefix='points', batch_size=2, storage=sys.argv[1])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, capture_output=True)

    assert done.returncode == -9, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_growing_takes_little_more_memory_than_the_data(client, make_plain_feed):
    batch = np.ones((32, 4096), "float32")
    client.put_tensors({f"points_{iteration}": batch for iteration in range(128)})
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from smartml.feeds import DataDownloader\n"
        "def status(field):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ':'))\n"
        "feed = DataDownloader(sample_prefix='points', init_samples=False)\n"
        "before = status('VmRSS')\n"
        "feed.update_data()\n"
        "print((status('VmHWM') - before) / (feed.num_samples * 4096 * 4))\n"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)

    assert float(printed) <= 1.03


# Processes


@pytest.mark.parametrize("policy", ["fifo", Fifo()])
def test_a_feed_with_a_policy_pickles(policy, producer, make_feed, close_later):
    producer.put(numbers(1, 2))
    feed = close_later(pickle.loads(pickle.dumps(make_feed(capacity=2, policy=policy))))

    producer.put(numbers(3, 4))

    assert one_pass(feed) == [[3, 4]]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_each_worker_of_a_loader_holds_its_capacity(producer, make_feed):
    skip_without("torch")
    from smartml.feeds.torch import DataLoader

    for value in range(8):
        producer.put(numbers(value))
    feed = make_feed("torch", batch_size=1, capacity=2, policy=Fifo(), sampler="shuffled")
    one_pass(feed)

    served = flat(batch.tolist() for batch in DataLoader(feed, num_workers=2))

    assert sorted(served) == [4, 5, 6, 7]


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"capacity": 10}, ArgumentValueError, "'all' keeps everything .*choose who stays by policy='fifo', 'reserv"),
        ({"policy": "fifo"}, ArgumentValueError, "policy 'fifo' needs a capacity"),
        ({"policy": "lifo", "capacity": 10}, ArgumentValueError, "no policy 'lifo'; known are: all, fifo"),
        ({"policy": 3, "capacity": 10}, ArgumentTypeError, "policy must be one of all, fifo, reservoir, firo"),
        ({"policy": "fifo", "capacity": 1}, ArgumentValueError, r"capacity=1 samples are fewer than a batch needs \(2"),
        ({"policy": "fifo", "capacity": "lots"}, ArgumentValueError, "capacity 'lots' is no number of bytes"),
        ({"storage": "/no/such/folder"}, ArgumentValueError, "there is none at '/no/such/folder'"),
        ({"storage": 3}, ArgumentTypeError, 'storage must be "memory", "disk" or a folder, not 3'),
    ],
)
def test_arguments_that_cannot_work_say_what_can(arguments, error, reason, make_plain_feed):
    with pytest.raises(error, match=reason):
        make_plain_feed(sample_prefix="points", **arguments)


def test_bytes_with_no_room_for_a_batch_are_refused_when_samples_are_known(producer, make_feed):
    producer.put(numbers(1, 2))

    with pytest.raises(
        ArgumentValueError, match=r"room for 1 samples .7 bytes, a sample takes 4 bytes., a batch needs 2"
    ):
        make_feed(capacity="7b", policy="fifo")
