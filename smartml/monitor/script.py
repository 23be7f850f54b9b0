"""Records for scripts and notebooks: each function takes a path or an address, and returns what is there now."""

import asyncio
import csv
import os
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from smartml.errors import ArgumentTypeError
from smartml.extras import require
from smartml.monitor.access import Access
from smartml.monitor.catalogue import exactly
from smartml.monitor.client import RecordClient
from smartml.monitor.columns import Array
from smartml.monitor.records import Block, Cursor, Removal
from smartml.monitor.sources import open_records
from smartml.monitor.store import RecordStore

if TYPE_CHECKING:
    import pandas
    import xarray

__all__ = [
    "Group",
    "Groups",
    "Updates",
    "compact",
    "config",
    "counts",
    "delete",
    "export",
    "export_frame",
    "export_xarray",
    "fetch",
    "fetch_updates",
    "gfetch",
    "gfetch_sync",
    "gnames",
    "gscopes",
    "names",
    "scopes",
    "write_csv",
]

PathLike = str | os.PathLike[str]
# Scope, name and index.
Group = tuple[str, str, int]
# The arrays of each group by field, all of one length.
Groups = dict[Group, dict[str, Array]]


def scopes(path: PathLike | None = None, *, uri: str | None = None, access: Access | None = None) -> list[str]:
    """Return the scopes at a path, a URL or host:port, in the order in which they were first seen."""
    with closing(open_records(_target(path, uri), access)) as records:
        return records.scopes()


def names(
    path: PathLike | None = None, scope: str | None = None, *, uri: str | None = None, access: Access | None = None
) -> list[str]:
    """Return the names of a scope, in the order in which they were first seen. Raises RecordsNotFoundError."""
    if scope is None:
        raise ArgumentTypeError("names() needs a scope: names(path, scope)")
    with closing(open_records(_target(path, uri), access)) as records:
        return records.names(scope)


def export(
    path: PathLike | None = None,
    scope: str | None = None,
    name: str | None = None,
    *,
    uri: str | None = None,
    access: Access | None = None,
) -> Groups:
    """Return the points as `{(scope, name, index): {field: array}}`, all of them or those of a scope or name.

    Arrays are in the order of the writes, int64, float32 or float64; what was written as both int and float is float64.
    """
    with closing(open_records(_target(path, uri), access)) as records:
        return _joined(records.query(None, exactly(scope), exactly(name)).added)


