"""Feeds for PyTorch: tensors, and a DataLoader whose workers share the samples."""

import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest
from servers import wait_until

from smartml.errors import ArgumentTypeError, ArgumentValueError, SampleMismatchError

from .conftest import flat, numbers, skip_without

if importlib.util.find_spec("torch") is None:
    pytest.skip("the package 'torch' is not installed", allow_module_level=True)

import torch

from smartml.feeds.torch import DataLoader, DynamicDataGenerator, StaticDataGenerator

# Workers are forked from a process in which torch has started threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
WORKERS = pytest.mark.parametrize("workers", [0, 1, 2])


@pytest.fixture
def make_loader(make_feed):
    """Build a loader over a dynamic feed that leaves no sample out."""

    def make(workers, dynamic=True, start_method=None, persistent_workers=None, targets=False, **arguments):
        feed = make_feed("torch", dynamic, targets=targets, **{"drop_last": False, **arguments})
        options = {} if persistent_workers is None else {"persistent_workers": persistent_workers}
        return DataLoader(feed, num_workers=workers, multiprocessing_context=start_method, **options)

    return make


def served(loader):
    return sorted(flat(batch.tolist() for batch in loader))


def test_batches_are_tensors(producer, make_feed):
    producer.put(numbers(1, 2), np.array([[True], [False]]))

    ((x, y),) = make_feed("torch", targets=True)

    assert (x.dtype, y.dtype) == (torch.float32, torch.bool)
    assert (x.shape, y.shape) == ((2,), (2, 1))


def test_bfloat16_arrives_as_torch_knows_it(producer, make_feed):
    skip_without("ml_dtypes")
    import ml_dtypes

    producer.put(numbers(1, 2.5).astype(ml_dtypes.bfloat16))

    (batch,) = make_feed("torch")

    assert batch.dtype == torch.bfloat16
    assert batch.tolist() == [1, 2.5]


def test_samples_are_fetched_only_when_they_are_asked_for(make_feed):
    feed = make_feed("torch", init_samples=True, wait_timeout_s=0)

    assert feed.num_samples == 0


@WORKERS
def test_each_sample_comes_exactly_once_in_every_epoch(workers, producer, make_loader):
    for value in range(5):
        producer.put(numbers(2 * value, 2 * value + 1))
    loader = make_loader(workers, shuffle=True)

    for _ in range(3):
        assert served(loader) == list(range(10))


@WORKERS
def test_a_loader_sees_the_set_grow_between_epochs(workers, producer, make_loader):
    for value in range(4):
        producer.put(numbers(value))
    loader = make_loader(workers)
    assert served(loader) == [0, 1, 2, 3]

    for value in range(4, 7):
        producer.put(numbers(value))

    assert served(loader) == [0, 1, 2, 3, 4, 5, 6]


def test_workers_that_live_for_one_epoch_see_the_set_grow(producer, make_loader):
    for value in range(4):
        producer.put(numbers(value))
    loader = make_loader(2, persistent_workers=False)
    assert served(loader) == [0, 1, 2, 3]

    producer.put(numbers(4))

    assert served(loader) == [0, 1, 2, 3, 4]


def test_workers_of_a_static_feed_keep_what_they_found_first(producer, make_loader):
    for value in range(4):
        producer.put(numbers(value))
    loader = make_loader(2, dynamic=False)
    assert served(loader) == [0, 1, 2, 3]

    producer.put(numbers(4))

    assert served(loader) == [0, 1, 2, 3]


def test_workers_wait_for_late_producers(producer, make_loader, in_background, client):
    def put_once_somebody_looks():
        def count_looking():
            connections = client.database.ask_server(client.database.address, "CLIENT", "LIST")
            return connections.count(b"cmd=exists") + connections.count(b"cmd=lrange")

        wait_until(lambda: count_looking() >= 1)
        producer.put(numbers(1))

    in_background(put_once_somebody_looks)
    loader = make_loader(2)
    # One batch is enough: the worker that has none serves none.
    assert served(loader) == [1]

    producer.put(numbers(2))

    assert served(loader) == [1, 2]


def test_an_error_in_a_worker_reaches_the_trainer(client, close_later):
    client.put_tensors({"points_0": numbers(1), "points_1": numbers(2, dtype="int8")})
    feed = close_later(DynamicDataGenerator(sample_prefix="points", batch_size=1))

    # With one scheme only: torch takes five seconds to end a worker that failed.
    with pytest.raises(SampleMismatchError, match="'points_1' is int8"):
        served(DataLoader(feed, num_workers=1))


