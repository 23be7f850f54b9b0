"""The real SmartRedis client and ours on one database: what either writes, the other reads; every method, both ways."""

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from servers import KINDS

import smartml
from smartml.errors import (
    ArgumentTypeError,
    DatasetNotFoundError,
    NotFoundError,
    StoreReplyError,
    TensorNotFoundError,
)
from smartml.store.module import find_module

smartredis = pytest.importorskip("smartredis", reason="needs SmartRedis (pip install smartredis, up to Python 3.11)")
pytestmark = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")


@dataclass
class Side:
    """One of the two libraries, connected."""

    library: ModuleType
    client: Any

    def dataset(self, name, tensors=(), scalars=(), strings=()):
        made = self.library.Dataset(name)
        for key, array in dict(tensors).items():
            made.add_tensor(key, array)
        for key, values in dict(scalars).items():
            for value in values:
                made.add_meta_scalar(key, value)
        for key, values in dict(strings).items():
            for value in values:
                made.add_meta_string(key, value)
        return made

    def datasets(self, call, *arguments):
        """Call a method that returns several datasets. SmartRedis hands out what lies under its own class."""
        found = getattr(self.client, call)(*arguments)
        return [self.library.Dataset.from_pybind(one) for one in found] if self.library is smartredis else found


QUIET = {
    "SR_LOG_LEVEL": "QUIET",
    "SR_LOG_FILE": "/dev/null",
    "SR_SOCKET_TIMEOUT": "60000",
    "SR_CONN_TIMEOUT": "5",
    "SR_CMD_TIMEOUT": "5",
    "SR_THREAD_COUNT": "2",
}


@pytest.fixture(params=[*KINDS, "a cluster"])
def deployment(request, start_database):
    """Return the address, and whether it is a cluster; the database is empty."""
    if request.param == "a cluster":
        return request.getfixturevalue("cluster").address, True
    server = start_database(request.param)
    with smartml.Client(address=server.address) as client:
        client.flush_db([server.address])
    return server.address, False


@pytest.fixture
def connect(deployment, monkeypatch):
    """Connect with either library, under an environment: `connect(smartredis, SSKEYIN="a,b")`."""
    address, is_cluster = deployment
    closing = []

    def connect(library, **environment):
        with monkeypatch.context() as context:
            kind = "Clustered" if is_cluster else "Standalone"
            for name, value in (QUIET | {"SSDB": address, "SR_DB_TYPE": kind} | environment).items():
                context.setenv(name, value)
            client = library.Client() if library is smartml else library.Client(None)
        if library is smartml:
            closing.append(client)
        return Side(library, client)

    yield connect
    for client in closing:
        client.close()


@pytest.fixture(params=[(smartredis, smartml), (smartml, smartredis)], ids=["theirs to ours", "ours to theirs"])
def both(request, connect):
    """Return who writes and who reads."""
    return tuple(connect(library) for library in request.param)


# Tensors

DTYPES = ["float64", "float32", "int8", "int16", "int32", "int64", "uint8", "uint16"]
SHAPES = [(1,), (7,), (3, 5), (2, 1, 3), (1, 2, 1, 2, 1, 2), (50_000,), (3, 70_001)]
BASE = np.arange(2 * 3 * 4, dtype="f8").reshape(2, 3, 4)
LAYOUTS = {
    "a transposed view": BASE.T,
    "a slice with steps": BASE[:, ::2, 1:],
    "a reversed view": BASE[::-1, :, ::-1],
    "a broadcast view": np.broadcast_to(np.arange(4.0), (3, 4)),
    "a single column": BASE.reshape(6, 4)[:, 2],
}


