"""Batches are deleted when, and only when, everyone who needs them has them."""

import itertools
import logging
import pickle
import signal
import subprocess
import sys

import pytest
from servers import wait_until

from smartml import Client, Dataset
from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.feeds import DataDownloader, TrainingDataUploader
from smartml.feeds.intervals import Intervals
from smartml.feeds.ledger import Ledger
from smartml.feeds.schemes import KeyScheme
from smartml.feeds.sources import KeySource
from smartml.store import Database

from .conftest import build, flat, needs, numbers, one_pass


def stored(client):
    """The keys of samples and targets that are in the database."""
    keys = [key for key in client.database.scan(b"*") if not key.startswith(".smartml.")]
    return sorted(key for key in keys if key != "training")


def put(producer, *values):
    for value in values:
        producer.put(numbers(value))


@pytest.fixture
def make_consumer(make_feed):
    """Build a feed that deletes what it has read, of batches of one sample."""
    return lambda **arguments: make_feed(**{"delete_after": "read", "batch_size": 1, **arguments})


# When


def test_what_was_read_is_deleted(producer, make_consumer, client):
    put(producer, 1, 2)
    feed = make_consumer()
    assert stored(client) == []

    put(producer, 3)

    assert one_pass(feed) == [[1], [2], [3]]
    assert stored(client) == []


def test_samples_go_with_their_targets(producer, make_consumer, client):
    producer.put(numbers(1), numbers(10))
    feed = make_consumer(targets=True)

    assert one_pass(feed) == [([1], [10])]
    assert stored(client) == []


def test_what_was_served_is_deleted_when_its_pass_ends(producer, make_consumer, client):
    put(producer, 1, 2)
    feed = make_consumer(delete_after="epoch")
    batches = iter(feed)
    assert [next(batches).tolist(), next(batches).tolist()] == [[1], [2]]
    assert stored(client) != []

    assert list(batches) == []

    assert stored(client) == []


def test_a_pass_that_is_broken_off_deletes_nothing(producer, make_consumer, client):
    put(producer, 1, 2)
    feed = make_consumer(delete_after="epoch")
    before = stored(client)

    next(iter(feed))
    next(iter(feed))
    feed.update_data()
    assert stored(client) == before

    one_pass(feed)
    assert stored(client) == []


def test_what_comes_during_a_pass_stays_until_the_next_one_was_served(producer, make_consumer, client):
    put(producer, 1)
    feed = make_consumer(delete_after="epoch")
    for _ in feed:
        put(producer, 2)
    left = stored(client)
    assert left

    assert one_pass(feed) == [[1], [2]]
    assert stored(client) == []


@pytest.mark.parametrize("delete_after", [None, "never"])
def test_nothing_is_deleted_unless_asked_for(delete_after, producer, make_consumer, client):
    put(producer, 1, 2)
    before = sorted(client.database.scan(b"*"))
    feed = make_consumer(delete_after=delete_after)

    one_pass(feed)

    assert sorted(client.database.scan(b"*")) == before


@pytest.mark.parametrize(
    "framework", [pytest.param("keras", marks=needs("keras")), pytest.param("torch", marks=needs("torch"))]
)
def test_feeds_of_frameworks_delete_what_they_have_served(framework, producer, scheme, close_later, client):
    put(producer, 1, 2)
    arguments = {"batch_size": 1, "shuffle": False, "delete_after": "epoch", **scheme.arguments()}
    feed = close_later(build(framework, True, **arguments))

    assert one_pass(feed) == [[1], [2]]
    put(producer, 3)
    assert one_pass(feed) == [[1], [2], [3]]
    one_pass(feed)

    assert stored(client) == []


@needs("torch")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_a_loader_delete_each_what_they_served(producer, scheme, close_later, client):
    arguments = {"batch_size": 1, "delete_after": "epoch", **scheme.arguments()}
    feed = close_later(build("torch", True, **arguments))
    from smartml.feeds.torch import DataLoader

    put(producer, *range(6))
    assert sorted(flat(batch.tolist() for batch in DataLoader(feed, num_workers=2))) == list(range(6))

    assert stored(client) == []


def test_a_feed_pickles_with_what_it_has_to_acknowledge(producer, make_consumer, client, close_later):
    put(producer, 1, 2)
    feed = make_consumer(delete_after="epoch", samples_per_insert=10)

    assert one_pass(close_later(pickle.loads(pickle.dumps(feed)))) == [[1], [2]]

    assert stored(client) == []


def test_a_tensor_that_does_not_fit_goes_too(producer, make_consumer, client):
    put(producer, 1)
    feed = make_consumer()
    producer.put(numbers(2, dtype="float64"))

    with pytest.raises(ValueError, match="float64"):
        feed.update_data()

    assert stored(client) == []


