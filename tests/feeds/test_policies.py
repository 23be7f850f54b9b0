"""Every policy keeps its law, whatever arrives and whatever is served."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.feeds.bounded import BoundedSet
from smartml.feeds.buffer import Column
from smartml.feeds.policies import POLICIES, Held, Policy, read_policy

# Samples that are numbers: the number is the identifier, so that content tells what is held.
NUMBER = Column(np.dtype("int64"), ())
# Half a million bytes each: a block of memory is larger than the whole set, and one row in it is seen to be right.
LARGE = Column(np.dtype("int64"), (65_536,))

names = st.sampled_from(sorted(POLICIES))


def make_set(policy, capacity, seed=0, columns=(NUMBER,)):
    policy = POLICIES[policy] if isinstance(policy, str) else policy
    return BoundedSet(columns, capacity, policy, np.random.default_rng(seed))


def arrive(bounded, *sizes):
    """Let batches of so many samples come; return how many of them were let in before one had to wait."""
    choices = bounded.choose(sizes)
    for number, (size, chosen) in enumerate(zip(sizes, choices, strict=True)):
        if chosen is None:
            return number
        first = bounded.arrived
        bounded.offer(chosen, [np.arange(first, first + size)])
    return len(sizes)


def content(bounded):
    return bounded.column(0).tolist()


def serve(bounded, *ids):
    return bounded.serve(bounded.find(np.array(ids)))


def chi_square(counts):
    """Pearson's statistic for counts that should all be the same."""
    expected = np.mean(counts)
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