def same(result, expected):
    np.testing.assert_array_equal(result, expected, strict=True)
    return True


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_dtype_and_shape_are_read(both, dtype):
    writer, reader = both
    random = np.random.default_rng(1)
    for number, shape in enumerate(SHAPES):
        array = random.integers(0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, "u1").view(dtype)
        writer.client.put_tensor(f"t{number}", array.reshape(shape))
        assert reader.client.tensor_exists(f"t{number}")
        assert same(reader.client.get_tensor(f"t{number}"), array.reshape(shape))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_are_read_as_what_they_show(both, layout):
    writer, reader = both
    writer.client.put_tensor("t", LAYOUTS[layout])
    assert same(reader.client.get_tensor("t"), LAYOUTS[layout])
    writer.client.put_dataset(writer.dataset("d", {"t": LAYOUTS[layout]}))
    assert same(reader.client.get_dataset("d").get_tensor("t"), LAYOUTS[layout])


@pytest.mark.parametrize(
    "name", ["t", "a name with spaces", "ß→∞", "q1{", "{{a}}", "p{a}{b}", "{a", "a.b", "a\0b", "x" * 1000]
)
def test_any_name_means_the_same_key(both, name):
    writer, reader = both
    writer.client.put_tensor(name, np.arange(3))
    assert reader.client.tensor_exists(name) and reader.client.key_exists(name)
    assert same(reader.client.get_tensor(name), np.arange(3))
    reader.client.delete_tensor(name)
    assert not writer.client.tensor_exists(name)


def test_tensors_are_copied_renamed_and_deleted(both):
    writer, reader = both
    # In a cluster some of these names share a node and some do not.
    names = [f"n{number}" for number in range(8)]
    writer.client.put_tensor("source", BASE)
    for name in names:
        reader.client.copy_tensor("source", name)
        assert same(writer.client.get_tensor(name), BASE)
        writer.client.rename_tensor(name, f"{name}_new")
        assert same(reader.client.get_tensor(f"{name}_new"), BASE)
        assert not reader.client.tensor_exists(name)
        reader.client.delete_tensor(f"{name}_new")
        assert not writer.client.key_exists(f"{name}_new")
    assert same(writer.client.get_tensor("source"), BASE)


def test_a_tensor_is_replaced_by_one_of_another_kind(both):
    writer, reader = both
    writer.client.put_tensor("t", BASE)
    reader.client.put_tensor("t", np.arange(3, dtype="u1"))
    assert same(writer.client.get_tensor("t"), np.arange(3, dtype="u1"))


def test_polls_see_what_the_other_put(both):
    writer, reader = both
    assert not reader.client.poll_tensor("t", 1, 2) and not reader.client.poll_dataset("d", 1, 2)
    writer.client.put_tensor("t", BASE)
    writer.client.put_dataset(writer.dataset("d", {"x": BASE}))
    assert reader.client.poll_tensor("t", 1, 2) and reader.client.poll_key("t", 1, 2)
    assert reader.client.poll_dataset("d", 1, 2) and reader.client.dataset_exists("d")
    # A dataset is no tensor, but its tensors are.
    assert not reader.client.tensor_exists("d") and reader.client.tensor_exists("{d}.x")
    assert same(reader.client.get_tensor("{d}.x"), BASE)


# Datasets

SCALARS = {
    "float64": [1.5, -2.5, 1e300],
    "float32": [np.float32(0.1), np.float32(-np.inf)],
    "int32": [np.int32(-3), np.int32(2**31 - 1)],
    "int64": [-(2**63), 5],
    "uint32": [np.uint32(2**32 - 1)],
    "uint64": [np.uint64(2**64 - 1), np.uint64(0)],
}
STRINGS = {"one": ["hello"], "several": ["hello", "", "ß→∞", "a\0b", "x" * 10_000], "a name": [""]}


def test_a_dataset_with_everything_is_read(both):
    writer, reader = both
    tensors = {f"of {dtype}": np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES}
    writer.client.put_dataset(writer.dataset("everything", tensors, SCALARS, STRINGS))

    result = reader.client.get_dataset("everything")

    assert result.get_name() == "everything"
    assert list(result.get_tensor_names()) == list(tensors)
    assert all(same(result.get_tensor(name), array) for name, array in tensors.items())
    assert {name: list(result.get_tensor_dims(name)) for name in tensors} == {name: [2, 3] for name in tensors}
    assert sorted(result.get_metadata_field_names()) == sorted([*SCALARS, *STRINGS])
    for name, values in SCALARS.items():
        # Copied at once: SmartRedis hands out memory that it still owns.
        assert same(np.array(result.get_meta_scalars(name)), np.array(values, name))
    for name, values in STRINGS.items():
        assert result.get_meta_strings(name) == values


