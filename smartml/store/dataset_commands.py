"""Datasets: put, get, delete, copy, rename, look."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import (
    ArgumentValueError,
    DatasetNotFoundError,
    MetadataError,
    StoreReplyError,
    TensorNotFoundError,
)
from smartml.store.database import Database
from smartml.store.dataset import Dataset, checked_dataset, decode_fields
from smartml.store.fullness import is_refused_as_full
from smartml.store.keys import COMPLETE_FIELD, TENSOR_NAMES_FIELD, DatasetKeys
from smartml.store.session import Session
from smartml.store.transport import Command

logger = logging.getLogger(__name__)


class DatasetCommands(Session):
    """The part of `Client` that speaks of datasets."""

    def put_dataset(self, dataset: Dataset) -> None:
        """Store a dataset, replacing one of the same name. Others see either the old one or the new one, whole.

        Raises ArgumentValueError when it is empty, StoreFullError when a full database had no room for it within the
        client's `full_timeout_s`.
        """
        self._put(dataset, self._keys.dataset(checked_dataset(dataset).get_name(), write=True))

    def _put(self, dataset: Dataset, keys: DatasetKeys) -> None:
        *puts, completes = put_commands(dataset, keys)
        tensor_keys = [keys.tensor(name) for name in dataset.get_tensor_names()]
        self._check_slot(keys, tensor_keys)

        def replace(tensor_names: bytes | None) -> Sequence[Command]:
            stale = set(_known_tensors(tensor_names, keys)).difference(tensor_keys)
            return [(b"UNLINK", keys.metadata, *sorted(stale)), *puts, completes]

        look = (b"HGET", keys.metadata, TENSOR_NAMES_FIELD)
        self._put_when_there_is_room(lambda: self._database.update(keys.metadata, look, replace))

    def put_new_on_list(self, list_name: str, dataset: Dataset) -> None:
        """Store a dataset of a name that nobody has used before, and append it to a list.

        One round trip, and others see all of it or nothing; in a cluster, where the list may lie on another node, as
        `put_dataset` and `append_to_list` do. Repeated when the connection breaks: the list may then name it twice.
        Errors are those of `put_dataset`.
        """
        keys = self._keys.dataset(checked_dataset(dataset).get_name(), write=True)
        list_key = self._keys.list(list_name, write=True)
        append = (b"RPUSH", list_key, keys.entry)
        if self._database.is_cluster:
            self._put(dataset, keys)
            self._put_when_there_is_room(lambda: self._database.commands(list_key, append))
        else:
            commands = [*put_commands(dataset, keys), append]
            self._put_when_there_is_room(lambda: self._database.transaction(keys.metadata, *commands))

    def _check_slot(self, keys: DatasetKeys, tensor_keys: Iterable[bytes]) -> None:
        # A name that begins with a closing brace is no hash tag: the parts would lie on different nodes.
        if not all(self._database.same_server(keys.metadata, key) for key in tensor_keys):
            raise ArgumentValueError(f"a dataset in a cluster cannot be called {keys.name!r}: no '}}' may come first")

    def get_dataset(self, name: str) -> Dataset:
        """Fetch a dataset as it was at one moment.

        Raises DatasetNotFoundError when there is none, or none that is complete yet; TensorNotFoundError when one of
        its tensors was deleted alone; MetadataError or TensorFormatError when something in it is damaged.
        """
        keys = self._keys.dataset(name)
        dataset = fetch_datasets(self._database, [keys])[0]
        if dataset is None:
            raise self._database.not_found(DatasetNotFoundError, "complete dataset", keys.metadata)
        return dataset

    def delete_dataset(self, name: str) -> None:
        """Delete a dataset with its tensors; raises DatasetNotFoundError when there is none."""
        keys = self._keys.dataset(name)
        if not self._delete(keys):
            raise self._database.not_found(DatasetNotFoundError, "dataset", keys.metadata)

    def _delete(self, keys: DatasetKeys) -> bool:
        """Delete a dataset; tell whether there was one."""
        seen = False

        def delete(stored: list[bytes]) -> Sequence[Command]:
            nonlocal seen
            # Stays true when the deletion succeeded, its reply was lost, and this is the second attempt.
            seen = seen or bool(stored)
            tensor_names = dict(zip(stored[::2], stored[1::2], strict=True)).get(TENSOR_NAMES_FIELD)
            return [(b"UNLINK", keys.metadata, *_known_tensors(tensor_names, keys))] if stored else []

        try:
            self._database.update(keys.metadata, (b"HGETALL", keys.metadata), delete)
        except StoreReplyError as error:
            if not is_refused_as_full(error):
                raise
            unlink_datasets(self._database, [keys])
        return seen

    def copy_dataset(self, src_name: str, dest_name: str) -> None:
        """Copy a dataset, replacing the destination; raises as `get_dataset` does."""
        keys = self._keys.dataset(dest_name, write=True)
        self._put(self.get_dataset(src_name).renamed(dest_name), keys)

    def rename_dataset(self, old_name: str, new_name: str) -> None:
        """Rename a dataset, replacing one of the new name; raises as `get_dataset` does."""
        old, new = self._keys.dataset(old_name), self._keys.dataset(new_name, write=True)
        self.copy_dataset(old_name, new_name)
        if old != new:
            self._delete(old)

    def dataset_exists(self, name: str) -> bool:
        """Tell whether a complete dataset is stored under a name (with the read prefix)."""
        key = self._keys.dataset(name).metadata
        return bool(self._database.commands(key, (b"HEXISTS", key, COMPLETE_FIELD))[0])

    def poll_dataset(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart, whether a complete dataset exists."""
        return self._poll(lambda: self.dataset_exists(name), poll_frequency_ms, num_tries)


