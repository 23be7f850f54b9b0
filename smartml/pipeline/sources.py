"""Where a chain begins: an iterable, or the files below a path."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from smartml.extras import require
from smartml.pipeline import explain
from smartml.pipeline.stage import Sourced, Stage, State
from smartml.pipeline.steps import check_count
from smartml.pipeline.stream import Composable


class IterableSource(Composable):
    """Begin a chain with any iterable, or with a function without arguments that returns one.

    A function is called once per pass, and first if the object is both; so a generator function can be read again,
    where a generator has one pass in it. A source is resumed by reading it forward, unless it, or its iterator, has
    `state_dict` and `load_state_dict`.
    """

    def __init__(self, source: Iterable[Any] | Callable[[], Iterable[Any]] = ()) -> None:
        super().__init__(source)

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin to read, at the first item."""
        if isinstance(self.source, Composable):
            self._last = self.source.begin(state, meters)
        else:
            self._last = explain.met(Sourced(self.source, state), self, meters)
        return self._last


class FilePathGenerator(Composable):
    """Give the paths below a url of fsspec, as texts; with the protocol in front if the url has one.

    Flat: what lies in the directory, files and directories, sorted. nested: files only, of all depths, directory by
    directory, each one's sorted; up to `max_dirs` directories are listed at once, by `max_workers` threads, and no
    further ones while `max_keys` names wait. A directory that is not there is empty. storage_options: for fsspec.
    """

    def __init__(
        self,
        url: str,
        nested: bool = False,
        max_workers: int | None = None,
        max_keys: int = 1_000_000,
        max_dirs: int = 10,
        **storage_options: Any,
    ) -> None:
        super().__init__()
        check_count("max_keys", max_keys, least=1)
        check_count("max_dirs", max_dirs, least=1)
        self._url, self._nested, self._options = url, nested, storage_options
        self._limits = (max_workers, max_keys, max_dirs)

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin to list, at the first item."""
        self._last = explain.met(Sourced(self._paths, state), self, meters)
        return self._last

    def _paths(self) -> Iterator[str]:
        files, root = require("fsspec", "FilePathGenerator", "pipeline").core.url_to_fs(self._url, **self._options)
        named: Callable[[str], str] = files.unstrip_protocol if "://" in self._url else str
        if self._nested:
            yield from map(named, _files_below(files, root, *self._limits))
        else:
            yield from (named(name) for name, _ in _listed(files, root))


def _listed(files: Any, directory: str) -> list[tuple[str, bool]]:
    """List a directory, sorted: names, and whether each is a directory."""
    try:
        entries = files.ls(directory, detail=True)
    except FileNotFoundError:
        return []
    return sorted((entry["name"], entry["type"] == "directory") for entry in entries)


def _files_below(files: Any, root: str, max_workers: int | None, max_keys: int, max_dirs: int) -> Iterator[str]:
    found = deque([root])
    listings: deque[Future[list[tuple[str, bool]]]] = deque()
    pool = ThreadPoolExecutor(max_workers, "smartml-paths")
    try:
        while found or listings:
            waiting = sum(len(listing.result()) for listing in listings if listing.done() and not listing.exception())
            # One is always listed, or nothing would go on.
            while found and len(listings) < max_dirs and (waiting < max_keys or not listings):
                listings.append(pool.submit(partial(_listed, files), found.popleft()))
            for name, is_directory in listings.popleft().result():
                if is_directory:
                    found.append(name)
                else:
                    yield name
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
