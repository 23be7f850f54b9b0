"""Whole chains, as users write them."""

import random

import numpy as np
import pytest

from smartml.pipeline import Composable, IterableSamplerSource, IterableSource


class Memory:
    """A store in memory."""

    def __init__(self):
        self._values = {}

    def set(self, value, key=None):
        self._values[len(self._values) if key is None else key] = value

    def get(self, key):
        return self._values[key]

    def keys(self):
        return list(self._values)


def samples(number=10):
    generator = np.random.default_rng(0)
    return [
        {"id": f"id_{n}", "image": generator.random((1, 1, 1)), "meta": {"split": random.choice(["train", "test"])}}
        for n in range(number)
    ]


@pytest.fixture
def store():
    memory = Memory()
    IterableSource(samples()).async_map(lambda x: memory.set(x), max_workers=1).join()
    return memory


def test_maps_and_filters_in_one_chain():
    chain = IterableSource([1, 2, 3, 4]).map(lambda x: x + 1).async_map(lambda x: x**2).filter(lambda x: x % 2 == 0)

    assert chain.collect() == [4, 16]
    assert IterableSource([1, 2, 3, 4]).map(lambda x: x + 1).collect() == [2, 3, 4, 5]


def test_samples_are_stored_and_read_at_once(store):
    read = IterableSource(store.keys()).async_map(lambda key: store.get(key)).collect()

    assert [sample["id"] for sample in read] == [f"id_{n}" for n in range(10)]


def test_keys_are_shuffled_read_and_batched(store):
    chain = (
        IterableSource(store.keys())
        .shuffle(size=5)
        .async_map(lambda key: store.get(key))
        .batched(batchsize=3, drop_last_if_not_full=True)
    )

    batches = chain.collect()

    assert [len(batch) for batch in batches] == [3, 3, 3]
    assert len({sample["id"] for batch in batches for sample in batch}) == 9


def test_sink_and_prefetch_are_short_for_that():
    store = Memory()
    IterableSource(samples()).sink(store)

    batches = IterableSource(store.keys()).shuffle(size=5).prefetch(store).batched(batchsize=2).collect()

    assert sorted(sample["id"] for batch in batches for sample in batch) == sorted(f"id_{n}" for n in range(10))


def test_a_class_of_ones_own_joins_in():
    class MyIter(Composable):
        def __init__(self):
            super().__init__()

        def __iter__(self):
            for i in iter(self.source):
                yield f"_{i}", i

    assert list(IterableSource([1, 2, 3]).compose(MyIter)) == [("_1", 1), ("_2", 2), ("_3", 3)]


def test_several_iterables_are_sampled():
    one = IterableSource([1, 2, 3]).map(lambda x: x + 1)

    assert sum(IterableSamplerSource(iterables=[one, [1, 2, 3]], probs=[0.7, 0.3]).collect()) == 15


def test_a_chain_goes_on_where_it_was_saved(store):
    def chain():
        return IterableSource(store.keys()).shuffle(5, seed=1).prefetch(store).batched(2).map(len).loop(3)

    training = iter(chain())
    for _ in range(7):
        next(training)
    checkpoint = training.state_dict()

    continued = chain()
    continued.load_state_dict(checkpoint)

    assert continued.collect() == [2] * 8