def config(
    path: PathLike | None = None, scope: str | None = None, *, uri: str | None = None, access: Access | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return what `DataLogger.write_config` was given, in order, by scope. Raises RecordsNotFoundError."""
    with closing(open_records(_target(path, uri), access)) as records:
        return records.configs(scope)


@dataclass(frozen=True, eq=False)
class Updates:
    """What is new: forget everything if `reset`, take `removed` away, then join `added`."""

    added: Groups
    removed: list[Removal]
    reset: bool
    # For the next `fetch_updates`, with the same scope and name.
    cursor: Cursor


def fetch_updates(
    path: PathLike | None = None,
    cursor: Cursor | None = None,
    scope: str | None = None,
    name: str | None = None,
    *,
    uri: str | None = None,
    access: Access | None = None,
) -> Updates:
    """Return what is new since the cursor of an earlier call, or everything for None.

    A server sends what is new alone; a path is opened anew each time: keep an `open_records` where it is large.
    """
    with closing(open_records(_target(path, uri), access)) as records:
        update = records.query(cursor, exactly(scope), exactly(name))
    return Updates(_joined(update.added), update.removed, update.reset, update.cursor)


def counts(path: PathLike | None = None, *, uri: str | None = None, access: Access | None = None) -> dict[Group, int]:
    """Return how many points each group has."""
    found: dict[Group, int] = {}
    with closing(open_records(_target(path, uri), access)) as records:
        for block in records.query(None).added:
            group = block.scope, block.name, block.index
            found[group] = found.get(group, 0) + len(block)
    return found


def delete(
    path: PathLike | None = None,
    scope: str | None = None,
    name: str | None = None,
    *,
    uri: str | None = None,
    access: Access | None = None,
) -> None:
    """Delete a scope, or one name of it; give the server's address while one runs.

    Loggers that still write there are told, and their points refused. Raises RecordsNotFoundError, RecordsInUseError.
    """
    if scope is None:
        raise ArgumentTypeError("delete() needs a scope: delete(path, scope)")
    with closing(_writable(_target(path, uri), access)) as records:
        records.delete(scope, name)


def compact(path: PathLike | None = None, *, uri: str | None = None, access: Access | None = None) -> tuple[int, int]:
    """Write a store anew without what was deleted, and quicker to read; return its bytes before and after.

    Give the server's address while one runs. Raises RecordsInUseError.
    """
    with closing(_writable(_target(path, uri), access)) as records:
        return records.compact()


def export_frame(
    path: PathLike | None = None,
    scope: str | None = None,
    name: str | None = None,
    *,
    uri: str | None = None,
    access: Access | None = None,
) -> "pandas.DataFrame":
    """Return what `export` does as one table: a row per point, by scope, name, index and point, sorted by these."""
    pandas = require("pandas", "export_frame", "xarray")
    found = export(path, scope, name, uri=uri, access=access)
    levels = ["scope", "name", "index"]
    if not found:
        empty = pandas.MultiIndex.from_arrays([[]] * 4, names=[*levels, "point"])
        return pandas.DataFrame(index=empty)
    frames = {group: pandas.DataFrame(fields) for group, fields in sorted(found.items())}
    return pandas.concat(frames, names=[*levels, "point"])


def export_xarray(
    path: PathLike | None = None,
    scope: str | None = None,
    name: str | None = None,
    *,
    uri: str | None = None,
    access: Access | None = None,
) -> "dict[Group, xarray.Dataset]":
    """Return what `export` does with one Dataset per group, whose dimension is `point`."""
    xarray = require("xarray", "export_xarray", "xarray")
    return {
        group: xarray.Dataset(
            {field: ("point", values) for field, values in fields.items()},
            attrs={"scope": group[0], "name": group[1], "index": group[2]},
        )
        for group, fields in export(path, scope, name, uri=uri, access=access).items()
    }


def write_csv(groups: Groups, file: IO[str]) -> None:
    """Write what `export` returned as text: a line for each point, its fields named, for names differ in theirs."""
    lines = csv.writer(file)
    for group, fields in groups.items():
        columns = [values.tolist() for values in fields.values()]
        for point in zip(*columns, strict=True):
            lines.writerow([*group, *(f"{field}={value!r}" for field, value in zip(fields, point, strict=True))])


# The names that programs of streamvis know, which tell paths from addresses by the function.


def gscopes(uri: str, access: Access | None = None) -> list[str]:
    """Return the scopes of a record server."""
    return scopes(uri, access=access)


def gnames(uri: str, scope: str, access: Access | None = None) -> list[str]:
    """Return the names of a scope of a record server."""
    return names(uri, scope, access=access)


def gfetch_sync(uri: str, scope: str | None = None, name: str | None = None, access: Access | None = None) -> Groups:
    """Return the points of a record server, as `export` does."""
    return export(uri, scope, name, access=access)


async def gfetch(uri: str, scope: str | None = None, name: str | None = None, access: Access | None = None) -> Groups:
    """Return the points of a record server, as `export` does, while other tasks run."""
    return await asyncio.to_thread(gfetch_sync, uri, scope, name, access)


fetch = gfetch_sync


def _target(path: PathLike | None, uri: str | None) -> PathLike:
    if (path is None) == (uri is None):
        raise ArgumentTypeError("name either a path or a uri, which is host:port")
    target = uri if path is None else path
    assert target is not None
    return target


def _writable(target: PathLike, access: Access | None) -> RecordStore | RecordClient:
    records = open_records(target, access)
    if isinstance(records, RecordClient):
        return records
    records.close()
    return RecordStore(target)


def _joined(blocks: list[Block]) -> Groups:
    parts: dict[Group, list[Block]] = {}
    for block in blocks:
        parts.setdefault((block.scope, block.name, block.index), []).append(block)
    return {
        group: {field: np.concatenate([block.fields[field] for block in same]) for field in same[0].fields}
        for group, same in parts.items()
    }
