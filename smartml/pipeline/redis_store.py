"""A store of samples in Redis: arrays as tensors, dictionaries as datasets, and a list of the keys in order.

Under the prefix p the value of key k is the tensor or the dataset `p/k`, for all who speak to the database. The keys
are a sorted set of its own; a member's score is the number under which it came. A key that was given out, but whose
value is not there yet, has that number below zero.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import ArgumentTypeError, ArgumentValueError, KeyNotFoundError
from smartml.store import Client, Dataset
from smartml.store.dataset_commands import fetch_datasets, unlink_datasets
from smartml.store.fullness import put_when_there_is_room
from smartml.store.keys import OWN_PREFIX, KeyNames, checked_name

# Numbers of these dtypes come back as Python's own, those of others as numpy's.
_PLAIN_DTYPES = ("int64", "uint64", "float64")
# Numbers of these dtypes are metadata; others become tensors without dimensions.
_METADATA_DTYPES = (*_PLAIN_DTYPES, "int32", "uint32", "float32")
# So often is a value looked for that is listed, but was of the other kind each time.
_ATTEMPTS = 10
# Values deleted in one round trip.
_KEYS_AT_ONCE = 1000

# Lists a key that has its value now: where it stood, else behind the last one. May be repeated.
_LIST_KEY = b"""
local number = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not number then
    number = redis.call('ZCARD', KEYS[1]) + 1
end
return redis.call('ZADD', KEYS[1], math.abs(number), ARGV[1])
"""

# Gives out a key that is not listed. Repeated after a lost reply, it gives out another, and one stays unused.
_RESERVE_KEY = b"""
local number = redis.call('ZCARD', KEYS[1]) + 1
local key = string.format('%08d', number)
local others = 0
while redis.call('ZSCORE', KEYS[1], key) do
    others = others + 1
    key = string.format('%08d-%d', number, others)
