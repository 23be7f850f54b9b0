"""Sets of numbers as intervals behave as sets of numbers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from smartml.feeds.intervals import Intervals

NUMBERS = st.sets(st.integers(0, 30))


@given(NUMBERS)
def test_the_numbers_come_back_in_order(numbers):
    assert list(Intervals.of(numbers)) == sorted(numbers)
    assert len(Intervals.of(numbers)) == len(numbers)


@given(NUMBERS)
def test_intervals_neither_touch_nor_overlap(numbers):
    parts = Intervals.of(numbers).parts
    assert all(start < end for start, end in parts)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(parts))


@given(NUMBERS, NUMBERS)
def test_operations_are_those_of_sets(one, other):
    left, right = Intervals.of(one), Intervals.of(other)
    assert set(left | right) == one | other
    assert set(left & right) == one & other
    assert set(left - right) == one - other


@given(NUMBERS, st.integers(0, 31))
def test_membership_is_that_of_sets(numbers, number):
    assert (number in Intervals.of(numbers)) == (number in numbers)


@given(NUMBERS, st.integers(0, 31))
def test_the_lowest_numbers_can_be_taken(numbers, count):
    assert list(Intervals.of(numbers).first(count)) == sorted(numbers)[:count]


@given(NUMBERS)
def test_the_floor_is_the_first_number_that_is_missing(numbers):
    assert Intervals.of(numbers).floor == next(number for number in range(32) if number not in numbers)


@given(NUMBERS, st.integers(0, 31), st.integers(1, 5))
def test_the_next_number_outside_is_one_of_the_stride(numbers, first, stride):
    expected = next(number for number in range(first, 100, stride) if number not in numbers)
    assert Intervals.of(numbers).next_outside(first, stride) == expected


def test_intervals_may_be_joined_in_any_order_and_overlap():
    assert Intervals.joined([(5, 9), (0, 2), (8, 10), (2, 3), (4, 4)]).parts == ((0, 3), (5, 10))
