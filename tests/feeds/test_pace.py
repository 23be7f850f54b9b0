"""Trainers and producers keep step: each waits for the other, neither for ever."""

import pytest
from servers import wait_until

from smartml.errors import ArgumentValueError, FeedTimeoutError
from smartml.feeds import DataInfo, RateLimit, TrainingDataUploader

from .conftest import flat, numbers, one_pass

INFO = DataInfo("training_data", target_name=None)


@pytest.fixture
def make_uploader(client, close_later):
    return lambda **arguments: close_later(TrainingDataUploader(**{"target_name": None, **arguments}))


@pytest.fixture
def make_paced_feed(make_plain_feed):
    def make(**arguments):
        defaults = {"data_info_or_list_name": INFO, "batch_size": 2, "samples_per_insert": RateLimit(1, tolerance=4)}
        return make_plain_feed(**{**defaults, **arguments})

    return make


def test_a_trainer_waits_when_samples_were_used_too_often(make_uploader, make_paced_feed):
    make_uploader().put_batch(numbers(1, 2))
    feed = make_paced_feed()
    # 2 have arrived; 4 more uses are tolerated, and the batch that exceeds them.
    for _ in range(4):
        one_pass(feed)

    with pytest.raises(FeedTimeoutError) as caught:
        one_pass(feed)

    assert "samples were used 8 times, 2 have arrived" in str(caught.value)
    assert "samples_per_insert=1 and a tolerance of 4 uses" in str(caught.value)
    assert feed.waits.number == 1


def test_a_trainer_that_waits_goes_on_when_samples_arrive(make_uploader, make_paced_feed, in_background):
    uploader = make_uploader()
    uploader.put_batch(numbers(1, 2))
    feed = make_paced_feed(wait_timeout_s=20)
    served = []
    trainer = in_background(lambda: served.extend(one_pass(feed) for _ in range(5)))
    wait_until(lambda: feed.waits.number)

    uploader.put_batch(numbers(3, 4))
    trainer.join(20)

    assert served == [[[1, 2]]] * 5
    assert feed.num_samples == 4
    assert feed.waits.seconds > 0


@pytest.mark.parametrize("policy", ["fifo", "reservoir", "firo"])
def test_what_replaces_samples_in_the_middle_of_a_pass_is_served_in_their_place(
    policy, make_uploader, make_paced_feed, in_background
):
    uploader = make_uploader()
    uploader.put_batch(numbers(0, 1, 2, 3))
    feed = make_paced_feed(capacity=4, policy=policy, samples_per_insert=RateLimit(1, tolerance=0), wait_timeout_s=20)
    served = []
    # The second batch of the second pass has to wait for samples to arrive.
    trainer = in_background(lambda: served.extend(one_pass(feed) for _ in range(2)))
    wait_until(lambda: feed.waits.number)

    uploader.put_batch(numbers(4, 5, 6, 7))
    trainer.join(20)

    assert sorted(flat(served[0])) == [0, 1, 2, 3]
    assert [len(batch) for batch in served[1]] == [2, 2]
    assert set(flat(served[1])) <= set(range(8))
    assert (feed.num_samples, feed.stats.arrived, feed.stats.used) == (4, 8, 8)


@pytest.mark.parametrize("rank", [0, 1])
def test_replicas_that_wait_in_the_middle_of_a_pass_get_their_share(
    rank, make_uploader, make_paced_feed, in_background
):
    uploader = make_uploader()
    uploader.put_batch(numbers(0, 1))
    uploader.put_batch(numbers(2, 3))
    limit = RateLimit(1, tolerance=0)
    feeds = [
        make_paced_feed(replica_rank=number, num_replicas=2, samples_per_insert=limit, wait_timeout_s=20)
        for number in (0, 1)
    ]
    feed = feeds[rank]
    trainer = in_background(lambda: [one_pass(feed) for _ in range(3)])
    wait_until(lambda: feed.waits.number)

    uploader.put_batch(numbers(4, 5))
    uploader.put_batch(numbers(6, 7))
    trainer.join(20)

    # The third epoch is over what had come by its beginning.
    assert feed.num_samples == 4
    assert feed.epoch == 2