@pytest.mark.parametrize(
    "parts",
    [{"tensors": {"x": BASE}}, {"scalars": {"n": [1]}}, {"strings": {"s": ["a"]}}],
    ids=["tensors", "numbers", "strings"],
)
def test_a_dataset_of_one_kind_alone_is_read(both, parts):
    writer, reader = both
    writer.client.put_dataset(writer.dataset("d", **parts))

    result = reader.client.get_dataset("d")

    assert list(result.get_tensor_names()) == list(parts.get("tensors", ()))
    assert sorted(result.get_metadata_field_names()) == sorted({**parts.get("scalars", {}), **parts.get("strings", {})})


def test_datasets_are_copied_renamed_and_deleted(both):
    writer, reader = both
    for number in range(4):
        writer.client.put_dataset(writer.dataset("d", {"x": BASE}, {"n": [number]}))
        reader.client.copy_dataset("d", f"copy{number}")
        writer.client.rename_dataset(f"copy{number}", f"new{number}")
        assert not reader.client.dataset_exists(f"copy{number}")
        result = reader.client.get_dataset(f"new{number}")
        assert list(np.array(result.get_meta_scalars("n"))) == [number]
        assert same(result.get_tensor("x"), BASE)
        reader.client.delete_dataset(f"new{number}")
        assert not writer.client.dataset_exists(f"new{number}")
        assert not writer.client.tensor_exists(f"{{new{number}}}.x")


def test_a_dataset_is_replaced_by_the_other(both):
    writer, reader = both
    writer.client.put_dataset(writer.dataset("d", {"x": BASE, "y": BASE}, {"n": [1]}))
    reader.client.put_dataset(reader.dataset("d", {"x": BASE + 1}, {"m": [2]}))

    result = writer.client.get_dataset("d")
    assert list(result.get_tensor_names()) == ["x"] and list(result.get_metadata_field_names()) == ["m"]
    assert same(result.get_tensor("x"), BASE + 1)


# Lists


def numbers_of(datasets):
    return [int(np.array(dataset.get_meta_scalars("n"))[0]) for dataset in datasets]


def test_an_aggregation_list_grows_from_both_sides(both):
    writer, reader = both
    for number in range(12):
        side = (writer, reader)[number % 2]
        dataset = side.dataset(f"d{number}", {"x": BASE + number}, {"n": [number]})
        side.client.put_dataset(dataset)
        side.client.append_to_list("l", dataset)

    for side in both:
        assert side.client.get_list_length("l") == 12
        found = side.datasets("get_datasets_from_list", "l")
        assert [dataset.get_name() for dataset in found] == [f"d{number}" for number in range(12)]
        assert numbers_of(found) == list(range(12))
        assert all(same(dataset.get_tensor("x"), BASE + number) for number, dataset in enumerate(found))
        assert numbers_of(side.datasets("get_dataset_list_range", "l", 2, 4)) == [2, 3, 4]
        assert numbers_of(side.datasets("get_dataset_list_range", "l", -2, -1)) == [10, 11]


def test_lists_are_polled_copied_renamed_and_deleted(both):
    writer, reader = both
    for number in range(3):
        dataset = writer.dataset(f"d{number}", scalars={"n": [number]})
        writer.client.put_dataset(dataset)
        writer.client.append_to_list("l", dataset)
    assert reader.client.poll_list_length("l", 3, 1, 2) and not reader.client.poll_list_length("l", 4, 1, 2)
    assert reader.client.poll_list_length_gte("l", 2, 1, 2) and not reader.client.poll_list_length_gte("l", 4, 1, 2)
    assert reader.client.poll_list_length_lte("l", 3, 1, 2) and reader.client.poll_list_length_lte("none", 0, 1, 2)

    reader.client.copy_list("l", "copy")
    writer.client.rename_list("copy", "new")
    assert writer.client.get_list_length("copy") == 0
    assert numbers_of(reader.datasets("get_datasets_from_list", "new")) == [0, 1, 2]
    reader.client.delete_list("new")
    assert writer.client.get_list_length("new") == 0 and writer.client.dataset_exists("d0")


