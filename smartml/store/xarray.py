"""Datasets as xarray's DataArrays, by the metadata convention of SmartRedis.

Fields: `_xarray_data_names` lists the tensors to convert; `_xarray_<name>_dim_names`, `…_coord_names` and
`…_attr_names` hold comma-joined names for each, `null` where there are none. A coordinate is a tensor of the dataset
under the coordinate's name, an attribute a metadata field of strings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from smartml.errors import ArgumentValueError
from smartml.extras import require
from smartml.store.dataset import Dataset

_DATA_NAMES = "_xarray_data_names"
_NONE = "null"


class DatasetConverter:
    """Describes a dataset's tensors for xarray, and turns them into DataArrays."""

    @staticmethod
    def add_metadata_for_xarray(
        dataset: Dataset,
        data_names: Sequence[str] | str,
        dim_names: Sequence[str],
        coord_names: Sequence[str] | None = None,
        attr_names: Sequence[str] | None = None,
    ) -> None:
        """Note in a dataset how tensors map to xarray: their dimensions, coordinates and attributes by name.

        May be called again for further tensors with other dimensions.
        """
        for name in [data_names] if isinstance(data_names, str) else data_names:
            shape = dataset.get_tensor(name).shape
            if len(dim_names) != len(shape):
                raise ArgumentValueError(f"tensor {name!r} has shape {shape}, dim_names names {len(dim_names)} of them")
            dataset.add_meta_string(_DATA_NAMES, name)
            for kind, names in (("dim", dim_names), ("coord", coord_names), ("attr", attr_names)):
                dataset.add_meta_string(f"_xarray_{name}_{kind}_names", ",".join(names) if names else _NONE)

    @staticmethod
    def transform_to_xarray(dataset: Dataset) -> "dict[str, Any]":
        """Return an `xarray.DataArray` for each tensor described; needs xarray.

        A coordinate spans the dimension of its own name, or else the dimensions noted for it.
        """
        xarray = require("xarray", "converting a dataset to xarray", "xarray")
        if _DATA_NAMES not in dataset.get_metadata_field_names():
            raise ArgumentValueError(
                f"dataset {dataset.get_name()!r} does not say how to convert it: "
                "call DatasetConverter.add_metadata_for_xarray before putting it"
            )
        return {
            name: xarray.DataArray(
                dataset.get_tensor(name),
                dims=_names(dataset, name, "dim"),
                coords=_coordinates(dataset, name),
                attrs={attr: _attribute(dataset, attr) for attr in _names(dataset, name, "attr")},
                name=name,
            )
            for name in dataset.get_meta_strings(_DATA_NAMES)
        }


def _names(dataset: Dataset, name: str, kind: str) -> list[str]:
    field = f"_xarray_{name}_{kind}_names"
    if field not in dataset.get_metadata_field_names():
        return []
    joined = dataset.get_meta_strings(field)[0]
    return [] if joined == _NONE else joined.split(",")


def _coordinates(dataset: Dataset, name: str) -> Mapping[str, Any]:
    return {
        coord: (_names(dataset, coord, "dim") or [coord], dataset.get_tensor(coord))
        for coord in _names(dataset, name, "coord")
    }


def _attribute(dataset: Dataset, name: str) -> Any:
    if name in dataset.get_tensor_names():
        return dataset.get_tensor(name)
    if dataset.get_metadata_field_type(name) is str:
        values: Any = dataset.get_meta_strings(name)
    else:
        values = dataset.get_meta_scalars(name)
    return values[0] if len(values) == 1 else values
