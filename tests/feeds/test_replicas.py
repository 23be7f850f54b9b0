"""Replicas of one trainer agree on what each epoch consists of."""

import logging

import pytest

from smartml import Dataset
from smartml.errors import FeedError, FeedTimeoutError, MetadataError, SampleMismatchError
from smartml.feeds import DataInfo, TrainingDataUploader
from smartml.feeds.snapshots import LIFETIME_S

from .conftest import flat, numbers, one_pass


def put(producer, *batches):
    for values in batches:
        producer.put(numbers(*values))


@pytest.fixture
def make_replicas(make_feed):
    """Build replicas, none of which has looked for samples yet."""

    def make(count=2, ranks=None, **arguments):
        chosen = range(count) if ranks is None else ranks
        return [
            make_feed(
                **{"batch_size": 1, "init_samples": False, "replica_rank": rank, "num_replicas": count, **arguments}
            )
            for rank in chosen
        ]

    return make


def epoch_of(replica):
    """Go through an epoch; return the samples served, and its number."""
    return sorted(flat(one_pass(replica))), replica.epoch


def test_all_have_the_same_number_of_batches_however_uneven_the_arrivals(producer, make_replicas):
    replicas = make_replicas(3, batch_size=2)
    put(producer, [1, 2, 3, 4, 5, 6, 7], [8], [9, 10], [11, 12], [13])
    assert [len(one_pass(replica)) for replica in replicas] == [1, 1, 1]

    put(producer, [14, 15, 16, 17], [18, 19])

    assert [len(one_pass(replica)) for replica in replicas] == [2, 2, 2]


def test_each_sample_goes_to_exactly_one_replica(producer, make_replicas):
    replicas = make_replicas(2)
    seen = []
    for first in range(0, 40, 8):
        put(producer, *([value] for value in range(first, first + 8)))
        seen = [epoch_of(replica)[0] for replica in replicas]

    assert sorted(flat(seen)) == list(range(40))


def test_what_comes_between_two_replicas_belongs_to_the_next_epoch(producer, make_replicas):
    first, second = make_replicas()
    put(producer, [0], [1])
    assert epoch_of(first) == ([0], 0)

    put(producer, [2], [3])

    assert epoch_of(second) == ([1], 0)
    assert [epoch_of(first), epoch_of(second)] == [([0, 2], 1), ([1, 3], 1)]


def test_no_epoch_begins_before_there_is_a_batch_for_all(producer, make_replicas):
    put(producer, [0])
    first, second = make_replicas(wait_timeout_s=0)
    with pytest.raises(FeedTimeoutError, match="1 samples are there"):
        list(first)
    with pytest.raises(FeedTimeoutError, match="0 samples are there"):
        list(second)
    assert (first.epoch, second.epoch) == (-1, -1)

    put(producer, [1])

    assert [epoch_of(second), epoch_of(first)] == [([1], 0), ([0], 0)]


def test_a_replica_that_is_started_late_joins_the_epoch_of_the_others(producer, make_replicas):
    put(producer, [0], [1])
    (first,) = make_replicas(ranks=[0])
    for value in (2, 4):
        assert epoch_of(first)[1] == first.epoch
        put(producer, [value], [value + 1])
    assert epoch_of(first) == ([0, 2, 4], 2)

    (late,) = make_replicas(ranks=[1])

    assert epoch_of(late) == ([1, 3, 5], 2)
    put(producer, [6], [7])
    assert [epoch_of(late), epoch_of(first)] == [([1, 3, 5, 7], 3), ([0, 2, 4, 6], 3)]


def test_a_replica_that_is_started_again_gets_its_share_again(producer, make_replicas):
    put(producer, [0], [1], [2], [3])
    first, second = make_replicas()
    assert [epoch_of(first), epoch_of(second)] == [([0, 2], 0), ([1, 3], 0)]
    second.close()

    (again,) = make_replicas(ranks=[1])

    assert epoch_of(again) == ([1, 3], 0)


