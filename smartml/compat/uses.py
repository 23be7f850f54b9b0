"""Uses of names of SmartSim and SmartRedis: where they stand, and what becomes of them."""

from typing import NamedTuple

from smartml.compat.names import documented, find_name
from smartml.compat.table import Name, Verdict

_PRIVATE = "a private name, which SmartSim and SmartRedis do not document"
_UNKNOWN = "no name that SmartSim 0.8 or SmartRedis 0.6 documents"


class Use(NamedTuple):
    """One name in one line."""

    line: int
    name: Name


def use_of(line: int, name: str) -> Use:
    """Return what becomes of a name, also of one that is not listed."""
    if found := find_name(name):
        return Use(line, found)
    is_private = any(part.startswith("_") for part in name.split("."))
    return Use(line, Name(documented(name), Verdict.MISSING, reason=_PRIVATE if is_private else _UNKNOWN))
