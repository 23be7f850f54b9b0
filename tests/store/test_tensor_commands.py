"""Tensors in a real Redis."""

import struct

import ml_dtypes
import numpy as np
import pytest

from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    TensorFormatError,
    TensorMismatchError,
    TensorNotFoundError,
)

# No numpy dtype, not an array, or a wrong name: what a program may put by mistake.
NOT_NAMES = [None, 3, b"bytes", ["list"]]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
        np.arange(20, dtype="i8").reshape(4, 5)[::2, ::-2],
        np.arange(6, dtype=">i4").reshape(3, 2),
        np.array(2.5),
        np.zeros((3, 0, 2), "u2"),
        np.array([True, False]),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array([1 + 2j], "c8"),
        # More than the buffers of the transport, and no multiple of anything.
        np.random.default_rng(1).random(300_007),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_a_tensor_comes_back_as_it_was_put(client, array):
    client.put_tensor("t", array)

    result = client.get_tensor("t")

    assert result.dtype == array.dtype.newbyteorder("<")
    assert result.shape == array.shape
    assert result.tobytes() == array.astype(result.dtype).tobytes()
    assert result.flags.writeable and result.flags.c_contiguous and result.flags.aligned


def test_a_value_is_the_payload_and_its_description(client, raw):
    client.put_tensor("t", np.array([[1, 2, 3]], "i2"))

    assert raw.get("t").hex(" ") == (
        "01 00 02 00 03 00 01 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 04 02 00 00 53 4d 54 31"
    )


def test_putting_again_replaces_the_tensor_whatever_it_was(client, raw):
    client.put_tensor("t", np.zeros(1000))
    client.put_tensor("t", np.arange(3))
    raw.rpush("other", "entry")
    client.put_tensor("other", np.arange(3))

    assert client.get_tensor("t").tolist() == [0, 1, 2]
    assert client.get_tensor("other").tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["a b", "ü", "nul\0byte", "new\nline", "{brace", "*", "x" * 5000])
def test_any_text_is_a_name(client, raw, name):
    client.put_tensor(name, np.arange(3))

    assert raw.keys("*") == [name.encode()]
    assert client.tensor_exists(name)
    assert client.get_tensor(name).tolist() == [0, 1, 2]


def test_what_is_put_may_be_written_to_afterwards(client):
    array = np.zeros(100_000)

    client.put_tensor("t", array)
    array += 1

    assert client.get_tensor("t").sum() == 0


# Receiving into an array


def test_a_tensor_is_received_into_memory_of_the_caller(client):
    client.put_tensor("t", np.arange(6, dtype="f4").reshape(2, 3))
    rows = np.full((4, 3), -1, "f4")

    result = client.get_tensor("t", out=rows[1:3])

    assert np.shares_memory(result, rows)
    assert rows.tolist() == [[-1, -1, -1], [0, 1, 2], [3, 4, 5], [-1, -1, -1]]


@pytest.mark.parametrize("array", [np.array(7), np.zeros((0, 3)), np.arange(200_000), np.array([True])])
def test_any_shape_is_received_into_an_array(client, array):
    client.put_tensor("t", array)
    out = np.empty_like(array)

    assert client.get_tensor("t", out=out) is out
    assert (out == array).all()


@pytest.mark.parametrize(
    "out",
    [np.zeros((3, 2)), np.zeros(6), np.zeros((2, 3), "f4"), np.zeros((2, 3), "i8"), np.zeros((2, 4)), np.zeros(())],
    ids=lambda out: f"{out.dtype} {out.shape}",
)
def test_a_tensor_that_does_not_fit_is_refused_with_both_shapes(client, out):
    client.put_tensor("t", np.zeros((2, 3)))

    with pytest.raises(TensorMismatchError) as caught:
        client.get_tensor("t", out=out)

    assert str(caught.value) == (
        f"tensor 't' is float64 of shape (2, 3), the array given as out is {out.dtype.name} of shape {out.shape}"
    )
    assert client.get_tensor("t").shape == (2, 3)


def read_only():
    array = np.zeros(4)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "error", "flaw"),
    [
        ([0] * 4, ArgumentTypeError, "plain numpy array, not list"),
        (np.ma.zeros(4), ArgumentTypeError, "plain numpy array, not MaskedArray"),
        (np.zeros(4, object), ArgumentTypeError, "dtype 'object' cannot be stored"),
        (np.zeros(8)[::2], ArgumentValueError, "out is not C-contiguous;"),
        (read_only(), ArgumentValueError, "out is read-only;"),
        (np.zeros(4, ">f8"), ArgumentValueError, "out is of byte order '>';"),
    ],
)
def test_memory_that_cannot_receive_is_refused(client, out, error, flaw):
    client.put_tensor("t", np.zeros(4))

    with pytest.raises(error) as caught:
        client.get_tensor("t", out=out)

    assert flaw in str(caught.value)


