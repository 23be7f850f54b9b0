"""Datasets as xarray's DataArrays, by the metadata convention of SmartRedis.

Fields: `_xarray_data_names` lists the tensors that are described; `_xarray_<name>_dim_names`, `…_coord_names` and
`…_attr_names` hold comma-joined names for each, `null` where there are none. The name of a dimension may be that of a
metadata field, whose string then names the dimension. A coordinate is a tensor of the dataset, an attribute a
metadata field (or a tensor).
"""

from collections.abc import Sequence
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.extras import require
from smartml.store.dataset import Dataset, checked_dataset

_DATA_NAMES = "_xarray_data_names"
_NONE = "null"


class DatasetConverter:
    """Describes a dataset's tensors for xarray, and turns them into DataArrays."""

    @staticmethod
    def add_metadata_for_xarray(
        dataset: Dataset,
        data_names: Sequence[str] | str,
        dim_names: Sequence[str] | str,
        coord_names: Sequence[str] | str | None = None,
        attr_names: Sequence[str] | str | None = None,
    ) -> None:
        """Note in a dataset how tensors map to xarray: their dimensions, coordinates and attributes by name.

        A name of a dimension may be that of a metadata field that holds it. May be called again for further tensors,
        those that are coordinates of others among them. Raises ArgumentValueError for what does not fit, and for a
        tensor described before.
        """
        checked_dataset(dataset)
        tensors = _checked_names("data_names", data_names)
        dims = _checked_names("dim_names", dim_names)
        described = {
            "dim": dims,
            "coord": _checked_names("coord_names", coord_names),
            "attr": _checked_names("attr_names", attr_names),
        }
        for name in tensors:
            if name in _described(dataset):
                raise ArgumentValueError(f"tensor {name!r} of dataset {dataset.get_name()!r} is described already")
            if name in dataset.get_tensor_names() and len(dataset.get_tensor_dims(name)) != len(dims):
                shape = tuple(dataset.get_tensor_dims(name))
                raise ArgumentValueError(f"tensor {name!r} has shape {shape}, dim_names names {len(dims)} dimensions")
        for name in tensors:
            dataset.add_meta_string(_DATA_NAMES, name)
            for kind, names in described.items():
                dataset.add_meta_string(f"_xarray_{name}_{kind}_names", ",".join(names) or _NONE)

    @staticmethod
    def transform_to_xarray(dataset: Dataset) -> "dict[str, Any]":
        """Return an `xarray.DataArray` for each tensor described, but for the coordinates of others; needs xarray.

        A coordinate that is not described itself spans the dimension of its own name. Raises TensorNotFoundError,
        NotFoundError for a coordinate or attribute that the dataset lacks, ArgumentValueError where nothing is
        described.
        """
        checked_dataset(dataset)
        xarray = require("xarray", "converting a dataset to xarray", "xarray")
        described = _described(dataset)
        if not described:
            raise ArgumentValueError(
                f"dataset {dataset.get_name()!r} does not say how to convert it: "
                "call DatasetConverter.add_metadata_for_xarray before putting it"
            )
        coordinates = {coord for name in described for coord in _names(dataset, name, "coord") if coord != name}
        return {
            name: xarray.DataArray(
                dataset.get_tensor(name),
                dims=_dimensions(dataset, name),
                coords={coord: _variable(dataset, coord) for coord in _names(dataset, name, "coord")},
                attrs=_attributes(dataset, name),
                name=name,
            )
            for name in described
            if name not in coordinates
        }


def _checked_names(argument: str, names: Sequence[str] | str | None) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names or [])
    for name in listed:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"{argument} must be names, not {type(name).__name__}: {name!r:.80}")
        if not name or "," in name:
            raise ArgumentValueError(f"a name in {argument} must not be empty, nor hold a comma: {name!r}")
    return listed


def _described(dataset: Dataset) -> list[str]:
    if _DATA_NAMES not in dataset.get_metadata_field_names():
        return []
    return list(dict.fromkeys(dataset.get_meta_strings(_DATA_NAMES)))


def _names(dataset: Dataset, name: str, kind: str) -> list[str]:
    field = f"_xarray_{name}_{kind}_names"
    if field not in dataset.get_metadata_field_names():
        return []
    joined = dataset.get_meta_strings(field)[0]
    return [] if joined == _NONE else joined.split(",")


def _variable(dataset: Dataset, name: str) -> tuple[list[str], Any, dict[str, Any]]:
    """Return a coordinate as xarray takes it: dimensions, values, attributes."""
    is_described = name in _described(dataset)
    dims = _dimensions(dataset, name) if is_described else [name]
    return dims, dataset.get_tensor(name), _attributes(dataset, name)


def _dimensions(dataset: Dataset, name: str) -> list[str]:
    fields = dataset.get_metadata_field_names()
    return [
        dataset.get_meta_strings(dim)[0] if dim in fields and dataset.get_metadata_field_type(dim) is str else dim
        for dim in _names(dataset, name, "dim")
    ]


def _attributes(dataset: Dataset, name: str) -> dict[str, Any]:
    return {attr: _attribute(dataset, attr) for attr in _names(dataset, name, "attr")}


def _attribute(dataset: Dataset, name: str) -> Any:
    if name not in dataset.get_metadata_field_names() and name in dataset.get_tensor_names():
        return dataset.get_tensor(name)
    if dataset.get_metadata_field_type(name) is str:
        values: Any = dataset.get_meta_strings(name)
    else:
        values = dataset.get_meta_scalars(name)
    return values[0] if len(values) == 1 else values
