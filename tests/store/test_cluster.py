"""A Redis Cluster of three servers."""

import numpy as np
import pytest

from smartml import Client, Dataset
from smartml.errors import (
    ArgumentValueError,
    DatasetNotFoundError,
    ListNotFoundError,
    StoreConnectionError,
    StoreReplyError,
    TensorFormatError,
    TensorNotFoundError,
)

LARGE = np.arange(300_000.0)


def make(name, number=1):
    dataset = Dataset(name)
    dataset.add_tensor("x", np.full(3, number))
    dataset.add_tensor("large", LARGE)
    dataset.add_meta_scalar("number", number)
    return dataset


def two_apart(cluster, first="a", names="bcdefgh"):
    """Return a name whose key lies on another node than the first one's."""
    return next(name for name in names if cluster.owner_of(name) is not cluster.owner_of(first))


def test_a_client_finds_out_that_it_speaks_to_a_cluster(cluster):
    with Client(address=cluster.servers[0].address) as client:
        assert client.database.is_cluster
        assert sorted(map(str, client.database.server_addresses())) == sorted(one.address for one in cluster.servers)


def test_a_client_finds_a_cluster_in_the_environment(cluster, monkeypatch):
    monkeypatch.setenv("SSDB", f"127.0.0.1:1,{cluster.address}")
    monkeypatch.setenv("SR_DB_TYPE", "Clustered")

    with Client() as client:
        client.put_tensor("t", np.arange(3))
        assert client.get_tensor("t").tolist() == [0, 1, 2]


def test_a_single_server_is_no_cluster(server):
    with pytest.raises(StoreConnectionError, match=r"cannot be used as a cluster: .*use Client\(cluster=False\)"):
        Client(cluster=True, address=server.address)


def test_a_node_alone_is_no_database(cluster):
    with Client(cluster=False, address=cluster.servers[0].address) as client:
        missing = next(f"t{i}" for i in range(100) if cluster.owner_of(f"t{i}") is not cluster.nodes[0])

        with pytest.raises(StoreReplyError, match=f"does not hold key '{missing}': use Client\\(cluster=True\\)"):
            client.put_tensor(missing, np.zeros(1))


def test_tensors_lie_on_all_nodes_and_come_back(cluster, cluster_client):
    arrays = {f"t{i}": np.full(i * 100, i) for i in range(60)}

    cluster_client.put_tensors(arrays)
    result = cluster_client.get_tensors(arrays)

    assert list(result) == list(arrays)
    assert all((result[name] == arrays[name]).all() for name in arrays)
    assert all(node.dbsize() > 0 for node in cluster.nodes)
    assert cluster_client.get_tensors(["t3", "t5", "t3"]).keys() == {"t3", "t5"}
    assert cluster_client.database.exist([b"t3", b"none", b"t3"]) == [True, False, True]
    assert cluster_client.database.count_existing([b"t3", b"none", b"t5"]) == 2
    assert sorted(cluster_client.database.scan(b"t1?")) == [f"t{i}" for i in range(10, 20)]


def test_a_tensor_is_received_into_memory_of_the_caller(cluster_client):
    cluster_client.put_tensor("t", LARGE)
    out = np.empty_like(LARGE)

    assert cluster_client.get_tensor("t", out=out) is out
    assert (out == LARGE).all()


def test_tensors_are_copied_and_renamed_between_nodes(cluster, cluster_client):
    other = two_apart(cluster)
    cluster_client.put_tensor("a", LARGE)

    cluster_client.copy_tensor("a", other)
    assert cluster.owner_of("a").get("a") == cluster.owner_of(other).get(other)

    cluster_client.delete_tensor("a")
    cluster_client.rename_tensor(other, "a")
    assert (cluster_client.get_tensor("a") == LARGE).all()
    assert not cluster_client.tensor_exists(other)

    cluster_client.copy_tensor("a", "{a}")
    cluster_client.rename_tensor("{a}", "{a}2")
    assert cluster_client.tensor_exists("{a}2") and not cluster_client.tensor_exists("{a}")


def test_what_is_missing_on_any_node_is_named(cluster, cluster_client):
    other = two_apart(cluster)
    for call in (cluster_client.get_tensor, lambda name: cluster_client.copy_tensor(name, other)):
        with pytest.raises(TensorNotFoundError, match="no tensor under key 'a' at"):
            call("a")
    with pytest.raises(TensorNotFoundError):
        cluster_client.rename_tensor("a", other)
    with pytest.raises(DatasetNotFoundError):
        cluster_client.rename_dataset("a", other)
    with pytest.raises(ListNotFoundError):
        cluster_client.rename_list("a", other)


