"""What dask does for a chain: describe calls, and compute them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from smartml.extras import require


def delayed(source: Iterable[Any], callback: Callable[..., Any], keywords: dict[str, Any]) -> Iterator[Any]:
    """Describe a call for each item."""
    call = require("dask", "dask_map", "dask").delayed(callback)
    for item in source:
        yield call(item, **keywords)


def compute(item: Any) -> Any:
    """Compute what is a description, and return all else as it is."""
    # Nothing can have described anything before dask was imported.
    dask = sys.modules.get("dask")
    return item.compute() if dask is not None and dask.is_dask_collection(item) else item
