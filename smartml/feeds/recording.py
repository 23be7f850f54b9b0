"""A recorded stream on disk: Zarr arrays that say what they are, for smartml, xarray, dask and every reader of Zarr.

    OUT/.zattrs     version of this layout, scheme, names of the producers
    OUT/samples     (sample, *sample_shape): all batches one behind the other, in order of arrival
    OUT/targets     (sample, *target_shape), where there are targets of their own
    OUT/batches     (batch, field), int64: one row for each batch, of what OUT/field names
    OUT/names       (batch,), bytes: the entry of the aggregation list, where the scheme is a list

A batch counts once its row says that it is complete, which is written last. A recorder that is killed leaves space
behind the last batch; one that ends in order cuts it off and notes `closed`. bfloat16, which Zarr does not know, lies
there as uint16 of the same bits, with its own name in the attribute `dtype`.

Zarr's format 2 (https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html) is what every release of the library reads.
Parquet and HDF5 were weighed: the one has no shapes, the other cannot be read after its writer was killed.
"""

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import RecordingError
from smartml.extras import require
from smartml.feeds.schemes import DataInfo, KeyScheme

VERSION = 1
VERSION_ATTRIBUTE = "smartml_recording"
FIELDS = (
    *("is_complete", "microseconds", "first_sample", "num_samples"),
    *("producer", "rank", "iteration", "crc32_of_samples", "crc32_of_targets"),
)
# Names of list entries have a fixed size in the array, so that a row stays a row. Compressed, the rest takes no room.
LONGEST_NAME = 256
# What the library and its codecs raise on folders that are something else, or damaged.
FOREIGN_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, EOFError)


@dataclass(frozen=True)
class Header:
    """What a whole recording has in common."""

    scheme: KeyScheme | DataInfo
    # As in the keys; "" for the nameless producer.
    producers: tuple[str, ...]

    @property
    def has_targets(self) -> bool:
        """Whether targets of their own belong to the samples."""
        if isinstance(self.scheme, KeyScheme):
            sample, target = self.scheme.sample_prefix, self.scheme.target_prefix
        else:
            sample, target = self.scheme.sample_name, self.scheme.target_name
        return bool(target) and target != sample

    def to_attributes(self) -> dict[str, Any]:
        """Return what stands in the attributes of the group."""
        if isinstance(self.scheme, KeyScheme):
            scheme = {"kind": "keys", **asdict(self.scheme)}
        else:
            scheme = {"kind": "list", **vars(self.scheme)}
        return {VERSION_ATTRIBUTE: VERSION, "scheme": scheme, "producers": list(self.producers)}

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> "Header":
        """Read the attributes of the group; raises KeyError, TypeError or ValueError when they are damaged."""
        values = dict(attributes["scheme"])
        kind = {"keys": KeyScheme, "list": DataInfo}[values.pop("kind")]
        return cls(kind(**values), tuple(map(str, attributes["producers"])))


@dataclass(frozen=True)
class Origin:
    """Where a batch came from."""

    # Its number among the producers of the recording.
    producer: int
    # None where keys bear no rank.
    rank: int | None
    # The producer's own counter, or the position in the list.
    iteration: int
    # How the aggregation list names it.
    name: bytes = b""


@dataclass(frozen=True)
class RecordedBatch:
    """One batch of a recording: when and from where it came, and which samples are its own."""

    # Since the first batch, to the microsecond.
    seconds: float
    origin: Origin
    first_sample: int
    num_samples: int
    # Of samples, and of targets where there are any.
    checksums: tuple[int, ...]

    def to_row(self) -> list[int]:
        """Return the batch as a row of the table, in the order of `FIELDS`."""
        origin = self.origin
        rank = -1 if origin.rank is None else origin.rank
        place = (self.first_sample, self.num_samples, origin.producer, rank, origin.iteration)
        return [1, round(self.seconds * 1e6), *place, *(*self.checksums, 0)[:2]]

    @classmethod
    def from_row(cls, row: Sequence[int], name: bytes, columns: int) -> "RecordedBatch":
        """Read a row of the table."""
        _, microseconds, first, number, producer, rank, iteration, *checksums = row
        origin = Origin(producer, None if rank < 0 else rank, iteration, name)
        return cls(microseconds / 1e6, origin, first, number, tuple(checksums[:columns]))


