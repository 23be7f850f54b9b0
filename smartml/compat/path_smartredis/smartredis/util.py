"""Small things that SmartRedis and programs share."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError
from smartredis.error import SMARTREDIS

__all__ = ["Dtypes", "exception_handler", "init_default", "typecheck"]

Value = TypeVar("Value")

_TENSOR_TYPES = {"DOUBLE": "f8", "FLOAT": "f4", "UINT8": "u1", "UINT16": "u2"}
_TENSOR_TYPES |= {f"INT{8 * size}": f"i{size}" for size in (1, 2, 4, 8)}
_METADATA_TYPES = {"DOUBLE": "f8", "FLOAT": "f4", "UINT32": "u4", "UINT64": "u8", "INT32": "i4", "INT64": "i8"}

exception_handler = SMARTREDIS.call


class Dtypes:
    """RedisAI's names for the types of numbers."""

    @staticmethod
    def tensor_from_numpy(array: NDArray[Any]) -> str:
        """Return the name of an array's type."""
        return _name_of(array, _TENSOR_TYPES, "tensor")

    @staticmethod
    def metadata_from_numpy(array: NDArray[Any]) -> str:
        """Return the name of a number's type."""
        return _name_of(array, _METADATA_TYPES, "metadata")

    @staticmethod
    def from_string(type_name: str) -> type:
        """Return what numpy calls a type."""
        known = {name: np.dtype(code).type for name, code in {**_TENSOR_TYPES, **_METADATA_TYPES}.items()}
        if type_name == "STRING":
            return str
        if type_name not in known:
            raise ArgumentTypeError(f"{type_name!r} is no type of RedisAI; there are: {', '.join(known)}")
        return known[type_name]


def _name_of(array: NDArray[Any], names: dict[str, str], of: str) -> str:
    for name, code in names.items():
        if array.dtype == np.dtype(code):
            return name
    raise ArgumentTypeError(f"{array.dtype} is no type of a {of} of SmartRedis; those are: {', '.join(names)}")


def init_default(default: Value, init_value: Value | None, expected_type: Any = None) -> Value:
    """Return the value, or the default where it is None."""
    if init_value is None:
        return default
    if expected_type is not None:
        typecheck(init_value, "value", expected_type)
    return init_value


def typecheck(arg: Any, name: str, _type: Any) -> None:
    """Raise a TypeError for an argument of another type."""
    if not isinstance(arg, _type):
        raise ArgumentTypeError(f"argument {name} must be {_type}, not {type(arg).__name__}: {arg!r:.80}")
