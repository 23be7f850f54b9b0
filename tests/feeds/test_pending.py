"""A list holds no more than its uploaders may put ahead of the trainers, and loses nothing by that."""

import logging
import multiprocessing
import signal
import subprocess
import sys

import numpy as np
import pytest
from servers import wait_until

from smartml import Client, Orchestrator
from smartml.errors import ArgumentValueError, FeedTimeoutError, StoreFullError
from smartml.feeds import DataDownloader, DataInfo, TrainingDataUploader

from .conftest import flat, numbers, one_pass

INFO = DataInfo("training_data", target_name=None)


@pytest.fixture
def make_uploader(client, close_later):
    return lambda **arguments: close_later(TrainingDataUploader(**{"target_name": None, "max_pending": 3, **arguments}))


@pytest.fixture
def make_consumer(make_plain_feed):
    def make(**arguments):
        defaults = {"data_info_or_list_name": INFO, "batch_size": 1, "delete_after": "read", "init_samples": False}
        return make_plain_feed(**{**defaults, **arguments})

    return make


def put(uploader, *values):
    for value in values:
        uploader.put_batch(numbers(value))


def pending(client):
    """How many batches lie in the database."""
    return sum(key.endswith(".meta") for key in client.database.scan(b"*"))


def test_an_uploader_below_its_limit_waits_for_nobody(make_uploader):
    uploader = make_uploader()

    put(uploader, 1, 2, 3)

    assert (uploader.stats.batches, uploader.stats.dropped, uploader.stats.waits_for_room.number) == (3, 0, 0)


def test_a_full_list_raises_with_numbers_and_names(make_uploader, make_consumer, client):
    make_consumer(consumer_group="slow")
    uploader = make_uploader(when_full="raise")
    put(uploader, 1, 2, 3)

    with pytest.raises(StoreFullError) as caught:
        put(uploader, 4)

    assert "3 batches of list 'training_data' are pending, max_pending=3" in str(caught.value)
    assert "groups of trainers that have to read them: slow" in str(caught.value)
    assert pending(client) == 3


def test_a_wait_in_vain_says_that_nobody_reads(make_uploader, client):
    uploader = make_uploader(wait_timeout_s=0.02)
    put(uploader, 1, 2, 3)

    with pytest.raises(FeedTimeoutError, match=r"max_pending=3; .* none: no feed of this list has delete_after"):
        put(uploader, 4)

    assert uploader.stats.waits_for_room.number == 1
    assert uploader.stats.batches == 3
    assert pending(client) == 3


def test_an_uploader_waits_until_a_trainer_has_read(make_uploader, make_consumer, in_background, caplog):
    feed, uploader = make_consumer(), make_uploader()
    put(uploader, 1, 2, 3)
    with caplog.at_level(logging.INFO, "smartml.feeds"):
        putter = in_background(lambda: put(uploader, 4))
        wait_until(lambda: uploader.stats.waits_for_room.number)
        feed.update_data()
        putter.join(20)

    assert one_pass(feed) == [[1], [2], [3], [4]]
    assert uploader.stats.waits_for_room.seconds > 0
    assert any("3 batches of list 'training_data' are pending" in record.getMessage() for record in caplog.records)


def test_the_oldest_are_dropped_and_counted(make_uploader, make_consumer, client, caplog):
    uploader = make_uploader(when_full="drop_oldest")
    feed = make_consumer()

    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        put(uploader, *range(10))
        assert one_pass(feed) == [[7], [8], [9]]
        put(uploader, *range(10, 20))

        assert flat(one_pass(feed)) == [7, 8, 9, 17, 18, 19]
    assert uploader.stats.dropped == 14
    assert pending(client) == 0
    assert not caplog.records


def test_a_feed_that_knew_of_dropped_batches_waits_for_none_of_them(make_uploader, make_plain_feed, command_counts):
    uploader = make_uploader(when_full="drop_oldest")
    put(uploader, 1)
    feed = make_plain_feed(data_info_or_list_name=INFO, batch_size=1)
    put(uploader, *range(2, 12))
    for _ in range(10):
        feed.update_data()
    command_counts()

    feed.update_data()

    assert command_counts() == {"lrange": 1}
    assert flat(one_pass(feed)) == [1, 9, 10, 11]


def test_uploaders_of_one_list_share_its_limit(make_uploader):
    one, other = make_uploader(when_full="raise"), make_uploader(when_full="raise")
    put(one, 1, 2)
    put(other, 3)

    for uploader in (one, other):
        with pytest.raises(StoreFullError, match="3 batches of"):
            put(uploader, 4)