def test_asking_for_the_length_or_for_news_moves_no_epoch_on(producer, make_replicas):
    put(producer, [0], [1])
    first, second = make_replicas()
    # As one that draws the progress bar does.
    assert (len(first), first.epoch) == (1, 0)
    put(producer, [2], [3])
    first.update_data()
    assert (len(first), first.epoch, first.finished) == (1, 0, False)

    assert [epoch_of(first), epoch_of(second)] == [([0], 0), ([1], 0)]
    assert [epoch_of(first), epoch_of(second)] == [([0, 2], 1), ([1, 3], 1)]


def test_static_replicas_keep_what_the_first_of_them_found(producer, make_replicas):
    put(producer, [0], [1])
    first, second = make_replicas(dynamic=False)
    assert epoch_of(first) == ([0], 0)

    put(producer, [2], [3])

    assert [epoch_of(second), epoch_of(first), epoch_of(second)] == [([1], 0), ([0], 1), ([1], 1)]


def test_samples_that_make_no_batch_for_all_come_twice_where_none_may_be_left_out(producer, make_replicas):
    put(producer, [0], [1], [2])

    shares = [one_pass(replica) for replica in make_replicas(drop_last=False)]

    assert shares == [[[0], [2]], [[1], [1]]]


@pytest.mark.parametrize("policy", ["fifo", "reservoir", "firo"])
def test_replicas_of_bounded_memory_have_the_same_number_of_batches(policy, producer, make_replicas):
    replicas = make_replicas(batch_size=2, capacity=6, policy=policy, seed=1)
    put(producer, *([value, value + 1] for value in range(0, 40, 2)))

    counts = [[len(one_pass(replica)) for replica in replicas] for _ in range(4)]

    assert counts == [[3, 3]] * 4
    assert [replica.num_samples for replica in replicas] == [6, 6]


def test_any_replica_can_begin_an_epoch_where_the_capacity_is_a_number_of_bytes(producer, make_replicas):
    # Two samples of four bytes; the first replica finds them, the second one is first to go on.
    put(producer, *([value] for value in range(8)))
    first, second = make_replicas(capacity="8 b", policy="fifo")
    assert [len(one_pass(first)), len(one_pass(second))] == [2, 2]

    assert [len(one_pass(second)), len(one_pass(first))] == [2, 2]
    assert (first.epoch, second.epoch) == (1, 1)
    again, _ = make_replicas(capacity="8 b", policy="fifo")
    again.load_state_dict(first.state_dict())
    assert [len(one_pass(again)), again.epoch] == [2, 2]


def test_what_does_not_fit_costs_no_replica_a_batch(producer, make_replicas):
    put(producer, [0], [1], [2])
    first, second = make_replicas()
    producer.put(numbers(3, dtype="int8"))

    with pytest.raises(SampleMismatchError, match="is int8"):
        list(second)

    assert [one_pass(first), one_pass(second)] == [[[0], [2]], [[1], [1]]]


def test_all_end_after_the_same_epoch(client, make_plain_feed, close_later):
    info = DataInfo("training", target_name=None)
    uploader = close_later(TrainingDataUploader("training", target_name=None))
    for value in range(2):
        uploader.put_batch(numbers(value))
    replicas = [
        make_plain_feed(data_info_or_list_name=info, batch_size=1, replica_rank=rank, num_replicas=2) for rank in (0, 1)
    ]
    served = [[], []]
    loops = [replica.epochs(until="producers_done") for replica in replicas]

    # Turn by turn, the producer puts between the turns of the two, and ends there.
    for turn in range(5):
        for rank, replica in enumerate(replicas):
            if next(loops[rank], None) is not None:
                served[rank].append(sorted(flat(one_pass(replica))))
            if (turn, rank) == (1, 0):
                uploader.put_batch(numbers(2))
                uploader.put_batch(numbers(3))
                uploader.close()

    assert served == [[[0], [0], [0, 2]], [[1], [1], [1, 3]]]
    assert [replica.finished for replica in replicas] == [True, True]