# Prefixes

PREFIXED = {"SSKEYOUT": "run_0"}
READS = {"SSKEYIN": "other,run_0"}


def test_prefixes_of_writer_and_reader_meet(request, connect, both):
    writer = connect(both[0].library, **PREFIXED)
    reader = connect(both[1].library, **READS)
    dataset = writer.dataset("d", {"x": BASE}, {"n": [4]})
    writer.client.put_tensor("t", BASE)
    writer.client.put_dataset(dataset)
    writer.client.append_to_list("l", dataset)

    assert not reader.client.tensor_exists("t")
    reader.client.set_data_source("run_0")
    assert reader.client.key_exists("run_0.t") and reader.client.key_exists("run_0.{d}.meta")
    assert same(reader.client.get_tensor("t"), BASE)
    assert same(reader.client.get_dataset("d").get_tensor("x"), BASE)
    assert numbers_of(reader.datasets("get_datasets_from_list", "l")) == [4]
    assert reader.client.get_list_length("l") == 1


def test_prefixes_are_switched_off_for_each_kind(connect, both):
    writer = connect(both[0].library, **PREFIXED)
    reader = both[1]
    for kind in ("tensor", "dataset", "list"):
        getattr(writer.client, f"use_{kind}_ensemble_prefix")(False)
    dataset = writer.dataset("d", scalars={"n": [1]})
    writer.client.put_tensor("t", BASE)
    writer.client.put_dataset(dataset)
    writer.client.append_to_list("l", dataset)

    assert same(reader.client.get_tensor("t"), BASE)
    assert numbers_of(reader.datasets("get_datasets_from_list", "l")) == [1]


def test_an_entry_carries_the_prefix_of_the_moment_of_appending(connect, both):
    writer = connect(both[0].library, **PREFIXED)
    reader = both[1]
    dataset = writer.dataset("d", scalars={"n": [1]})
    writer.client.put_dataset(dataset)
    writer.client.use_list_ensemble_prefix(False)
    writer.client.append_to_list("l", dataset)

    assert numbers_of(reader.datasets("get_datasets_from_list", "l")) == [1]


# Administration


def test_administration_of_either_shows_the_same_server(both, deployment):
    addresses = deployment[0].split(",")
    writer, reader = both
    writer.client.put_tensor("t", BASE)

    for side in both:
        ports = [info["Server"]["tcp_port"] for info in side.client.get_db_node_info(addresses)]
        assert ports == [address.split(":")[1] for address in addresses]
        if deployment[1]:
            found = side.client.get_db_cluster_info(addresses)
            assert [one["cluster_state"] for one in found] == ["ok"] * 3
    former = reader.client.config_get("lua-time-limit", addresses[0])
    writer.client.config_set("lua-time-limit", "1234", addresses[0])
    assert reader.client.config_get("lua-time-limit", addresses[0]) == {"lua-time-limit": "1234"}
    writer.client.config_set("lua-time-limit", former["lua-time-limit"], addresses[0])
    reader.client.save(addresses[:1])
    writer.client.flush_db(addresses)
    assert not reader.client.tensor_exists("t")


# What only SmartRedis calls


