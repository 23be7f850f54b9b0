"""Shuffling: every item once, in an order that the seed decides."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartml.pipeline import IterableSource


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3000), st.integers(2, 50), st.integers(0, 60), st.integers())
def test_every_item_comes_once_and_none_before_the_buffer_could_hold_it(length, size, initial, seed):
    given_out = IterableSource(range(length)).shuffle(size, initial=initial, seed=seed).collect()

    assert sorted(given_out) == list(range(length))
    # An item comes at most as much earlier as the buffer is long.
    assert all(item - place < size for place, item in enumerate(given_out))


@pytest.mark.parametrize("seed", [1, 1.5, "text", b"bytes", bytearray(b"bytes")])
def test_the_seed_decides_the_order(seed):
    chains = [IterableSource(range(100)).shuffle(10, seed=seed) for _ in range(2)]

    assert chains[0].collect() == chains[1].collect() != list(range(100))
    assert IterableSource(range(100)).shuffle(10, seed=2).collect() != chains[0].collect()


def test_each_item_in_the_buffer_is_as_likely():
    firsts = Counter(next(iter(IterableSource(range(5)).shuffle(5, seed=seed))) for seed in range(2000))
    late = Counter(IterableSource(range(50)).shuffle(5, seed=seed).collect()[30] - 30 for seed in range(2000))

    # Five standard deviations of a fifth of 2000.
    assert all(abs(firsts[item] - 400) < 90 for item in range(5))
    assert late[4] == pytest.approx(400, abs=90)


def test_the_buffer_grows_by_one_for_each_item_given():
    pulled = []
    begun = iter(IterableSource(range(100)).map(lambda x: pulled.append(x) or x).shuffle(8, initial=3, seed=1))

    counts = []
    for _ in range(10):
        next(begun)
        counts.append(len(pulled))

    assert counts == [3, 5, 7, 9, 11, 13, 14, 15, 16, 17]


def test_few_are_not_shuffled():
    chain = IterableSource(range(5))

    assert chain.shuffle(1) is chain.shuffle(0, seed=1) is chain


def test_none_means_a_thousand():
    given_out = IterableSource(range(5000)).shuffle(None, seed=1).collect()

    assert 500 < max(item - place for place, item in enumerate(given_out)) < 1000


@pytest.mark.parametrize("wrong", [{"rng": 3}, {"seed": [1]}, {"size": 2.5}, {"initial": -1}, {"unknown": 1}])
def test_wrong_arguments_are_refused_when_the_step_is_built(wrong):
    with pytest.raises((TypeError, ValueError)):
        IterableSource([1]).shuffle(**wrong)


def test_rounds_of_a_loop_differ_with_a_generator_and_are_alike_with_a_seed():
    def rounds(**kw):
        items = IterableSource(range(30)).shuffle(30, **kw).loop(2).collect()
        return items[:30], items[30:]

    one, other = rounds(seed=1)
    assert one == other
    one, other = rounds(rng=random.Random(1))
    assert one != other
    assert (one, other) == rounds(rng=random.Random(1))


@pytest.mark.parametrize("position", [0, 5, 990, 3000, 9000, 19_999, 20_000])
def test_a_long_shuffle_resumes_close_to_what_it_held(position):
    read = []
    chain = IterableSource(range(20_000)).filter(lambda x: read.append(x) or True).shuffle(50, seed=1)
    expected = chain.collect()
    begun = iter(chain)
    head = [next(begun) for _ in range(position)]
    read.clear()

    chain.load_state_dict(begun.state_dict())

    assert head + chain.collect() == expected
    # Read again is what was held, and at most what lies between two notes of the way.
    assert len(read) < 20_000 - position + 4000
