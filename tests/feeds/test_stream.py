"""A feed as a stream of the pipeline: pass after pass, to the end of its producers, resumed at any item."""

import itertools
import pickle
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from servers import DEADLINE_S, wait_until

from smartml.errors import ArgumentValueError
from smartml.feeds import TrainingDataUploader

from .conftest import flat, needs, numbers


def put(producer, *batches):
    for values in batches:
        producer.put(numbers(*values))


def plain(item):
    return [plain(part) for part in item] if isinstance(item, tuple | list) else np.asarray(item).tolist()


def first(chain, count):
    return [plain(item) for item in itertools.islice(chain, count)]


def test_batches_come_pass_after_pass_without_end(producer, make_feed):
    put(producer, [0, 1, 2, 3])

    assert first(make_feed().stream(), 5) == [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1]]


def test_samples_come_one_by_one(producer, make_feed):
    producer.put(numbers(0, 1), numbers(10, 11))
    chain = make_feed(targets=True).stream(samples=True)

    assert first(chain, 3) == [[0, 10], [1, 11], [0, 10]]


def test_samples_come_with_what_is_known_of_them(producer, make_feed):
    put(producer, [5, 6])

    assert first(make_feed(return_info=True).stream(samples=True), 2) == [[5, [0, 1]], [6, [1, 1]]]


def test_what_a_transform_made_is_taken_apart_by_name(producer, make_feed):
    put(producer, [1, 2])
    feed = make_feed(transform=lambda batch: {"x": batch, "negative": -batch})

    assert list(itertools.islice(feed.stream(samples=True), 2)) == [{"x": 1, "negative": -1}, {"x": 2, "negative": -2}]


def test_each_pass_takes_up_what_is_new(producer, make_feed):
    put(producer, [0, 1])
    items = iter(make_feed().stream())
    assert first(items, 1) == [[0, 1]]

    put(producer, [2, 3])

    assert first(items, 2) == [[0, 1], [2, 3]]


def test_it_ends_after_so_many_passes(producer, make_feed):
    put(producer, [0, 1])

    assert list(map(plain, make_feed().stream(max_epochs=3))) == [[0, 1]] * 3


def test_it_ends_when_producers_have_and_all_was_served(client, make_plain_feed):
    with TrainingDataUploader("training", "points", None) as uploader:
        uploader.publish_info()
        uploader.put_batch(numbers(0, 1))
        feed = make_plain_feed(data_info_or_list_name="training")
        items = iter(feed.stream(until="producers_done"))
        assert first(items, 1) == [[0, 1]]
        uploader.put_batch(numbers(2, 3))

    assert list(map(plain, items)) == [[0, 1], [2, 3]]


def test_an_end_that_is_not_known_is_refused(producer, make_feed):
    with pytest.raises(ArgumentValueError, match="None or \"producers_done\", not 'done'"):
        make_feed(init_samples=False).stream(until="done")


def test_a_feed_whose_states_delete_is_not_streamed(producer, make_feed):
    feed = make_feed(init_samples=False, delete_after="checkpoint")

    with pytest.raises(ArgumentValueError, match="chains ask more often than they are saved"):
        feed.stream()


def test_closing_a_pass_wakes_the_feed_that_waits_for_its_first_sample(producer, make_feed, new_threads):
    feed = make_feed(init_samples=False, wait_timeout_s=None)
    items = iter(feed.stream().async_map(np.sum))
    reader = threading.Thread(target=lambda: list(items))
    reader.start()
    wait_until(lambda: feed.stats.waits)

    items._begun[0].stop()
    reader.join(DEADLINE_S)

    assert not reader.is_alive()
    wait_until(lambda: not new_threads())
    # Who asks the feed itself is served.
    put(producer, [1, 2])
    feed.init_samples(DEADLINE_S)
    assert first(feed, 1) == [[1, 2]]


# Resuming