def test_an_entry_that_a_list_names_twice_goes_once(make_plain_feed, client):
    for name in ("a", "a", "b"):
        made = Dataset(name)
        made.add_tensor("samples", numbers(ord(name)))
        client.put_dataset(made)
        client.append_to_list("training_data", made)
    DataDownloader("training_data", delete_after="never", init_samples=False).close()
    with TrainingDataUploader(target_name=None, max_pending=1, when_full="raise") as uploader:
        uploader.publish_info()
        feed = make_plain_feed(data_info_or_list_name="training_data", batch_size=1, delete_after="read")
        assert one_pass(feed) == [[97], [98]]

        uploader.put_batch(numbers(99))

    assert one_pass(feed) == [[97], [98], [99]]


# Who


def test_two_groups_both_read_everything_before_it_goes(producer, make_consumer, client):
    one = make_consumer(consumer_group="one", init_samples=False)
    other = make_consumer(consumer_group="other", init_samples=False)
    put(producer, 1, 2)
    before = stored(client)

    assert one_pass(one) == [[1], [2]]
    assert stored(client) == before

    assert one_pass(other) == [[1], [2]]
    assert stored(client) == []


def test_a_group_that_is_expected_is_waited_for_before_it_begins(producer, make_consumer, client):
    put(producer, 1, 2)
    one_pass(make_consumer(consumer_group="one", consumer_groups=("one", "other")))
    assert stored(client)

    assert one_pass(make_consumer(consumer_group="other")) == [[1], [2]]

    assert stored(client) == []


def test_a_group_that_does_not_come_back_can_be_let_go(producer, make_consumer, client):
    gone = make_consumer(consumer_group="gone", init_samples=False)
    gone.close()
    put(producer, 1, 2)
    feed = make_consumer(consumer_group="here")
    assert stored(client)

    feed.leave_group("gone")
    assert stored(client) == []

    put(producer, 3)
    assert one_pass(feed) == [[1], [2], [3]]
    assert stored(client) == []


def test_a_feed_that_leaves_its_group_deletes_nothing_more(producer, make_consumer, client):
    feed = make_consumer(init_samples=False)
    feed.leave_group()
    put(producer, 1)

    assert one_pass(feed) == [[1]]
    assert stored(client)


def test_the_targets_that_one_group_alone_reads_wait_for_it(client, make_plain_feed):
    common = {"sample_prefix": "points", "batch_size": 1, "init_samples": False, "delete_after": "read"}
    one = make_plain_feed(consumer_group="one", target_prefix="values", **common)
    other = make_plain_feed(consumer_group="other", **common)
    client.put_tensors({"points_0": numbers(1), "values_0": numbers(10)})

    assert one_pass(one) == [([1], [10])]
    assert stored(client) == ["points_0", "values_0"]
    assert one_pass(other) == [[1]]

    assert stored(client) == []


def test_replicas_delete_each_what_they_took(producer, make_consumer, client):
    replicas = [make_consumer(replica_rank=rank, num_replicas=3, init_samples=False) for rank in range(3)]
    put(producer, *range(6))

    shares = [one_pass(replica) for replica in replicas]

    assert sorted(flat(flat(shares))) == list(range(6))
    assert stored(client) == []


def test_one_replica_alone_leaves_the_rest(producer, make_consumer, client):
    put(producer, *range(6))
    feed = make_consumer(replica_rank=1, num_replicas=3)
    assert sorted(flat(one_pass(feed))) == [1, 4]

    # As another number of replicas, after a restart, the rest is found, in spite of the holes in it.
    assert flat(one_pass(make_consumer())) == [0, 2, 3, 5]
    assert stored(client) == []


def test_ranks_are_deleted_each_for_itself(client, make_plain_feed):
    client.put_tensors({f"points_{rank}_{i}": numbers(10 * rank + i) for rank in range(3) for i in range(rank + 1)})

    feed = make_plain_feed(sample_prefix="points", uploader_ranks=3, batch_size=1, delete_after="read")

    assert flat(one_pass(feed)) == [0, 10, 11, 20, 21, 22]
    assert stored(client) == []


def test_all_incoming_entities_are_deleted_from(scheme, of_entity, make_consumer, monkeypatch, close_later, client):
    for name in ("left", "right"):
        with of_entity(name):
            put(type(scheme)(scheme.producer_class, close_later(Client()), close_later).producer(), ord(name[0]))
    monkeypatch.setenv("SSKEYIN", "left,right")

    assert one_pass(make_consumer()) == [[ord("l")], [ord("r")]]
    assert [key for key in stored(client) if not key.endswith(".training")] == []


# Where the stream begins


