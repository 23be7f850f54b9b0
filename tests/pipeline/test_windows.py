"""Batches and sliding windows."""

import pytest

from smartml.pipeline import IterableSource


@pytest.mark.parametrize(
    ("items", "drop", "batches"),
    [
        (7, True, [[0, 1, 2], [3, 4, 5]]),
        (7, False, [[0, 1, 2], [3, 4, 5], [6]]),
        (6, False, [[0, 1, 2], [3, 4, 5]]),
        (0, False, []),
    ],
)
def test_batches_are_lists_and_a_short_last_one_is_dropped_unless_it_is_wanted(items, drop, batches):
    chain = IterableSource(range(items)).batched(batchsize=3, drop_last_if_not_full=drop)

    assert chain.collect() == batches


def test_what_is_dropped_is_not_collated():
    seen = []

    IterableSource(range(5)).batched(2, lambda batch: seen.append(batch)).join()

    assert seen == [[0, 1], [2, 3]]


@pytest.mark.parametrize("wrong", [0, -1])
def test_batches_hold_at_least_one_item(wrong):
    with pytest.raises(ValueError, match="batchsize"):
        IterableSource([1]).batched(wrong)


def windows(items, size, **kw):
    return IterableSource(range(items)).sliding(size, deepcopy=False, **kw).collect()


def test_windows_slide_by_one_or_by_a_stride():
    assert windows(5, 3) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert windows(7, 3, stride=2) == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert windows(6, 3, stride=3) == IterableSource(range(6)).batched(3).collect()
    assert windows(2, 3) == windows(0, 3) == []


def test_windows_in_part_come_last_where_they_are_wanted():
    assert windows(10, 5, stride=2, drop_last_if_not_full=False)[-2:] == [[6, 7, 8, 9], [8, 9]]
    assert windows(3, 5, drop_last_if_not_full=False, min_window_size=2) == [[0, 1, 2], [1, 2]]
    assert windows(0, 5, drop_last_if_not_full=False, fill_nan_on_partial=True) == []
    filled = windows(3, 4, drop_last_if_not_full=False, min_window_size=3, fill_nan_on_partial=True)
    assert filled == [[0, 1, 2, None], [1, 2, None, None], [2, None, None, None]]


def test_items_that_are_none_end_no_stream():
    chain = IterableSource([None] * 4).sliding(2, deepcopy=True, drop_last_if_not_full=False)

    assert chain.collect() == [[None, None]] * 3 + [[None]]


@pytest.mark.parametrize("deepcopy", [True, False])
def test_windows_share_items_unless_they_are_copied_but_never_the_list(deepcopy):
    items = [[0], [1], [2]]

    one, other = IterableSource(items).sliding(2, deepcopy=deepcopy).collect()

    assert one is not other
    assert (one[1] is other[0]) is not deepcopy


@pytest.mark.parametrize(
    "wrong",
    [{"window_size": 1}, {"stride": 0}, {"stride": 4}, {"min_window_size": 0}, {"min_window_size": 3}],
)
def test_windows_that_cannot_slide_are_refused_when_they_are_built(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IterableSource([1]).sliding(**{"window_size": 3, "deepcopy": False, **wrong})