def chi_square_limit(degrees):
    """What the statistic passes once in ten thousand times: the approximation of Wilson and Hilferty (1931)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.719 * np.sqrt(2 / (9 * degrees))) ** 3


# The law of all


@settings(max_examples=150, deadline=None)
@given(name=names, capacity=st.integers(1, 12), data=st.data())
def test_no_policy_passes_the_capacity_or_loses_count(name, capacity, data):
    bounded = make_set(name, capacity, seed=data.draw(st.integers(0, 9)))
    for _ in range(data.draw(st.integers(1, 8), "updates")):
        sizes = data.draw(st.lists(st.integers(0, 9), max_size=5), "sizes")
        before = bounded.arrived
        let_in = arrive(bounded, *sizes)
        held = content(bounded)

        assert bounded.arrived == before + sum(sizes[:let_in])
        assert len(held) == len(bounded) <= capacity
        # As long as there is room, all that comes stays.
        assert len(bounded) == min(capacity, bounded.arrived)
        # In order of arrival, none twice, none that never came.
        assert held == sorted(set(held))
        assert all(0 <= number < bounded.arrived for number in held)
        # A sample is found by its identifier, and one that left is not.
        rows = bounded.find(np.arange(bounded.arrived))
        assert np.flatnonzero(rows >= 0).tolist() == held
        if held and data.draw(st.booleans(), "serve"):
            chosen = data.draw(st.lists(st.integers(0, len(held) - 1), min_size=1), "rows")
            served = bounded.serve(np.array(chosen))
            assert served.arrays[0].tolist() == served.ids.tolist() == sorted(served.ids.tolist())
            assert bounded.ids(np.array(chosen))[served.order].tolist() == served.ids.tolist()


@settings(max_examples=100, deadline=None)
@given(capacity=st.integers(1, 8), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_fifo_holds_the_newest(capacity, sizes):
    bounded = make_set("fifo", capacity)

    for size in sizes:
        arrive(bounded, size)

    assert content(bounded) == list(range(sum(sizes)))[-capacity:]


def test_fifo_transfers_nothing_that_would_be_pushed_out_at_once():
    bounded = make_set("fifo", 3)

    choices = bounded.choose([2, 2, 2])

    assert [chosen.tolist() for chosen in choices] == [[False, False], [False, True], [True, True]]


@settings(max_examples=100, deadline=None)
@given(capacity=st.integers(1, 8), data=st.data())
def test_firo_drops_no_sample_that_was_not_used(capacity, data):
    bounded = make_set("firo", capacity, seed=data.draw(st.integers(0, 9)))
    unused = set()
    for _ in range(data.draw(st.integers(1, 10))):
        size = data.draw(st.integers(1, capacity))
        first, used = bounded.arrived, set(content(bounded)) - unused
        room = capacity - len(bounded) + len(used)

        let_in = arrive(bounded, size)

        assert let_in == (size <= room)
        unused |= set(range(first, bounded.arrived))
        assert unused <= set(content(bounded))
        served = data.draw(st.lists(st.sampled_from(content(bounded)), unique=True)) if len(bounded) else []
        if served:
            serve(bounded, *served)
        unused -= set(served)


def test_firo_lets_nobody_in_before_one_that_waits():
    bounded = make_set("firo", 4)

    assert arrive(bounded, 3, 2, 1) == 1
    assert content(bounded) == [0, 1, 2]


def test_used_samples_leave_firo_evenly():
    left = np.zeros(8)
    for seed in range(2000):
        bounded = make_set("firo", 8, seed)
        arrive(bounded, 8)
        serve(bounded, *range(8))
        arrive(bounded, 2)
        left[list(set(range(8)) - set(content(bounded)))] += 1

    assert left.sum() == 2 * 2000
    assert chi_square(left) < chi_square_limit(7)


@pytest.mark.parametrize("sizes", [(60,), (1,) * 60, (7, 20, 1, 0, 32)], ids=["at-once", "singly", "mixed"])
def test_a_reservoir_is_a_uniform_sample_of_all_that_arrived(sizes):
    counts = np.zeros(60)
    for seed in range(1500):
        bounded = make_set("reservoir", 10, seed)
        for size in sizes:
            arrive(bounded, size)
        counts[content(bounded)] += 1

    assert counts.sum() == 10 * 1500
    # Ten are drawn without replacement, which makes the counts vary less: by (60 - 10) / (60 - 1).
    assert chi_square(counts) * 59 / 50 < chi_square_limit(59)
    assert counts.min() > 0


def test_a_reservoir_transfers_ever_less():
    bounded = make_set("reservoir", 10)
    arrive(bounded, 10_000)

    choices = bounded.choose([1] * 10_000)

    # Of number n, 10 / n are wanted: ten times the logarithm of two, about.
    assert 1 <= sum(chosen.any() for chosen in choices) <= 20


def test_the_same_seed_keeps_the_same():
    def held(seed):
        bounded = make_set("reservoir", 5, seed)
        arrive(bounded, 20, 30)
        return content(bounded)

    assert held(1) == held(1) != held(2)


# Memory


@pytest.mark.parametrize("name", POLICIES)
def test_all_columns_of_a_sample_move_together(name):
    bounded = make_set(name, 5, columns=(NUMBER, Column(np.dtype("int16"), (3,))))
    for first in range(0, 40, 4):
        (chosen,) = bounded.choose([4])
        numbers = np.arange(first, first + 4)
        if chosen is not None:
            bounded.offer(chosen, [numbers, np.repeat(numbers[:, None], 3, 1).astype("int16")])
        bounded.serve(np.arange(len(bounded)))

    samples, targets = bounded.column(0), bounded.column(1)
    assert targets.tolist() == [[number] * 3 for number in samples.tolist()]


@pytest.mark.parametrize("name", POLICIES)
def test_memory_is_given_out_once_and_for_no_more_than_the_capacity(name):
    given_out = []

    class Counting:
        def allocate(self, shape, dtype):
            given_out.append(shape)
            return np.empty(shape, dtype)

    bounded = BoundedSet([LARGE], 5, POLICIES[name], np.random.default_rng(0), Counting())
    for number in range(30):
        (chosen,) = bounded.choose([1])
        bounded.offer(chosen, [np.full((1, 65_536), number)])
        bounded.serve(np.arange(len(bounded)))

    assert given_out == [(5, 65_536)]
    held = bounded.column(0)
    assert held[:, 0].tolist() == held[:, -1].tolist() == bounded.ids(np.array(bounded.order())).tolist()


def test_a_set_larger_than_a_block_finds_its_rows(monkeypatch):
    monkeypatch.setattr("smartml.feeds.bounded.LARGEST_BLOCK_BYTES", 3 * 8)
    bounded = make_set("fifo", 8)
    for _ in range(5):
        arrive(bounded, 4)

    assert content(bounded) == [12, 13, 14, 15, 16, 17, 18, 19]
    assert serve(bounded, 19, 12, 15).arrays[0].tolist() == [12, 15, 19]


# Arguments


def test_a_policy_may_be_an_object_of_ones_own():
    class KeepTheFirst:
        def choose(self, sizes, held: Held):
            free = held.free
            chosen = []
            for size in sizes:
                chosen.append(np.arange(size) < free)
                free = max(0, free - size)
            return chosen

        def replace(self, count, held):
            raise AssertionError("nothing more is taken in than there is room for")

    policy = read_policy(KeepTheFirst())
    assert isinstance(policy, Policy)
    bounded = make_set(policy, 3)
    arrive(bounded, 2, 2, 2)

    assert content(bounded) == [0, 1, 2]
    assert bounded.arrived == 6


def test_a_name_that_is_unknown_lists_the_known_ones():
    with pytest.raises(ArgumentValueError, match="no policy 'lifo'; known are: all, fifo, reservoir, firo"):
        read_policy("lifo")


@pytest.mark.parametrize("given", [3, None, dict, POLICIES["fifo"].__class__])
def test_what_is_no_policy_is_refused(given):
    with pytest.raises(ArgumentTypeError, match="policy must be one of all, fifo, reservoir, firo, or have the meth"):
        read_policy(given)
