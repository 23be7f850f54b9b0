"""Aggregation lists in a real Redis."""

import numpy as np
import pytest

from smartml import Dataset
from smartml.errors import ArgumentTypeError, ArgumentValueError, ListNotFoundError, StoreReplyError


def make(number):
    dataset = Dataset(f"d{number}")
    dataset.add_tensor("x", np.array([number]))
    dataset.add_meta_scalar("number", number)
    return dataset


@pytest.fixture
def filled(client):
    """A list of four datasets."""
    for number in range(4):
        client.put_dataset(make(number))
        client.append_to_list("l", make(number))
    return client


def numbers(datasets):
    return [int(dataset.get_tensor("x")[0]) for dataset in datasets]


def test_a_list_gives_its_datasets_in_the_order_of_appending(filled):
    datasets = filled.get_datasets_from_list("l")

    assert filled.get_list_length("l") == 4
    assert [dataset.get_name() for dataset in datasets] == ["d0", "d1", "d2", "d3"]
    assert numbers(datasets) == [0, 1, 2, 3]
    assert [dataset.get_meta_scalars("number").item() for dataset in datasets] == [0, 1, 2, 3]


def test_an_entry_is_the_key_of_a_dataset(filled, raw):
    assert raw.lrange("l", 0, -1) == [b"{d0}", b"{d1}", b"{d2}", b"{d3}"]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, -1, [0, 1, 2, 3]), (1, 2, [1, 2]), (-2, -1, [2, 3]), (2, 1, []), (3, 99, [3]), (np.int64(0), 0, [0])],
)
def test_a_range_includes_both_its_ends(filled, start, end, expected):
    assert numbers(filled.get_dataset_list_range("l", start, end)) == expected


def test_a_dataset_may_be_put_after_it_was_appended(client):
    client.append_to_list("l", make(1))
    assert client.get_datasets_from_list("l") == []

    client.put_dataset(make(1))
    assert numbers(client.get_datasets_from_list("l")) == [1]


def test_what_is_missing_or_incomplete_is_left_out(filled, raw):
    filled.delete_dataset("d1")
    raw.hdel("{d2}.meta", ".COMPLETE")

    assert numbers(filled.get_datasets_from_list("l")) == [0, 3]
    assert filled.get_list_length("l") == 4


def test_an_entry_that_comes_twice_gives_two_datasets_of_their_own(filled):
    filled.append_to_list("l", make(0))

    datasets = filled.get_datasets_from_list("l")
    datasets[0].get_tensor("x")[:] = 9
    datasets[0].add_meta_scalar("number", 9)

    assert numbers(datasets) == [9, 1, 2, 3, 0]
    assert datasets[4].get_meta_scalars("number").tolist() == [0]


def test_a_list_that_does_not_exist_is_empty(client):
    assert client.get_list_length("l") == 0
    assert client.get_datasets_from_list("l") == []
    assert client.poll_list_length_lte("l", 0, 1, 1)
    client.delete_list("l")


def test_a_copy_replaces_what_was_there(filled, raw):
    filled.append_to_list("m", make(9))

    filled.copy_list("l", "m")
    filled.copy_list("l", "l")

    assert raw.lrange("m", 0, -1) == raw.lrange("l", 0, -1) == [b"{d0}", b"{d1}", b"{d2}", b"{d3}"]


def test_renaming_replaces_what_was_there(filled, raw):
    filled.append_to_list("m", make(9))

    filled.rename_list("l", "m")
    filled.rename_list("m", "m")

    assert raw.lrange("m", 0, -1) == [b"{d0}", b"{d1}", b"{d2}", b"{d3}"]
    assert not raw.exists("l")


def test_deleting_a_list_keeps_its_datasets(filled):
    filled.delete_list("l")

    assert filled.get_list_length("l") == 0
    assert filled.dataset_exists("d0")


@pytest.mark.parametrize("act", ["copy_list", "rename_list"])
def test_a_missing_list_is_named_with_those_that_come_nearest(filled, raw, act):
    filled.rename_list("l", "training_list")

    with pytest.raises(
        ListNotFoundError, match=r"no list under key 'training_lisp' at .*; similar keys: 'training_list'"
    ):
        getattr(filled, act)("training_lisp", "training_list")

    assert raw.llen("training_list") == 4


def test_polls_compare_the_length(filled):
    assert filled.poll_list_length("l", 4, 1, 1)
    assert not filled.poll_list_length("l", 3, 1, 2)
    assert filled.poll_list_length_gte("l", 3, 1, 1)
    assert not filled.poll_list_length_gte("l", 5, 1, 2)
    assert filled.poll_list_length_lte("l", 5, 1, 1)
    assert not filled.poll_list_length_lte("l", 3, 1, 2)


@pytest.mark.parametrize("poll", ["poll_list_length", "poll_list_length_gte", "poll_list_length_lte"])
def test_a_length_is_a_whole_number_from_zero(client, poll):
    with pytest.raises(ArgumentValueError, match="list_length must not be negative: -1"):
        getattr(client, poll)("l", -1, 1, 1)
    with pytest.raises(ArgumentTypeError, match=r"list_length must be int, not float: 1\.0"):
        getattr(client, poll)("l", 1.0, 1, 1)


@pytest.mark.parametrize("index", ["0", None, 1.5])
def test_a_range_takes_whole_numbers(client, index):
    with pytest.raises(ArgumentTypeError, match=f"start_index must be int, not {type(index).__name__}"):
        client.get_dataset_list_range("l", index, -1)
    with pytest.raises(ArgumentTypeError, match="end_index must be int"):
        client.get_dataset_list_range("l", 0, index)


@pytest.mark.parametrize("name", [None, 3, b"l"])
def test_the_name_of_a_list_is_text(client, name):
    calls = [
        lambda: client.append_to_list(name, make(1)),
        lambda: client.get_list_length(name),
        lambda: client.get_datasets_from_list(name),
        lambda: client.copy_list(name, "m"),
        lambda: client.rename_list("m", name),
        lambda: client.delete_list(name),
        lambda: client.poll_list_length(name, 1, 1, 1),
    ]
    for call in calls:
        with pytest.raises(ArgumentTypeError, match=f"the name of a list must be str, not {type(name).__name__}"):
            call()


def test_only_a_dataset_can_be_appended(client):
    with pytest.raises(ArgumentTypeError, match=r"a smartml\.Dataset is needed, not str: 'd'"):
        client.append_to_list("l", "d")


def test_a_key_of_another_kind_is_no_list(client):
    client.put_tensor("t", np.zeros(1))

    for call in (client.get_list_length, client.get_datasets_from_list, lambda name: client.rename_list(name, "m")):
        with pytest.raises(StoreReplyError, match="WRONGTYPE"):
            call("t")
    with pytest.raises(StoreReplyError, match="refused a command on key 't': WRONGTYPE"):
        client.append_to_list("t", make(1))