# Many at once


def test_many_tensors_go_together_and_come_together(client):
    arrays = {f"t{i}": np.full(i % 7, i) for i in range(1500)}

    client.put_tensors(arrays)
    result = client.get_tensors(arrays)

    assert list(result) == list(arrays)
    assert all((result[name] == arrays[name]).all() for name in arrays)


def test_small_and_large_tensors_mix(client):
    arrays = {f"t{i}": np.full((1, 5, 300_000, 40)[i % 4], i, "f4") for i in range(24)}

    client.put_tensors(arrays)

    assert {name: array.tobytes() for name, array in client.get_tensors(arrays).items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


@pytest.mark.parametrize("sizes", [(3, 400_000, 1, 0), (400_000, 3, 400_000, 2)])
def test_rows_come_whole_when_their_tensors_have_another_size_than_the_time_before(client, sizes):
    # More than are asked for at once.
    names = [f"row_{i}" for i in range(520 if max(sizes) < 1000 else 40)]
    for size in sizes:
        arrays = {name: np.full(size, i, "f4") for i, name in enumerate(names)}
        client.put_tensors(arrays)

        result = client.get_tensors(names)

        assert all((result[name] == arrays[name]).all() and result[name].size == size for name in names)


def test_rows_read_again_may_be_gone(client):
    client.put_tensors({f"row_{i}": np.arange(5) for i in range(8)})
    client.get_tensors([f"row_{i}" for i in range(8)])
    client.delete_tensor("row_5")

    with pytest.raises(TensorNotFoundError, match="'row_5'"):
        client.get_tensors([f"row_{i}" for i in range(8)])

    client.put_tensor("row_5", np.arange(7))
    assert client.get_tensors([f"row_{i}" for i in range(8)])["row_5"].size == 7


def test_a_name_given_twice_is_fetched_once_for_the_caller(client):
    client.put_tensor("t", np.arange(3))

    assert list(client.get_tensors(["t", "t"])) == ["t"]


def test_nothing_at_all_is_no_error(client):
    client.put_tensors({})

    assert client.get_tensors([]) == {}


def test_nothing_is_stored_when_one_of_many_cannot_be(client, raw):
    with pytest.raises(ArgumentTypeError, match="not list"):
        client.put_tensors({"good": np.arange(3), "bad": [1, 2]})

    assert raw.keys() == []


@pytest.mark.parametrize("data", [[("a", np.zeros(1))], None, "t"])
def test_many_tensors_must_be_a_mapping(client, data):
    with pytest.raises(ArgumentTypeError, match="mapping of names to arrays, not"):
        client.put_tensors(data)


@pytest.mark.parametrize("names", ["t", None, 3])
def test_many_names_must_be_several(client, names):
    with pytest.raises(ArgumentTypeError, match="takes several names, not"):
        client.get_tensors(names)


# What is not there, or no tensor


def test_a_missing_tensor_is_named_with_those_that_come_nearest(client, server):
    client.put_tensors({"points_3_17": np.zeros(1), "points_3_18": np.zeros(1), "temperature": np.zeros(1)})

    for get in (client.get_tensor, lambda name: client.get_tensors(["temperature", name])):
        with pytest.raises(TensorNotFoundError) as caught:
            get("points_3_177")
        assert str(caught.value) == (
            f"no tensor under key 'points_3_177' at {server.address}; similar keys: 'points_3_17', 'points_3_18'"
        )
        assert isinstance(caught.value, KeyError)


def test_a_missing_tensor_in_an_empty_database_has_no_neighbours(client):
    with pytest.raises(TensorNotFoundError, match="nothing there has a similar name"):
        client.get_tensor("t")


@pytest.mark.parametrize("out", [None, np.zeros((2, 2))])
@pytest.mark.parametrize(
    "value",
    [b"", b"plain text", struct.pack("<4d", 1, 2, 3, 4) + b"\2" + bytes(7) + b"\3" + bytes(7) + b"\1\2\0\0SMT1"],
)
def test_a_value_that_is_no_tensor_is_refused(client, raw, value, out):
    raw.set("k", value)

    with pytest.raises(TensorFormatError, match="'k'"):
        client.get_tensor("k", out=out)


@pytest.mark.parametrize("cut", [1, 8, 9, 24, 55])
@pytest.mark.parametrize("out", [None, np.zeros((2, 2))])
def test_a_truncated_tensor_is_refused(client, raw, cut, out):
    client.put_tensor("k", np.ones((2, 2)))
    raw.set("k", raw.get("k")[:-cut])

    with pytest.raises(TensorFormatError, match="'k'"):
        client.get_tensor("k", out=out)


@pytest.mark.parametrize("out", [None, np.zeros(2, bool)])
def test_a_bool_tensor_with_other_bytes_is_refused(client, raw, out):
    client.put_tensor("k", np.array([True, False]))
    raw.setrange("k", 1, b"\2")

    with pytest.raises(TensorFormatError, match="tensor 'k' is damaged: bytes of a bool tensor"):
        client.get_tensor("k", out=out)


def test_a_key_of_another_kind_is_refused_with_what_it_holds(client, raw):
    client.put_tensor("good", np.arange(3))
    raw.hset("hash", "field", "value")
    raw.rpush("list", "entry")
    raw.sadd("set", "member")

    for key in ("hash", "list", "set"):
        with pytest.raises(TensorFormatError) as caught:
            client.get_tensors(["good", key])
        assert str(caught.value) == f"key '{key}' does not hold a tensor: it is a Redis value of type {key}"
    assert client.get_tensor("good").tolist() == [0, 1, 2]


# Copy, rename, delete, look


def test_a_copy_stands_beside_its_source(client, raw):
    client.put_tensors({"a": np.arange(3), "b": np.zeros(1)})

    client.copy_tensor("a", "b")
    client.copy_tensor("a", "a")

    assert raw.get("a") == raw.get("b")


def test_renaming_replaces_what_had_the_new_name(client, raw):
    client.put_tensors({"a": np.arange(3), "b": np.zeros(1)})

    client.rename_tensor("a", "b")
    client.rename_tensor("b", "b")

    assert raw.keys() == [b"b"]
    assert client.get_tensor("b").tolist() == [0, 1, 2]


@pytest.mark.parametrize("act", ["copy_tensor", "rename_tensor"])
@pytest.mark.parametrize("destination", ["other", "missing"])
def test_copying_what_is_not_there_leaves_the_destination(client, act, destination):
    client.put_tensor("other", np.arange(3))

    with pytest.raises(TensorNotFoundError, match="no tensor under key 'missing'"):
        getattr(client, act)("missing", destination)

    assert client.get_tensor("other").tolist() == [0, 1, 2]


def test_deleting_a_missing_tensor_is_no_error(client):
    client.put_tensor("a", np.zeros(1))

    client.delete_tensor("a")
    client.delete_tensor("a")

    assert not client.tensor_exists("a")


def test_a_poll_ends_when_the_tensor_is_there(client):
    assert not client.poll_tensor("t", 1, 2)
    assert not client.poll_key("t", 1, 2)

    client.put_tensor("t", np.zeros(1))

    assert client.poll_tensor("t", 10_000_000, 2)
    assert client.poll_key("t", 10_000_000, np.int64(2))


@pytest.mark.parametrize("tries", [0, -1])
def test_a_poll_without_tries_does_not_ask(client, tries):
    client.put_tensor("t", np.zeros(1))

    assert client.poll_tensor("t", 1, tries) is False


def test_a_poll_does_not_wait_after_its_last_try(client):
    assert not client.poll_tensor("t", 10_000_000, 1)


@pytest.mark.parametrize(
    ("interval", "tries", "error", "message"),
    [
        (1.5, 1, ArgumentTypeError, "poll_frequency_ms must be int, not float: 1.5"),
        (1, "3", ArgumentTypeError, "num_tries must be int, not str: '3'"),
        (-1, 1, ArgumentValueError, "poll_frequency_ms must not be negative: -1"),
    ],
)
def test_a_poll_takes_whole_numbers(client, interval, tries, error, message):
    with pytest.raises(error) as caught:
        client.poll_tensor("t", interval, tries)

    assert str(caught.value) == message


@pytest.mark.parametrize("name", NOT_NAMES)
@pytest.mark.parametrize(
    "call",
    [
        lambda client, name: client.put_tensor(name, np.zeros(1)),
        lambda client, name: client.get_tensor(name),
        lambda client, name: client.get_tensors([name]),
        lambda client, name: client.delete_tensor(name),
        lambda client, name: client.copy_tensor("a", name),
        lambda client, name: client.copy_tensor(name, "a"),
        lambda client, name: client.rename_tensor(name, "a"),
        lambda client, name: client.tensor_exists(name),
        lambda client, name: client.key_exists(name),
        lambda client, name: client.poll_tensor(name, 1, 1),
    ],
)
def test_a_name_must_be_text(client, call, name):
    with pytest.raises(ArgumentTypeError, match=f"must be str, not {type(name).__name__}"):
        call(client, name)


@pytest.mark.parametrize(("name", "message"), [("", "must not be empty"), ("\ud800", "must be Unicode text")])
def test_a_name_must_be_there_and_whole(client, name, message):
    with pytest.raises(ArgumentValueError, match=f"the name of a tensor {message}"):
        client.put_tensor(name, np.zeros(1))