def upload(values):
    with TrainingDataUploader(target_name=None, max_pending=4) as uploader:
        put(uploader, *values)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_that_put_at_once_never_exceed_the_limit_together(client, make_consumer):
    feed = make_consumer()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=upload, args=(range(30 * n, 30 * n + 30),)) for n in range(3)]
    for child in children:
        child.start()
    most = 0

    def has_all():
        nonlocal most
        feed.update_data()
        (record,) = feed._consumer._ledger.read()
        most = max(most, client.get_list_length("training_data") - len(record.deleted))
        return feed.num_samples == 90

    wait_until(has_all)
    for child in children:
        child.join(20)

    assert sorted(feed.samples.tolist()) == list(range(90))
    assert most <= 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"max_pending": 0}, "max_pending must be a positive number or None, not 0"),
        ({"max_pending": 2.5}, "max_pending must be a positive number or None, not 2.5"),
        ({"when_full": "stop"}, "when_full must be one of .*'drop_oldest'.* not 'stop'"),
        ({"wait_timeout_s": -1}, "wait_timeout_s must be"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(arguments, reason, make_uploader):
    with pytest.raises(ArgumentValueError, match=reason):
        make_uploader(**arguments)


def test_without_a_limit_a_batch_costs_what_it_did(make_uploader, command_counts):
    uploader = make_uploader(max_pending=None)
    put(uploader, 1)
    command_counts()

    put(uploader, 2)

    assert "llen" not in (counts := command_counts())
    assert "get" not in counts
    assert counts["rpush"] == 1


# Bounded memory

# Each batch is a megabyte; the server has room for some twelve of them.
BATCH = np.zeros((1, 125_000))
BATCHES = 120

PRODUCERS = {
    "list": f"""
import numpy as np
from smartml.feeds import TrainingDataUploader
with TrainingDataUploader(target_name=None, max_pending=6) as uploader:
    for number in range({BATCHES}):
        uploader.put_batch(np.full((1, 125_000), float(number)))
""",
    "keys": f"""
import numpy as np
from smartml import Client
with Client() as client:
    for number in range({BATCHES}):
        client.put_tensor(f"points_{{number}}", np.full((1, 125_000), float(number)))
""",
}


@pytest.mark.parametrize("kind", PRODUCERS)
def test_a_stream_ten_times_larger_than_the_memory_passes_through_whole(kind, monkeypatch):
    with Orchestrator(port=0) as db, Client(address=db.address) as client:
        client.config_set("maxmemory", "16mb", db.address)
        client.config_set("maxmemory-policy", "noeviction", db.address)
        monkeypatch.setenv("SSDB", db.address)
        monkeypatch.setenv("SR_DB_TYPE", "Standalone")
        what = {"sample_prefix": "points"} if kind == "keys" else {"data_info_or_list_name": INFO}
        with (
            DataDownloader(batch_size=1, shuffle=False, delete_after="read", init_samples=False, **what) as feed,
            subprocess.Popen([sys.executable, "-c", PRODUCERS[kind]]) as producer,
        ):
            wait_until(lambda: feed.update_data() or feed.num_samples == BATCHES or producer.poll())
            assert producer.wait(20) == 0

            assert [float(batch[0, 0]) for batch in feed] == list(range(BATCHES))


def test_a_full_database_is_read_acknowledged_and_emptied():
    with Orchestrator(port=0) as db, Client(address=db.address) as client:
        with TrainingDataUploader(target_name=None, address=db.address) as uploader:
            put(uploader, 1, 2)
        client.put_tensor("points_0", numbers(0))
        client.config_set("maxmemory-policy", "noeviction", db.address)
        client.config_set("maxmemory", "1", db.address)

        common = {"address": db.address, "batch_size": 1, "delete_after": "read", "samples_per_insert": 3}
        with DataDownloader(INFO, **common) as of_list, DataDownloader(sample_prefix="points", **common) as of_keys:
            assert sorted(flat(one_pass(of_list))) == [1, 2]
            assert one_pass(of_keys) == [[0]]

        left = set(client.database.scan(b"*"))
        assert {key for key in left if not key.startswith(".smartml.")} == {"training_data"}


def test_a_trainer_killed_while_the_uploader_waits_is_replaced_and_misses_nothing(make_uploader, make_consumer, client):
    code = """
import time
from smartml.feeds import DataDownloader, DataInfo
feed = DataDownloader(DataInfo("training_data", target_name=None), batch_size=1, delete_after="epoch")
print(feed.num_samples, flush=True)
time.sleep(600)
"""
    uploader = make_uploader(wait_timeout_s=0)
    put(uploader, 1, 2, 3)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout.readline() == "3\n"
        trainer.send_signal(signal.SIGKILL)
    with pytest.raises(FeedTimeoutError, match="have to read them: trainer"):
        put(uploader, 4)

    feed = make_consumer(delete_after="epoch")
    assert one_pass(feed) == [[1], [2], [3]]
    put(uploader, 4)

    assert one_pass(feed) == [[1], [2], [3], [4]]
