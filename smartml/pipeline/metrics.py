"""How fast items pass a point of a stream: counted and weighed, with the clock handed in (pure)."""

import dataclasses
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from smartml.errors import ArgumentTypeError, ArgumentValueError

# Bytes in one of each unit.
_UNITS = {"bytes": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
# What a plain number takes in an array, and about as much in a file.
_NUMBER_SIZE = 8


@dataclass(frozen=True)
class MetricsConf:
    """Which rates are measured: items per second, their size per second; a unit is 1024 of the one before.

    `throughput_unit`: bytes, KB, MB or GB. Raises ArgumentTypeError or ArgumentValueError for anything else.
    """

    iops: bool = True
    throughput: bool = True
    throughput_unit: str = "MB"

    def __post_init__(self) -> None:
        for name in ("iops", "throughput"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentTypeError(f"{name} must be True or False, not {getattr(self, name)!r:.80}")
        if self.throughput_unit not in _UNITS:
            known = ", ".join(_UNITS)
            raise ArgumentValueError(f"throughput_unit must be one of {known}, not {self.throughput_unit!r:.80}")

    def asdict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return dataclasses.asdict(self)


# Users may name the class alone, for its defaults.
MetricsConfOrClass: TypeAlias = "MetricsConf | type[MetricsConf]"


class RateMeter:
    """Measures the rates of one pass over the last `window_size` items.

    Rates are those of the intervals between the items of the window, which are one fewer than its items; a window of
    one item reaches back to the item before. Raises ArgumentTypeError or ArgumentValueError for what cannot be
    measured; costs the same for every item, however large the window.
    """

    def __init__(self, window_size: int = 5, conf: MetricsConfOrClass = MetricsConf) -> None:
        if isinstance(window_size, bool) or not isinstance(window_size, int):
            raise ArgumentTypeError(f"window_size must be int, not {type(window_size).__name__}: {window_size!r:.80}")
        if window_size < 1:
            raise ArgumentValueError(f"window_size must be a number of items from 1 on, not {window_size}")
        if isinstance(conf, type) and issubclass(conf, MetricsConf):
            conf = conf()
        if not isinstance(conf, MetricsConf):
            raise ArgumentTypeError(f"a MetricsConf is needed, the class or one of it, not {conf!r:.80}")
        self._iops, self._throughput = conf.iops, conf.throughput
        self._unit_size = _UNITS[conf.throughput_unit]
        self._throughput_key = f"throughput {conf.throughput_unit}/s"
        self._intervals = max(window_size - 1, 1)
        # When the items of the window passed, in seconds, and how large they are, oldest first.
        self._times_s: deque[float] = deque()
        self._sizes: deque[int] = deque()
        # The sum of all sizes in the window. Whole numbers: it is as exact after a week as after a second.
        self._total = 0

    def measure(self, item: Any, now_s: float) -> dict[str, float] | None:
        """Note that an item passed at `now_s`; return the rates, rounded to two digits.

        A rate that is switched off is 0. None while the window is not full, when both are off, and when the clock
        stood still over the whole window.
        """
        if not (self._iops or self._throughput):
            return None
        times_s, sizes = self._times_s, self._sizes
        times_s.append(now_s)
        if self._throughput:
            size = getsize(item)
            sizes.append(size)
            self._total += size
        if len(times_s) <= self._intervals:
            return None
        elapsed_s = now_s - times_s.popleft()
        if self._throughput:
            # The first item of a window passed before its first interval began.
            self._total -= sizes.popleft()
        if elapsed_s <= 0:
            return None
        return {
            "IOPS number/s": round(self._intervals / elapsed_s, 2) if self._iops else 0,
            self._throughput_key: round(self._total / elapsed_s / self._unit_size, 2) if self._throughput else 0,
        }


def getsize(item: Any) -> int:
    """Return about how many bytes an item holds; never fails, copies nothing.

    Arrays and tensors of any framework count their `nbytes`; mappings, lists, tuples, sets and dataclasses what is in
    them; text and bytes their length; numbers 8. Anything else counts what Python says of the object alone. A container
    that is met again within an item counts once.
    """
    # The way of every monitored array.
    if type(item) is np.ndarray and item.dtype.kind != "O":
        return item.nbytes
    total = 0
    waiting = [item]
    # Kept alive until the end: the number of one that is gone may be given to another.
    seen: dict[int, Any] = {}
    while waiting:
        one = waiting.pop()
        size = _size_alone(one)
        if size is not None:
            total += size
        elif id(one) not in seen:
            seen[id(one)] = one
            try:
                waiting.extend(_parts(one))
            except Exception:  # noqa: BLE001 - a container of the user's that cannot be walked ends no stream.
                total += _estimate(one)
    # What holds nothing still is something.
    return total or _estimate(item)


def _size_alone(item: Any) -> int | None:
    """Return the size of what is no container; None for one that is."""
    if isinstance(item, str | bytes | bytearray):
        return len(item)
    # The two kinds of numbers that are met most; the others say their size themselves.
    if isinstance(item, int | float):
        return _NUMBER_SIZE
    if isinstance(item, dict | list | tuple | set | frozenset | deque) or _is_array_of_objects(item):
        return None
    try:
        size = _array_size(item)
        if size is None and not isinstance(item, Mapping) and not _is_dataclass(item):
            size = _estimate(item)
        return size
    except Exception:  # noqa: BLE001 - attributes may be anything; a size is not worth a stream.
        return _estimate(item)


def _array_size(item: Any) -> int | None:
    """Return the size of an array or tensor, by what arrays have; None for anything else."""
    size = getattr(item, "nbytes", None)
    if isinstance(size, int | np.integer):
        return int(size)
    # TensorFlow's tensors have no nbytes, and call the bytes of one element `size`.
    shape, dtype = getattr(item, "shape", None), getattr(item, "dtype", None)
    element = getattr(dtype, "itemsize", None) or getattr(dtype, "size", None)
    if shape is None or not isinstance(element, int):
        return None
    return int(prod(shape)) * element


def _is_array_of_objects(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype.kind == "O"


def _is_dataclass(item: Any) -> bool:
    return dataclasses.is_dataclass(item) and not isinstance(item, type)


def _parts(container: Any) -> Iterator[Any]:
    if isinstance(container, Mapping):
        return iter(container.values())
    if isinstance(container, np.ndarray):
        return iter(container.ravel().tolist())
    if _is_dataclass(container):
        return (getattr(container, field.name) for field in dataclasses.fields(container))
    return iter(container)


def _estimate(item: Any) -> int:
    try:
        return sys.getsizeof(item)
    except Exception:  # noqa: BLE001 - a __sizeof__ of the user's may do anything.
        return _NUMBER_SIZE
