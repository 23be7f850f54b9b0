"""Tensors: put, get, delete, copy, rename, look."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import ArgumentTypeError, ArgumentValueError, TensorMismatchError, TensorNotFoundError
from smartml.store.database import Database
from smartml.store.keys import checked_name
from smartml.store.session import Session


class TensorCommands(Session):
    """The part of `Client` that speaks of single tensors."""

    def put_tensor(self, name: str, data: Any) -> None:
        """Store an array under a name, replacing what is there.

        Any shape up to 32 dimensions, zero-size and 0-d included; float64/32/16, bfloat16, int8 to int64, uint8 to
        uint64, bool, complex64/128; any memory layout and byte order. Raises ArgumentTypeError for anything else.
        """
        self._database.set_values({self._keys.tensor(name, write=True): tensors.encode(data)})

    def put_tensors(self, data: Mapping[str, Any]) -> None:
        """Store many arrays, each as `put_tensor` does, in one round trip.

        Nothing is sent when one of them cannot be stored.
        """
        if not isinstance(data, Mapping):
            raise ArgumentTypeError(
                f"put_tensors takes a mapping of names to arrays, not {type(data).__name__}: {data!r:.80}"
            )
        self._database.set_values(
            {self._keys.tensor(name, write=True): tensors.encode(array) for name, array in data.items()}
        )

    def get_tensor(self, name: str, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Fetch an array; with `out`, straight into memory that the caller owns.

        `out` must be C-contiguous, writable, little endian and of the tensor's shape and dtype; its content is
        undefined after an error. Without it the array is the caller's own: fresh, writable, C-contiguous. Raises
        TensorNotFoundError that names the nearest keys, TensorFormatError when the key holds something else or a
        damaged value, TensorMismatchError when `out` has another shape or dtype.
        """
        key = self._keys.tensor(name)
        if out is not None:
            _check_destination(out)
        array = fetch_tensors(self._database, [key], [out])[0]
        if array is None:
            raise self._not_found(TensorNotFoundError, "tensor", key)
        return array

    def get_tensors(self, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Fetch many arrays in one round trip; raises as `get_tensor` does when one is missing or damaged."""
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ArgumentTypeError(f"get_tensors takes several names, not {type(names).__name__}: {names!r:.80}")
        names = list(names)
        keys = [self._keys.tensor(name) for name in names]
        arrays: dict[str, NDArray[Any]] = {}
        for name, key, array in zip(names, keys, fetch_tensors(self._database, keys), strict=True):
            if array is None:
                raise self._not_found(TensorNotFoundError, "tensor", key)
            arrays[name] = array
        return arrays

    def delete_tensor(self, name: str) -> None:
        """Delete a tensor; a missing one is no error."""
        self._database.command("UNLINK", self._keys.tensor(name))

    def copy_tensor(self, src_name: str, dest_name: str) -> None:
        """Copy a tensor, replacing the destination; raises TensorNotFoundError when there is no source."""
        source, destination = self._keys.tensor(src_name), self._keys.tensor(dest_name, write=True)
        if source == destination:
            is_there = self._database.exist([source])[0]
        elif self._database.same_server(source, destination):
            is_there = bool(self._database.command("COPY", source, destination, "REPLACE"))
        else:
            self._database.set_values({destination: tensors.encode(self.get_tensor(src_name))})
            return
        if not is_there:
            raise self._not_found(TensorNotFoundError, "tensor", source)

    def rename_tensor(self, old_name: str, new_name: str) -> None:
        """Rename a tensor, replacing one of the new name; raises TensorNotFoundError when there is none."""
        old, new = self._keys.tensor(old_name), self._keys.tensor(new_name, write=True)
        if not self._database.exist([old])[0]:
            raise self._not_found(TensorNotFoundError, "tensor", old)
        if self._database.same_server(old, new):
            self._database.command_once(old, b"RENAME", old, new)
        else:
            self.copy_tensor(old_name, new_name)
            self._database.command("UNLINK", old)

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


def fetch_tensors(
    database: Database, keys: Sequence[bytes], destinations: Sequence[NDArray[Any] | None] = ()
) -> list[NDArray[Any] | None]:
    """Fetch tensors by raw key in one round trip; None where a key does not exist.

    A destination that fits receives its tensor directly; TensorMismatchError names the first that does not.
    """
    wanted = list(destinations) or [None] * len(keys)
    # The memory of each value; only the end of it, where the payload went to a destination.
    landed: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(keys)

    def place(index: int, size: int) -> list[memoryview]:
        out = wanted[index]
        payload_size = 0 if out is None else out.nbytes
        if out is None or size != payload_size + 8 * out.ndim + tensors.FOOTER_SIZE:
            landed[index] = np.empty(size, np.uint8)
            return [landed[index].data]
        landed[index] = np.empty(size - payload_size, np.uint8)
        return [out.reshape(-1).view(np.uint8).data, landed[index].data]

    arrays: list[NDArray[Any] | None] = []
    for key, size, out, memory in zip(keys, database.receive(keys, place), wanted, landed, strict=True):
        text = key.decode(errors="replace")
        if size is None:
            arrays.append(None)
        elif out is None:
            arrays.append(tensors.decode(memory, text))
        else:
            description = tensors.read_description(memory.data, size, text)
            if description != tensors.describe(out):
                raise TensorMismatchError(
                    f"tensor {text!r} is {description}, the array given as out is {tensors.describe(out)}"
                )
            tensors.check_elements(out, text)
            arrays.append(out)
    return arrays


def _check_destination(out: Any) -> None:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise ArgumentTypeError(f"out must be a plain numpy array, not {type(out).__name__}: {out!r:.80}")
    wanted = tensors.describe(out).dtype
    if out.flags.c_contiguous and out.flags.writeable and out.dtype == wanted:
        return
    flaws = {
        "not C-contiguous": not out.flags.c_contiguous,
        "read-only": not out.flags.writeable,
        f"of byte order {out.dtype.byteorder!r}": out.dtype != wanted,
    }
    found = " and ".join(flaw for flaw, is_there in flaws.items() if is_there)
    raise ArgumentValueError(
        f"out is {found}; it must be C-contiguous, writable and little endian, to be received into"
    )
