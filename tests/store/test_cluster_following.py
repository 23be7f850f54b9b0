"""Slots that move while a client works: what was not done is sent again, where and when the nodes say."""

import contextlib
import threading

import numpy as np
import pytest
import redis
from servers import wait_until

from smartml import Client, Dataset
from smartml.errors import DatasetNotFoundError, StoreConnectionError, TensorNotFoundError
from smartml.store.descriptions import read_descriptions

PARTS = ["{tag}.meta", "{tag}.x", "{tag}.y"]


def make(name="tag", number=1, tensors="xy"):
    dataset = Dataset(name)
    for tensor in tensors:
        dataset.add_tensor(tensor, np.full(3, number))
    dataset.add_meta_scalar("number", number)
    return dataset


def numbers_in(dataset):
    return {
        *dataset.get_meta_scalars("number").tolist(),
        *(number for name in dataset.get_tensor_names() for number in dataset.get_tensor(name).tolist()),
    }


@pytest.fixture
def move(cluster, cluster_client):
    """The slot of {tag} on its way from one node to another, not a key of it handed over yet."""
    cluster_client.put_tensors({f"{{tag}}{i}": np.full(3, i) for i in range(6)} | {"other": np.full(3, 7)})
    cluster_client.put_dataset(make())
    cluster_client.append_to_list("{tag}list", make())
    begun = cluster.begin_move("{tag}")
    cluster.forget_counts()
    yield begun
    begun.finish()


@pytest.fixture
def half_way(move):
    """The same with some keys on each of the two nodes."""
    for number in range(3):
        move.send(f"{{tag}}{number}")
    return move


def finish_after_refusal(cluster, move):
    """Finish a move in a thread as soon as a node has refused what concerns keys of both."""

    def finish():
        wait_until(lambda: any(cluster.count("errorstats", f"errorstat_{name}") for name in ("TRYAGAIN", "EXECABORT")))
        move.finish()

    thread = threading.Thread(target=finish)
    thread.start()
    return thread


# MOVED


def test_only_what_moved_is_received_again(cluster, cluster_client):
    names = [f"t{i}" for i in range(30)]
    cluster_client.put_tensors({name: np.full(9, i) for i, name in enumerate(names)})
    cluster.move_slot("t3")
    cluster.move_slot("t4")
    placed = []

    def place(index, size):
        placed.append(index)
        return [memoryview(bytearray(size))]

    cluster_client.database.receive([name.encode() for name in names], place)

    assert sorted(placed) == list(range(30))


def test_only_commands_that_moved_are_repeated(cluster, cluster_client):
    names = [f"t{i}" for i in range(30)]
    cluster.move_slot("t3")
    cluster.forget_counts()

    cluster_client.put_tensors({name: np.zeros(1) for name in names})

    # One that is sent elsewhere is no call.
    assert cluster.count("commandstats", "cmdstat_set") == 30
    assert all(cluster.owner_of(name).exists(name) for name in names)


# ASK


def test_tensors_are_read_from_both_nodes_of_a_slot_on_its_way(cluster, cluster_client, half_way):
    names = [*(f"{{tag}}{i}" for i in range(6)), "other"]
    out = np.empty(3, "i8")

    assert [array[0] for array in cluster_client.get_tensors(names).values()] == [*range(6), 7]
    assert cluster_client.get_tensor("{tag}1", out=out).tolist() == [1, 1, 1]
    assert cluster_client.database.exist([name.encode() for name in [*names, "{tag}none"]]) == [True] * 7 + [False]
    assert [found.shape for found in read_descriptions(cluster_client.database, [b"{tag}1", b"{tag}4"])] == [(3,)] * 2
    assert cluster_client.get_list_length("{tag}list") == 1
    with pytest.raises(TensorNotFoundError):
        cluster_client.get_tensor("{tag}none")
    assert cluster.count("commandstats", "cmdstat_asking") > 0


