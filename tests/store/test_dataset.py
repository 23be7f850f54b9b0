"""Datasets in memory."""

import copy
import pickle

import numpy as np
import pytest

from smartml import Dataset
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MetadataError,
    NotFoundError,
    TensorNotFoundError,
)


@pytest.fixture
def dataset():
    made = Dataset("d")
    made.add_tensor("x", np.arange(6, dtype="f4").reshape(2, 3))
    made.add_meta_scalar("step", 3)
    made.add_meta_string("note", "hello")
    return made


def test_a_dataset_says_what_it_holds(dataset):
    dataset.add_tensor("a", np.zeros((), "u2"))
    dataset.add_meta_scalar("dt", np.float32(0.5))

    assert dataset.get_name() == "d"
    assert dataset.get_tensor_names() == ["x", "a"]
    assert dataset.get_tensor_dims("x") == [2, 3]
    assert dataset.get_tensor_type("x") is np.float32
    assert dataset.get_tensor_type("a") is np.uint16
    assert dataset.get_metadata_field_names() == ["step", "note", "dt"]
    assert dataset.get_metadata_field_type("step") is np.int64
    assert dataset.get_metadata_field_type("dt") is np.float32
    assert dataset.get_metadata_field_type("note") is str
    assert repr(dataset) == "Dataset('d', tensors: x: float32 (2, 3), a: uint16 (); metadata: step, note, dt)"


def test_a_simulation_may_write_on_to_an_array_it_added():
    field = np.zeros(3)
    dataset = Dataset("d")

    dataset.add_tensor("before", field)
    field += 1
    dataset.add_tensor("after", field)

    assert dataset.get_tensor("before").tolist() == [0, 0, 0]
    assert dataset.get_tensor("after").tolist() == [1, 1, 1]


def test_an_array_is_held_as_it_is_on_request():
    field = np.zeros(3)
    dataset = Dataset("d")

    dataset.add_tensor("x", field, copy=False)

    assert dataset.get_tensor("x") is field


def test_a_field_grows_by_what_is_added(dataset):
    dataset.add_meta_scalar("step", 4)
    dataset.add_meta_string("note", "")

    assert dataset.get_meta_scalars("step").tolist() == [3, 4]
    assert dataset.get_meta_strings("note") == ["hello", ""]


def test_what_is_taken_out_of_metadata_is_a_copy(dataset):
    dataset.get_meta_scalars("step")[0] = 9
    dataset.get_meta_strings("note").append("more")

    assert dataset.get_meta_scalars("step").tolist() == [3]
    assert dataset.get_meta_strings("note") == ["hello"]


def test_a_field_has_one_type(dataset):
    with pytest.raises(MetadataError, match="'step' holds int64, float64 cannot be added"):
        dataset.add_meta_scalar("step", 1.5)
    with pytest.raises(MetadataError, match="'step' holds int64, a string cannot be added"):
        dataset.add_meta_string("step", "three")
    with pytest.raises(MetadataError, match="'note' holds strings, int64 cannot be added"):
        dataset.add_meta_scalar("note", 3)
    with pytest.raises(MetadataError, match="'note' holds strings: use get_meta_strings"):
        dataset.get_meta_scalars("note")
    with pytest.raises(MetadataError, match="'step' holds int64: use get_meta_scalars"):
        dataset.get_meta_strings("step")


def test_what_is_missing_is_named_with_what_there_is(dataset):
    for get in (dataset.get_tensor, dataset.get_tensor_dims, dataset.get_tensor_type):
        with pytest.raises(TensorNotFoundError, match="dataset 'd' has no tensor 'y'; its tensors are: x"):
            get("y")
    for get in (dataset.get_meta_scalars, dataset.get_meta_strings, dataset.get_metadata_field_type):
        with pytest.raises(NotFoundError, match="has no metadata field 'dt'; its fields are: step, note"):
            get("dt")


@pytest.mark.parametrize("name", ["meta", ".meta"])
def test_a_tensor_cannot_take_the_key_of_the_metadata(dataset, name):
    with pytest.raises(ArgumentValueError, match=f"cannot be called '{name}': its key holds the metadata"):
        dataset.add_tensor(name, np.zeros(1))


@pytest.mark.parametrize("name", [".COMPLETE", ".tensor_names"])
def test_a_field_cannot_take_the_place_of_the_stores_own(dataset, name):
    with pytest.raises(ArgumentValueError, match="reserved for the store"):
        dataset.add_meta_scalar(name, 1)
    with pytest.raises(ArgumentValueError, match="reserved for the store"):
        dataset.add_meta_string(name, "1")


def test_a_tensor_is_added_once(dataset):
    with pytest.raises(ArgumentValueError, match="dataset 'd' already has a tensor 'x'"):
        dataset.add_tensor("x", np.zeros(1))


@pytest.mark.parametrize("data", [[1, 2], None, np.array(["a"]), np.ma.zeros(3)])
def test_what_is_no_tensor_is_refused_at_once(dataset, data):
    with pytest.raises(ArgumentTypeError):
        dataset.add_tensor("y", data)

    assert dataset.get_tensor_names() == ["x"]


@pytest.mark.parametrize("name", [None, 3, ["a"], b"x"])
def test_names_are_text(dataset, name):
    calls = [
        Dataset,
        lambda name: dataset.add_tensor(name, np.zeros(1)),
        dataset.get_tensor,
        lambda name: dataset.add_meta_scalar(name, 1),
        lambda name: dataset.add_meta_string(name, "a"),
        dataset.get_meta_scalars,
        dataset.get_metadata_field_type,
    ]
    for call in calls:
        with pytest.raises(ArgumentTypeError, match=f"must be str, not {type(name).__name__}"):
            call(name)


@pytest.mark.parametrize(("data", "error"), [(3, ArgumentTypeError), (b"a", ArgumentTypeError), ("\ud800", ValueError)])
def test_strings_are_text(dataset, data, error):
    with pytest.raises(error, match="metadata field 'note'"):
        dataset.add_meta_string("note", data)


def test_a_dataset_can_be_pickled_and_copied(dataset):
    for twin in (pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)):
        twin.add_meta_scalar("step", 4)
        assert twin.get_tensor("x").tolist() == [[0, 1, 2], [3, 4, 5]]
        assert dataset.get_meta_scalars("step").tolist() == [3]
