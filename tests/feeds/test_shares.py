"""How batches are dealt out to replicas and their workers."""

from hypothesis import given
from hypothesis import strategies as st

from smartml.feeds.samplers import Batching
from smartml.feeds.shares import Shares

ROWS = st.lists(st.integers(0, 9), max_size=60)
COUNTS = st.integers(1, 4)
BATCHINGS = st.builds(Batching, st.integers(1, 5), st.booleans(), st.none() | st.integers(1, 9))


def test_batches_go_to_the_share_that_has_least():
    assert Shares(2).deal([5, 2, 2, 2, 1]) == [0, 1, 1, 1, 0]


def test_replicas_come_before_the_second_worker_of_any():
    # Shares 0 and 1 are the workers of the first replica, 2 and 3 those of the second.
    assert Shares(2, 2).deal([1, 1, 1, 1]) == [0, 2, 1, 3]


@given(ROWS, COUNTS, COUNTS)
def test_shares_differ_by_less_than_the_largest_batch(rows, replicas, workers):
    shares = Shares(replicas, workers)
    dealt = shares.deal(rows)

    assert shares.samples == [
        sum(r for r, to in zip(rows, dealt, strict=True) if to == share) for share in range(replicas * workers)
    ]
    assert max(shares.samples) - min(shares.samples) <= max(rows, default=0)


@given(ROWS, st.integers(0, 60), COUNTS, COUNTS)
def test_it_does_not_matter_how_much_is_dealt_at_once(rows, cut, replicas, workers):
    at_once, in_parts = Shares(replicas, workers), Shares(replicas, workers)

    assert at_once.deal(rows) == in_parts.deal(rows[:cut]) + in_parts.deal(rows[cut:])


@given(ROWS, COUNTS, COUNTS, BATCHINGS, st.none() | st.integers(1, 20))
def test_all_replicas_serve_as_many_batches(rows, replicas, workers, batching, capacity):
    shares = Shares(replicas, workers)
    shares.deal(rows)

    counts = shares.count_batches(batching, capacity)

    totals = [sum(counts[first : first + workers]) for first in range(0, len(counts), workers)]
    assert len(set(totals)) == 1


@given(ROWS, COUNTS, BATCHINGS)
def test_a_share_serves_only_if_it_has_a_batch(rows, replicas, batching):
    shares = Shares(replicas, 2)
    shares.deal(rows)

    for samples, count in zip(shares.samples, shares.count_batches(batching, None), strict=True):
        assert count == 0 or batching.count(samples) > 0


def test_whole_batches_are_served_by_all_or_left_out():
    shares = Shares(2)
    shares.deal([4, 1, 2])

    assert shares.samples == [4, 3]
    assert shares.count_batches(Batching(2), None) == [1, 1]
    assert shares.count_batches(Batching(2, drop_last=False), None) == [2, 2]
    assert shares.count_batches(Batching(1, drop_last=False), None) == [4, 4]
    assert shares.count_batches(Batching(1), 2) == [2, 2]
    assert shares.count_batches(Batching(4), None) == [0, 0]


def test_workers_of_one_replica_serve_what_they_have():
    shares = Shares(1, 3)
    shares.deal([4, 1])

    assert shares.count_batches(Batching(1), None) == [4, 1, 0]