def test_what_is_put_into_a_slot_on_its_way_lies_on_the_node_that_the_server_chooses(cluster, cluster_client, half_way):
    cluster_client.put_tensors({f"{{tag}}{i}": np.full(3, 10 + i) for i in range(8)})
    cluster_client.delete_tensor("{tag}5")
    cluster_client.append_to_list("{tag}new", make())
    cluster_client.copy_list("{tag}list", "{tag}copy")
    half_way.finish()

    found = cluster_client.get_tensors([f"{{tag}}{i}" for i in range(8) if i != 5])
    assert [array[0] for array in found.values()] == [10, 11, 12, 13, 14, 16, 17]
    assert not cluster_client.tensor_exists("{tag}5")
    assert [cluster_client.get_list_length(f"{{tag}}{name}") for name in ("list", "new", "copy")] == [1, 1, 1]


def test_a_slot_on_its_way_belongs_to_its_owner_on_the_map(cluster, cluster_client, half_way):
    cluster_client.get_tensor("{tag}1")
    cluster.forget_counts()

    cluster_client.get_tensor("{tag}4")

    assert cluster.count("commandstats", "cmdstat_asking") == 0
    assert cluster.count("commandstats", "cmdstat_cluster|slots") == 0


# Datasets on two nodes


@pytest.mark.parametrize("handed_over", [[], PARTS[:1], PARTS[1:2], PARTS[:2], PARTS[1:], PARTS], ids=str)
def test_a_dataset_on_two_nodes_is_read_whole(cluster_client, move, handed_over):
    cluster_client.put_dataset(make("elsewhere", 5))
    for key in handed_over:
        move.send(key)

    assert numbers_in(cluster_client.get_dataset("tag")) == {1}
    assert [numbers_in(found) for found in cluster_client.get_datasets_from_list("{tag}list")] == [{1}]
    assert cluster_client.dataset_exists("tag")


def test_a_dataset_that_is_not_there_is_missing_on_both_nodes(cluster_client, move):
    cluster_client.delete_dataset("tag")

    with pytest.raises(DatasetNotFoundError):
        cluster_client.get_dataset("tag")
    with pytest.raises(DatasetNotFoundError):
        cluster_client.delete_dataset("tag")


@pytest.mark.parametrize(
    "change",
    [
        lambda client: client.put_dataset(make("tag", 2)),
        lambda client: client.put_dataset(make("tag", 2, "xz")),
        lambda client: client.put_dataset(make("tag", 2, "")),
        lambda client: (client.delete_dataset("tag"), client.put_dataset(make("tag", 2))),
        lambda client: (client.copy_dataset("tag", "e"), client.put_dataset(make("tag", 2))),
    ],
    ids=["put", "put other tensors", "put metadata", "delete", "copy"],
)
@pytest.mark.parametrize("handed_over", [PARTS[:1], PARTS[1:2], PARTS[1:]], ids=str)
def test_a_dataset_on_two_nodes_is_changed_when_its_slot_has_arrived(
    cluster, cluster_client, move, change, handed_over
):
    for key in handed_over:
        move.send(key)
    finisher = finish_after_refusal(cluster, move)

    change(cluster_client)

    finisher.join()
    assert numbers_in(cluster_client.get_dataset("tag")) == {2}
    stored = {key.decode() for node in cluster.nodes for key in node.keys("{tag}.*")}
    assert stored == {
        "{tag}.meta",
        *(f"{{tag}}.{name}" for name in cluster_client.get_dataset("tag").get_tensor_names()),
    }


def test_a_dataset_is_made_in_a_slot_on_its_way(cluster, cluster_client, move):
    cluster_client.delete_dataset("tag")
    finisher = finish_after_refusal(cluster, move)

    cluster_client.put_dataset(make("tag", 3))

    finisher.join()
    assert numbers_in(cluster_client.get_dataset("tag")) == {3}


