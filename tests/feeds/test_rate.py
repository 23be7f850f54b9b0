"""Trainers and producers stay within the corridor, and never stand still together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.feeds.rate import RateLimit

LIMITS = st.builds(
    RateLimit,
    st.floats(0.1, 20),
    st.one_of(st.none(), st.floats(0, 100)),
    st.integers(1, 50),
)
COUNTS = st.integers(0, 10_000)


@given(LIMITS, COUNTS, COUNTS, st.integers(0, 100))
def test_both_sides_are_never_held_up_at_once(limit, arrived, used, needed):
    assert limit.may_use(used, arrived, needed) or limit.may_put(arrived, used, needed)


@given(LIMITS, st.integers(1, 100), st.integers(1, 100), st.lists(st.booleans(), max_size=200))
def test_whoever_goes_first_the_uses_stay_within_a_batch_of_the_corridor(limit, put_size, batch_size, turns):
    put = used = 0
    for is_producer in turns:
        if is_producer and limit.may_put(put, used, batch_size):
            put += put_size
        elif not is_producer and put >= batch_size and limit.may_use(used, put, batch_size):
            used += batch_size
    allowed = limit.allowance(batch_size)
    begin = max(batch_size, limit.min_size_to_sample)
    assert used - limit.samples_per_insert * put <= allowed + batch_size
    assert limit.samples_per_insert * (put - begin - put_size) - used <= allowed + 1e-6


def test_the_first_batch_may_be_put_and_used():
    limit = RateLimit(1.0, tolerance=0)

    assert limit.may_put(0, 0, 32)
    assert limit.may_put(31, 0, 32)
    assert limit.may_use(0, 32, 32)


def test_samples_are_used_as_often_as_was_said():
    limit = RateLimit(4, tolerance=8)

    assert limit.may_use(48, 10, 1)
    assert not limit.may_use(49, 10, 1)
    assert limit.may_put(11, 32, 1)
    assert not limit.may_put(11, 31, 1)


def test_the_tolerance_is_as_much_as_the_first_batch_brings():
    assert RateLimit(4).allowance(32) == 128
    assert RateLimit(4, min_size_to_sample=100).allowance(32) == 400


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ArgumentValueError),
        ((-1,), ArgumentValueError),
        ((float("inf"),), ArgumentValueError),
        ((float("nan"),), ArgumentValueError),
        ((1, -1), ArgumentValueError),
        (("4",), ArgumentTypeError),
        ((True,), ArgumentTypeError),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(arguments, error):
    with pytest.raises(error, match="must be a"):
        RateLimit(*arguments)
