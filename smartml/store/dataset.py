"""A named group of tensors and metadata, kept in memory until a client puts it."""

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import ArgumentTypeError, ArgumentValueError, MetadataError, NotFoundError, TensorNotFoundError
from smartml.store.keys import COMPLETE_FIELD, TENSOR_NAMES_FIELD, checked_name, encoded_text
from smartml.store.metadata import FieldValues, as_scalar, decode_field, encode_field

# Names of tensors that would fall on the key of the metadata.
_RESERVED_TENSOR_NAMES = ("meta", ".meta")
_RESERVED_FIELDS = (COMPLETE_FIELD.decode(), TENSOR_NAMES_FIELD.decode())


class Dataset:
    """Tensors and metadata that are put and fetched together under one name."""

    def __init__(self, name: str) -> None:
        checked_name(name, "dataset")
        self._name = name
        self._tensors: dict[str, NDArray[Any]] = {}
        self._fields: dict[str, FieldValues] = {}

    @classmethod
    def from_stored(cls, name: str, arrays: dict[str, NDArray[Any]], fields: dict[str, FieldValues]) -> "Dataset":
        """Build a dataset from what was read of it, under whatever name it has there."""
        dataset = cls.__new__(cls)
        dataset._name, dataset._tensors, dataset._fields = name, arrays, fields
        return dataset

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name}: {array.dtype} {array.shape}" for name, array in self._tensors.items())
        return f"Dataset({self._name!r}, tensors: {arrays or 'none'}; metadata: {', '.join(self._fields) or 'none'})"

    def get_name(self) -> str:
        """Return the name."""
        return self._name

    # Tensors

    def add_tensor(self, name: str, data: Any, *, copy: bool = True) -> None:
        """Add an array (any shape, dtypes as for a tensor).

        It is copied, so that a simulation may go on writing to it. With `copy` False the dataset holds the array
        itself, which must then stay as it is until the dataset was put.

        Raises ArgumentTypeError for what cannot be stored, ArgumentValueError for a name already taken or reserved.
        """
        checked_name(name, "tensor")
        if name in _RESERVED_TENSOR_NAMES:
            raise ArgumentValueError(f"a tensor of a dataset cannot be called {name!r}: its key holds the metadata")
        if name in self._tensors:
            raise ArgumentValueError(f"dataset {self._name!r} already has a tensor {name!r}")
        array = tensors.as_tensor(data)
        self._tensors[name] = np.array(array, order="C") if copy else array

    def get_tensor(self, name: str) -> NDArray[Any]:
        """Return a tensor, no copy of it; raises TensorNotFoundError that lists the ones there are."""
        checked_name(name, "tensor")
        try:
            return self._tensors[name]
        except KeyError:
            known = ", ".join(self._tensors) or "none"
            raise TensorNotFoundError(
                f"dataset {self._name!r} has no tensor {name!r}; its tensors are: {known}"
            ) from None

    def get_tensor_names(self) -> list[str]:
        """List the tensors in the order in which they were added."""
        return list(self._tensors)

    def get_tensor_dims(self, name: str) -> list[int]:
        """Return the shape of a tensor."""
        return list(self.get_tensor(name).shape)

    def get_tensor_type(self, name: str) -> type:
        """Return the numpy type of a tensor, such as `numpy.float32`."""
        return self.get_tensor(name).dtype.type

    # Metadata

    def add_meta_scalar(self, name: str, data: Any) -> None:
        """Append one number to a field of numbers, which is made if it is new.

        Takes float64, float32, int32, int64, uint32, uint64 and Python's int and float; raises ArgumentTypeError for
        others, MetadataError when the field holds another type.
        """
        scalar = as_scalar(data)
        values = self._field_to_extend(name)
        if values is None:
            self._fields[name] = scalar
        elif isinstance(values, list) or values.dtype != scalar.dtype:
            raise MetadataError(
                f"metadata field {name!r} holds {_type_name(values)}, {scalar.dtype.name} cannot be added"
            )
        else:
            self._fields[name] = np.concatenate([values, scalar])

    def add_meta_string(self, name: str, data: str) -> None:
        """Append one string to a field of strings, which is made if it is new.

        Raises ArgumentTypeError for what is not a string, MetadataError when the field holds numbers.
        """
        if not isinstance(data, str):
            raise ArgumentTypeError(f"metadata field {name!r} takes str, not {type(data).__name__}: {data!r:.80}")
        encoded_text(data, f"a string of metadata field {name!r}")
        values = self._field_to_extend(name)
        if values is None:
            self._fields[name] = [data]
        elif isinstance(values, list):
            values.append(data)
        else:
            raise MetadataError(f"metadata field {name!r} holds {_type_name(values)}, a string cannot be added")

    def get_meta_scalars(self, name: str) -> NDArray[Any]:
        """Return the numbers of a field, shape (n,); a copy that outlives the dataset."""
        values = self._field(name)
        if isinstance(values, list):
            raise MetadataError(f"metadata field {name!r} holds strings: use get_meta_strings")
        return values.copy()

    def get_meta_strings(self, name: str) -> list[str]:
        """Return the strings of a field."""
        values = self._field(name)
        if not isinstance(values, list):
            raise MetadataError(f"metadata field {name!r} holds {_type_name(values)}: use get_meta_scalars")
        return list(values)

    def get_metadata_field_names(self) -> list[str]:
        """List the fields."""
        return list(self._fields)

    def get_metadata_field_type(self, name: str) -> type:
        """Return the type of a field: `str`, or a numpy type such as `numpy.float64`."""
        values = self._field(name)
        return str if isinstance(values, list) else values.dtype.type

    def _field(self, name: str) -> FieldValues:
        checked_name(name, "metadata field")
        try:
            return self._fields[name]
        except KeyError:
            known = ", ".join(self._fields) or "none"
            raise NotFoundError(
                f"dataset {self._name!r} has no metadata field {name!r}; its fields are: {known}"
            ) from None

    def _field_to_extend(self, name: str) -> FieldValues | None:
        checked_name(name, "metadata field")
        if name in _RESERVED_FIELDS:
            raise ArgumentValueError(f"metadata field {name!r} is reserved for the store")
        return self._fields.get(name)

    # What the store needs

    @property
    def tensors(self) -> Mapping[str, NDArray[Any]]:
        """The tensors by name, in the order in which they were added."""
        return self._tensors

    def encoded_fields(self) -> dict[bytes, bytes]:
        """Return the metadata hash as it is stored, without the mark of completeness."""
        fields = {name.encode(errors="surrogateescape"): encode_field(values) for name, values in self._fields.items()}
        if self._tensors:
            fields[TENSOR_NAMES_FIELD] = _encoded_names(tuple(self._tensors))
        return fields

    def renamed(self, name: str) -> "Dataset":
        """Return the same content under another name."""
        return Dataset.from_stored(name, dict(self._tensors), copy.deepcopy(self._fields))


