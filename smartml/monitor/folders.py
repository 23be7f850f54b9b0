"""Where the files of a store lie: a local folder, or a URL of fsspec, whose files are written once and never changed.

CURRENT            which folder of segments is valid: replaced as a whole, so that compaction is one step
<n>/<number>.records   the segments of it, see segments.py
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MissingDependencyError,
    RecordsFormatError,
    RecordsInUseError,
)
from smartml.extras import require

_CURRENT = "CURRENT"
_FORMAT = 1
_SUFFIX = ".records"
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Current:
    """Which segments are valid, and whose they are."""

    # Drawn by chance when the store is made: nobody takes it for another one.
    store: str
    # Counts what makes the cursors of readers invalid: compactions, and ends that were cut off.
    lineage: int = 1
    folder: str = "1"


class Folder(Protocol):
    """The files of one store."""

    # Tells whether a segment grows, or is written at once and stays as it is.
    appends: bool

    def current(self) -> Current | None:
        """Return which segments are valid, None when there is no store."""

    def set_current(self, current: Current) -> None:
        """Replace what `current` returns, also for whoever reads right now, and for good."""

    def numbers(self, folder: str, after: int = 0) -> list[int]:
        """Return the numbers of the segments that are there, from the first one after this on."""

    def size(self, folder: str, number: int) -> int:
        """Return the length of a segment in bytes."""

    def read(self, folder: str, number: int, offset: int, length: int) -> bytes:
        """Return these bytes of a segment, fewer where it ends. Raises FileNotFoundError."""

    def append(self, folder: str, number: int, data: list[bytes]) -> None:
        """Write to the end of a segment, making it first where there is none; all or nothing. Raises OSError."""

    def sync(self) -> None:
        """Return when all that was appended is safe from a power failure."""

    def cut(self, folder: str, number: int, size: int) -> None:
        """Shorten a segment."""

    def keep_only(self, folder: str) -> None:
        """Delete all segments but those of this folder."""

    def forget(self, but: str | None = None) -> None:
        """Close what was opened to read of other folders than this one."""

    def lock(self) -> None:
        """Be the only one who writes, until `close`. Raises RecordsInUseError."""

    def close(self) -> None:
        """Close files."""


def open_folder(path: PathLike) -> Folder:
    """Return the place of a store; `.log` or `.idx` at its end is left out. Nothing is made yet."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ArgumentTypeError(f"the path of a store of records must be a path or a URL, not {path!r:.80}")
    text = os.fspath(path)
    text = next((text[: -len(end)] for end in (".log", ".idx") if text.endswith(end) and len(text) > len(end)), text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(//|:)", text) and not text.startswith("file://"):
        return RemoteFolder(text)
    return LocalFolder(Path(text.removeprefix("file://")))


def _packed(current: Current) -> bytes:
    return json.dumps({"format": _FORMAT, **asdict(current)}).encode()


def _unpacked(content: bytes, place: object) -> Current:
    try:
        facts = json.loads(content)
        if facts.pop("format") != _FORMAT:
            raise RecordsFormatError(f"{place} is a store of another version of smartml: read it with that one")
        return Current(**facts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, RecordsFormatError):
            raise
        raise RecordsFormatError(
            f"{place} holds no store of records: its file {_CURRENT} is of another kind"
        ) from error


class LocalFolder:
    """A folder of this machine, or of a file system that it mounts. Segments grow."""

    appends = True

    def __init__(self, path: Path) -> None:
        self.path = path
        # Open files by folder and number: to read, and the one that is written.
        self._readers: dict[tuple[str, int], int] = {}
        self._writer: tuple[tuple[str, int], int] | None = None
        # Held while that one is synced or exchanged.
        self._syncing = threading.Lock()
        # Held while a file is read: nobody may close it then, and its number become that of another.
        self._reading = threading.Lock()
        self._lock_file: int | None = None

    def __str__(self) -> str:
        return str(self.path)

    def current(self) -> Current | None:
        try:
            return _unpacked((self.path / _CURRENT).read_bytes(), self.path)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise RecordsFormatError(f"{self.path} is no folder: a store of records is one") from error

    def set_current(self, current: Current) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=self.path, prefix=".", suffix=".unfinished")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_packed(current))
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path / _CURRENT)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        _sync_folder(self.path)

    def numbers(self, folder: str, after: int = 0) -> list[int]:
        try:
            found = [_number(name) for name in os.listdir(self.path / folder)]
        except FileNotFoundError:
            return []
        return sorted(number for number in found if number is not None and number > after)

    def size(self, folder: str, number: int) -> int:
        return os.stat(self._file(folder, number)).st_size

    def read(self, folder: str, number: int, offset: int, length: int) -> bytes:
        parts = []
        with self._reading:
            reader = self._readers.get((folder, number))
            if reader is None:
                reader = os.open(self._file(folder, number), os.O_RDONLY | os.O_CLOEXEC)
                self._readers[folder, number] = reader
            # One call reads at most 2 GiB.
            while length > 0 and (part := os.pread(reader, min(length, 1 << 30), offset)):
                parts.append(part)
                offset += len(part)
                length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def append(self, folder: str, number: int, data: list[bytes]) -> None:
        writer = self._writer_of(folder, number)
        before = os.fstat(writer).st_size
        try:
            for part in data:
                view = memoryview(part)
                while view:
                    view = view[os.write(writer, view) :]
        except BaseException:
            # The disk is full, say: what is there of it must not stand before what comes later.
            os.ftruncate(writer, before)
            raise

    def _writer_of(self, folder: str, number: int) -> int:
        if self._writer is not None and self._writer[0] == (folder, number):
            return self._writer[1]
        path = self._file(folder, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with self._syncing:
            if self._writer is not None:
                os.fsync(self._writer[1])
                os.close(self._writer[1])
            self._writer = (folder, number), opened
        _sync_folder(path.parent)
        _sync_folder(self.path)
        return opened

    def sync(self) -> None:
        with self._syncing:
            if self._writer is not None:
                os.fsync(self._writer[1])

    def cut(self, folder: str, number: int, size: int) -> None:
        os.truncate(self._file(folder, number), size)

    def keep_only(self, folder: str) -> None:
        for entry in self.path.iterdir():
            if entry.is_dir() and entry.name.isdigit() and entry.name != folder:
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name.endswith(".unfinished"):
                entry.unlink(missing_ok=True)
        self.forget(folder)

    def forget(self, but: str | None = None) -> None:
        with self._reading:
            for key in [key for key in self._readers if key[0] != but]:
                os.close(self._readers.pop(key))

    def lock(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise RecordsInUseError(
                f"another process writes to {self.path}: ask that one, or stop it; one process writes to a store"
            ) from error
        self._lock_file = handle

    def close(self) -> None:
        self.sync()
        self.forget()
        with self._syncing:
            for handle in (self._writer and self._writer[1], self._lock_file):
                if handle is not None:
                    os.close(handle)
            self._writer, self._lock_file = None, None

    def _file(self, folder: str, number: int) -> Path:
        return self.path / folder / _file_name(number)


class RemoteFolder:
    """A folder of an object store or another file system that fsspec knows. Each append makes a segment.

    Nobody can be kept from writing at the same time: one server to one URL is the user's part.
    """

    appends = False

    def __init__(self, url: str) -> None:
        fsspec = require("fsspec", "a store of records at a URL", "monitor")
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise MissingDependencyError(f"{url!r} needs a package of its own: {error}") from error
        except ValueError as error:
            raise ArgumentValueError(f"{url!r} names no file system: {error}") from error
        self._root = root.rstrip("/")
        self.url = url

    def __str__(self) -> str:
        return self.url

    def current(self) -> Current | None:
        try:
            return _unpacked(self._fs.cat_file(f"{self._root}/{_CURRENT}"), self.url)
        except FileNotFoundError:
            return None

    def set_current(self, current: Current) -> None:
        self._put(f"{self._root}/{_CURRENT}", _packed(current))

    def numbers(self, folder: str, after: int = 0) -> list[int]:
        if after:
            # They are numbered without gaps: no need to list those that are known.
            return list(self._numbers_from(folder, after + 1))
        self._fs.invalidate_cache()
        try:
            found = [_number(path.rpartition("/")[2]) for path in self._fs.ls(f"{self._root}/{folder}", detail=False)]
        except FileNotFoundError:
            return []
        return sorted(number for number in found if number is not None)

    def _numbers_from(self, folder: str, number: int) -> Iterator[int]:
        self._fs.invalidate_cache()
        while self._fs.exists(self._file(folder, number)):
            yield number
            number += 1

    def size(self, folder: str, number: int) -> int:
        return int(self._fs.size(self._file(folder, number)))

    def read(self, folder: str, number: int, offset: int, length: int) -> bytes:
        return bytes(self._fs.cat_file(self._file(folder, number), start=offset, end=offset + length))

    def append(self, folder: str, number: int, data: list[bytes]) -> None:
        self._put(self._file(folder, number), b"".join(data))

    def _put(self, path: str, content: bytes) -> None:
        try:
            self._fs.pipe_file(path, content)
        except FileNotFoundError:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, content)

    def sync(self) -> None:
        """Nothing is left to do: what was put is kept."""

    def cut(self, folder: str, number: int, size: int) -> None:
        self._put(self._file(folder, number), self.read(folder, number, 0, size))

    def keep_only(self, folder: str) -> None:
        for path in self._fs.ls(self._root, detail=False):
            name = path.rstrip("/").rpartition("/")[2]
            if name.isdigit() and name != folder:
                self._fs.rm(path, recursive=True)

    def forget(self, but: str | None = None) -> None:
        """Nothing is open."""

    def lock(self) -> None:
        """Trust that nobody else writes: object stores have no locks."""

    def close(self) -> None:
        """Nothing is open."""

    def _file(self, folder: str, number: int) -> str:
        return f"{self._root}/{folder}/{_file_name(number)}"


def _file_name(number: int) -> str:
    return f"{number:012d}{_SUFFIX}"


def _number(name: str) -> int | None:
    stem = name.removesuffix(_SUFFIX)
    return int(stem) if stem != name and stem.isdigit() else None


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError:
        # Some file systems of clusters refuse it for folders, and need it not.
        pass
    finally:
        os.close(handle)