def test_a_key_of_another_kind_is_refused_with_what_it_holds(cluster, cluster_client):
    cluster.owner_of("hash").hset("hash", "field", "value")
    cluster_client.put_tensors({f"t{i}": np.zeros(1) for i in range(9)})

    with pytest.raises(TensorFormatError, match="key 'hash' does not hold a tensor: it is a Redis value of type hash"):
        cluster_client.get_tensors([*(f"t{i}" for i in range(9)), "hash"])


def test_a_dataset_lies_on_one_node(cluster, cluster_client):
    for number in range(9):
        cluster_client.put_dataset(make(f"d{number}", number))

    for number in range(9):
        node = cluster.owner_of(f"{{d{number}}}")
        assert node.exists(f"{{d{number}}}.meta", f"{{d{number}}}.x", f"{{d{number}}}.large") == 3
        assert cluster_client.get_dataset(f"d{number}").get_tensor("x").tolist() == [number] * 3
    cluster_client.put_dataset(make("d0", 7))
    cluster_client.rename_dataset("d0", "d1")
    cluster_client.copy_dataset("d1", "e")
    cluster_client.delete_dataset("d1")
    assert not cluster_client.dataset_exists("d0") and not cluster_client.dataset_exists("d1")
    assert cluster_client.get_dataset("e").get_meta_scalars("number").tolist() == [7]


def test_a_dataset_whose_name_is_no_hash_tag_is_refused(cluster_client):
    with pytest.raises(
        ArgumentValueError, match=r"a dataset in a cluster cannot be called '}x': no '}' may come first"
    ):
        cluster_client.put_dataset(make("}x"))


def test_a_list_names_datasets_of_all_nodes(cluster, cluster_client):
    for number in range(9):
        cluster_client.put_dataset(make(f"d{number}", number))
        cluster_client.append_to_list("a", make(f"d{number}"))
    cluster_client.append_to_list("a", make("d0"))
    other = two_apart(cluster)

    cluster_client.rename_list("a", other)
    cluster_client.copy_list(other, "a")
    cluster_client.rename_list("a", "{a}2")

    for name in (other, "{a}2"):
        datasets = cluster_client.get_datasets_from_list(name)
        assert [dataset.get_meta_scalars("number").item() for dataset in datasets] == [*range(9), 0]
    assert cluster_client.get_list_length("a") == 0


def test_administration_goes_to_each_node(cluster, cluster_client):
    addresses = [one.address for one in cluster.servers]
    cluster_client.put_tensors({f"t{i}": np.zeros(1) for i in range(30)})

    assert [info["cluster_state"] for info in cluster_client.get_db_cluster_info(addresses)] == ["ok"] * 3
    assert [info["Server"]["redis_mode"] for info in cluster_client.get_db_node_info(addresses)] == ["cluster"] * 3
    cluster_client.flush_db(addresses[:1])
    assert [node.dbsize() > 0 for node in cluster.nodes] == [False, True, True]


CALLS = {
    "put_tensor": lambda client: client.put_tensor("{tag}t", np.zeros(3)),
    "get_tensor": lambda client: client.get_tensor("{tag}t"),
    "get_tensors": lambda client: client.get_tensors(["{tag}t", "elsewhere", "{tag}u"]),
    "tensor_exists": lambda client: client.tensor_exists("{tag}t") or 1 / 0,
    "copy_tensor": lambda client: client.copy_tensor("{tag}t", "{tag}v"),
    "rename_tensor": lambda client: client.rename_tensor("{tag}u", "{tag}v"),
    "put_dataset": lambda client: client.put_dataset(make("tag", 2)),
    "get_dataset": lambda client: client.get_dataset("tag"),
    "delete_dataset": lambda client: client.delete_dataset("tag"),
    "dataset_exists": lambda client: client.dataset_exists("tag") or 1 / 0,
    "append_to_list": lambda client: client.append_to_list("{tag}l", make("tag")),
    "get_list_length": lambda client: client.get_list_length("{tag}l"),
    "get_datasets_from_list": lambda client: client.get_datasets_from_list("{tag}l")[0],
    "copy_list": lambda client: client.copy_list("{tag}l", "{tag}m"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_client_follows_a_slot_that_moved(cluster, cluster_client, name):
    cluster_client.put_tensors({"{tag}t": np.arange(3), "{tag}u": np.arange(3), "elsewhere": np.arange(3)})
    cluster_client.put_dataset(make("tag"))
    cluster_client.append_to_list("{tag}l", make("tag"))
    before = cluster.owner_of("{tag}")

    cluster.move_slot("{tag}")
    CALLS[name](cluster_client)

    assert cluster.owner_of("{tag}") is not before
    assert cluster_client.get_list_length("{tag}l") == (2 if name == "append_to_list" else 1)
