"""Tensors: put, get, delete, copy, rename, look."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    StoreReplyError,
    TensorMismatchError,
    TensorNotFoundError,
)
from smartml.store.descriptions import read_descriptions
from smartml.store.fullness import is_refused_as_full
from smartml.store.keys import checked_name
from smartml.store.session import Session
from smartml.store.transport import Value


class TensorCommands(Session):
    """The part of `Client` that speaks of single tensors."""

    def put_tensor(self, name: str, data: Any) -> None:
        """Store an array under a name, replacing what is there.

        Any shape up to 32 dimensions, zero-size and 0-d included; float64/32/16, bfloat16, int8 to int64, uint8 to
        uint64, bool, complex64/128; any memory layout and byte order. Raises ArgumentTypeError for anything else,
        StoreFullError when a full database had no room for it in the client's `full_timeout_s`.
        """
        key = self._keys.tensor(name, write=True)
        values: dict[bytes, Value] = {key: tensors.encode(data)}
        ahead = self._announcer.tell(key) if self._announcer is not None else b""
        if ahead == b"":
            self._set_values(values)
        elif ahead is None:
            self._set_and_announce(values, is_due=True)
        else:
            self._set_and_tell(values, ahead)

    def put_tensors(self, data: Mapping[str, Any]) -> None:
        """Store many arrays, each as `put_tensor` does, in one round trip.

        Nothing is sent when one of them cannot be stored.
        """
        if not isinstance(data, Mapping):
            raise ArgumentTypeError(
                f"put_tensors takes a mapping of names to arrays, not {type(data).__name__}: {data!r:.80}"
            )
        keys = self._keys.tensors(list(data), write=True)
        self._set_and_announce(dict(zip(keys, tensors.encode_all(data.values()), strict=True)))

    def _set_values(self, values: Mapping[bytes, Value]) -> None:
        self._put_when_there_is_room(lambda: self._database.set_values(values))

    def _set_and_announce(self, values: Mapping[bytes, Value], *, is_due: bool = False) -> None:
        """Set values, and tell those who follow; learn who that is."""
        news = self._announcer.announce(values, is_due=is_due) if self._announcer is not None else None
        if news is None or self._announcer is None:
            self._set_values(values)
            return
        behind, count = news.request, len(news.stems)
        replies = self._put_when_there_is_room(lambda: self._database.set_values(values, behind=behind, count=count))
        self._announcer.learn(self._database, news, replies)

    def _set_and_tell(self, values: Mapping[bytes, Value], ahead: bytes) -> None:
        """Set values behind commands that have no replies, or without these where they, or values, are refused."""
        try:
            self._database.set_values(values, ahead)
        except StoreReplyError as refusal:
            if not is_refused_as_full(refusal) and self._announcer is not None:
                self._announcer.speak_up()
            self._set_values(values)

    def get_tensor(self, name: str, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Fetch an array; with `out`, straight into memory that the caller owns.

        `out` must be C-contiguous, writable, little endian and of the tensor's shape and dtype; its content is
        undefined after an error. Without it the array is the caller's own: fresh, writable, C-contiguous. Raises
        TensorNotFoundError that names the nearest keys, TensorFormatError when the key holds something else or a
        damaged value, TensorMismatchError when `out` has another shape or dtype.
        """
        key = self._keys.tensor(name)
        if out is not None:
            return self._receive(key, _checked_destination(out))
        value = self._database.fetch([key])[0]
        if value is None:
            raise self._database.not_found(TensorNotFoundError, "tensor", key)
        return tensors.decode(value, key)

    def _receive(self, key: bytes, out: NDArray[Any]) -> NDArray[Any]:
        """Fetch a tensor straight into a destination."""
        payload = out.reshape(-1).view(np.uint8).data
        # What is behind the payload; all of the value where it does not fit.
        landed = np.empty(0, np.uint8)

        def place(index: int, size: int) -> list[memoryview]:
            nonlocal landed
            fits = size == len(payload) + 8 * out.ndim + tensors.FOOTER_SIZE
            landed = np.empty(size - len(payload) if fits else size, np.uint8)
            return [payload, landed.data] if fits else [landed.data]

        size = self._database.receive([key], place)[0]
        if size is None:
            raise self._database.not_found(TensorNotFoundError, "tensor", key)
        description = tensors.read_description(landed.data, size, key)
        if description != tensors.describe(out):
            raise TensorMismatchError(
                f"tensor {key.decode(errors='replace')!r} is {description}, "
                f"the array given as out is {tensors.describe(out)}"
            )
        tensors.check_elements(out, key)
        return out

    def get_tensors(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Fetch many arrays in one round trip; raises as `get_tensor` does when one is missing or damaged."""
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ArgumentTypeError(f"get_tensors takes several names, not {type(names).__name__}: {names!r:.80}")
        names = list(names)
        keys = self._keys.tensors(names)
        values: list[Any] = self._database.fetch(keys)
        if None in values:
            raise self._database.not_found(TensorNotFoundError, "tensor", keys[values.index(None)])
        return dict(zip(names, tensors.decode_all(values, keys), strict=True))

    def delete_tensor(self, name: str) -> None:
        """Delete a tensor; a missing one is no error."""
        self._database.each([(b"UNLINK", self._keys.tensor(name))])

    def copy_tensor(self, src_name: str, dest_name: str) -> None:
        """Copy a tensor, replacing the destination; raises TensorNotFoundError when there is no source."""
        source, destination = self._keys.tensor(src_name), self._keys.tensor(dest_name, write=True)
        if source == destination:
            is_there = self._database.exist([source])[0]
        elif self._database.same_server(source, destination):
            is_there = self._put_when_there_is_room(lambda: self._copy(source, destination))
        else:
            self._set_values({destination: tensors.encode(self.get_tensor(src_name))})
            return
        if not is_there:
            raise self._database.not_found(TensorNotFoundError, "tensor", source)

    def _copy(self, source: bytes, destination: bytes) -> bool:
        """Copy within a server; tell whether there was something."""
        try:
            return bool(self._database.commands(source, (b"COPY", source, destination, b"REPLACE"))[0])
        except StoreReplyError:
            # Types of other modules need not be able to do this.
            read_descriptions(self._database, [source])
            raise

    def rename_tensor(self, old_name: str, new_name: str) -> None:
        """Rename a tensor, replacing one of the new name; raises TensorNotFoundError when there is none."""
        old, new = self._keys.tensor(old_name), self._keys.tensor(new_name, write=True)
        if not self._database.exist([old])[0]:
            raise self._database.not_found(TensorNotFoundError, "tensor", old)
        if self._database.same_server(old, new):
            self._database.command_once(old, b"RENAME", old, new)
        else:
            self.copy_tensor(old_name, new_name)
            self._database.each([(b"UNLINK", old)])

    def tensor_exists(self, name: str) -> bool:
        """Tell whether a tensor is stored under a name (with the read prefix)."""
        return self._database.exist([self._keys.tensor(name)])[0]

    def key_exists(self, key: str) -> bool:
        """Tell whether a raw key exists; no prefix is added."""
        return self._database.exist([checked_name(key, "key")])[0]

    def poll_tensor(self, name: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart, whether a tensor exists."""
        return self._poll(lambda: self.tensor_exists(name), poll_frequency_ms, num_tries)

    def poll_key(self, key: str, poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart, whether a raw key exists."""
        return self._poll(lambda: self.key_exists(key), poll_frequency_ms, num_tries)


def _checked_destination(out: Any) -> NDArray[Any]:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise ArgumentTypeError(f"out must be a plain numpy array, not {type(out).__name__}: {out!r:.80}")
    wanted = tensors.describe(out).dtype
    if out.flags.c_contiguous and out.flags.writeable and out.dtype == wanted:
        return out
    flaws = {
        "not C-contiguous": not out.flags.c_contiguous,
        "read-only": not out.flags.writeable,
        f"of byte order {out.dtype.byteorder!r}": out.dtype != wanted,
    }
    found = " and ".join(flaw for flaw, is_there in flaws.items() if is_there)
    raise ArgumentValueError(
        f"out is {found}; it must be C-contiguous, writable and little endian, to be received into"
    )