def test_a_feed_that_begins_later_finds_where_the_stream_begins_now(producer, make_consumer, make_feed, caplog):
    put(producer, *range(50))
    make_consumer()
    put(producer, 50, 51)

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        assert one_pass(make_feed(batch_size=1)) == [[50], [51]]
        assert one_pass(make_consumer()) == [[50], [51]]

    assert not caplog.records


def test_a_feed_that_is_not_waited_for_goes_on_behind_what_others_deleted(producer, make_consumer, make_feed):
    put(producer, 0)
    bystander = make_feed(batch_size=1)
    consumer = make_consumer()
    put(producer, *range(1, 40))
    consumer.update_data()
    put(producer, 40)

    for _ in range(8):
        bystander.update_data()

    assert one_pass(bystander) == [[0], [40]]


def test_missing_iterations_that_others_deleted_are_told(client, make_plain_feed, caplog):
    client.put_tensor("points_0", numbers(0))
    bystander = make_plain_feed(sample_prefix="points", batch_size=1)
    consumer = make_plain_feed(sample_prefix="points", batch_size=1, delete_after="read")
    client.put_tensors({"points_1": numbers(1), "points_2": numbers(2)})
    consumer.update_data()

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        for _ in range(8):
            bystander.update_data()

    assert [record.getMessage() for record in caplog.records] == [
        "points_* goes on at iteration 3 for this feed: those from 1 on were read by others and deleted"
    ]


def test_iterations_put_again_after_they_were_deleted_are_told(client, make_plain_feed, caplog):
    client.put_tensors({"points_0": numbers(0), "points_1": numbers(1)})
    make_plain_feed(sample_prefix="points", batch_size=1, delete_after="read")
    client.put_tensor("points_0", numbers(5))

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        make_plain_feed(sample_prefix="points", init_samples=False).update_data()
    assert [record.getMessage() for record in caplog.records] == [
        "'points_0' is there again, after it was read and deleted: points_* is passed over up to iteration 2. "
        "For a run that begins anew in this database, delete the key '.smartml.consumption.keys.points_*'"
    ]

    client.delete_tensor(".smartml.consumption.keys.points_*")
    assert one_pass(make_plain_feed(sample_prefix="points", batch_size=1)) == [[5]]


def test_a_real_gap_is_told_all_the_same(client, make_plain_feed, caplog):
    client.put_tensors({"points_0": numbers(0), "points_2": numbers(2)})
    feed = make_plain_feed(sample_prefix="points", batch_size=1, delete_after="read")

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        for _ in range(40):
            feed.update_data()

    assert [record.getMessage() for record in caplog.records] == ["waiting for 'points_1', while iteration 2 is there"]


def test_a_list_that_is_deleted_begins_anew(client, make_plain_feed, close_later):
    arguments = {"data_info_or_list_name": "training_data", "batch_size": 1, "delete_after": "read"}
    uploader = close_later(TrainingDataUploader(target_name=None))
    uploader.publish_info()
    uploader.put_batch(numbers(1))
    make_plain_feed(**arguments)

    client.delete_list("training_data")
    uploader.put_batch(numbers(2))

    assert one_pass(make_plain_feed(**arguments)) == [[2]]


# Crashes

TRAINER = """
import sys, time
from smartml.feeds import DataDownloader
feed = DataDownloader(sample_prefix="points", batch_size=1, shuffle=False, delete_after="epoch")
batches = iter(feed)
print(*(float(next(batches)[0]) for _ in range(feed.num_samples)), flush=True)
time.sleep(600)
"""