def test_a_trainer_waits_for_producers_that_know_of_no_limit(client, make_plain_feed, in_background):
    client.put_tensor("points_0", numbers(1, 2))
    feed = make_plain_feed(sample_prefix="points", samples_per_insert=2, wait_timeout_s=20)
    trainer = in_background(lambda: [one_pass(feed) for _ in range(6)])
    wait_until(lambda: feed.waits.number)

    client.put_tensor("points_1", numbers(3, 4))
    trainer.join(20)

    assert feed.num_samples == 4


def test_a_producer_waits_when_trainers_are_far_behind(make_uploader):
    uploader = make_uploader(samples_per_insert=RateLimit(1, tolerance=4), wait_timeout_s=0)
    # 1 is needed to begin, 4 more are tolerated, and the batch that exceeds them.
    for _ in range(3):
        uploader.put_batch(numbers(1, 2))

    with pytest.raises(FeedTimeoutError) as caught:
        uploader.put_batch(numbers(1, 2))

    assert "6 samples were put, and used 0 times by the slowest trainer" in str(caught.value)
    assert uploader.stats.waits_for_trainers.number == 1
    assert uploader.stats.batches == 3


def test_a_producer_that_waits_goes_on_when_samples_are_used(make_uploader, make_paced_feed, in_background):
    uploader = make_uploader(samples_per_insert=RateLimit(1, tolerance=4), wait_timeout_s=20)
    for _ in range(3):
        uploader.put_batch(numbers(1, 2))
    producer = in_background(lambda: uploader.put_batch(numbers(7, 8)))
    wait_until(lambda: uploader.stats.waits_for_trainers.number)

    one_pass(make_paced_feed())
    producer.join(20)

    assert uploader.stats.batches == 4


def test_a_producer_waits_for_the_slowest_group(make_uploader, make_paced_feed):
    fast, slow = (make_paced_feed(consumer_group=name, init_samples=False, wait_timeout_s=20) for name in "ab")
    uploader = make_uploader(samples_per_insert=RateLimit(1, tolerance=4), wait_timeout_s=0)
    for _ in range(4):
        uploader.put_batch(numbers(1, 2))
        fast.update_data()
        slow.update_data()
    one_pass(fast)

    with pytest.raises(FeedTimeoutError, match="used 0 times by the slowest trainer"):
        uploader.put_batch(numbers(1, 2))

    one_pass(slow)
    uploader.put_batch(numbers(1, 2))


def test_a_producer_may_put_what_a_trainer_needs_to_begin(make_uploader, make_paced_feed):
    feed = make_paced_feed(batch_size=100, samples_per_insert=RateLimit(1, tolerance=0), init_samples=False)
    feed.update_data()
    uploader = make_uploader(samples_per_insert=RateLimit(1, tolerance=0), wait_timeout_s=0)

    for value in range(100):
        uploader.put_batch(numbers(value))

    assert sorted(flat(one_pass(feed))) == list(range(100))


def test_both_together_reach_their_end(make_uploader, make_paced_feed, in_background):
    limit = RateLimit(3, tolerance=10)
    uploader = make_uploader(samples_per_insert=limit, wait_timeout_s=20)
    feed = make_paced_feed(samples_per_insert=limit, init_samples=False, wait_timeout_s=20)
    in_background(lambda: [uploader.put_batch(numbers(value, value)) for value in range(50)])

    used = 0
    while feed.num_samples < 100:
        for batch in feed:
            used += len(batch)
            if feed.num_samples == 100:
                break

    # The last batch was put when the one before it had been used as often as was said, within the tolerance; the
    # trainer went on until it had arrived, as far as the tolerance allows.
    assert 3 * (98 - 2) - 10 <= used <= 3 * 98 + 10 + 2 + 2


def test_a_static_feed_cannot_keep_step(make_paced_feed):
    with pytest.raises(ArgumentValueError, match="needs a dynamic feed"):
        make_paced_feed(dynamic=False)


def test_without_a_limit_nothing_waits_and_nothing_is_counted(make_uploader, make_plain_feed, client):
    make_uploader().put_batch(numbers(1, 2))
    feed = make_plain_feed(data_info_or_list_name=INFO)
    one_pass(feed)

    assert (feed.waits.number, feed.waits.seconds) == (0, 0)
    assert not list(client.database.scan(b".smartml.rate.*"))
