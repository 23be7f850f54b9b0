"""Datasets: put, get, delete, copy, rename, look."""

from collections.abc import Sequence

from smartml import tensors
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    DatasetNotFoundError,
    TensorNotFoundError,
)
from smartml.store.database import Database
from smartml.store.dataset import Dataset, decode_fields
from smartml.store.keys import COMPLETE_FIELD, TENSOR_NAMES_FIELD, DatasetKeys
from smartml.store.metadata import decode_field
from smartml.store.session import Session
from smartml.store.tensor_commands import fetch_tensors


class DatasetCommands(Session):
    """The part of `Client` that speaks of datasets."""

    def put_dataset(self, dataset: Dataset) -> None:
        """Store a dataset, replacing one of the same name. Others see either the old one or the new one, whole."""
        checked_dataset(dataset)
        keys = self._keys.dataset(dataset.get_name(), write=True)
        self._put(dataset, keys)

    def _put(self, dataset: Dataset, keys: DatasetKeys) -> None:
        fields = dataset.encoded_fields()
        if not fields:
            raise ArgumentValueError(f"dataset {dataset.get_name()!r} is empty: add a tensor or metadata first")
        values = [item for field in fields.items() for item in field]
        before = self._database.commands(keys.metadata, (b"HGET", keys.metadata, TENSOR_NAMES_FIELD))[0]
        stale = set(_tensor_names(before, keys)) - set(dataset.get_tensor_names())
        self._database.transaction(
            keys.metadata,
            (b"UNLINK", keys.metadata, *(keys.tensor(name) for name in sorted(stale))),
            *(
                (b"SET", keys.tensor(name), tensors.encode(dataset.get_tensor(name)))
                for name in dataset.get_tensor_names()
            ),
            (b"HSET", keys.metadata, *values, COMPLETE_FIELD, b"1"),
        )

    def get_dataset(self, name: str) -> Dataset:
        """Fetch a dataset; raises DatasetNotFoundError when there is none, or none that is complete yet."""
        keys = self._keys.dataset(name)
        dataset = fetch_datasets(self._database, [keys])[0]
        if dataset is None:
            raise self._not_found(DatasetNotFoundError, "complete dataset", keys.metadata)
        return dataset

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset with its tensors; raises DatasetNotFoundError when there is none."""
        keys = self._keys.dataset(name)
        if not self._database.exist([keys.metadata])[0]:
            raise self._not_found(DatasetNotFoundError, "dataset", keys.metadata)
        self._delete(keys)

    def _delete(self, keys: DatasetKeys) -> None:
        names = _tensor_names(self._database.command("HGET", keys.metadata, TENSOR_NAMES_FIELD), keys)
        self._database.command("UNLINK", keys.metadata, *(keys.tensor(name) for name in names))

    def copy_dataset(self, src_name: str, dest_name: str) -> None:
        """Copy a dataset, replacing the destination; raises DatasetNotFoundError when there is no source."""
        dataset = self.get_dataset(src_name)
        self._put(dataset.renamed(dest_name), self._keys.dataset(dest_name, write=True))

    def rename_dataset(self, old_name: str, new_name: str) -> None:
        """Rename a dataset, replacing one of the new name; raises DatasetNotFoundError when there is none."""
        old, new = self._keys.dataset(old_name), self._keys.dataset(new_name, write=True)
        self.copy_dataset(old_name, new_name)
        if old != new:
            self._delete(old)

    def dataset_exists(self, name: str) -> bool:
        """Tell whether a complete dataset is stored under a name (with the read prefix)."""
        return bool(self._database.command("HEXISTS", self._keys.dataset(name).metadata, COMPLETE_FIELD))

    def poll_dataset(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart, whether a complete dataset exists."""
        return self._poll(lambda: self.dataset_exists(name), poll_frequency_ms, num_tries)


def checked_dataset(dataset: Dataset) -> Dataset:
    """Return the argument, or say that it is no dataset."""
    if not isinstance(dataset, Dataset):
        raise ArgumentTypeError(f"a smartml.Dataset is needed, not {type(dataset).__name__}: {dataset!r:.80}")
    return dataset


def fetch_datasets(database: Database, datasets: Sequence[DatasetKeys]) -> list[Dataset | None]:
    """Fetch datasets in two round trips: all metadata, then all tensors; None where one is not complete."""
    hashes = database.hashes([keys.metadata for keys in datasets])
    complete = {
        keys: decode_fields(stored, keys.metadata.decode(errors="replace"))
        for keys, stored in zip(datasets, hashes, strict=True)
        if COMPLETE_FIELD in stored
    }
    tensor_keys = [keys.tensor(name) for keys, (_, names) in complete.items() for name in names]
    arrays = dict(zip(tensor_keys, fetch_tensors(database, tensor_keys), strict=True))

    def assemble(keys: DatasetKeys) -> Dataset | None:
        if keys not in complete:
            return None
        fields, names = complete[keys]
        held = {}
        for name in names:
            array = arrays[keys.tensor(name)]
            if array is None:
                raise TensorNotFoundError(
                    f"dataset {keys.name!r} is damaged: its tensor {name!r} is gone from {database.address}"
                )
            held[name] = array
        return Dataset.from_stored(keys.name, held, fields)

    return [assemble(keys) for keys in datasets]


def _tensor_names(field: bytes | None, keys: DatasetKeys) -> list[str]:
    names = decode_field(field, keys.name, TENSOR_NAMES_FIELD.decode()) if field else []
    return names if isinstance(names, list) else []
