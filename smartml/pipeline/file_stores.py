"""Stores of samples in files, on any file system that fsspec knows: one value per file, or one shard."""

import contextlib
import itertools
import os
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyNotFoundError,
    MissingDependencyError,
    ShardFormatError,
)
from smartml.extras import require
from smartml.pipeline.serializers import SquirrelSerializer

# How files are called that are being written: never listed, and whatever is left of one after a crash can be deleted.
_UNFINISHED = ".unfinished"
# Further keys of the same moment, and after a fork, differ by this and by chance.
_numbers = itertools.count()


class FilesystemStore:
    """Keeps each value in a file below `url`, a path or any URL of fsspec (`s3://…`, `memory://…`).

    `serializer` turns values into bytes; without one values are bytes. `clean` deletes everything below `url` now;
    `storage_options` go to fsspec. The folder is made when the first value is set.

    A key is text, or a whole number, which is taken as text; slashes in it make folders. Keys that would lead out of
    the folder, or that file systems differ about, raise ArgumentValueError.

    A file is written beside its place and then moved there, so that no reader ever finds half a value. Where fsspec
    cannot rename (object stores, memory) it is copied into its place on the server's side and then deleted; an object
    store shows a copy only when it is whole, so that holds there as well. It holds for programs that crash; after a
    power failure, what was written last may be missing or damaged. Usable from several threads and processes.
    """

    # What stands behind the key in the name of a file.
    _suffix = ""

    def __init__(
        self,
        url: str | os.PathLike[str],
        serializer: SquirrelSerializer | None = None,
        clean: bool = False,
        **storage_options: Any,
    ) -> None:
        if isinstance(serializer, type):
            raise ArgumentTypeError(f"a serializer is needed, not its class: {serializer.__name__}()")
        if not isinstance(url, str | os.PathLike) or not str(url):
            raise ArgumentTypeError(f"url must be a path or a URL, not {url!r:.80}")
        self.url = os.fspath(url)
        self.storage_options = storage_options
        self.serializer = serializer
        self.fs, root = _open_file_system(self.url, storage_options)
        self._root = root.rstrip("/")
        if clean:
            self._delete_everything()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def set(self, value: Any, key: str | int | None = None) -> str:
        """Keep a value under a key, replacing what is there, or under a new key; return the key as text.

        Raises ArgumentTypeError or ArgumentValueError for a value that cannot be written; nothing is stored then.
        """
        name, path = self._place(key)
        if self.serializer is not None:
            value = self.serializer.serialize(value)
        if not isinstance(value, bytes | bytearray | memoryview):
            raise ArgumentTypeError(
                f"without a serializer values are bytes, not {type(value).__name__}: {value!r:.80}; give the store a "
                "MessagepackSerializer() or JsonSerializer()"
            )
        self._replace(name, path, lambda beside: self.fs.pipe_file(beside, bytes(value)))
        return name

    def get(self, key: str | int) -> Any:
        """Return the value; raises KeyNotFoundError when there is none, ShardFormatError when it is damaged."""
        name, path = self._place(key)
        with self._missing_named(name, path):
            content = self.fs.cat_file(path)
        try:
            return content if self.serializer is None else self.serializer.deserialize(content)
        except ShardFormatError as error:
            raise ShardFormatError(f"{path!r} is damaged, or of another format: {error}. Write it again") from error

    def keys(self, nested: bool = True) -> list[str]:
        """List the keys of this moment, sorted; without `nested` only those without a slash."""
        # What other processes have written since is not in a listing that the file system remembers.
        self.fs.invalidate_cache()
        if nested:
            paths = self.fs.find(self._root)
        else:
            try:
                paths = [entry["name"] for entry in self.fs.ls(self._root, detail=True) if entry["type"] == "file"]
            except FileNotFoundError:
                return []
        names = [path[len(self._root) + 1 :] for path in paths]
        kept = [name for name in names if name.endswith(self._suffix) and not name.endswith(_UNFINISHED)]
        return sorted(name.removesuffix(self._suffix) for name in kept)

    def new_key(self) -> str:
        """Return a key that nobody else is given. Later ones sort behind it, by this machine's clock."""
        return f"{time.time_ns():016x}{next(_numbers):08x}{secrets.token_hex(4)}"

    def _place(self, key: str | int | None) -> tuple[str, str]:
        """Return a key as text, and the path of its file."""
        name = self.new_key() if key is None else _checked_key(key)
        return name, f"{self._root}/{name}{self._suffix}"

    def _replace(self, key: str, path: str, write: Callable[[str], None]) -> None:
        """Write a file beside its place, and move it there when it is whole."""
        folder = path.rpartition("/")[0]
        # The name of the value stays out of it: it may be as long as a name can be.
        beside = f"{folder}/.{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            try:
                write(beside)
            except FileNotFoundError:
                self.fs.makedirs(folder, exist_ok=True)
                write(beside)
            _move(self.fs, beside, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                self.fs.rm_file(beside)
            if isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError):
                raise ArgumentValueError(f"key {key!r} of {self} is in the way of others, or they of it") from error
            raise

    @contextlib.contextmanager
    def _missing_named(self, key: str, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyNotFoundError(f"nothing under key {key!r}: there is no file {path!r}") from error

    def _delete_everything(self) -> None:
        if _is_local(self.fs):
            root = Path(self._root or "/").resolve()
            kept = (Path.cwd().resolve(), Path(os.path.expanduser("~")).resolve())
            if any(root == folder or root in folder.parents for folder in kept):
                raise ArgumentValueError(
                    f"clean=True would delete everything below {str(root)!r}, which holds the home folder or the "
                    "current one: name a folder for the store alone"
                )
        # One by one: what deletes many at once takes brackets and stars in names for patterns.
        for path in self.fs.find(self._root):
            self.fs.rm_file(path)


class SquirrelStore(FilesystemStore):
    """Keeps each shard, a list of samples, in a gzip file `<key>.gz` below `url`, as squirrel-core does.

    For what else holds, and the arguments, see FilesystemStore; a shard has to fit into memory. Shards are set in the
    folder itself only; those in folders below, from other writers, are read under keys with slashes.
    """

    _suffix = ".gz"

    def __init__(
        self,
        url: str | os.PathLike[str],
        serializer: SquirrelSerializer,
        clean: bool = False,
        **storage_options: Any,
    ) -> None:
        if serializer is None:
            raise ArgumentTypeError("a SquirrelStore needs a serializer: MessagepackSerializer() or JsonSerializer()")
        super().__init__(url, serializer, clean, **storage_options)
        self._shards: SquirrelSerializer = serializer

    def set(self, value: Any, key: str | int | None = None, **kwargs: Any) -> str:
        """Keep a shard under a key, replacing what is there, or under a new key; return the key as text.

        What is not a list is one sample, a shard of its own. `kwargs` go to the serializer. Raises ArgumentTypeError or
        ArgumentValueError for samples that cannot be written; nothing is stored then.
        """
        name, path = self._place(key)
        if "/" in name:
            # It would be stored, and then missing from keys().
            raise ArgumentValueError(
                f"{name!r:.200} cannot be the key of a shard to set, since keys() lists none below a folder: open "
                f"another store at {self.url}/{name.rpartition('/')[0]}"
            )
        shard = value if isinstance(value, list) else [value]
        self._replace(
            name, path, lambda beside: self._shards.serialize_shard_to_file(shard, beside, fs=self.fs, **kwargs)
        )
        return name

    def get(self, key: str | int, **kwargs: Any) -> Iterator[Any]:
        """Return an iterator over the samples, all of which were read and decoded before: threads do so side by side.

        `kwargs` go to the serializer. Raises KeyNotFoundError when there is no such shard, ShardFormatError when it is
        damaged or cut off, in this call.
        """
        name, path = self._place(key)
        with self._missing_named(name, path):
            return iter(list(self._shards.deserialize_shard_from_file(path, fs=self.fs, **kwargs)))

    def keys(self, nested: bool = False) -> list[str]:
        """List the keys of this moment, sorted; with `nested` also those with a slash."""
        return super().keys(nested)


def _open_file_system(url: str, storage_options: dict[str, Any]) -> tuple[Any, str]:
    """Return the file system of a URL, and the path on it."""
    fsspec = require("fsspec", "a store in files", "pipeline")
    try:
        fs, root = fsspec.core.url_to_fs(url, **storage_options)
    except ImportError as error:
        raise MissingDependencyError(f"{url!r} needs a package of its own: {error}") from error
    except ValueError as error:
        raise ArgumentValueError(f"{url!r} names no file system: {error}") from error
    return fs, root


def _checked_key(key: str | int) -> str:
    """Return a key as text that names a file below a folder on every file system."""
    if isinstance(key, bool) or not isinstance(key, str | int | np.integer):
        raise ArgumentTypeError(f"a key must be text or a whole number, not {type(key).__name__}: {key!r:.80}")
    text = str(key)
    parts = text.split("/")
    flaws = {
        "it is empty, or begins or ends with a slash, or has two together": "" in parts,
        "'.' and '..' are no names": "." in parts or ".." in parts,
        "a backslash is a slash on some systems": "\\" in text,
        "line ends and other control characters are no part of names": any(
            unicodedata.category(character) in ("Cc", "Cs") for character in text
        ),
        f"{_UNFINISHED!r} ends the names of files that are being written": text.endswith(_UNFINISHED),
    }
    for flaw, is_there in flaws.items():
        if is_there:
            raise ArgumentValueError(f"{text!r:.200} cannot be a key in a store of files: {flaw}")
    return text


def _is_local(fs: Any) -> bool:
    return isinstance(fs, require("fsspec.implementations.local", "a store in files", "pipeline").LocalFileSystem)


def _move(fs: Any, source: str, target: str) -> None:
    """Put a whole file in its place."""
    if _is_local(fs):
        # fsspec would move it into a folder of that name.
        os.replace(source, target)
    elif type(fs).mv is not require("fsspec", "a store in files", "pipeline").AbstractFileSystem.mv:
        fs.mv(source, target)
    else:
        # The move that fsspec gives to all takes brackets and stars in names for patterns; these two do not.
        fs.cp_file(source, target)
        fs.rm_file(source)