def test_a_training_that_ended_can_be_taken_up_again(client, make_plain_feed, close_later):
    info = DataInfo("training", target_name=None)
    with TrainingDataUploader("training", target_name=None) as uploader:
        uploader.put_batch(numbers(0))
        uploader.put_batch(numbers(1))
    arguments = {"data_info_or_list_name": info, "batch_size": 1, "num_replicas": 2}

    for first_epoch in (0, 2):
        replicas = [make_plain_feed(**arguments, replica_rank=rank) for rank in (0, 1)]
        loops = [replica.epochs(until="producers_done") for replica in replicas]
        for rank, replica in enumerate(replicas):
            assert next(loops[rank]) == 0
            assert epoch_of(replica) == ([rank], first_epoch)
        assert [next(loop, "end") for loop in loops] == ["end", "end"]


def test_lists_that_name_a_dataset_twice_count_it_once_for_all(client, make_plain_feed):
    for name in ("a", "a", "b", "a", "c", "b", "d"):
        batch = Dataset(name)
        batch.add_tensor("samples", numbers(ord(name)))
        client.put_dataset(batch)
        client.append_to_list("training", batch)
    arguments = {"data_info_or_list_name": DataInfo("training", target_name=None), "batch_size": 1, "num_replicas": 2}

    shares = [flat(one_pass(make_plain_feed(**arguments, replica_rank=rank))) for rank in (0, 1)]

    assert shares == [[ord("a"), ord("c")], [ord("b"), ord("d")]]


def test_a_replica_that_begins_anew_when_its_samples_were_deleted_says_so(producer, make_replicas, caplog):
    put(producer, [0], [1])
    replicas = make_replicas(delete_after="read")
    assert [epoch_of(replica) for replica in replicas] == [([0], 0), ([1], 0)]

    (again,) = make_replicas(ranks=[1], delete_after="read")

    with caplog.at_level(logging.WARNING, "smartml.feeds"), pytest.raises(FeedError, match="deleted before it could"):
        list(again)
    assert "1 batches of this replica's share are gone" in caplog.text
    put(producer, [2], [3])
    assert epoch_of(replicas[0]) == ([0, 2], 1)
    # It goes on with what it has: others wait for each of its batches.
    assert epoch_of(again) == ([3, 3], 1)


def test_entries_that_nobody_of_smartml_wrote_are_reported(client, producer, make_replicas):
    put(producer, [0], [1])
    first, second = make_replicas()
    list(first)
    for kind, entry in ((".smartml.epochs.", "[]"), (".smartml.found.", "odd")):
        (key,) = [key for key in client.database.command("KEYS", "*") if key.startswith(kind.encode())]
        client.database.command("LSET", key, "0", entry)
        with pytest.raises(MetadataError, match="which no replica has written"):
            list(second)


def test_a_database_that_forgot_what_was_agreed_on_is_reported(client, producer, make_replicas):
    put(producer, [0], [1])
    first, _ = make_replicas()
    list(first)
    for key in client.database.command("KEYS", ".smartml.epochs.*"):
        client.database.command("DEL", key)

    with pytest.raises(FeedError, match=r"was deleted while replicas ran.*start all replicas again"):
        list(first)


def test_what_was_agreed_on_is_forgotten_in_time(client, producer, make_replicas):
    put(producer, [0], [1])
    for replica in make_replicas():
        list(replica)

    keys = client.database.command("KEYS", ".smartml.*")

    agreed = [key for key in keys if key.startswith((b".smartml.found.", b".smartml.epochs."))]
    assert len(agreed) == 2
    assert all(0 < client.database.command("TTL", key) <= LIFETIME_S for key in agreed)


def test_trainers_of_different_groups_do_not_meet(producer, make_replicas):
    put(producer, [0], [1])
    first, _ = make_replicas(consumer_group="first")
    assert epoch_of(first) == ([0], 0)
    put(producer, [2], [3])
    assert epoch_of(first) == ([0, 2], 1)

    other, _ = make_replicas(consumer_group="other")

    assert epoch_of(other) == ([0, 2], 0)
