"""What numba does for a chain: calls out of a function that is compiled in its object mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from smartml.extras import require


def mapped(source: Iterable[Any], callback: Callable[[Any], Any]) -> Iterator[Any]:
    """Call a function of each item, from a compiled one."""
    call = _compiled()
    for item in source:
        yield call(callback, item)


@lru_cache(maxsize=1)
def _compiled() -> Callable[[Callable[[Any], Any], Any], Any]:
    numba = require("numba", "numba_map", "numba")
    compiled: Callable[[Callable[[Any], Any], Any], Any] = numba.jit(forceobj=True)(_call)
    return compiled


# Not the loop around it: in object mode numba 0.68 crashes the interpreter where a compiled generator is run.
def _call(callback: Callable[[Any], Any], item: Any) -> Any:
    return callback(item)