def test_models_and_scripts_are_stored_and_deleted(connect):
    theirs = connect(smartredis).client

    theirs.set_model("m", b"a model", "TORCH", tag="v1")
    theirs.set_script("s", "def f(x): return x")

    assert theirs.model_exists("m") and theirs.poll_model("m", 1, 2)
    assert theirs.get_model("m") == b"a model"
    assert theirs.get_script("s") == "def f(x): return x"
    theirs.delete_model("m")
    theirs.delete_script("s")
    assert not theirs.model_exists("m")
    for call in (lambda: theirs.get_model("m"), lambda: theirs.delete_model("m")):
        with pytest.raises(smartredis.error.RedisReplyError, match="model key is empty"):
            call()


def test_a_model_that_is_sent_in_chunks_is_stored_whole(connect):
    theirs = connect(smartredis).client
    model = bytes(range(256)) * 1000

    theirs.set_model_chunk_size(100_000)
    theirs.set_model("m", model, "TORCH")

    assert theirs.get_model("m") == model


def test_statistics_of_models_are_unknown(connect, deployment):
    theirs = connect(smartredis)
    for reset in (False, True):
        with pytest.raises(smartredis.error.RedisReplyError, match="cannot find run info for key"):
            theirs.client.get_ai_info(deployment[0].split(",")[:1], "m", reset)


# What SmartRedis does wrong stays on its side


def test_an_array_in_fortran_order_is_stored_right_by_us_alone(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))

    ours.client.put_tensor("ours", array)
    ours.client.put_dataset(ours.dataset("ours", {"x": array}))
    theirs.client.put_tensor("theirs", array)

    assert same(theirs.client.get_tensor("ours"), array)
    assert same(theirs.client.get_dataset("ours").get_tensor("x"), array)
    # They send the memory as it lies, under the shape of C order.
    assert same(ours.client.get_tensor("theirs"), array.ravel("K").reshape(2, 3))


@pytest.mark.parametrize("dtype", ["uint32", "uint64", "float16", "bool", "complex64", ">f8"])
def test_dtypes_that_they_do_not_know_are_refused_on_their_side(connect, dtype):
    ours, theirs = connect(smartml), connect(smartredis)
    array = np.arange(3).astype(dtype)

    with pytest.raises(TypeError):
        theirs.client.put_tensor("t", array)
    ours.client.put_tensor("t", array)

    assert (ours.client.get_tensor("t") == array).all()
    if dtype == ">f8":
        assert same(theirs.client.get_tensor("t"), np.arange(3.0))
    else:
        with pytest.raises(smartredis.error.RedisReplyError):
            theirs.client.get_tensor("t")


@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_shapes_that_they_do_not_know_are_refused_on_their_side(connect, shape):
    ours, theirs = connect(smartml), connect(smartredis)
    ours.client.put_tensor("t", np.zeros(shape))

    assert ours.client.get_tensor("t").shape == shape
    with pytest.raises(smartredis.error.RedisReplyError):
        theirs.client.get_tensor("t")


