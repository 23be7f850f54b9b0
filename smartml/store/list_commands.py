"""Aggregation lists: datasets gathered in the order in which they were appended."""

from collections.abc import Sequence

from smartml.errors import ListNotFoundError
from smartml.store.arguments import checked_count, checked_int
from smartml.store.dataset import Dataset, checked_dataset
from smartml.store.dataset_commands import fetch_datasets
from smartml.store.keys import DatasetKeys, consumption_key
from smartml.store.session import Session
from smartml.store.transport import Command


class ListCommands(Session):
    """The part of `Client` that speaks of aggregation lists."""

    def append_to_list(self, list_name: str, dataset: Dataset) -> None:
        """Append a dataset, which may be put before or after, to a list, which is made if it is new.

        The entry is the dataset's name with the write prefix of this moment. When the connection breaks in between,
        the append is not repeated, since it may have happened: StoreConnectionError says so to the caller.
        """
        entry = self.list_entry(dataset)
        key = self._keys.list(list_name, write=True)
        self._put_when_there_is_room(lambda: self._database.command_once(key, b"RPUSH", key, entry))

    def append_to_list_below(self, list_name: str, dataset: Dataset, max_length: int) -> bool:
        """Append a dataset as `append_to_list` does if the list is shorter than `max_length`; tell whether it was.

        When a connection broke, the entry may be there twice, and one more than `max_length`.
        """
        entry = self.list_entry(dataset)
        key = self._keys.list(list_name, write=True)

        def append(length: int) -> Sequence[Command]:
            return [(b"RPUSH", key, entry)] if length < max_length else []

        return bool(self._put_when_there_is_room(lambda: self._database.update(key, (b"LLEN", key), append)))

    def list_entry(self, dataset: Dataset) -> bytes:
        """Return what this client appends to a list for a dataset."""
        return self._keys.dataset(checked_dataset(dataset).get_name(), write=True).entry

    def list_key(self, list_name: str) -> bytes:
        """Return the raw key that this client appends to."""
        return self._keys.list(list_name, write=True)

    def get_list_length(self, list_name: str) -> int:
        """Return the number of entries; 0 for a list that does not exist."""
        return int(self._database.each([(b"LLEN", self._keys.list(list_name))])[0])

    def get_datasets_from_list(self, list_name: str) -> list[Dataset]:
        """Fetch all datasets of a list, in its order. Entries whose dataset is missing or incomplete are left out."""
        return self.get_dataset_list_range(list_name, 0, -1)

    def get_dataset_list_range(self, list_name: str, start_index: int, end_index: int) -> list[Dataset]:
        """Fetch the datasets of entries `start_index` to `end_index`, both included; negative ones count from the end.

        Entries whose dataset is missing or incomplete are left out.
        """
        first, last = checked_int(start_index, "start_index"), checked_int(end_index, "end_index")
        entries = self._entries(self._keys.list(list_name), first, last)
        datasets = fetch_datasets(self._database, [DatasetKeys(entry) for entry in entries])
        return [dataset for dataset in datasets if dataset is not None]

    def copy_list(self, src_name: str, dest_name: str) -> None:
        """Copy a list, not its datasets, replacing the destination; raises ListNotFoundError when it is missing."""
        source, destination = self._keys.list(src_name), self._keys.list(dest_name, write=True)
        entries = self._entries(source, 0, -1)
        if not entries:
            raise self._database.not_found(ListNotFoundError, "list", source)
        if source != destination:
            replace = ((b"UNLINK", destination), (b"RPUSH", destination, *entries))
            self._put_when_there_is_room(lambda: self._database.transaction(destination, *replace))

    def rename_list(self, src_name: str, dest_name: str) -> None:
        """Rename a list, replacing one of the new name; raises ListNotFoundError when there is none."""
        source, destination = self._keys.list(src_name), self._keys.list(dest_name, write=True)
        if not self._database.same_server(source, destination):
            self.copy_list(src_name, dest_name)
            self._database.each([(b"UNLINK", source)])
        elif not self._database.each([(b"LLEN", source)])[0]:
            raise self._database.not_found(ListNotFoundError, "list", source)
        else:
            self._database.command_once(source, b"RENAME", source, destination)

    def delete_list(self, list_name: str) -> None:
        """Delete a list, not its datasets; a missing one is no error. Feeds then count its entries from 0 again."""
        key = self._keys.list(list_name)
        self._database.each([(b"UNLINK", key), (b"UNLINK", consumption_key("list", key))])

    def poll_list_length(self, name: str, list_length: int, poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart, whether a list has exactly so many entries."""
        length = checked_count(list_length, "list_length")
        return self._poll(lambda: self.get_list_length(name) == length, poll_frequency_ms, num_tries)

    def poll_list_length_gte(self, name: str, list_length: int, poll_frequency_ms: int, num_tries: int) -> bool:
        """As `poll_list_length`, for so many entries or more."""
        length = checked_count(list_length, "list_length")
        return self._poll(lambda: self.get_list_length(name) >= length, poll_frequency_ms, num_tries)

    def poll_list_length_lte(self, name: str, list_length: int, poll_frequency_ms: int, num_tries: int) -> bool:
        """As `poll_list_length`, for so many entries or fewer; a list that does not exist has none."""
        length = checked_count(list_length, "list_length")
        return self._poll(lambda: self.get_list_length(name) <= length, poll_frequency_ms, num_tries)

    def _entries(self, key: bytes, start_index: int, end_index: int) -> Sequence[bytes]:
        command = (b"LRANGE", key, b"%d" % start_index, b"%d" % end_index)
        entries: Sequence[bytes] = self._database.commands(key, command)[0]
        return entries
