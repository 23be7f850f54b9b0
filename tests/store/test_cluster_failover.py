"""Nodes of a cluster that die, hang, or come back: the client goes on with whoever has their place."""

import threading

import numpy as np
import pytest
from servers import DEADLINE_S, Cluster, wait_until

from smartml import Client, Dataset
from smartml.errors import StoreConnectionError, StoreTimeoutError

NAMES = [f"t{i}" for i in range(30)]


def make(name, number=1):
    dataset = Dataset(name)
    dataset.add_tensor("x", np.full(3, number))
    return dataset


def name_on(cluster, number, pattern="{}"):
    """Return a name whose key lies on a node."""
    return next(n for n in map(str, range(1000)) if cluster.owner_of(pattern.format(n)) is cluster.nodes[number])


@pytest.fixture
def replicated(tmp_path):
    """A cluster whose first node has a replica, the fourth."""
    started = Cluster(tmp_path, node_timeout_ms=1000)
    try:
        started.start()
        started.add_replica(0)
        yield started
    finally:
        started.stop()


@pytest.fixture
def client(replicated):
    # Whose address list holds neither the node that is lost nor its replica.
    with Client(cluster=True, address=replicated.servers[1].address) as connected:
        yield connected


def fill(cluster, client):
    client.put_tensors({name: np.full(3, i) for i, name in enumerate(NAMES)})
    client.put_dataset(make("d"))
    cluster.wait_for_replicas()


def test_a_client_goes_on_with_the_replica_of_a_node_that_was_killed(replicated, client):
    listed, dataset = name_on(replicated, 0), name_on(replicated, 0, "{{{}}}")
    client.append_to_list(listed, make("d"))
    client.put_dataset(make(dataset, 5))
    fill(replicated, client)

    replicated.servers[0].kill()
    # Known to be gone before anything is sent: made once when the replica has its place.
    client.append_to_list(listed, make("d"))

    assert client.get_list_length(listed) == 2
    assert [array[0] for array in client.get_tensors(NAMES).values()] == list(range(30))
    assert client.get_dataset(dataset).get_tensor("x").tolist() == [5, 5, 5]
    client.put_dataset(make(dataset, 6))
    client.put_tensors({f"new{i}": np.zeros(1) for i in range(30)})
    assert client.database.exist([b"new%d" % i for i in range(30)]) == [True] * 30
    assert sorted(client.database.scan(b"t*")) == sorted(NAMES)
    assert replicated.servers[3].address in [str(address) for address in client.database.server_addresses()]


def test_a_node_that_hangs_is_not_waited_for_when_its_replica_has_its_place(replicated, client, in_background):
    fill(replicated, client)
    listed = name_on(replicated, 0)
    client.append_to_list(listed, make("d"))
    replicated.wait_for_replicas()

    with Client(cluster=True, address=replicated.servers[1].address) as other:

        def append():
            with pytest.raises(StoreConnectionError, match="Whether the command was carried out is not known"):
                other.append_to_list(listed, make("d"))

        # It has a connection to this node, so that it sends before it knows.
        assert other.get_list_length(listed) == 1
        replicated.servers[0].hang()
        in_background(append)
        found = client.get_tensors(NAMES)
        in_background.join()

    assert [array[0] for array in found.values()] == list(range(30))
    assert client.get_list_length(listed) == 1
    # It comes back as a replica, and is no obstacle.
    replicated.servers[0].go_on()
    wait_until(lambda: replicated.nodes[0].info("replication")["role"] == "slave")
    assert [array[0] for array in client.get_tensors(NAMES).values()] == list(range(30))


def test_pending_commands_find_the_replica_of_a_node_that_dies_under_them(replicated, client, in_background):
    fill(replicated, client)
    replicated.servers[0].hang()

    # It took the request, and will never answer.
    in_background(lambda: replicated.servers[0].kill())
    found = client.get_tensors(NAMES)

    assert [array[0] for array in found.values()] == list(range(30))


def test_a_slow_node_that_keeps_its_place_ends_in_a_timeout(own_cluster):
    with Client(cluster=True, address=own_cluster.address, timeout_s=0.5) as client:
        client.put_tensors({name: np.full(3, i) for i, name in enumerate(NAMES)})
        own_cluster.servers[0].hang()

        with pytest.raises(StoreTimeoutError, match=f"in the time allowed .*{own_cluster.servers[0].address}"):
            client.get_tensors(NAMES)

        own_cluster.servers[0].go_on()
        assert [array[0] for array in client.get_tensors(NAMES).values()] == list(range(30))


def test_a_node_that_restarts_at_its_address_is_reached_again(own_cluster):
    with Client(cluster=True, address=own_cluster.address, timeout_s=DEADLINE_S) as client:
        listed = name_on(own_cluster, 0)
        client.put_tensors({name: np.full(3, i) for i, name in enumerate(NAMES)})
        for call in (
            lambda: client.put_dataset(make(name_on(own_cluster, 0, "{{{}}}"))),
            lambda: client.append_to_list(listed, make("d")),
        ):
            own_cluster.servers[0].kill()
            starter = threading.Timer(0.1, own_cluster.servers[0].start)
            starter.start()
            call()
            starter.join()
        assert client.get_list_length(listed) == 1

        client.put_tensors({name: np.full(3, i) for i, name in enumerate(NAMES)})
        assert [array[0] for array in client.get_tensors(NAMES).values()] == list(range(30))


def test_a_node_that_does_not_come_back_is_named_and_the_others_are_used(own_cluster):
    with Client(cluster=True, address=own_cluster.address, timeout_s=0.5) as client:
        client.put_tensors({name: np.full(3, i) for i, name in enumerate(NAMES)})
        lost, *_ = own_cluster.servers
        mine = [name for name in NAMES if own_cluster.owner_of(name) is not own_cluster.nodes[0]]
        of_lost, dataset = name_on(own_cluster, 0), name_on(own_cluster, 0, "{{{}}}")
        lost.kill()

        for call in (
            lambda: client.get_tensors(NAMES),
            lambda: client.put_dataset(make(dataset)),
            lambda: client.get_list_length(of_lost),
            lambda: client.append_to_list(of_lost, make("d")),
        ):
            with pytest.raises(StoreConnectionError, match=rf"gave up after 0\.5 s .* no connection to {lost.address}"):
                call()

        assert len(client.get_tensors(mine)) == len(mine)


def test_a_client_finds_the_node_that_took_over_the_slots_of_one_that_is_gone(own_cluster):
    with Client(cluster=True, address=own_cluster.address) as client:
        client.put_tensor("t", np.arange(3))
        former = own_cluster.owner_of("t")
        own_cluster.move_slot("t")
        own_cluster.servers[own_cluster.nodes.index(former)].kill()

        assert client.get_tensor("t").tolist() == [0, 1, 2]
        assert client.get_list_length("l{t}") == 0
