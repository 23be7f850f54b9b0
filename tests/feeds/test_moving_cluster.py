"""Feeds and producers that go on while slots of their cluster move to and fro: every sample arrives exactly once."""

import os
import signal
import threading

import pytest
from servers import Cluster, wait_until

from smartml import Client, Orchestrator
from smartml.feeds import DataInfo, TrainingDataUploader

from .conftest import DEADLINE_S, build, needs, numbers

MOVES = 6
ARGUMENTS = {"batch_size": 1, "shuffle": False, "init_samples": False, "wait_timeout_s": DEADLINE_S}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("moving")) as started:
        yield started


@pytest.fixture
def cluster(servers, monkeypatch):
    """Three servers, emptied, which the environment names."""
    for node in servers.nodes:
        node.flushall()
    servers.forget_counts()
    monkeypatch.setenv("SSDB", servers.address)
    monkeypatch.setenv("SR_DB_TYPE", "Clustered")
    for name in ("SSKEYIN", "SSKEYOUT", "SMARTML_DB_AUTH"):
        monkeypatch.delenv(name, raising=False)
    return servers


def move_to_and_fro(cluster, next_key, read):
    """Move slots of keys several times, and stop in the middle until a reader has been through, and ASK was met."""
    for _ in range(MOVES):
        key = next_key()
        move = cluster.begin_move(key)
        before = cluster.count("commandstats", "cmdstat_asking")
        move.send(key)
        wait_for_news(read)
        wait_until(lambda before=before: cluster.count("commandstats", "cmdstat_asking") > before)
        move.finish()
        wait_for_news(read)


def wait_for_news(growing):
    """Wait until something begun after this call has ended."""
    before = len(growing)
    wait_until(lambda: len(growing) > before + 1)


def run(cluster, next_key, feed, put, in_background):
    """Put, read and move the slot of one key after the other, all at once; return how often was put."""
    passes, put_so_far = [], []
    stopped = threading.Event()

    def produce():
        while not stopped.is_set():
            put(len(put_so_far))
            put_so_far.append(None)
            # A producer computes between two batches; an open-ended number of them would only make the test slow.
            wait_for_news(passes)

    def shift():
        try:
            wait_until(lambda: put_so_far)
            move_to_and_fro(cluster, lambda: next_key(len(put_so_far)), passes)
        finally:
            stopped.set()

    producer, shifter = in_background(produce), in_background(shift)
    while producer.is_alive() or shifter.is_alive():
        feed.update_data()
        passes.append(None)
    feed.update_data()
    return len(put_so_far)


@pytest.mark.parametrize("framework", [None, pytest.param("keras", marks=needs("keras"))])
def test_a_feed_by_list_gets_every_sample_once_while_its_list_moves(cluster, in_background, close_later, framework):
    info = DataInfo("training", target_name=None)
    uploader = close_later(TrainingDataUploader("training", target_name=None))
    feed = close_later(build(framework, True, data_info_or_list_name=info, **ARGUMENTS))

    count = run(cluster, lambda _: "training", feed, lambda i: uploader.put_batch(numbers(i, i + 0.5)), in_background)

    assert count > MOVES
    assert sorted(feed.samples.tolist()) == [value for i in range(count) for value in (i, i + 0.5)]


def test_a_feed_by_key_gets_every_sample_once_while_slots_move(cluster, in_background, close_later):
    producer = close_later(Client())
    feed = close_later(build(None, True, sample_prefix="points", **ARGUMENTS))

    # The slots of keys that are about to be put.
    count = run(
        cluster,
        lambda count: f"points_{count + 2}",
        feed,
        lambda i: producer.put_tensor(f"points_{i}", numbers(i)),
        in_background,
    )

    assert count > MOVES
    assert feed.samples.tolist() == list(range(count))


def test_a_feed_gets_every_sample_once_when_a_replica_takes_the_place_of_a_node(monkeypatch, close_later):
    with Orchestrator(port=0, db_nodes=3, replicas=1) as database:
        database.set_db_conf("cluster-node-timeout", "1000")
        monkeypatch.setenv("SSDB", database.address)
        monkeypatch.setenv("SR_DB_TYPE", "Clustered")
        producer = close_later(Client())
        uploader = close_later(TrainingDataUploader("training", target_name=None))
        by_key = close_later(build(None, True, sample_prefix="points", **ARGUMENTS))
        info = DataInfo("training", target_name=None)
        by_list = close_later(build(None, True, data_info_or_list_name=info, **ARGUMENTS))

        for number in range(40):
            producer.put_tensor(f"points_{number}", numbers(number))
            uploader.put_batch(numbers(number))
            if number == 20:
                for feed in (by_key, by_list):
                    feed.update_data()
                # What a node did not hand on yet goes with it.
                wait_until(lambda: all(has_handed_on(node) for node in database.nodes[:3]))
                os.kill(database.nodes[0].pid, signal.SIGKILL)

        for feed in (by_key, by_list):
            feed.update_data()
            assert sorted(feed.samples.tolist()) == list(range(40))
        assert database.is_active()


def has_handed_on(node):
    """Tell whether the replica of a node has all that was written."""
    state = node.info("replication")
    return state["slave0"]["offset"] >= state["master_repl_offset"]
