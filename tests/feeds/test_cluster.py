"""Feeds on a database of three servers that share the keys."""

import contextlib

import pytest
from servers import Cluster

from smartml import Client
from smartml.errors import FeedTimeoutError, SampleMismatchError, StoreFullError
from smartml.feeds import DataDownloader, DataInfo, RateLimit, TrainingDataUploader

from .conftest import flat, numbers, one_pass


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Three servers of a cluster, each with a third of the slots."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def nodes(servers):
    """What each server holds, as redis-py tells."""
    return servers.nodes


@pytest.fixture
def cluster(servers, monkeypatch):
    """A client of the emptied cluster, which also is what the environment names."""
    for node in servers.nodes:
        node.flushall()
    monkeypatch.setenv("SSDB", servers.address)
    monkeypatch.setenv("SR_DB_TYPE", "Clustered")
    for name in ("SSKEYIN", "SSKEYOUT", "SMARTML_DB_AUTH"):
        monkeypatch.delenv(name, raising=False)
    with Client() as client:
        yield client


def test_samples_of_all_servers_join_with_their_own_targets(cluster, nodes):
    for rank in range(20):
        for iteration in range(rank % 4):
            value = numbers(10 * rank + iteration)
            cluster.put_tensors({f"points_{rank}_{iteration}": value, f"values_{rank}_{iteration}": -value})
    assert all(node.dbsize() for node in nodes)

    with DataDownloader(sample_prefix="points", target_prefix="values", uploader_ranks=20, batch_size=1) as feed:
        assert sorted(feed.samples.tolist()) == [10 * rank + i for rank in range(20) for i in range(rank % 4)]
        assert feed.targets.tolist() == [-value for value in feed.samples.tolist()]

        cluster.put_tensors({"points_0_0": numbers(999), "values_0_0": numbers(-999)})
        feed.update_data()

        assert feed.num_samples == 31
        assert (feed.samples[-1], feed.targets[-1]) == (999, -999)


def test_samples_are_held_in_order_whichever_server_answers_first(cluster):
    # Large ones and small ones, so that servers are done at different times.
    sizes = [1 + 100_000 * (iteration % 3 == 0) for iteration in range(60)]
    batches = {f"points_{i}": numbers(*[i] * size) for i, size in enumerate(sizes)}
    cluster.put_tensors(batches)

    with DataDownloader(sample_prefix="points", batch_size=1) as feed:
        assert feed.samples.tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]


def test_a_misfit_on_one_server_leaves_the_others_right(cluster):
    cluster.put_tensors({f"points_{iteration}": numbers(iteration, iteration) for iteration in range(30)})
    cluster.put_tensors({"points_7": numbers(7).astype("float64"), "points_23": numbers(23, 23, 23)})

    with DataDownloader(sample_prefix="points", batch_size=1, init_samples=False) as feed:
        with pytest.raises(SampleMismatchError, match="'points_7'"):
            feed.update_data()

        expected = [iteration for iteration in range(30) for _ in range({7: 0, 23: 3}.get(iteration, 2))]
        assert sorted(feed.samples.tolist()) == expected


def test_lists_are_followed(cluster):
    with TrainingDataUploader("training", target_name=None) as uploader:
        for value in range(10):
            uploader.put_batch(numbers(value))

    with DataDownloader(DataInfo("training", target_name=None), batch_size=1) as feed:
        assert sorted(flat(one_pass(feed))) == list(range(10))


def stored(client):
    """The keys of samples and targets that are in the database."""
    keys = [key for key in client.database.scan(b"*") if not key.startswith(".smartml.")]
    return [key for key in keys if key != "training"]


def test_what_two_groups_have_read_is_deleted_from_all_servers(cluster, nodes):
    common = {"sample_prefix": "points", "target_prefix": "values", "uploader_ranks": 5, "batch_size": 1}
    with contextlib.ExitStack() as stack:
        one, other = (
            stack.enter_context(DataDownloader(consumer_group=name, delete_after="read", init_samples=False, **common))
            for name in ("one", "other")
        )
        for rank in range(5):
            for iteration in range(6):
                value = numbers(10 * rank + iteration)
                cluster.put_tensors({f"points_{rank}_{iteration}": value, f"values_{rank}_{iteration}": -value})
        expected = [10 * rank + iteration for rank in range(5) for iteration in range(6)]

        one.update_data()
        assert sorted(one.samples.tolist()) == expected
        assert len(stored(cluster)) == 60
        other.update_data()
        assert sorted(other.samples.tolist()) == expected
        assert stored(cluster) == []

        cluster.put_tensors({"points_0_6": numbers(6), "values_0_6": numbers(-6)})
        with DataDownloader(consumer_group="one", delete_after="read", **common) as late:
            assert late.samples.tolist() == [6]


def test_a_limited_list_passes_through_a_cluster_whole(cluster, nodes):
    info = DataInfo("training", target_name=None)
    with (
        TrainingDataUploader("training", target_name=None, max_pending=2, when_full="raise") as uploader,
        DataDownloader(info, batch_size=1, shuffle=False, delete_after="epoch", init_samples=False) as feed,
    ):
        for value in range(0, 20, 2):
            uploader.put_batch(numbers(value))
            uploader.put_batch(numbers(value + 1))
            with pytest.raises(StoreFullError, match="2 batches"):
                uploader.put_batch(numbers(99))
            one_pass(feed)

        assert flat(one_pass(feed)) == list(range(20))
    assert stored(cluster) == []


def test_the_oldest_of_a_list_are_dropped_from_a_cluster(cluster, nodes):
    with TrainingDataUploader("training", target_name=None, max_pending=2, when_full="drop_oldest") as uploader:
        for value in range(10):
            uploader.put_batch(numbers(value))

    with DataDownloader(DataInfo("training", target_name=None), batch_size=1, shuffle=False) as feed:
        assert flat(one_pass(feed)) == [8, 9]
    assert sum(key.endswith(".meta") for key in stored(cluster)) == 2


def test_producers_and_trainers_keep_step_in_a_cluster(cluster, nodes):
    limit = RateLimit(1, tolerance=2)
    info = DataInfo("training", target_name=None)
    with (
        TrainingDataUploader("training", target_name=None, samples_per_insert=limit, wait_timeout_s=0) as uploader,
        DataDownloader(info, batch_size=1, samples_per_insert=limit, init_samples=False, wait_timeout_s=0) as feed,
    ):
        for value in range(4):
            uploader.put_batch(numbers(value))
        with pytest.raises(FeedTimeoutError, match="4 samples were put, and used 0 times"):
            uploader.put_batch(numbers(4))
        assert sorted(flat(one_pass(feed))) == [0, 1, 2, 3]
        uploader.put_batch(numbers(4))
        with pytest.raises(FeedTimeoutError, match="samples were used 8 times, 5 have arrived"):
            one_pass(feed)
