"""Datasets in a real Redis, byte by byte as SmartRedis keeps them."""

import threading

import numpy as np
import pytest

from smartml import Client, Dataset, tensors
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    DatasetNotFoundError,
    MetadataError,
    StoreReplyError,
    TensorFormatError,
    TensorNotFoundError,
)


def make(name="d", **arrays):
    dataset = Dataset(name)
    for tensor, array in arrays.items():
        dataset.add_tensor(tensor, np.asarray(array))
    return dataset


def value_of(array):
    return b"".join(tensors.encode(array))


@pytest.fixture
def dataset():
    made = make(x=np.arange(6, dtype="f4").reshape(2, 3), a=np.array(7, "i8"))
    made.add_meta_scalar("step", np.int32(-3))
    made.add_meta_scalar("times", 1.5)
    made.add_meta_scalar("times", -2.5)
    made.add_meta_string("notes", "hello")
    made.add_meta_string("notes", "")
    return made


def test_a_dataset_comes_back_as_it_was_put(client, dataset):
    client.put_dataset(dataset)

    result = client.get_dataset("d")

    assert result.get_name() == "d"
    assert result.get_tensor_names() == ["x", "a"]
    assert result.get_tensor("x").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert result.get_tensor("x").dtype == np.float32
    assert result.get_tensor("a").item() == 7
    assert sorted(result.get_metadata_field_names()) == ["notes", "step", "times"]
    assert result.get_meta_scalars("times").tolist() == [1.5, -2.5]
    assert result.get_meta_strings("notes") == ["hello", ""]


def test_a_dataset_lies_in_redis_as_smartredis_keeps_it(client, raw, dataset):
    client.put_dataset(dataset)

    assert sorted(raw.keys()) == [b"{d}.a", b"{d}.meta", b"{d}.x"]
    assert raw.hgetall("{d}.meta") == {
        b".COMPLETE": b"1",
        b".tensor_names": bytes.fromhex("07 0100000000000000 78 0100000000000000 61"),
        b"step": bytes.fromhex("03 FDFFFFFF"),
        b"times": bytes.fromhex("01 000000000000F83F 00000000000004C0"),
        b"notes": bytes.fromhex("07 0500000000000000 68656C6C6F 0000000000000000"),
    }
    assert raw.get("{d}.x") == value_of(np.arange(6, dtype="f4").reshape(2, 3))


def test_a_dataset_of_metadata_alone_has_no_list_of_tensors(client, raw):
    dataset = Dataset("d")
    dataset.add_meta_string("note", "a")

    client.put_dataset(dataset)

    assert set(raw.hgetall("{d}.meta")) == {b".COMPLETE", b"note"}
    assert client.get_dataset("d").get_tensor_names() == []


def test_what_smartredis_wrote_is_read(client, raw):
    raw.set("{d}.u", value_of(np.arange(3)))
    raw.hset("{d}.meta", mapping={"n": b"\4" + bytes(8), ".tensor_names": b"\7\1" + bytes(7) + b"u"})
    raw.hset("{d}.meta", ".COMPLETE", "1")

    dataset = client.get_dataset("d")

    assert dataset.get_tensor("u").tolist() == [0, 1, 2]
    assert dataset.get_meta_scalars("n").tolist() == [0]


def test_the_tensors_of_a_dataset_are_tensors(client, dataset):
    client.put_dataset(dataset)

    assert client.get_tensor("{d}.x").shape == (2, 3)
    assert not client.tensor_exists("d")


def test_putting_again_leaves_nothing_of_the_old_one(client, raw, dataset):
    client.put_dataset(dataset)
    client.put_dataset(make(x=[1], new=[2]))

    assert sorted(raw.keys()) == [b"{d}.meta", b"{d}.new", b"{d}.x"]
    assert client.get_dataset("d").get_metadata_field_names() == []


def test_putting_over_keys_of_another_kind_replaces_them(client, raw):
    raw.rpush("{d}.x", "entry")

    client.put_dataset(make(x=[1]))

    assert client.get_dataset("d").get_tensor("x").tolist() == [1]


def test_an_empty_dataset_is_refused(client, raw):
    with pytest.raises(ArgumentValueError, match="dataset 'd' is empty: add a tensor or metadata first"):
        client.put_dataset(Dataset("d"))

    assert raw.keys() == []


@pytest.mark.parametrize("thing", [None, "d", {"x": 1}, Dataset])
def test_only_a_dataset_can_be_put(client, thing):
    with pytest.raises(ArgumentTypeError, match=f"a smartml.Dataset is needed, not {type(thing).__name__}"):
        client.put_dataset(thing)


def test_an_incomplete_dataset_is_not_there_yet(client, raw):
    client.put_dataset(make(x=[1]))
    raw.hdel("{d}.meta", ".COMPLETE")

    assert not client.dataset_exists("d")
    assert not client.poll_dataset("d", 1, 2)
    with pytest.raises(DatasetNotFoundError, match=r"no complete dataset under key '{d}\.meta'"):
        client.get_dataset("d")

    raw.hset("{d}.meta", ".COMPLETE", "1")
    assert client.dataset_exists("d")
    assert client.poll_dataset("d", 10_000_000, 2)


def test_a_missing_dataset_is_named_with_those_that_come_nearest(client):
    client.put_dataset(make("points_17", x=[1]))

    for act in (
        client.get_dataset,
        client.delete_dataset,
        lambda name: client.copy_dataset(name, "new"),
        lambda name: client.rename_dataset(name, "new"),
    ):
        with pytest.raises(DatasetNotFoundError, match=r"'{points_18}.meta' at .*; similar keys: '{points_17}.meta'"):
            act("points_18")


