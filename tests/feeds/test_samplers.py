"""Samplers serve what is held in their order, each pass by itself."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartml.errors import ArgumentValueError
from smartml.feeds import Prioritised
from smartml.feeds.priorities import SumTree
from smartml.feeds.samplers import Batching, InOrder, Shuffled, Uniform

from .test_policies import chi_square, chi_square_limit

FACTORIES = {"in order": InOrder, "shuffled": Shuffled, "uniform": Uniform, "prioritised": Prioritised}
SAMPLERS = pytest.mark.parametrize("make", FACTORIES.values(), ids=FACTORIES)


class Held:
    """A set whose samples have these identifiers."""

    def __init__(self, *ids):
        self.known = np.array(ids, np.int64)

    def __len__(self):
        return len(self.known)

    def ids(self, indices):
        return self.known[indices]

    def order(self):
        return np.argsort(self.known)


def begin(sampler, held, batch_size=2, seed=0, **batching):
    held = Held(*range(held)) if isinstance(held, int) else held
    return sampler.begin_pass(held, Batching(batch_size, **batching), np.random.default_rng(seed))


def drawn(one_pass):
    return [one_pass.draw(number).indices.tolist() for number in range(len(one_pass))]


def flat(one_pass):
    return [index for batch in drawn(one_pass) for index in batch]


# The law of all


@SAMPLERS
@settings(max_examples=40, deadline=None)
@given(samples=st.integers(0, 30), batch_size=st.integers(1, 7), drop_last=st.booleans())
def test_a_pass_has_as_many_batches_as_the_samples_make(make, samples, batch_size, drop_last):
    one_pass = begin(make(), samples, batch_size, drop_last=drop_last)

    batches = drawn(one_pass)

    whole, rest = divmod(samples, batch_size)
    assert [len(batch) for batch in batches] == [batch_size] * whole + ([] if drop_last or not rest else [rest])
    assert all(0 <= index < samples for batch in batches for index in batch)


@SAMPLERS
def test_the_same_seed_draws_the_same(make):
    assert drawn(begin(make(), 50, seed=3)) == drawn(begin(make(), 50, seed=3))


@pytest.mark.parametrize("make", [Uniform, Prioritised])
def test_a_sampler_with_replacement_serves_as_many_batches_as_asked_for(make):
    few, many = (begin(make(), 3, 2, batches_per_epoch=count) for count in (1, 20))

    assert (len(few), len(many)) == (1, 20)
    assert {len(batch) for batch in drawn(many)} == {2}


# Each sample once


def test_in_order_follows_the_arrival():
    assert drawn(begin(InOrder(), Held(7, 5, 6, 4))) == [[3, 1], [2, 0]]


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(0, 60), at_once=st.integers(1, 20), seed=st.integers(0, 99), data=st.data())
def test_a_shuffled_pass_serves_each_sample_once_in_whatever_order_it_is_asked(samples, at_once, seed, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smartml.feeds.samplers._DRAWN_AT_ONCE", at_once)
        one_pass = begin(Shuffled(), samples, 7, seed, drop_last=False)
        numbers = data.draw(st.permutations(range(len(one_pass))), "order of asking")
        found = {number: one_pass.draw(number).indices.tolist() for number in numbers}

        assert sorted(index for batch in found.values() for index in batch) == list(range(samples))
        assert drawn(one_pass) == [found[number] for number in range(len(one_pass))]
        assert drawn(begin(Shuffled(), samples, 7, seed, drop_last=False)) == drawn(one_pass)


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_a_shuffle_is_even(at_once, monkeypatch):
    monkeypatch.setattr("smartml.feeds.samplers._DRAWN_AT_ONCE", at_once)
    orders = {}
    random = np.random.default_rng(1)
    for _ in range(4800):
        order = tuple(flat(Shuffled().begin_pass(Held(*range(4)), Batching(1), random)))
        orders[order] = orders.get(order, 0) + 1

    assert len(orders) == 24
    assert chi_square(list(orders.values())) < chi_square_limit(23)


def test_threads_share_a_shuffled_pass_without_overlap():
    one_pass = begin(Shuffled(), 60_000, 10)
    found = [[] for _ in range(4)]

    def read(thread):
        for number in range(thread, len(one_pass), 4):
            found[thread] += one_pass.draw(number).indices.tolist()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(index for part in found for index in part) == list(range(60_000))


# With replacement


def test_uniform_draws_all_alike():
    counts = np.bincount(flat(begin(Uniform(), 20, 10, batches_per_epoch=1000)))

    assert chi_square(counts) < chi_square_limit(19)


# By priority


def test_before_anything_is_known_all_are_alike():
    counts = np.bincount(flat(begin(Prioritised(), 20, 10, batches_per_epoch=1000)))

    # Even parts of the sum are drawn from, which makes counts vary less than by chance.
    assert chi_square(counts) < chi_square_limit(19)
    assert begin(Prioritised(), 20, 10).draw(0).weights.tolist() == [1] * 10


def test_samples_are_drawn_in_proportion_to_their_priorities():
    sampler = Prioritised(alpha=1, epsilon=0)
    one_pass = begin(sampler, 4, 1, batches_per_epoch=10_000)

    sampler.update_priorities(np.arange(4), np.array([0.0, 1.0, 2.0, 5.0]))

    counts = np.bincount(flat(one_pass), minlength=4)
    assert counts[0] == 0
    expected = np.array([1, 2, 5]) / 8 * 10_000
    assert ((counts[1:] - expected) ** 2 / expected).sum() < chi_square_limit(2)


def test_alpha_tells_how_much_priorities_count():
    sampler = Prioritised(alpha=0.5, epsilon=0)
    one_pass = begin(sampler, 2, 1, batches_per_epoch=10_000)

    sampler.update_priorities(np.arange(2), np.array([1.0, 9.0]))

    share = np.mean(flat(one_pass))
    assert abs(share - 3 / 4) < 0.02


def test_weights_make_up_for_the_bias():
    sampler = Prioritised(alpha=1, beta=1, epsilon=0)
    one_pass = begin(sampler, 3, 60)
    sampler.update_priorities(np.arange(3), np.array([1.0, 2.0, 3.0]))

    indices, weights = sampler.draw(60, 3, 1.0, np.random.default_rng(0))

    assert len(one_pass) == 0
    # (1 / (N P(i))) over the largest: 1 for the rarest, then 1 / 2 and 1 / 3.
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, 1 / (1 + indices), rtol=1e-6)


def test_the_correction_grows_to_the_full_one():
    sampler = Prioritised(alpha=1, beta=0.5, epsilon=0, annealing_passes=2)
    smallest = []
    for _ in range(4):
        one_pass = begin(sampler, 2, 2, batches_per_epoch=1)
        sampler.update_priorities(np.arange(2), np.array([1.0, 3.0]))
        draws = [one_pass.draw(0).weights.min() for _ in range(20)]
        smallest.append(min(draws))

    np.testing.assert_allclose(smallest, [3**-0.5, 3**-0.75, 1 / 3, 1 / 3], rtol=1e-6)


def test_a_new_sample_gets_the_highest_priority_so_far():
    sampler = Prioritised(alpha=1, epsilon=0)
    begin(sampler, 3)
    sampler.update_priorities(np.arange(3), np.array([1.0, 1.0, 8.0]))

    one_pass = begin(sampler, 4, 1, batches_per_epoch=9000)

    counts = np.bincount(flat(one_pass), minlength=4)
    assert abs(counts[3] / 9000 - 8 / 18) < 0.02


def test_a_sample_that_takes_the_place_of_another_inherits_nothing():
    sampler = Prioritised(alpha=1, epsilon=0)
    begin(sampler, Held(0, 1))
    sampler.update_priorities(np.arange(2), np.array([0.0, 4.0]))

    one_pass = begin(sampler, Held(2, 1), 1, batches_per_epoch=2000)

    assert abs(np.mean(flat(one_pass)) - 1 / 2) < 0.05


def test_where_nothing_is_worth_anything_all_are_alike():
    sampler = Prioritised(epsilon=0)
    one_pass = begin(sampler, 5, 5)
    sampler.update_priorities(np.arange(5), np.zeros(5))

    assert set(one_pass.draw(0).indices.tolist()) <= set(range(5))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"alpha": -1}, "alpha must be at least 0"),
        ({"beta": 2}, r"beta must be in \[0, 1\]"),
        ({"epsilon": -1}, "epsilon must be at least 0"),
        ({"annealing_passes": 0}, "annealing_passes must be a positive number or None"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, reason):
    with pytest.raises(ArgumentValueError, match=reason):
        Prioritised(**arguments)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_sum_tree_finds_as_a_running_sum_does(data):
    tree, values = SumTree(), np.zeros(0)
    for _ in range(data.draw(st.integers(1, 5))):
        indices = np.array(data.draw(st.lists(st.integers(0, 40), min_size=1, unique=True)))
        new = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(indices), max_size=len(indices))), float)
        values = np.concatenate([values, np.zeros(max(0, indices.max() + 1 - len(values)))])
        values[indices] = new
        tree.set(indices, new)

    assert tree.total == values.sum()
    assert tree[np.arange(len(values))].tolist() == values.tolist()
    points = np.arange(0, values.sum(), 0.5)
    assert tree.find(points).tolist() == np.searchsorted(values.cumsum(), points, side="right").tolist()