def checksum(array: NDArray[Any]) -> int:
    """Return the CRC-32 of the elements of an array in C order."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


class Recording:
    """A recording, opened to be read; also while it is being written, as far as it has come.

    Raises RecordingError when the folder is no recording or a damaged one, MissingDependencyError without Zarr.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        zarr = require("zarr", "reading a recording", "recording")
        if not self.path.is_dir():
            raise RecordingError(f"there is no recording at {self.path}: no such folder")
        with self._reading("is no recording of smartml, or a damaged one"):
            group = zarr.open_group(str(self.path), mode="r")
            attributes = dict(group.attrs)
            version = attributes.get(VERSION_ATTRIBUTE)
        if version is None:
            raise RecordingError(f"{self.path} is no recording of smartml, or was not begun: its attributes name none")
        if version != VERSION:
            raise RecordingError(f"{self.path} is of version {version}, this smartml reads {VERSION}: update smartml")
        with self._reading("is a damaged recording"):
            self.header = Header.from_attributes(attributes)
            self._arrays = [group[name] for name in ("samples", "targets")[: 1 + self.header.has_targets]]
            self._dtypes = [_dtype_of(array) for array in self._arrays]
            rows = np.asarray(group["batches"][:])
            names = group["names"][:].tolist() if "names" in group else [b""] * len(rows)
            self.is_closed = bool(attributes.get("closed", False))
            self.batches = self._complete(rows, names)

    def _complete(self, rows: NDArray[np.int64], names: Sequence[bytes]) -> list[RecordedBatch]:
        """List the batches whose rows were written; raises ValueError for a table with holes."""
        number = int(np.count_nonzero(rows[:, 0]))
        if not rows[:number, 0].all() or (self.is_closed and number < len(rows)):
            raise ValueError(f"of {len(rows)} rows for batches, some in between are missing")
        columns = len(self._arrays)
        batches = [RecordedBatch.from_row(*it, columns) for it in zip(rows[:number].tolist(), names, strict=False)]
        for batch in batches:
            end = batch.first_sample + batch.num_samples
            if end > min(array.shape[0] for array in self._arrays) or batch.origin.producer >= len(
                self.header.producers
            ):
                raise ValueError(f"a row speaks of samples up to {end}, or of a producer, that the recording lacks")
        return batches

    def read(self, batch: RecordedBatch) -> tuple[NDArray[Any], ...]:
        """Read samples, and targets if there are any, of one batch: (num_samples, *shape) each."""
        rows = slice(batch.first_sample, batch.first_sample + batch.num_samples)
        with self._reading("is a damaged recording"):
            arrays = [np.asarray(array[rows]) for array in self._arrays]
            if tuple(map(checksum, arrays)) != batch.checksums:
                raise ValueError(f"samples {rows.start} to {rows.stop} are not those that were recorded")
        return tuple(array.view(dtype) for array, dtype in zip(arrays, self._dtypes, strict=True))

    @contextlib.contextmanager
    def _reading(self, problem: str) -> Iterator[None]:
        try:
            yield
        except FOREIGN_ERRORS as error:
            raise RecordingError(f"{self.path} {problem}: {error}") from error


def _dtype_of(array: Any) -> np.dtype[Any]:
    """Return the dtype of what an array holds, where it lies there as another."""
    if array.attrs.get("dtype") == "bfloat16":
        return np.dtype(require("ml_dtypes", "reading a bfloat16 recording", "bfloat16").bfloat16)
    return np.dtype(array.dtype)
