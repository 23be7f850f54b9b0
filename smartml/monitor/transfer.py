"""How values come from where they are to this process's memory: kept there when they are written, fetched at the flush.

A device works on while a program logs: what waits for it, at every write, makes the program as slow as the device. So
a write keeps a copy on the device, and the flush fetches all that belongs to one column in one transfer.
"""

import math
import sys
from collections.abc import Hashable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np

from smartml.errors import ArgumentTypeError
from smartml.monitor import columns
from smartml.monitor.columns import Array, Dtype, Shape


class Device(Protocol):
    """The arrays of one library."""

    def shape(self, value: Any) -> Shape:
        """Return the shape, known without waiting."""

    def dtype(self, value: Any) -> Dtype | None:
        """Return the numpy type that the values have, None when numpy has none; known without waiting."""

    def place(self, value: Any) -> Hashable:
        """Return where the values lie and of what type they are: those of one place can be fetched together."""

    def keep(self, value: Any) -> Any:
        """Return a copy on the device that what is done to the value later does not change. Waits for nothing."""

    def fetch(self, kept: Sequence[Any]) -> Array:
        """Return all values of what `keep` returned, in one transfer; one after the other, in C order."""


class Kept(NamedTuple):
    """The values of one field of one write."""

    # None: they are here already, and `values` is an array of numpy.
    device: Device | None
    place: Hashable
    shape: Shape
    size: int
    values: Any

    @property
    def bytes(self) -> int:
        """What it occupies, here or on the device; no value takes more than 8."""
        return 8 * self.size


def keep(name: str, field: str, value: object) -> Kept:
    """Return a copy of a value, on its device. Raises ArgumentTypeError, ArgumentValueError."""
    device = _device_of(value)
    if device is None:
        array = columns.host_array(name, field, value)
        return Kept(None, "", array.shape, array.size, array)
    shape = tuple(device.shape(value))
    dtype = device.dtype(value)
    # What an unsigned 64-bit integer is cannot be seen without waiting for it.
    if dtype is None or columns.stored_dtype(dtype) is None or dtype == np.dtype("u8"):
        raise ArgumentTypeError(
            f"field {field!r} of {name!r} is of {getattr(value, 'dtype', None)}: integers up to int64, booleans and "
            "real floats can be written; convert it first"
        )
    columns.row_shape(name, field, shape)
    return Kept(device, device.place(value), shape, math.prod(shape), device.keep(value))


def fetch(pieces: Sequence[Kept]) -> list[Array]:
    """Return the values of all pieces, each in its shape, with one transfer for each place."""
    arrays: list[Array | None] = [piece.values if piece.device is None else None for piece in pieces]
    places: dict[tuple[int, Hashable], list[int]] = {}
    for number, piece in enumerate(pieces):
        if piece.device is not None:
            places.setdefault((id(piece.device), piece.place), []).append(number)
    for numbers in places.values():
        device = pieces[numbers[0]].device
        assert device is not None
        flat = np.asarray(device.fetch([pieces[number].values for number in numbers]))
        stored = columns.stored_dtype(flat.dtype)
        flat = flat.astype(stored, copy=False)
        begin = 0
        for number in numbers:
            piece = pieces[number]
            arrays[number] = flat[begin : begin + piece.size].reshape(piece.shape)
            begin += piece.size
    return [array for array in arrays if array is not None]


def _device_of(value: object) -> Device | None:
    kind = type(value)
    known = _DEVICES.get(kind)
    if known is None:
        known = _DEVICES[kind] = _find_device(value)
    return None if isinstance(known, _Here) else known


class _Here:
    """Arrays, numbers and lists of this process."""


def _find_device(value: object) -> "Device | _Here":
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        device: Device = import_module("smartml.monitor.torch").TorchDevice()
        return _SHARED.setdefault("torch", device)
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, jax.core.Tracer):
        raise ArgumentTypeError(
            "a value inside a function that jax compiles has no numbers yet: write what the function returns"
        )
    if hasattr(value, "__array_namespace__") and not isinstance(value, np.ndarray | np.generic):
        return _SHARED.setdefault("array api", _ArrayDevice())
    return _Here()


class _ArrayDevice:
    """Arrays of JAX, and of all that follow the Python array API standard.

    https://data-apis.org/array-api, version 2023.12.
    """

    def shape(self, value: Any) -> Shape:
        return tuple(value.shape)

    def dtype(self, value: Any) -> Dtype | None:
        try:
            return np.dtype(value.dtype)
        except TypeError:
            return None

    def place(self, value: Any) -> Hashable:
        return value.dtype, getattr(value, "device", None)

    def keep(self, value: Any) -> Any:
        # JAX deletes arrays that are donated to a function, though nothing changes them.
        return value.__array_namespace__().asarray(value, copy=True)

    def fetch(self, kept: Sequence[Any]) -> Array:
        module = kept[0].__array_namespace__()
        flat = [module.reshape(values, (-1,)) for values in kept]
        return np.asarray(flat[0] if len(flat) == 1 else module.concat(flat))


# By the type of the value: found once.
_DEVICES: dict[type, Device | _Here] = {}
_SHARED: dict[str, Device] = {}
