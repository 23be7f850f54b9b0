"""Where the memory of a training set comes from: the process, or files that the system pages in and out."""

import os
import tempfile
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError


class Storage(Protocol):
    """Gives memory that is not touched yet."""

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of any content."""


class MemoryStorage:
    """Memory of this process."""

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of any content."""
        return np.empty(shape, dtype)


class DiskStorage:
    """Files in a folder, mapped into memory.

    Each loses its name as soon as it is mapped: the space is given back when the array is gone or the process has
    ended, in whatever way.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of any content. Raises OSError when the disk has no room for it."""
        size = prod(shape) * dtype.itemsize
        if not size:
            return np.empty(shape, dtype)
        with tempfile.TemporaryFile(prefix="smartml-feed-", dir=self.folder) as file:
            # Without it a disk that is full ends the process, by SIGBUS, at the first write.
            os.posix_fallocate(file.fileno(), 0, size)
            mapped = np.memmap(file, np.uint8, "r+", shape=(size,))
        # As a plain array, which keeps the mapping alive; every slice of a memmap would be one, too, and costs time.
        return np.asarray(mapped).view(dtype).reshape(shape)


def read_storage(given: "str | Path") -> Storage:
    """Return the storage that is meant by "memory", "disk" (the folder for temporary files) or the path of a folder."""
    if not isinstance(given, str | Path):
        raise ArgumentTypeError(f'storage must be "memory", "disk" or a folder, not {given!r:.80}')
    if given == "memory":
        return MemoryStorage()
    folder = Path(tempfile.gettempdir() if given == "disk" else given)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ArgumentValueError(
            f'storage must be "memory", "disk" or a folder that can be written to; there is none at {str(folder)!r}'
        )
    return DiskStorage(folder)
