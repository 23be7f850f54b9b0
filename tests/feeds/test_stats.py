"""A feed tells how much came, stayed, left and was used."""

import dataclasses
import logging

import pytest

from smartml.feeds import FeedStats

from .conftest import numbers, one_pass


def test_before_the_first_sample_there_is_nothing_to_tell(make_plain_feed):
    feed = make_plain_feed(sample_prefix="points", init_samples=False)

    assert feed.stats == FeedStats()
    assert feed.stats.mean_reuse == 0


def test_counts_add_up(producer, make_feed):
    producer.put(numbers(1, 2, 3), numbers(1, 2, 3))
    feed = make_feed(targets=True, capacity=4, policy="fifo")
    one_pass(feed)
    producer.put(numbers(4, 5, 6), numbers(4, 5, 6))
    one_pass(feed)

    stats = feed.stats

    assert (stats.arrived, stats.held, stats.dropped, stats.taken) == (6, 4, 2, 6)
    assert (stats.used, stats.mean_reuse) == (2 + 4, 1)
    assert stats.bytes_held == 4 * (4 + 4)
    assert stats.discovery_s > 0 and stats.transfer_s > 0


def test_a_feed_that_keeps_all_drops_nothing(producer, make_feed):
    producer.put(numbers(1, 2, 3))
    feed = make_feed()
    one_pass(feed)
    one_pass(feed)

    stats = feed.stats

    assert (stats.arrived, stats.held, stats.dropped, stats.used) == (3, 3, 0, 4)


def test_a_snapshot_stays_as_it_was(producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed()
    before = feed.stats
    one_pass(feed)

    assert (before.used, feed.stats.used) == (0, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.used = 3


def test_waits_are_counted(producer, make_feed, monkeypatch):
    # Every sleep takes a second; at the third, samples come.
    now = 0

    def sleep(_):
        nonlocal now
        now += 1
        if now == 3:
            producer.put(numbers(1, 2))

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.perf_counter", lambda: now)

    stats = make_feed().stats

    assert (stats.waits, stats.wait_s) == (1, 3)


def test_a_feed_that_found_all_at_once_has_not_waited(producer, make_feed):
    producer.put(numbers(1, 2))

    assert (make_feed().stats.waits, make_feed().stats.wait_s) == (0, 0)


def test_the_lag_is_told_per_producer(client, make_plain_feed, monkeypatch):
    client.put_tensors({f"left.points_0_{iteration}": numbers(1) for iteration in range(5)})
    client.put_tensors({f"left.points_1_{iteration}": numbers(1) for iteration in range(2)})
    client.put_tensors({f"right.points_0_{iteration}": numbers(1) for iteration in range(1)})
    monkeypatch.setenv("SSKEYIN", "left,right,idle")

    feed = make_plain_feed(sample_prefix="points", uploader_ranks=2)
    assert feed.stats.lag == {"left": 5, "right": 1, "idle": 0}
    assert str(feed.stats).endswith("behind by iterations: left 5, right 1")

    feed.update_data()
    assert set(feed.stats.lag.values()) <= {0}


def test_stats_read_as_a_line():
    stats = FeedStats(
        arrived=100, held=60, dropped=40, taken=80, used=160, bytes_held=3 << 20, waits=2, wait_s=1.25, lag={"": 3}
    )

    assert str(stats) == (
        "100 arrived, 60 held (3.0 MB), 40 dropped; 160 used (2.0 times each); 2 waits of 1.2 s in all; "
        "0.0 s looking, 0.0 s receiving; behind by iterations: 3"
    )


@pytest.mark.parametrize(("interval_s", "lines"), [(0, True), (1e9, False), (None, False)])
def test_stats_are_logged_at_an_interval(interval_s, lines, producer, make_feed, caplog):
    producer.put(numbers(1, 2))

    with caplog.at_level(logging.INFO, "smartml.feeds"):
        one_pass(make_feed(log_stats_every_s=interval_s))

    assert any("2 arrived, 2 held" in record.getMessage() for record in caplog.records) is lines