end
redis.call('ZADD', KEYS[1], -number, key)
return key
"""


class RedisStore:
    """Keeps arrays, and dictionaries of arrays, numbers and text, in a Redis.

    `client_or_address`: a Client, whose settings are taken over; `host:port`, or a URL as for `Client.from_url`; None
    finds the database as `Client()` does. All that use the same `prefix` share one store, from any number of threads,
    processes and machines; the prefixes of an experiment's entities (`SSKEYIN`, `SSKEYOUT`) play no part. `clean`
    deletes what is in it now.

    Keys are text, or whole numbers, which are taken as text. Connections are the store's own: close it, or use it in a
    `with` statement; it can be pickled. Raises StoreConnectionError when no server answers, and StoreFullError from
    `set` as `Client.put_tensor` does.
    """

    def __init__(
        self,
        client_or_address: Client | str | Sequence[str] | None = None,
        prefix: str = "samples",
        clean: bool = False,
    ) -> None:
        # Else `a/b` with key `c` would be `a` with key `b/c`.
        if b"/" in checked_name(prefix, "store"):
            raise ArgumentValueError(f"a prefix has no slash in it, which stands between prefix and key: {prefix!r}")
        self.prefix = prefix
        self._client = _connect(client_or_address)
        self._client.use_tensor_ensemble_prefix(False)
        self._client.use_dataset_ensemble_prefix(False)
        self._index = OWN_PREFIX + b"samples." + prefix.encode()
        # Most stores hold values of one kind: the kind that was found last is looked for first.
        self._found_dataset = False
        if clean:
            self._delete_everything()

    def __enter__(self) -> "RedisStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RedisStore({self._client.database.address}, prefix={self.prefix!r})"

    def close(self) -> None:
        """Close the connections. Using the store again opens new ones."""
        self._client.close()

    def set(self, value: Any, key: str | int | None = None) -> str:
        """Keep a value under a key, replacing what is there, or under a new key; return the key as text.

        Takes numpy arrays and what turns into them (a tensor of torch on the CPU), as `Client.put_tensor` does, and
        dictionaries whose values are such arrays, numbers, truth values or text. Raises ArgumentTypeError or
        ArgumentValueError for anything else.
        """
        content = _as_dataset(value) if isinstance(value, Mapping) else _as_array(value)
        name = self._name(key)
        for _ in range(_ATTEMPTS):
            self._put(name, content)
            # Whoever sets a value of the other kind at the same time may have deleted this one.
            if not self._delete_other_kind(name, content) or self._is_there(name, content):
                break
        text = name[len(self.prefix) + 1 :]
        self._run_script(_LIST_KEY, text.encode())
        return text

    def _put(self, name: str, content: "NDArray[Any] | Dataset") -> None:
        if isinstance(content, Dataset):
            self._client.put_dataset(content.renamed(name))
        else:
            self._client.put_tensor(name, content)

    def _delete_other_kind(self, name: str, content: "NDArray[Any] | Dataset") -> bool:
        """Delete a tensor where a dataset is put, and a dataset where a tensor is; tell whether there was one."""
        database = self._client.database
        if isinstance(content, Dataset):
            return bool(database.each([(b"UNLINK", KeyNames().tensor(name))])[0])
        keys = KeyNames().dataset(name)
        was_there = database.exist([keys.metadata])[0]
        if was_there:
            unlink_datasets(database, [keys])
        return was_there

    def get(self, key: str | int) -> "NDArray[Any] | dict[str, Any]":
        """Return the array, or the dictionary, that was set.

        Arrays are the caller's own. In dictionaries whole and floating numbers of 64 bits come back as Python's,
        others, truth values and arrays without dimensions as numpy's. Raises KeyNotFoundError when there is none,
        TensorFormatError or MetadataError when it is damaged.
        """
        name = self._name(_checked_key(key))
        for _ in range(_ATTEMPTS):
            for is_dataset in (self._found_dataset, not self._found_dataset):
                value = self._fetch(name, is_dataset)
                if value is not None:
                    self._found_dataset = is_dataset
                    return value
            # It may have become one of the other kind between the two looks.
            if not self._is_listed(key):
                raise KeyNotFoundError(f"nothing under key {str(key)!r:.200} in {self}: keys() lists what there is")
        raise KeyNotFoundError(f"the value of key {str(key)!r:.200} in {self} was deleted, though it is still listed")

    def keys(self) -> list[str]:
        """List the keys of this moment in the order in which they were first set, or given out by `new_key`."""
        listed = self._client.database.commands(self._index, (b"ZRANGEBYSCORE", self._index, b"(0", b"+inf"))[0]
        return [key.decode() for key in listed]

    def new_key(self) -> str:
        """Return a key that nobody else is given; what is set under it is listed where it would be if set now."""
        key: bytes = self._run_script(_RESERVE_KEY)
        return key.decode()

    def _name(self, key: str | int | None) -> str:
        """Return the name of a value among tensors and datasets."""
        return f"{self.prefix}/{self.new_key() if key is None else _checked_key(key)}"

    def _fetch(self, name: str, is_dataset: bool) -> "NDArray[Any] | dict[str, Any] | None":
        """Fetch a value of one kind; None when there is none."""
        if is_dataset:
            dataset = fetch_datasets(self._client.database, [KeyNames().dataset(name)])[0]
            return None if dataset is None else _as_dict(dataset)
        key = KeyNames().tensor(name)
        value = self._client.database.fetch([key])[0]
        return None if value is None else tensors.decode(value, key)

    def _is_there(self, name: str, content: "NDArray[Any] | Dataset") -> bool:
        if isinstance(content, Dataset):
            return self._client.dataset_exists(name)
        return self._client.tensor_exists(name)

    def _is_listed(self, key: str | int) -> bool:
        number = self._client.database.commands(self._index, (b"ZSCORE", self._index, str(key).encode()))[0]
        return number is not None and float(number) > 0

    def _run_script(self, script: bytes, *arguments: bytes) -> Any:
        command = (b"EVAL", script, b"1", self._index, *arguments)
        database = self._client.database
        return put_when_there_is_room(database, lambda: database.commands(self._index, command)[0])

    def _delete_everything(self) -> None:
        database = self._client.database
        # Keys that were given out are among them: their values may be there without being listed.
        known = [key.decode() for key in database.commands(self._index, (b"ZRANGE", self._index, b"0", b"-1"))[0]]
        for first in range(0, len(known), _KEYS_AT_ONCE):
            names = [self._name(key) for key in known[first : first + _KEYS_AT_ONCE]]
            database.each([(b"UNLINK", KeyNames().tensor(name)) for name in names])
            unlink_datasets(database, [KeyNames().dataset(name) for name in names])
        database.each([(b"UNLINK", self._index)])


def _connect(client_or_address: Any) -> Client:
    """Return a client with connections of its own."""
    if isinstance(client_or_address, Client):
        return copy.copy(client_or_address)
    if isinstance(client_or_address, str) and "://" in client_or_address:
        return Client.from_url(client_or_address)
    if client_or_address is None or isinstance(client_or_address, str | list | tuple):
        return Client(address=client_or_address)
    raise ArgumentTypeError(
        f"a Client, an address or a URL is needed, not {type(client_or_address).__name__}: {client_or_address!r:.80}"
    )


def _checked_key(key: str | int) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int | np.integer):
        raise ArgumentTypeError(f"a key must be text or a whole number, not {type(key).__name__}: {key!r:.80}")
    checked_name(str(key), "value")
    return str(key)


def _as_array(value: Any) -> NDArray[Any]:
    if isinstance(value, str | bytes) or not hasattr(value, "__array__"):
        raise _not_taken("values", type(value), value)
    return tensors.as_tensor(value)


def _as_dataset(sample: Mapping[Any, Any]) -> Dataset:
    """Return a dictionary as a dataset, under a name that is not its own yet."""
    if not sample:
        raise ArgumentValueError("an empty dictionary cannot be kept in a RedisStore: a dataset has at least one entry")
    dataset = Dataset("sample")
    for name, value in sample.items():
        if not isinstance(name, str):
            raise ArgumentTypeError(f"names in a dictionary must be text, not {type(name).__name__}: {name!r:.80}")
        if isinstance(value, str):
            dataset.add_meta_string(name, value)
        elif isinstance(value, bool):
            dataset.add_tensor(name, np.array(value))
        elif isinstance(value, int | float) or _is_metadata_number(value):
            dataset.add_meta_scalar(name, value)
        elif hasattr(value, "__array__") and not isinstance(value, bytes):
            dataset.add_tensor(name, value, copy=False)
        else:
            raise _not_taken(f"the value {name!r} of a dictionary", type(value), value)
    return dataset


def _is_metadata_number(value: Any) -> bool:
    return isinstance(value, np.generic) and value.dtype.name in _METADATA_DTYPES


def _as_dict(dataset: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dataset.get_metadata_field_names():
        is_text = dataset.get_metadata_field_type(name) is str
        values: Any = dataset.get_meta_strings(name) if is_text else dataset.get_meta_scalars(name)
        # More than one only where another program put it there.
        found[name] = values if len(values) != 1 else values[0] if is_text else _as_number(values[0])
    for name in dataset.get_tensor_names():
        array = dataset.get_tensor(name)
        found[name] = array if array.ndim else array[()]
    return found


def _as_number(value: np.generic) -> Any:
    return value.item() if value.dtype.name in _PLAIN_DTYPES else value


def _not_taken(what: str, kind: type, value: Any) -> ArgumentTypeError:
    return ArgumentTypeError(
        f"{what} in a RedisStore are numpy arrays, or dictionaries of arrays, numbers and text, "
        f"not {kind.__name__}: {value!r:.80}"
    )