def unlink_datasets(database: Database, datasets: Sequence[DatasetKeys]) -> None:
    """Delete datasets with their tensors, in two round trips per server; what is not there is no error.

    Works in a full database, which refuses all transactions. A dataset that is replaced in the same moment may leave
    tensors behind.
    """
    known = database.each([(b"HGET", keys.metadata, TENSOR_NAMES_FIELD) for keys in datasets])
    database.each(
        [(b"UNLINK", keys.metadata, *_known_tensors(field, keys)) for keys, field in zip(datasets, known, strict=True)]
    )


def fetch_datasets(database: Database, datasets: Sequence[DatasetKeys]) -> list[Dataset | None]:
    """Fetch datasets, each as it was at one moment, in few round trips for all; None where one is not complete.

    One that is named twice is fetched twice. Raises as `DatasetCommands.get_dataset` does.
    """
    landed: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def tensor_keys(index: int, stored: dict[bytes, bytes]) -> list[bytes]:
        keys = datasets[index]
        names = _tensor_names(stored.get(TENSOR_NAMES_FIELD), keys) if COMPLETE_FIELD in stored else []
        return [keys.tensor(name) for name in names]

    def place(index: int, number: int, size: int) -> list[memoryview]:
        landed[index, number] = np.empty(size, np.uint8)
        return [landed[index, number].data]

    def assemble(index: int, stored: dict[bytes, bytes], sizes: Sequence[int | None]) -> Dataset | None:
        if COMPLETE_FIELD not in stored:
            return None
        keys = datasets[index]
        fields, names = decode_fields(stored, keys.metadata.decode(errors="replace"))
        arrays = {}
        for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
            key = keys.tensor(name).decode(errors="replace")
            if size is None:
                raise TensorNotFoundError(f"dataset {keys.name!r} lacks its tensor {name!r}: no key {key!r} any more")
            arrays[name] = tensors.decode(landed[index, number].data, key)
        return Dataset.from_stored(keys.name, arrays, fields)

    read = database.hashes_with_values([keys.metadata for keys in datasets], tensor_keys, place)
    return [assemble(index, stored, sizes) for index, (stored, sizes) in enumerate(read)]


def _known_tensors(field: bytes | None, keys: DatasetKeys) -> list[bytes]:
    """Return the keys of the tensors of a dataset that is going to be replaced or deleted, damaged as it may be."""
    try:
        return [keys.tensor(name) for name in _tensor_names(field, keys)]
    except MetadataError as error:
        logger.warning("%s; tensors of it may stay behind", error)
        return []


def _tensor_names(field: bytes | None, keys: DatasetKeys) -> list[str]:
    fields = {} if field is None else {TENSOR_NAMES_FIELD: field}
    return decode_fields(fields, keys.metadata.decode(errors="replace"))[1]


def put_commands(dataset: Dataset, keys: DatasetKeys) -> list[Command]:
    """Return the commands that store a dataset: a SET for each of its tensors, then the HSET that completes it.

    Raises ArgumentValueError when it is empty.
    """
    fields = dataset.encoded_fields()
    if not fields:
        raise ArgumentValueError(f"dataset {dataset.get_name()!r} is empty: add a tensor or metadata first")
    return [
        *((b"SET", keys.tensor(name), tensors.encode(array)) for name, array in dataset.tensors.items()),
        (b"HSET", keys.metadata, *(item for field in fields.items() for item in field), COMPLETE_FIELD, b"1"),
    ]
