"""What a database holds, in words for people."""

import numpy as np

from smartml import Dataset
from smartml.store.listing import KeyDescription, list_keys


def listed(client, *arguments):
    return sorted(list_keys(client.database, *arguments), key=lambda found: found.key)


def test_an_empty_database_has_no_keys(client):
    assert listed(client) == []


def test_every_kind_of_key_is_described(client, raw):
    client.put_tensor("points", np.zeros((2, 3), "f4"))
    dataset = Dataset("d")
    dataset.add_tensor("x", np.zeros(2, "i8"))
    client.put_dataset(dataset)
    client.append_to_list("all", dataset)
    raw.hset("{unfinished}.meta", "a", b"\x01")
    raw.hset("settings", "a", "12")
    raw.set("text", "hello")
    raw.sadd("set", "member")

    assert listed(client) == [
        KeyDescription("all", "list", "1 entries", 1),
        KeyDescription("points", "tensor", "float32 of shape (2, 3)", 24 + 16 + 8),
        KeyDescription("set", "set", "", 0),
        KeyDescription("settings", "hash", "1 fields", 2),
        KeyDescription("text", "string", "", 5),
        KeyDescription("{d}.meta", "dataset", "2 fields, complete", 1 + 8 + 1 + 1),
        KeyDescription("{d}.x", "tensor", "int64 of shape (2,)", 16 + 8 + 8),
        KeyDescription("{unfinished}.meta", "dataset", "1 fields, incomplete", 1),
    ]


def test_a_pattern_and_a_limit_choose_keys(client):
    client.put_tensors({f"{prefix}_{number}": np.zeros(1) for prefix in "ab" for number in range(3)})

    assert [found.key for found in listed(client, "a_*")] == ["a_0", "a_1", "a_2"]
    assert [found.key for found in listed(client, "?_[12]")] == ["a_1", "a_2", "b_1", "b_2"]
    assert len(listed(client, "*", 4)) == 4


def test_keys_that_are_no_text_can_be_printed(client, raw):
    raw.set(b"\xffkey", b"value")
    raw.set("ключ", b"value")

    assert [found.key for found in listed(client)] == ["\\xffkey", "ключ"]
    assert [found.key for found in listed(client, "\udcffkey")] == ["\\xffkey"]


def test_many_keys_are_all_described(client):
    client.put_tensors({str(number): np.zeros(1) for number in range(1200)})

    assert len({found.key for found in listed(client)}) == 1200


def test_the_keys_of_all_servers_of_a_cluster_are_described(cluster_client):
    cluster_client.put_tensors({str(number): np.zeros(number) for number in range(20)})

    assert {found.content for found in listed(cluster_client)} == {f"float64 of shape ({n},)" for n in range(20)}
