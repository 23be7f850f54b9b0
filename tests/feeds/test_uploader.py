"""What a producer puts on an aggregation list, and that none of it is lost or overwritten."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreConnectionError
from smartml.feeds import DataInfo, TrainingDataUploader

from .conftest import flat, numbers, one_pass


@pytest.fixture
def make_uploader(client, close_later):
    return lambda *arguments, **named: close_later(TrainingDataUploader(*arguments, **named))


@pytest.fixture
def served(make_plain_feed):
    """Return the numbers that a feed of the list finds now."""

    def find(list_name="training_data"):
        feed = make_plain_feed(data_info_or_list_name=DataInfo(list_name, target_name=None), batch_size=1)
        return flat(one_pass(feed))

    return find


def test_a_batch_is_a_dataset_on_the_list(make_uploader, client):
    make_uploader("training", "fields", "labels", rank=3).put_batch(numbers(1, 2), numbers(10, 20))

    (dataset,) = client.get_datasets_from_list("training")
    assert dataset.get_tensor("fields").tolist() == [1, 2]
    assert dataset.get_tensor("labels").tolist() == [10, 20]
    assert dataset.get_name().startswith("training_3_")


def test_an_uploader_counts_its_batches(make_uploader):
    uploader = make_uploader(rank=2)
    uploader.put_batch(numbers(1))
    uploader.put_batch(numbers(2))

    assert (uploader.batch_idx, uploader.rank) == (2, 2)


def test_an_uploader_tells_how_it_names_things(make_uploader):
    uploader = make_uploader("training", "fields", "", num_classes=3)

    assert uploader.list_name == "training"
    assert uploader.sample_name == "fields"
    assert uploader.target_name is None
    assert uploader.num_classes == 3


def test_two_uploaders_of_one_process_never_overwrite_each_other(make_uploader, served):
    one, other = make_uploader(), make_uploader()
    for value in (1, 3):
        one.put_batch(numbers(value))
        other.put_batch(numbers(value + 1))

    assert served() == [1, 2, 3, 4]


def test_uploaders_of_different_lists_keep_apart(make_uploader, served):
    make_uploader("left").put_batch(numbers(1))
    make_uploader("right").put_batch(numbers(2))

    assert (served("left"), served("right")) == ([1], [2])


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_of_an_uploader_never_overwrite_each_other(duplicate, make_uploader, served, close_later):
    uploader = make_uploader()
    other = close_later(duplicate(uploader))
    uploader.put_batch(numbers(1))
    other.put_batch(numbers(2))

    assert served() == [1, 2]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_processes_never_overwrite_each_other(make_uploader, served):
    uploader = make_uploader()
    children = [
        multiprocessing.get_context("fork").Process(target=uploader.put_batch, args=(numbers(value),))
        for value in (1, 2)
    ]
    for child in children:
        child.start()
        child.join(20)
    uploader.put_batch(numbers(3))

    assert sorted(served()) == [1, 2, 3]


def test_a_batch_that_was_put_twice_since_its_answer_was_lost_counts_once(make_uploader, served, client):
    uploader = make_uploader()
    uploader.put_batch(numbers(1))
    # What a repeated transaction leaves behind: the same dataset, and its name once more.
    client.database.command("RPUSH", "training_data", client.database.command("LINDEX", "training_data", "0"))

    assert uploader.client.get_list_length("training_data") == 2
    assert served() == [1]


def test_a_batch_and_its_entry_are_put_together(make_uploader, command_counts):
    uploader = make_uploader()
    uploader.put_batch(numbers(1), numbers(2))
    command_counts()

    uploader.put_batch(numbers(1), numbers(2))

    assert command_counts() == {"multi": 1, "set": 2, "hset": 1, "rpush": 1, "exec": 1}


def test_a_batch_that_failed_may_be_put_again(make_uploader, served, monkeypatch):
    uploader = make_uploader()

    def fail(*arguments):
        raise StoreConnectionError("lost")

    with monkeypatch.context() as broken:
        broken.setattr(uploader.client, "put_new_on_list", fail)
        with pytest.raises(StoreConnectionError):
            uploader.put_batch(numbers(1))
    uploader.put_batch(numbers(1))

    assert uploader.batch_idx == 1
    assert served() == [1]


def test_with_samples_as_their_own_targets_one_tensor_is_put(make_uploader, client):
    make_uploader("training", "fields", "fields").put_batch(numbers(1), numbers(1))

    assert client.get_datasets_from_list("training")[0].get_tensor_names() == ["fields"]


def test_targets_without_a_name_are_refused(make_uploader):
    with pytest.raises(ArgumentTypeError, match="no target_name"):
        make_uploader(target_name=None).put_batch(numbers(1), numbers(10))


def test_samples_and_targets_must_be_as_many(make_uploader, client):
    with pytest.raises(ArgumentValueError, match=r"agree: samples of shape \(2,\) and targets of shape \(3,\)"):
        make_uploader().put_batch(numbers(1, 2), numbers(10, 20, 30))

    assert client.get_list_length("training_data") == 0


def test_samples_must_lie_along_an_axis(make_uploader):
    with pytest.raises(ArgumentValueError, match=r"axis 0 counts samples.* samples of shape \(\)"):
        make_uploader().put_batch(np.float32(1))


@pytest.mark.parametrize("samples", [[1, 2], "12", None])
def test_samples_must_be_an_array(samples, make_uploader):
    with pytest.raises(ArgumentTypeError):
        make_uploader().put_batch(samples)


@pytest.mark.parametrize("rank", ["1", 1.0])
def test_a_rank_must_be_a_number(rank, make_uploader):
    with pytest.raises(ArgumentTypeError, match="rank must be int or None"):
        make_uploader(rank=rank)