def test_a_dataset_whose_tensor_was_deleted_says_which(client, raw):
    client.put_dataset(make(x=[1], y=[2]))
    raw.delete("{d}.y")

    with pytest.raises(TensorNotFoundError, match=r"dataset 'd' lacks its tensor 'y': no key '{d}\.y' any more"):
        client.get_dataset("d")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"note", b""),
        (b"note", b"\x09"),
        (b"note", b"\1abc"),
        (b".tensor_names", b"\1" + bytes(8)),
        (b".tensor_names", b"\7\xff"),
        (b".tensor_names", b"\7" + bytes(8)),
        (b".tensor_names", 2 * (b"\1" + bytes(7) + b"x")),
    ],
)
def test_damaged_metadata_is_refused_with_its_key(client, raw, field, value):
    client.put_dataset(make(x=[1]))
    raw.hset("{d}.meta", field, value)

    with pytest.raises(MetadataError, match=r"{d}\.meta"):
        client.get_dataset("d")


def test_a_damaged_tensor_is_refused_with_its_key(client, raw):
    client.put_dataset(make(x=[1]))
    raw.append("{d}.x", b"more")

    with pytest.raises(TensorFormatError, match=r"key '{d}\.x' does not hold a tensor"):
        client.get_dataset("d")

    raw.delete("{d}.x")
    raw.rpush("{d}.x", "entry")
    with pytest.raises(
        TensorFormatError, match=r"key '{d}\.x' does not hold a tensor: it is a Redis value of type list"
    ):
        client.get_dataset("d")


def test_metadata_of_another_kind_is_refused(client, raw):
    raw.set("{d}.meta", "text")

    for act in (client.get_dataset, client.dataset_exists, client.delete_dataset):
        with pytest.raises(StoreReplyError, match="WRONGTYPE"):
            act("d")
    with pytest.raises(StoreReplyError, match=r"key '{d}\.meta': WRONGTYPE"):
        client.put_dataset(make(x=[1]))


# Copy, rename, delete


def test_a_copy_is_the_same_under_another_name(client, raw, dataset):
    client.put_dataset(dataset)
    client.put_dataset(make("e", old=[1]))

    client.copy_dataset("d", "e")

    assert raw.hgetall("{e}.meta") == raw.hgetall("{d}.meta")
    assert raw.get("{e}.x") == raw.get("{d}.x")
    assert not raw.exists("{e}.old")


def test_renaming_leaves_nothing_behind(client, raw, dataset):
    client.put_dataset(dataset)
    before = raw.hgetall("{d}.meta")

    client.rename_dataset("d", "e")
    client.rename_dataset("e", "e")

    assert sorted(raw.keys()) == [b"{e}.a", b"{e}.meta", b"{e}.x"]
    assert raw.hgetall("{e}.meta") == before


def test_deleting_takes_the_tensors_along(client, raw, dataset):
    client.put_dataset(dataset)
    client.put_tensor("other", np.zeros(1))

    client.delete_dataset("d")

    assert raw.keys() == [b"other"]


def test_an_incomplete_dataset_can_be_deleted(client, raw, dataset):
    client.put_dataset(dataset)
    raw.hdel("{d}.meta", ".COMPLETE")

    client.delete_dataset("d")

    assert raw.keys() == []


# Several at the same dataset


def test_a_reader_never_sees_half_a_dataset(client, server):
    """Versions differ in every part, in the names of their tensors, and in size."""
    stop = threading.Event()

    def write():
        with Client(address=server.address) as writer:
            version = 0
            while not stop.is_set():
                version += 1
                dataset = make(a=np.full(2000 * (version % 3), version), b=np.array(version))
                dataset.add_tensor(f"only_{version % 2}", np.array(version))
                dataset.add_meta_scalar("version", version)
                writer.put_dataset(dataset)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        assert client.poll_dataset("d", 1, 10_000)
        for _ in range(60):
            dataset = client.get_dataset("d")
            version = dataset.get_meta_scalars("version").item()
            assert dataset.get_tensor_names() == ["a", "b", f"only_{version % 2}"]
            assert all((dataset.get_tensor(name) == version).all() for name in dataset.get_tensor_names())
            assert dataset.get_tensor_dims("a") == [2000 * (version % 3)]
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_writers_of_one_dataset_leave_no_tensor_behind(client, raw, server):
    def write(number):
        with Client(address=server.address) as writer:
            for _ in range(30):
                writer.put_dataset(make(**{f"of_{number}": [number]}))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    (name,) = client.get_dataset("d").get_tensor_names()
    assert sorted(raw.keys()) == [b"{d}.meta", f"{{d}}.{name}".encode()]


@pytest.mark.parametrize("names", [b"", b"\x99", b"\x07\xff", b"\x01" + bytes(8)])
def test_a_dataset_whose_list_of_tensors_is_damaged_can_be_replaced_and_deleted(client, raw, dataset, caplog, names):
    client.put_dataset(dataset)
    raw.hset("{d}.meta", ".tensor_names", names)
    client.put_dataset(dataset)
    assert client.get_dataset("d").get_tensor_names() == dataset.get_tensor_names()
    assert "'{d}.meta' is damaged" in caplog.text

    raw.hset("{d}.meta", ".tensor_names", names)
    client.delete_dataset("d")
    assert not client.dataset_exists("d")