def test_a_dataset_is_read_by_us_only_when_it_is_complete(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    theirs.client.put_dataset(theirs.dataset("d", {"x": BASE}, {"n": [1]}))
    # As in the middle of their pipeline.
    ours.client.database.command("HDEL", b"{d}.meta", b".COMPLETE")

    assert theirs.client.get_dataset("d").get_tensor_names() == ["x"]
    with pytest.raises(DatasetNotFoundError, match="no complete dataset"):
        ours.client.get_dataset("d")


def test_what_they_leave_behind_of_a_former_dataset_is_no_part_of_the_new_one(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    theirs.client.put_dataset(theirs.dataset("d", {"x": BASE, "former": BASE}))
    theirs.client.put_dataset(theirs.dataset("d", {"x": BASE}))
    assert ours.client.tensor_exists("{d}.former")

    assert ours.client.get_dataset("d").get_tensor_names() == ["x"]
    ours.client.put_dataset(ours.dataset("e", {"x": BASE, "former": BASE}))
    ours.client.put_dataset(ours.dataset("e", {"x": BASE}))
    assert not ours.client.tensor_exists("{e}.former")


def test_an_entry_that_they_appended_twice_is_normal(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    dataset = theirs.dataset("d", scalars={"n": [1]})
    theirs.client.put_dataset(dataset)
    # Their command is sent again when its reply is late.
    theirs.client.append_to_list("l", dataset)
    theirs.client.append_to_list("l", dataset)

    assert numbers_of(ours.datasets("get_datasets_from_list", "l")) == [1, 1]


def test_a_dataset_that_they_call_nothing_is_read_from_a_list(connect, deployment):
    ours, theirs = connect(smartml), connect(smartredis)
    if deployment[1]:
        pytest.skip("in a cluster their client looks for it on another node than the server does")
    dataset = theirs.dataset("", {"x": BASE})
    theirs.client.put_dataset(dataset)
    theirs.client.append_to_list("l", dataset)

    (found,) = ours.datasets("get_datasets_from_list", "l")
    assert found.get_name() == "" and same(found.get_tensor("x"), BASE)


def test_an_entry_that_names_no_dataset_is_left_out_by_us(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    ours.client.database.command("RPUSH", b"l", b"something else")

    assert ours.datasets("get_datasets_from_list", "l") == []
    with pytest.raises(smartredis.error.RedisReplyError):
        theirs.datasets("get_datasets_from_list", "l")


def test_an_entry_whose_dataset_is_gone_is_left_out_by_us_and_empty_for_them(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    for name in ("a", "b"):
        dataset = ours.dataset(name, scalars={"n": [1]})
        ours.client.put_dataset(dataset)
        ours.client.append_to_list("l", dataset)
    ours.client.delete_dataset("a")

    assert [dataset.get_name() for dataset in ours.datasets("get_datasets_from_list", "l")] == ["b"]
    theirs_found = theirs.datasets("get_datasets_from_list", "l")
    assert [dataset.get_metadata_field_names() for dataset in theirs_found] == [[], ["n"]]


def test_copying_a_list_replaces_what_we_read_and_write_under_different_prefixes(connect):
    prefixes = {"SSKEYIN": "i", "SSKEYOUT": "o"}
    for library, expected in ((smartml, 1), (smartredis, 2)):
        side = connect(library, **prefixes)
        # Written under "o"; the list to copy lies under "i".
        dataset = side.dataset("d", scalars={"n": [1]})
        side.client.append_to_list("to", dataset)
        connect(library, SSKEYOUT="i").client.append_to_list("from", dataset)
        side.client.copy_list("from", "to")

        length = connect(library, SSKEYIN="o").client.get_list_length("to")
        # They delete under the prefix for reading, and so append to what is there.
        assert length == expected
        connect(library, SSKEYIN="o").client.delete_list("to")
        connect(library, SSKEYIN="i").client.delete_list("from")


def test_a_tensor_of_a_dataset_cannot_take_the_place_of_its_metadata(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    with pytest.raises(ValueError, match="its key holds the metadata"):
        ours.dataset("d", {"meta": BASE})
    with pytest.raises(smartredis.error.RedisReplyError, match="WRONGTYPE"):
        theirs.client.put_dataset(theirs.dataset("d", {"meta": BASE}, {"n": [1]}))


def test_types_are_told_right_by_us(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    theirs.client.put_dataset(
        theirs.dataset("d", {"a": np.zeros(1, "f4"), "b": np.zeros(1, "u2")}, {"n": [np.float32(1)]})
    )

    found = ours.client.get_dataset("d")
    assert [found.get_tensor_type(name) for name in "ab"] == [np.float32, np.uint16]
    assert found.get_metadata_field_type("n") is np.float32


def test_numbers_of_metadata_outlive_their_dataset(connect):
    ours = connect(smartml)
    ours.client.put_dataset(ours.dataset("d", scalars={"n": [1.5]}))

    assert ours.client.get_dataset("d").get_meta_scalars("n").tolist() == [1.5]


def test_an_empty_array_is_no_number_of_metadata_with_us():
    with pytest.raises(ArgumentTypeError):
        smartml.Dataset("d").add_meta_scalar("n", np.zeros(0))


def test_what_is_missing_is_one_kind_of_error_with_us(connect):
    client = connect(smartml).client
    for call in (
        lambda: client.get_tensor("t"),
        lambda: client.rename_tensor("t", "u"),
        lambda: client.get_dataset("d"),
        lambda: client.delete_dataset("d"),
        lambda: client.copy_list("l", "m"),
    ):
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(smartredis.error.RedisRuntimeError, match="tensor key is empty or in a different shard"):
        connect(smartredis).client.get_tensor("t")


@pytest.mark.parametrize("key", [b"\xff\xfe{}", b"t\r\n+OK", b"8M.model"])
def test_an_error_never_repeats_the_bytes_of_a_key(connect, key):
    """Their shard prefixes are no text, and an error text that is none breaks their client."""
    client = connect(smartml).client
    for command in ("AI.TENSORGET", "AI.MODELGET", "AI.INFO"):
        with pytest.raises(StoreReplyError) as caught:
            client.database.commands(key, (command.encode(), key))
        refusal = str(caught.value).partition("': ")[2]
        assert refusal.isascii() and refusal.startswith("ERR ")


@pytest.mark.parametrize("name", ["{}a", "x{}y{z}", "}a{b}"])
def test_names_that_they_look_for_on_another_node_are_found_by_us(connect, name):
    """They hash an empty tag, and a tag behind a closing brace, otherwise than the server does."""
    client = connect(smartml).client
    client.put_tensor(name, BASE)
    assert same(client.get_tensor(name), BASE)


def test_a_value_that_is_no_tensor_is_refused_for_both(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    ours.client.database.command("SET", b"t", b"a string")

    with pytest.raises(smartredis.error.RedisReplyError, match="WRONGTYPE"):
        theirs.client.get_tensor("t")
    # RedisAI replaces tensors only, and so does the module.
    with pytest.raises(smartredis.error.RedisReplyError, match="WRONGTYPE"):
        theirs.client.put_tensor("t", BASE)
    with pytest.raises(ValueError, match="does not hold a tensor"):
        ours.client.get_tensor("t")
    ours.client.put_tensor("t", BASE)
    assert same(theirs.client.get_tensor("t"), BASE)


def test_a_truncated_tensor_reaches_nobody(connect):
    """Their client does not compare the length with the shape: it would hand out memory that was never written."""
    ours, theirs = connect(smartml), connect(smartredis)
    ours.client.put_tensor("t", np.arange(100.0))
    value = ours.client.database.command("GET", b"t")
    ours.client.database.command("SET", b"t", value[8:])

    with pytest.raises(smartredis.error.RedisReplyError, match="the tensor is damaged"):
        theirs.client.get_tensor("t")


def test_a_missing_tensor_of_a_dataset_is_an_error_for_both(connect):
    ours, theirs = connect(smartml), connect(smartredis)
    theirs.client.put_dataset(theirs.dataset("d", {"x": BASE}))
    theirs.client.delete_tensor("{d}.x")

    with pytest.raises(TensorNotFoundError, match="lacks its tensor 'x'"):
        ours.client.get_dataset("d")
    with pytest.raises(smartredis.error.RedisReplyError):
        theirs.client.get_dataset("d")


# The matrix is whole

MODELS_AND_SCRIPTS = ("model", "script", "function", "ai_info")
LOGGING = {"log_data", "log_warning", "log_error", "get_data", "set_data"}


def test_every_method_of_theirs_is_called_above():
    """A method that a later release brings has to be added to the tests."""
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    methods = {name for name in vars(smartredis.Client) if not name.startswith("_")} - LOGGING
    of_tensors = {name for name in methods if not any(kind in name for kind in MODELS_AND_SCRIPTS)}
    switches = {f"use_{kind}_ensemble_prefix" for kind in ("tensor", "dataset", "list")}

    assert [name for name in sorted(of_tensors - switches) if name not in text] == []
    assert [name for name in sorted(of_tensors) if not hasattr(smartml.Client, name)] == []
    assert sys.version_info < (3, 12)
