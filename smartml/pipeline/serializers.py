"""Samples as bytes, and shards, lists of samples, as gzip files: MessagePack and JSON Lines.

The files are those of squirrel-core's serializers, in both directions. A shard does not say how many samples it has:
that it is whole shows in the end that gzip puts behind it, which is written last.
"""

import contextlib
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from smartml.errors import ArgumentTypeError, ArgumentValueError, ShardFormatError
from smartml.extras import require
from smartml.pipeline import packed_arrays

# zlib's own choice between speed and size.
_LEVEL = 6
# How zlib is told that gzip's header and end are around the data.
_GZIP = 31
# Compressed bytes that are taken apart in one go, while other threads run. It is quicker than the 8 kB at a time of
# Python's own gzip reader.
_CHUNK_SIZE = 1 << 20
# What numpy's dtypes may hold that JSON can: truth, whole numbers, floating ones (of up to 8 bytes), text.
_JSON_KINDS = "biufU"
_ARRAY_FIELDS = {"data", "type", "shape"}


@runtime_checkable
class SquirrelSerializer(Protocol):
    """What a store needs to turn samples into bytes, and shards into files, and back.

    `fs` is an fsspec file system; without one, `fp` may be any URL that fsspec knows. Further keyword arguments go to
    its `open`.
    """

    def serialize(self, obj: Any) -> bytes:
        """Return a sample as bytes."""
        ...

    def deserialize(self, obj: bytes) -> Any:
        """Return the sample that bytes hold."""
        ...

    def serialize_shard_to_file(
        self, shard: Iterable[Any], fp: str, fs: Any = None, mode: str = "wb", **open_kwargs: Any
    ) -> None:
        """Write samples to a file."""
        ...

    def deserialize_shard_from_file(
        self, fp: str, fs: Any = None, mode: str = "rb", **open_kwargs: Any
    ) -> Iterable[Any]:
        """Read the samples of a file."""
        ...


class MessagepackSerializer:
    """Samples in MessagePack, with numpy's arrays and numbers as msgpack-numpy has them.

    dtype and shape of arrays are kept. Tuples come back as lists, and numpy.float64 as float. Arrays of Python objects
    are neither written nor read: they would be pickled.
    """

    @staticmethod
    def serialize(obj: Any) -> bytes:
        """Return a sample as bytes; raises ArgumentTypeError or ArgumentValueError for what MessagePack cannot hold."""
        return _pack_with(_new_packer(), obj)

    @staticmethod
    def deserialize(obj: bytes) -> Any:
        """Return the sample that bytes hold; raises ShardFormatError when they are damaged."""
        msgpack = _msgpack()
        try:
            return msgpack.unpackb(obj, object_hook=packed_arrays.unpack, strict_map_key=False)
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            raise ShardFormatError(f"this is no whole value in MessagePack: {_reason(error)}") from error

    @staticmethod
    def serialize_shard_to_file(
        shard: Iterable[Any], fp: str, fs: Any = None, mode: str = "wb", **open_kwargs: Any
    ) -> None:
        """Write samples to a gzip file; raises as `serialize` does, and then leaves a file that no reader takes."""
        packer = _new_packer()
        _write((_pack_with(packer, sample) for sample in shard), fp, fs, mode, open_kwargs)

    @staticmethod
    def deserialize_shard_from_file(
        fp: str,
        fs: Any = None,
        mode: str = "rb",
        unpacker_kwargs: dict[str, Any] | None = None,
        **open_kwargs: Any,
    ) -> Iterator[Any]:
        """Read the samples of a gzip file one after the other.

        `unpacker_kwargs` go to `msgpack.Unpacker`, `use_list=False` for tuples in the place of lists, say. Raises
        ShardFormatError that names the file when it is damaged or cut off, after the samples before the damage.
        """
        msgpack = _msgpack()
        settings = {
            "object_hook": packed_arrays.unpack,
            "strict_map_key": False,
            "max_buffer_size": sys.maxsize,
            **(unpacker_kwargs or {}),
        }

        def read(chunks: Iterator[bytes]) -> Iterator[Any]:
            unpacker = msgpack.Unpacker(**settings)
            # Bytes that came, and bytes that whole samples took.
            fed = taken = 0
            for chunk in chunks:
                unpacker.feed(chunk)
                fed += len(chunk)
                with contextlib.suppress(msgpack.OutOfData):
                    while True:
                        sample = unpacker.unpack()
                        taken = unpacker.tell()
                        yield sample
            if fed > taken:
                raise EOFError("the last sample is cut off")

        return _read(read, (msgpack.UnpackException, ValueError, TypeError), fp, fs, mode, open_kwargs)