FEEDS = {
    "in order": {"shuffle": False},
    "shuffled": {"shuffle": True},
    "uniform": {"sampler": "uniform"},
    "prioritised": {"sampler": "prioritised", "return_info": True},
    "fifo": {"capacity": 6, "policy": "fifo", "shuffle": True},
    "smaller last batch": {"shuffle": True, "drop_last": False},
}
CHAINS = {
    "batches": lambda feed: feed.stream(max_epochs=3),
    "samples": lambda feed: feed.stream(samples=True, max_epochs=3),
    "shuffled samples": lambda feed: feed.stream(samples=True, max_epochs=3).shuffle(5, initial=3, seed=1).batched(2),
    "worked on": lambda feed: feed.stream(max_epochs=3).async_map(tuple, buffer=3, max_workers=2),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
@pytest.mark.parametrize("arguments", FEEDS.values(), ids=FEEDS.keys())
def test_a_chain_goes_on_at_the_exact_item(arguments, chain, producer, make_feed):
    put(producer, [0, 1, 2], [3, 4], [5, 6])

    def build(**more):
        return chain(make_feed(**arguments, seed=7, **more))

    expected = list(map(plain, build()))

    for done in range(len(expected) + 1):
        items = iter(build())
        head = first(items, done)
        state = pickle.loads(pickle.dumps(items.state_dict()))
        second = build(init_samples=False)
        second.load_state_dict(state)

        assert head + list(map(plain, second)) == expected


def test_what_came_meanwhile_joins_with_the_next_pass(producer, make_feed):
    put(producer, [0, 1], [2, 3])
    items = iter(make_feed().stream())
    first(items, 1)
    state = items.state_dict()
    put(producer, [4, 5])

    second = make_feed(init_samples=False).stream()
    second.load_state_dict(state)

    assert first(second, 4) == [[2, 3], [0, 1], [2, 3], [4, 5]]


TRAINER = """
import os, pickle, sys, time
from smartml.feeds import DataDownloader

path = sys.argv[1]
feed = DataDownloader(**pickle.loads(bytes.fromhex(sys.argv[2])), batch_size=4, seed=5, init_samples=False)
chain = feed.stream(samples=True, max_epochs=3).shuffle(50, seed=2).async_map(float, max_workers=2).batched(3)
used = []
if os.path.exists(path):
    with open(path, "rb") as file:
        used, state = pickle.load(file)
    chain.load_state_dict(state)
print("began", flush=True)
items = iter(chain)
for number, batch in enumerate(items):
    # What a step of training takes.
    time.sleep(0.004)
    used.append(batch)
    if number % 3 == 0:
        with open(path + ".new", "wb") as file:
            pickle.dump((used, items.state_dict()), file)
        os.replace(path + ".new", path)
with open(path + ".done", "wb") as file:
    pickle.dump(used, file)
"""


def test_killed_at_any_moment_a_trainer_loses_nothing_and_uses_nothing_twice(scheme, producer, tmp_path, client):
    script = tmp_path / "train.py"
    script.write_text(TRAINER)

    def start(path):
        command = [sys.executable, script, path, pickle.dumps(scheme.arguments()).hex()]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def used(path):
        trainer = start(path)
        trainer.communicate(timeout=60)
        assert trainer.returncode == 0
        return pickle.loads((tmp_path / f"{path.name}.done").read_bytes())

    put(producer, *(range(begin, begin + 5) for begin in range(0, 200, 5)))
    expected = used(tmp_path / "calm")
    assert len(expected) == 200 and sorted(set(flat(expected))) == list(range(200))

    chance = random.Random(1)
    for _ in range(5):
        with start(tmp_path / "killed") as trainer:
            assert trainer.stdout.readline() == "began\n"
            time.sleep(chance.uniform(0.02, 0.25))
            assert trainer.poll() is None
            trainer.kill()

    assert used(tmp_path / "killed") == expected


@needs("torch")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_feed_for_torch_shares_out_between_workers_by_itself(workers, producer, make_feed):
    from torch.utils.data import DataLoader

    put(producer, *([value] for value in range(8)))
    chain = make_feed("torch", batch_size=1).stream(max_epochs=1).map(float).to_torch_iterable()

    assert sorted(map(float, DataLoader(chain, batch_size=None, num_workers=workers))) == list(range(8))