def test_workers_and_replicas_share_the_samples(producer, make_loader):
    for value in range(8):
        producer.put(numbers(value))

    shares = [served(make_loader(2, replica_rank=rank, num_replicas=2)) for rank in range(2)]

    assert sorted(flat(shares)) == list(range(8))
    assert [len(share) for share in shares] == [4, 4]


def test_a_feed_that_was_used_before_can_be_handed_to_workers(producer, make_feed):
    for value in range(4):
        producer.put(numbers(value))
    feed = make_feed("torch", batch_size=1)
    assert len(list(feed)) == 4

    assert served(DataLoader(feed, num_workers=2)) == [0, 1, 2, 3]


def test_the_same_seed_gives_the_same_batches_with_workers_too(producer, make_loader):
    for value in range(20):
        producer.put(numbers(value))

    def two_epochs(seed):
        loader = make_loader(2, shuffle=True, seed=seed)
        return [[batch.tolist() for batch in loader] for _ in range(2)]

    first, second = two_epochs(7)
    assert [first, second] == two_epochs(7)
    assert first != second
    assert two_epochs(8) != [first, second]


def test_targets_come_with_workers_too(producer, make_loader):
    producer.put(numbers(1, 2), numbers(10, 20))
    producer.put(numbers(3), numbers(30))

    pairs = [pair for x, y in make_loader(2, targets=True) for pair in zip(x.tolist(), y.tolist(), strict=True)]

    assert sorted(pairs) == [(1, 10), (2, 20), (3, 30)]


def test_a_loader_without_workers_knows_its_length(producer, make_loader):
    producer.put(numbers(1, 2, 3))

    assert len(make_loader(0)) == 2


def test_a_loader_with_workers_knows_the_length_of_the_running_epoch(producer, make_loader):
    for value in range(5):
        producer.put(numbers(value))
    loader = make_loader(2, batch_size=1)
    # Asked before the epoch, as progress bars do, and after it.
    assert [len(loader), len(list(loader)), len(loader)] == [5, 5, 5]

    producer.put(numbers(5))

    assert [len(loader), len(list(loader)), len(loader.dataset)] == [5, 6, 6]


def test_a_feed_whose_samples_workers_held_can_serve_them_itself(producer, make_loader):
    for value in range(4):
        producer.put(numbers(value))
    loader = make_loader(2, batch_size=1)
    assert served(loader) == [0, 1, 2, 3]

    assert loader.dataset.batch(3).tolist() == [3]
    assert served(loader.dataset) == [0, 1, 2, 3]
    assert served(loader) == [0, 1, 2, 3]


def test_the_feed_makes_the_batches(make_feed):
    with pytest.raises(ArgumentValueError, match="give it batch_size, not the DataLoader"):
        DataLoader(make_feed("torch"), batch_size=32)


def test_the_loader_is_for_feeds_only():
    with pytest.raises(ArgumentTypeError, match="takes a StaticDataGenerator or DynamicDataGenerator, not list"):
        DataLoader([1, 2, 3])


def test_a_feed_travels_without_its_samples(producer, make_feed, close_later):
    producer.put(np.zeros((2, 100_000), "float32"))
    feed = make_feed("torch")
    assert len(list(feed)) == 1

    sent = pickle.dumps(feed)
    arrived = close_later(pickle.loads(sent))

    assert len(sent) < 10_000
    assert arrived.num_samples == 0
    assert len(list(arrived)) == 1
    assert feed.num_samples == 2


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_class_decides_whether_the_set_grows(dynamic, client, close_later):
    made = DynamicDataGenerator if dynamic else StaticDataGenerator

    assert close_later(made(sample_prefix="points", dynamic=not dynamic)).dynamic is dynamic


def test_workers_may_be_spawned(client, tmp_path):
    """In a program of its own: what is spawned imports the main program again."""
    client.put_tensors({f"points_{value}": numbers(value) for value in range(3)})
    script = tmp_path / "train.py"
    script.write_text(
        """
import numpy as np

from smartml.feeds.torch import DataLoader, DynamicDataGenerator

if __name__ == "__main__":
    feed = DynamicDataGenerator(sample_prefix="points", batch_size=1, drop_last=False, seed=1)
    loader = DataLoader(feed, num_workers=1, multiprocessing_context="spawn")
    for epoch in range(2):
        print(sorted(batch.item() for batch in loader))
        feed.client.put_tensor("points_3", np.array([3], "float32"))
"""
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)

    assert done.stdout.splitlines() == ["[0.0, 1.0, 2.0]", "[0.0, 1.0, 2.0, 3.0]"], done.stderr