def test_keys_of_two_nodes_are_copied_and_renamed_when_their_slot_has_arrived(cluster, cluster_client, half_way):
    finisher = finish_after_refusal(cluster, half_way)

    cluster_client.copy_tensor("{tag}1", "{tag}4")
    cluster_client.rename_tensor("{tag}5", "{tag}2")

    finisher.join()
    found = cluster_client.get_tensors(["{tag}1", "{tag}4", "{tag}2"])
    assert [array[0] for array in found.values()] == [1, 1, 5]
    assert not cluster_client.tensor_exists("{tag}5")


def test_datasets_are_whole_while_their_slot_moves_to_and_fro(cluster, cluster_client, in_background):
    cluster_client.put_dataset(make(number=0))
    written, seen = [0], [0]
    stopped = threading.Event()

    def write():
        with Client(cluster=True, address=cluster.address) as writer:
            while not stopped.is_set():
                writer.put_dataset(make(number=written[-1] + 1))
                written.append(written[-1] + 1)

    def shift():
        try:
            for _ in range(10):
                move = cluster.begin_move("{tag}")
                while move.step():
                    wait_for_news(seen)
                move.finish()
                wait_for_news(seen)
                wait_for_news(written)
        finally:
            stopped.set()

    in_background(write)
    in_background(shift)
    while not stopped.is_set():
        found = numbers_in(cluster_client.get_dataset("tag"))
        assert len(found) == 1
        seen += found

    assert seen == sorted(seen)
    in_background.join()
    assert numbers_in(cluster_client.get_dataset("tag")) == {written[-1]}


def wait_for_news(growing):
    """Wait until something begun after this call has ended."""
    before = len(growing)
    wait_until(lambda: len(growing) > before + 1)


# CLUSTERDOWN


@pytest.fixture
def leave_unserved(own_cluster):
    """Take the slot of a key from all nodes, and give it back with the function that is returned."""
    slot = own_cluster.slot_of("{tag}")
    owner = own_cluster.owner_of("{tag}")

    def take():
        for node in own_cluster.nodes:
            # One may have heard it from the other.
            with contextlib.suppress(redis.ResponseError):
                node.execute_command("CLUSTER DELSLOTS", slot)
        own_cluster.forget_counts()

    def give_back():
        owner.execute_command("CLUSTER ADDSLOTS", slot)

    return take, give_back


def test_a_slot_that_nobody_serves_is_waited_for(own_cluster, leave_unserved):
    take, give_back = leave_unserved
    with Client(cluster=True, address=own_cluster.address) as client:
        calls = [
            lambda: client.put_tensor("{tag}t", np.zeros(3)),
            lambda: client.append_to_list("{tag}list", make()),
            lambda: client.put_dataset(make()),
            lambda: client.get_dataset("tag"),
            lambda: client.get_tensors(["{tag}t", "{tag}t"]),
        ]
        for call in calls:
            client.tensor_exists("{tag}t")
            take()
            done = threading.Event()

            def serve_again(done=done):
                while not own_cluster.count("errorstats", "errorstat_CLUSTERDOWN") and not done.is_set():
                    pass
                give_back()

            server = threading.Thread(target=serve_again)
            server.start()
            call()
            done.set()
            server.join()

        assert client.get_list_length("{tag}list") == 1


def test_what_was_in_the_way_is_told_in_the_end(own_cluster, leave_unserved):
    take, give_back = leave_unserved
    with Client(cluster=True, address=own_cluster.address, timeout_s=0.3) as client:
        take()

        with pytest.raises(StoreConnectionError) as caught:
            client.append_to_list("{tag}list", make())
        assert "key '{tag}list' cannot be reached in the cluster of 127.0.0.1:" in str(caught.value)
        assert "gave up after 0.3 s (timeout_s) without progress; the last reason: " in str(caught.value)

        give_back()
        assert client.get_list_length("{tag}list") == 0