def test_a_trainer_killed_before_it_acknowledged_finds_everything_again(client, make_plain_feed):
    client.put_tensors({"points_0": numbers(0), "points_1": numbers(1)})
    with subprocess.Popen([sys.executable, "-c", TRAINER], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout.readline() == "0.0 1.0\n"
        trainer.send_signal(signal.SIGKILL)
    client.put_tensor("points_2", numbers(2))

    feed = make_plain_feed(sample_prefix="points", batch_size=1, delete_after="epoch")

    assert one_pass(feed) == [[0], [1], [2]]
    assert stored(client) == []


class Died(Exception):
    """A trainer's process ends here."""


@pytest.mark.parametrize("delete_after", ["read", "epoch"])
def test_wherever_a_trainer_dies_nothing_is_lost_and_nothing_stays(
    delete_after, scheme, make_consumer, client, monkeypatch
):
    """The trainer of one group dies at its first, second, … word to the database; another takes its place."""
    for survived in itertools.count():
        client.database.command("FLUSHALL")
        producer = scheme.producer()
        common = {"delete_after": delete_after, "init_samples": False}
        other = make_consumer(consumer_group="other", **common)
        victim = make_consumer(consumer_group="victim", **common)
        put(producer, 1, 2, 3)
        one_pass(other)

        with monkeypatch.context() as dying:
            words = itertools.count()
            for name in ("each", "commands", "receive", "count_existing", "hashes"):
                dying.setattr(Database, name, dying_after(survived, words, getattr(Database, name)))
            served, is_dead = [], False
            try:
                for batch in victim:
                    served += batch.tolist()
            except Died:
                is_dead = True
        held = [] if victim.samples is None else victim.samples.tolist()

        put(producer, 4)
        heir = make_consumer(consumer_group="victim", **common)
        found = flat(one_pass(heir))
        one_pass(other)

        # What is deleted once read may lie in the memory of who died; what is deleted once served was served.
        assert sorted({*found, *(held if delete_after == "read" else served)}) == [1, 2, 3, 4]
        assert other.samples.tolist() == [1, 2, 3, 4]
        assert stored(client) == []
        if not is_dead:
            break
    assert survived > 5


def dying_after(survived, words, method):
    def speak(*arguments):
        if next(words) >= survived:
            raise Died
        return method(*arguments)

    return speak


def test_what_a_dead_trainer_has_condemned_is_deleted_by_the_next(client, make_plain_feed):
    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in range(3)})
    ledger = Ledger(client.database, [KeySource(KeyScheme("points"), "", None)])
    ledger.change({0: lambda record: record.condemning(range_of(2))})
    assert stored(client) == ["points_0", "points_1", "points_2"]

    feed = make_plain_feed(sample_prefix="points", batch_size=1, delete_after="read", init_samples=False)

    assert stored(client) == ["points_2"]
    assert one_pass(feed) == [[2]]


def test_a_feed_whose_database_went_away_acknowledges_later(client, make_plain_feed, monkeypatch):
    client.put_tensor("points_0", numbers(0))
    feed = make_plain_feed(sample_prefix="points", batch_size=1, delete_after="read", init_samples=False)

    def fail(*arguments):
        raise ConnectionError("lost")

    with monkeypatch.context() as broken, pytest.raises(ConnectionError):
        broken.setattr(Ledger, "change", fail)
        feed.init_samples()
    assert stored(client) == ["points_0"]

    assert one_pass(feed) == [[0]]
    assert stored(client) == []


def range_of(count):
    return Intervals(((0, count),))


# Many at once


def test_replicas_that_acknowledge_at_once_lose_nothing(client, make_plain_feed, in_background):
    feeds = [
        make_plain_feed(
            sample_prefix="points",
            batch_size=1,
            init_samples=False,
            delete_after="read",
            replica_rank=rank,
            num_replicas=6,
        )
        for rank in range(6)
    ]

    def read(feed):
        while feed.num_samples < 20:
            feed.update_data()

    threads = [in_background(lambda feed=feed: read(feed)) for feed in feeds]
    for iteration in range(120):
        client.put_tensor(f"points_{iteration}", numbers(iteration))
    for thread in threads:
        thread.join(60)

    assert sorted(flat(feed.samples.tolist() for feed in feeds)) == list(range(120))
    wait_until(lambda: stored(client) == [])
    (record,) = Ledger(client.database, [KeySource(KeyScheme("points"), "", None)]).read()
    assert record.deleted == range_of(120)


# What it costs


def test_without_deletion_updates_cost_what_they_did(client, make_plain_feed, command_counts):
    client.put_tensor("points_0", numbers(0))
    feed = make_plain_feed(sample_prefix="points", batch_size=1)
    command_counts()

    client.put_tensor("points_1", numbers(1))
    feed.update_data()
    assert command_counts() == {"set": 1, "exists": 3, "get": 1}

    feed.update_data()
    assert command_counts() == {"exists": 1}


def test_an_acknowledgement_costs_the_same_however_many_batches_it_is_for(client, make_plain_feed, command_counts):
    feed = make_plain_feed(sample_prefix="points", batch_size=1, delete_after="read", init_samples=False)
    feed.update_data()
    client.put_tensors({f"points_{iteration}": numbers(iteration) for iteration in range(1000)})
    command_counts()

    feed.update_data()

    counts = command_counts()
    assert (counts["unlink"], counts["eval"]) == (1000, 2)
    assert counts["get"] < 1010


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"delete_after": "batch"}, ArgumentValueError, "delete_after must be one of .*'epoch'.* not 'batch'"),
        ({"consumer_group": ""}, ArgumentValueError, "must not be empty"),
        ({"consumer_group": 3}, ArgumentTypeError, "named by str, not int"),
        ({"consumer_groups": ("a", "b")}, ArgumentValueError, "'trainer' is not one of the consumer_groups a, b"),
    ],
)
def test_arguments_that_cannot_work_say_so(arguments, error, reason, make_plain_feed):
    with pytest.raises(error, match=reason):
        make_plain_feed(sample_prefix="points", **arguments)
