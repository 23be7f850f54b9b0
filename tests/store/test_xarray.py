"""Datasets as xarray's DataArrays."""

import sys

import numpy as np
import pytest

from smartml import Dataset
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MissingDependencyError,
    NotFoundError,
    TensorNotFoundError,
)
from smartml.store import DatasetConverter

xarray = pytest.importorskip("xarray", reason="pip install xarray")


@pytest.fixture
def weather():
    """Two fields on a grid of 2 x 3, and a series over time."""
    dataset = Dataset("weather")
    dataset.add_tensor("temperature", np.arange(6.0).reshape(2, 3))
    dataset.add_tensor("pressure", np.arange(6.0).reshape(2, 3) + 1000)
    dataset.add_tensor("wind", np.array([3.0, 4.0]))
    dataset.add_tensor("x", np.array([10, 20]))
    dataset.add_tensor("y", np.array([1, 2, 3]))
    dataset.add_meta_string("units", "kelvin")
    dataset.add_meta_scalar("version", 3)
    return dataset


def test_a_tensor_becomes_a_data_array_with_dimensions_coordinates_and_attributes(client, weather):
    DatasetConverter.add_metadata_for_xarray(weather, "temperature", ["x", "y"], ["x", "y"], ["units", "version"])
    client.put_dataset(weather)

    arrays = DatasetConverter.transform_to_xarray(client.get_dataset("weather"))

    expected = xarray.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=["x", "y"],
        coords={"x": [10, 20], "y": [1, 2, 3]},
        attrs={"units": "kelvin", "version": 3},
        name="temperature",
    )
    assert list(arrays) == ["temperature"]
    xarray.testing.assert_identical(arrays["temperature"], expected)


def test_several_tensors_share_a_description(weather):
    DatasetConverter.add_metadata_for_xarray(weather, ["temperature", "pressure"], ["x", "y"])

    arrays = DatasetConverter.transform_to_xarray(weather)

    assert arrays["pressure"].dims == arrays["temperature"].dims == ("x", "y")
    assert float(arrays["pressure"][1, 2]) == 1005.0
    assert not arrays["pressure"].coords


def test_tensors_of_other_shapes_are_described_by_another_call(weather):
    DatasetConverter.add_metadata_for_xarray(weather, "temperature", ["x", "y"])
    DatasetConverter.add_metadata_for_xarray(weather, "wind", ["x"], ["x"])

    arrays = DatasetConverter.transform_to_xarray(weather)

    assert arrays["wind"].sel(x=20) == 4.0


def test_a_coordinate_may_span_several_dimensions_and_is_no_result_itself(weather):
    weather.add_tensor("latitude", np.ones((2, 3)))
    DatasetConverter.add_metadata_for_xarray(weather, "temperature", ["x", "y"], ["latitude"])
    DatasetConverter.add_metadata_for_xarray(weather, "latitude", ["x", "y"], attr_names="units")

    arrays = DatasetConverter.transform_to_xarray(weather)

    assert list(arrays) == ["temperature"]
    assert arrays["temperature"].coords["latitude"].dims == ("x", "y")
    assert arrays["temperature"].coords["latitude"].attrs == {"units": "kelvin"}


def test_dimensions_may_be_named_by_metadata_fields_as_smartredis_does(weather):
    weather.add_meta_string("dim_x", "longitude")
    DatasetConverter.add_metadata_for_xarray(weather, "wind", "dim_x", "x", "units")
    DatasetConverter.add_metadata_for_xarray(weather, "x", "dim_x")

    arrays = DatasetConverter.transform_to_xarray(weather)

    assert list(arrays) == ["wind"]
    assert arrays["wind"].dims == ("longitude",)
    assert arrays["wind"].coords["x"].dims == ("longitude",)
    assert arrays["wind"].attrs == {"units": "kelvin"}


def test_the_metadata_is_what_smartredis_writes(weather):
    DatasetConverter.add_metadata_for_xarray(weather, ["temperature"], ["x", "y"], None, ["units"])

    names = [name for name in weather.get_metadata_field_names() if name.startswith("_xarray")]
    assert {name: weather.get_meta_strings(name) for name in names} == {
        "_xarray_data_names": ["temperature"],
        "_xarray_temperature_dim_names": ["x,y"],
        "_xarray_temperature_coord_names": ["null"],
        "_xarray_temperature_attr_names": ["units"],
    }


def test_describing_a_tensor_again_replaces_nothing_and_doubles_nothing(weather):
    DatasetConverter.add_metadata_for_xarray(weather, "temperature", ["x", "y"])

    with pytest.raises(ArgumentValueError, match="'temperature' of dataset 'weather' is described already"):
        DatasetConverter.add_metadata_for_xarray(weather, "temperature", ["y", "x"])


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        (("temperature", ["x"]), ArgumentValueError, r"'temperature' has shape \(2, 3\), dim_names names 1 dimension"),
        (("temperature", ["x", "y,z"]), ArgumentValueError, "in dim_names must not be empty, nor hold a comma: 'y,z'"),
        (("wind", ["x"], [""]), ArgumentValueError, "in coord_names must not be empty"),
        (("wind", ["x"], None, [3]), ArgumentTypeError, "attr_names must be names, not int: 3"),
    ],
)
def test_what_cannot_be_described_is_refused_and_leaves_the_dataset_as_it_was(weather, arguments, error, reason):
    before = weather.get_metadata_field_names()

    with pytest.raises(error, match=reason):
        DatasetConverter.add_metadata_for_xarray(weather, *arguments)

    assert weather.get_metadata_field_names() == before


def test_what_is_no_dataset_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"a smartml.Dataset is needed, not dict"):
        DatasetConverter.add_metadata_for_xarray({}, "a", "x")
    with pytest.raises(ArgumentTypeError, match=r"a smartml.Dataset is needed, not dict"):
        DatasetConverter.transform_to_xarray({})


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        (("nothing", ["x"]), TensorNotFoundError, "no tensor 'nothing'"),
        (("wind", ["x"], ["z"]), TensorNotFoundError, "no tensor 'z'"),
        (("wind", ["x"], None, ["colour"]), NotFoundError, "no metadata field 'colour'"),
    ],
)
def test_what_is_missing_at_the_conversion_is_named(weather, arguments, error, reason):
    DatasetConverter.add_metadata_for_xarray(weather, *arguments)

    with pytest.raises(error, match=reason):
        DatasetConverter.transform_to_xarray(weather)


def test_a_dataset_that_does_not_say_how_is_refused(weather):
    with pytest.raises(ArgumentValueError, match="'weather' does not say how to convert it"):
        DatasetConverter.transform_to_xarray(weather)


def test_without_xarray_the_error_names_the_extra(weather, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)

    with pytest.raises(MissingDependencyError, match=r'pip install "smartml\[xarray\]"'):
        DatasetConverter.transform_to_xarray(weather)