# The same in each batch of a run.
@lru_cache(maxsize=256)
def _encoded_names(names: tuple[str, ...]) -> bytes:
    return encode_field(list(names))


def checked_dataset(dataset: Dataset) -> Dataset:
    """Return the argument, or say that it is no dataset."""
    if not isinstance(dataset, Dataset):
        raise ArgumentTypeError(f"a smartml.Dataset is needed, not {type(dataset).__name__}: {dataset!r:.80}")
    return dataset


def decode_fields(stored: dict[bytes, bytes], key: str) -> tuple[dict[str, FieldValues], list[str]]:
    """Read a metadata hash; return the fields and the names of the tensors.

    Raises MetadataError that names `key` when something in it is damaged.
    """
    names: FieldValues = []
    fields: dict[str, FieldValues] = {}
    for raw_name, value in stored.items():
        if raw_name == COMPLETE_FIELD:
            continue
        name = raw_name.decode(errors="surrogateescape")
        if raw_name == TENSOR_NAMES_FIELD:
            names = decode_field(value, key, name)
        else:
            fields[name] = decode_field(value, key, name)
    if not isinstance(names, list):
        raise MetadataError(f"the list of tensors of {key!r} is damaged: it holds {_type_name(names)}")
    if "" in names or len(set(names)) < len(names):
        raise MetadataError(f"the list of tensors of {key!r} is damaged: a name is empty or comes twice in {names}")
    return fields, names


def _type_name(values: FieldValues) -> str:
    return "strings" if isinstance(values, list) else values.dtype.name