class JsonSerializer:
    """Samples in JSON, one per line of a shard.

    Arrays of numbers, truth values and text are kept with dtype and shape; numpy's numbers become plain ones, tuples
    lists, and the keys of dicts text. `deser_hook` is handed every dict that is not an array, innermost first, and
    returns what takes its place.
    """

    def __init__(self, deser_hook: Callable[[dict[str, Any]], Any] | None = None) -> None:
        if deser_hook is not None and not callable(deser_hook):
            raise ArgumentTypeError(f"deser_hook must be callable, not {type(deser_hook).__name__}: {deser_hook!r:.80}")
        self.deser_hook = deser_hook

    @staticmethod
    def serialize(obj: Any) -> bytes:
        """Return a sample as bytes; raises ArgumentTypeError or ArgumentValueError for what JSON cannot hold."""
        try:
            return json.dumps(obj, default=_as_json).encode()
        except ArgumentTypeError:
            raise
        except TypeError as error:
            raise ArgumentTypeError(f"JSON cannot hold this: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ArgumentValueError(f"JSON cannot hold this: {error}") from error

    def deserialize(self, obj: bytes) -> Any:
        """Return the sample that bytes hold; raises ShardFormatError when they are damaged."""
        try:
            return self._parse(obj)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ShardFormatError(f"this is no whole value in JSON: {_reason(error)}") from error

    @staticmethod
    def serialize_shard_to_file(
        shard: Iterable[Any], fp: str, fs: Any = None, mode: str = "wb", **open_kwargs: Any
    ) -> None:
        """Write samples to a gzip file; raises as `serialize` does, and then leaves a file that no reader takes."""
        _write((JsonSerializer.serialize(sample) + b"\n" for sample in shard), fp, fs, mode, open_kwargs)

    def deserialize_shard_from_file(
        self, fp: str, fs: Any = None, mode: str = "rb", **open_kwargs: Any
    ) -> Iterator[Any]:
        """Read the samples of a gzip file one after the other.

        Raises ShardFormatError that names the file when it is damaged or cut off, after the samples before the damage.
        """

        def read(chunks: Iterator[bytes]) -> Iterator[Any]:
            rest = b""
            for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                yield from map(self._parse, lines)
            if rest:
                sample = self._parse(rest)
                # Everything but a number shows in itself that it is whole.
                if isinstance(sample, int | float):
                    raise EOFError("the last sample is cut off")
                yield sample

        return _read(read, (json.JSONDecodeError, UnicodeDecodeError), fp, fs, mode, open_kwargs)

    def _parse(self, text: bytes) -> Any:
        return json.loads(text, object_hook=self._from_json)

    def _from_json(self, stored: dict[str, Any]) -> Any:
        if stored.keys() == _ARRAY_FIELDS:
            try:
                return np.array(stored["data"], np.dtype(stored["type"])).reshape(stored["shape"])
            except (TypeError, ValueError, OverflowError):
                # A dict of the user's that happens to have these three keys.
                pass
        return stored if self.deser_hook is None else self.deser_hook(stored)


def _as_json(value: Any) -> Any:
    """Return what stands for a value that JSON does not know itself."""
    if isinstance(value, np.ndarray):
        packed_arrays.check_array(value)
        if value.dtype.kind in _JSON_KINDS and (value.dtype.kind != "f" or value.dtype.itemsize <= 8):
            return {"data": value.tolist(), "type": value.dtype.str, "shape": value.shape}
        raise ArgumentTypeError(f"JSON cannot hold arrays of dtype {value.dtype}: use the MessagepackSerializer")
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer) and not isinstance(value, np.timedelta64):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    raise ArgumentTypeError(
        "JSON takes None, bool, int, float, str, lists, tuples and dicts of these, and numpy's arrays and numbers, "
        f"not {type(value).__name__}: {value!r:.80}"
    )


def _msgpack() -> Any:
    return require("msgpack", "MessagePack", "pipeline")


def _new_packer() -> Any:
    return _msgpack().Packer(default=packed_arrays.pack)


def _pack_with(packer: Any, sample: Any) -> bytes:
    try:
        packed: bytes = packer.pack(sample)
    except (ArgumentTypeError, ArgumentValueError):
        raise
    except TypeError as error:
        raise ArgumentTypeError(f"MessagePack cannot hold this: {error}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise ArgumentValueError(f"MessagePack cannot hold this: {error}") from error
    return packed


def _open(fp: str, fs: Any, mode: str, open_kwargs: dict[str, Any]) -> Any:
    opener = fs if fs is not None else require("fsspec", "reading and writing shards", "pipeline")
    # Shards are compressed here; asked to do it, too, fsspec would do it twice.
    return opener.open(fp, mode, **{**open_kwargs, "compression": None})


def _write(records: Iterable[bytes], fp: str, fs: Any, mode: str, open_kwargs: dict[str, Any]) -> None:
    # No GzipFile: it writes gzip's end also after an error, and the half of a shard would look like a whole one.
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    with _open(fp, fs, mode, open_kwargs) as file:
        for record in records:
            file.write(compressor.compress(record))
        file.write(compressor.flush())


def _read(
    read: Callable[[Iterator[bytes]], Iterator[Any]],
    damages: tuple[type[Exception], ...],
    fp: str,
    fs: Any,
    mode: str,
    open_kwargs: dict[str, Any],
) -> Iterator[Any]:
    """Go through the samples that `read` finds; `damages` are the errors by which it says that there are none."""
    count = 0
    signs: tuple[type[Exception], ...] = (*damages, EOFError, zlib.error, RecursionError)
    with _open(fp, fs, mode, open_kwargs) as file:
        samples = read(_decompressed(file))
        while True:
            try:
                sample = next(samples)
            except StopIteration:
                return
            except signs as error:
                raise ShardFormatError(
                    f"shard {fp!r} is damaged, or not of this format: {_reason(error)} (after {count} whole samples). "
                    "Write it again, or delete it"
                ) from error
            count += 1
            yield sample


def _decompressed(file: Any) -> Iterator[bytes]:
    """Go through what a gzip file holds; raises EOFError when it is cut off, zlib.error when it is damaged."""
    decompressor = None
    is_empty = True
    while compressed := file.read(_CHUNK_SIZE):
        is_empty = False
        # A file may be several gzip files in a row.
        while compressed:
            decompressor = decompressor or zlib.decompressobj(_GZIP)
            yield decompressor.decompress(compressed)
            compressed = decompressor.unused_data
            decompressor = None if decompressor.eof else decompressor
    if is_empty:
        raise EOFError("it is empty")
    if decompressor is not None:
        raise EOFError("it ends before the end that gzip puts behind a file")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
