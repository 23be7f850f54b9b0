"""Stores of samples: what a stream asks of one, and the one in memory."""

import itertools
import threading
from collections.abc import Hashable, Iterable
from typing import Any, Protocol, runtime_checkable

from smartml.errors import ArgumentTypeError, KeyNotFoundError


@runtime_checkable
class AbstractStore(Protocol):
    """What a stream fills (`sink`) and reads (`prefetch`): values under keys.

    A store whose `new_key()` returns a key that nobody else is given lists values in the order of these keys, however
    late each is set; without that method `set` makes up its own.
    """

    def set(self, value: Any, key: Any = None) -> Any:
        """Keep a value under a key, replacing what is there, or under a new key."""
        ...

    def get(self, key: Any) -> Any:
        """Return a value, or an iterator over the samples of a shard; raises KeyError when there is none."""
        ...

    def keys(self) -> Iterable[Any]:
        """List the keys of this moment."""
        ...


class _Reserved:
    """The class itself stands where a key was given out and its value is not set yet."""


class MemoryStore:
    """Keeps values, any Python objects, in the memory of this process.

    `get` returns the very object that was set. Usable from several threads. A copy in another process is a store of its
    own: what a worker process sets is not seen here.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"_values": dict(self._values)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._values = state["_values"]
        # Numbers that are taken are left out as they come.
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.keys())

    def __repr__(self) -> str:
        return f"MemoryStore({len(self)} values)"

    def set(self, value: Any, key: Hashable = None) -> Hashable:
        """Keep a value under a key, replacing what is there, or under a new one; return the key."""
        with self._lock:
            if key is None:
                key = self._free_key()
            try:
                self._values[key] = value
            except TypeError:
                raise ArgumentTypeError(f"a key must be hashable, not {type(key).__name__}: {key!r:.80}") from None
        return key

    def get(self, key: Hashable) -> Any:
        """Return the value; raises KeyNotFoundError when there is none."""
        with self._lock:
            value = self._values.get(key, _Reserved)
        if value is _Reserved:
            raise KeyNotFoundError(f"no value under key {key!r:.200}: this MemoryStore holds {len(self)} others")
        return value

    def keys(self) -> list[Hashable]:
        """List the keys of this moment in the order in which they were first set, or given out by `new_key`."""
        with self._lock:
            return [key for key, value in self._values.items() if value is not _Reserved]

    def new_key(self) -> str:
        """Return a key that nobody else is given; what is set under it is listed where it would be if set now."""
        with self._lock:
            key = self._free_key()
            self._values[key] = _Reserved
        return key

    def _free_key(self) -> str:
        return next(key for number in self._numbers if (key := f"{number:08d}") not in self._values)
