"""Puts a recording back into a database, as the producers did, at the recorded times or at other speeds."""

import contextlib
import itertools
import logging
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import ArgumentValueError, RecordingError, StoreConnectionError
from smartml.feeds.presence import note_uploader
from smartml.feeds.progress import Progress, Report
from smartml.feeds.recording import Origin, RecordedBatch, Recording
from smartml.feeds.schemes import DataInfo, KeyScheme
from smartml.store import Client, Database, Dataset
from smartml.store.fullness import put_when_there_is_room
from smartml.store.keys import COMPLETE_FIELD, METADATA_SUFFIX, DatasetKeys

logger = logging.getLogger(__name__)

AS_FAST_AS_POSSIBLE = math.inf
# Keys that are looked up at once before the first is put.
_KEYS_AT_ONCE = 4096
# In between it is asked whether to stop.
_LONGEST_SLEEP_S = 0.05


def read_speed(text: str) -> float:
    """Return the speed that a text names: a number above 0, or "max"; raises ArgumentValueError."""
    try:
        return checked_speed(AS_FAST_AS_POSSIBLE if text == "max" else float(text))
    except ValueError:
        raise ArgumentValueError(f'speed must be a number above 0, or "max", not {text!r}') from None


def checked_speed(speed: float) -> float:
    """Return a speed above 0 (1: as recorded; infinity: as fast as possible), or raise ArgumentValueError."""
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not speed > 0:
        raise ArgumentValueError(f"speed must be a number above 0 (infinity: as fast as possible), not {speed!r}")
    return speed


def schedule(seconds: Sequence[float], speed: float = 1.0, loops: int = 1) -> Iterator[float]:
    """Compute when each batch is due, in seconds after the begin of a replay, from when it was recorded.

    A further loop begins after the last batch by as much as batches lie apart on average.
    """
    length = seconds[-1] * len(seconds) / (len(seconds) - 1) if len(seconds) > 1 else 0.0
    for loop in range(loops):
        yield from ((loop * length + second) / speed for second in seconds)


def replay(
    client: Client,
    path: str | Path,
    *,
    speed: float = 1.0,
    loops: int = 1,
    entity: str | None = None,
    stop: Callable[[], bool] | None = None,
    report: Report | None = None,
) -> Progress:
    """Put the batches of a recording into a database, in the recorded order, at the recorded times divided by `speed`.

    Keys, producers, ranks and the names of list and datasets are the recorded ones; `entity` takes the place of the one
    producer. Iterations count from 0 without gaps, as feeds need them: where the recording has a gap, they differ.
    Every one of the `loops` puts batches of its own: iterations go on, datasets get other names. With a speed of
    infinity, all is put as fast as possible. Ends early, between two batches, once `stop()` is true. `report` is called
    after every batch; returns what was put.

    Raises RecordingError when the folder holds no recording, an empty or a damaged one, or when its batches are in the
    database already; StoreConnectionError when the database went away, StoreFullError when it is full.
    """
    checked_speed(speed)
    if isinstance(loops, bool) or not isinstance(loops, int) or loops < 1:
        raise ArgumentValueError(f"loops must be a positive number, not {loops!r}")
    recording = Recording(path)
    if not recording.batches:
        raise RecordingError(f"the recording {path} holds no batch")
    stage = _stage(recording, _rename(recording.header.producers, entity), entity is not None)
    _check_vacant(client.database, stage, recording.batches)
    stage.prepare(client.database)
    with _at_work(client.database, stage.list_keys):
        return _play(client.database, recording, stage, (speed, loops), stop or (lambda: False), report)


@contextlib.contextmanager
def _at_work(database: Database, list_keys: Sequence[bytes]) -> Iterator[None]:
    """Let feeds of lists know that more is to come, and when it has ended."""
    token = uuid.uuid4().hex
    for key in list_keys:
        note_uploader(database, key, token, is_open=True)
    yield
    for key in list_keys:
        note_uploader(database, key, token, is_open=False)


def _play(
    database: Database,
    recording: Recording,
    stage: "_Stage",
    tempo: tuple[float, int],
    stop: Callable[[], bool],
    report: Report | None,
) -> Progress:
    speed, loops = tempo
    progress, began = Progress(), time.monotonic()
    due = schedule([batch.seconds for batch in recording.batches], speed, loops)
    for loop in range(loops):
        for batch in recording.batches:
            # Read first, so that it is put in time.
            arrays = recording.read(batch)
            if not _wait(began + next(due), stop):
                return progress
            stage.put(database, batch.origin, loop, arrays)
            progress = progress.with_batch(arrays)
            if report is not None:
                report(progress)
    return progress


def _wait(due: float, stop: Callable[[], bool]) -> bool:
    """Wait for a moment of the monotonic clock; tell whether it came before the replay was stopped."""
    while not stop():
        left_s = due - time.monotonic()
        if left_s <= 0:
            return True
        time.sleep(min(left_s, _LONGEST_SLEEP_S))
    return False


def _rename(producers: Sequence[str], entity: str | None) -> Sequence[str]:
    if entity is None:
        return producers
    if not entity:
        raise ArgumentValueError("the entity to put under must not be empty")
    if len(producers) > 1:
        raise RecordingError(
            f"{len(producers)} producers were recorded ({', '.join(producers)}): under one name, {entity!r}, they "
            "would overwrite each other; replay them under their own"
        )
    return [entity]


class _Stage(Protocol):
    """Knows under which names a batch is put, and how."""

    # The lists that are appended to.
    list_keys: Sequence[bytes]

    def prepare(self, database: Database) -> None:
        """Put what comes before the batches."""

    def keys(self, batches: Sequence[RecordedBatch]) -> Iterator[bytes]:
        """Go through one key of each batch, as the first loop puts them."""

    def put(self, database: Database, origin: Origin, loop: int, arrays: Sequence[NDArray[Any]]) -> None:
        """Put a batch."""


def _stage(recording: Recording, producers: Sequence[str], is_renamed: bool) -> _Stage:
    scheme = recording.header.scheme
    if isinstance(scheme, KeyScheme):
        stage = _KeyStage(scheme, producers)
        stage.warn_of_gaps(recording.batches)
        return stage
    return _ListStage(scheme, producers, is_renamed)


def _check_vacant(database: Database, stage: _Stage, batches: Sequence[RecordedBatch]) -> None:
    remaining = stage.keys(batches)
    while keys := list(itertools.islice(remaining, _KEYS_AT_ONCE)):
        for key, is_there in zip(keys, database.exist(keys), strict=True):
            if is_there:
                raise RecordingError(
                    f"{key.decode(errors='replace')!r} is at {database.address} already, and a replay overwrites "
                    "nothing: use a fresh database, or put the recording under another entity"
                )


class _KeyStage:
    def __init__(self, scheme: KeyScheme, producers: Sequence[str]) -> None:
        self._scheme, self._producers = scheme, producers
        self.list_keys: Sequence[bytes] = ()
        self._prefixes = list(dict.fromkeys(filter(None, (scheme.sample_prefix, scheme.target_prefix))))
        # Per producer and rank: the next iteration.
        self._next: Counter[tuple[int, int | None]] = Counter()

    def warn_of_gaps(self, batches: Sequence[RecordedBatch]) -> None:
        """Tell whether iterations will differ from the recorded ones."""
        seen: Counter[tuple[int, int | None]] = Counter()
        for origin in (batch.origin for batch in batches):
            source = (origin.producer, origin.rank)
            if origin.iteration != seen[source]:
                logger.warning(
                    "iterations are counted anew: %r comes as number %d",
                    self._key(origin, self._prefixes[0], origin.iteration).decode(),
                    seen[source],
                )
                return
            seen[source] += 1

    def _key(self, origin: Origin, prefix: str, iteration: int) -> bytes:
        return self._scheme.key(self._producers[origin.producer], prefix, origin.rank, iteration)

    def prepare(self, database: Database) -> None:
        pass

    def keys(self, batches: Sequence[RecordedBatch]) -> Iterator[bytes]:
        seen: Counter[tuple[int, int | None]] = Counter()
        for origin in (batch.origin for batch in batches):
            source = (origin.producer, origin.rank)
            yield self._key(origin, self._prefixes[0], seen[source])
            seen[source] += 1

    def put(self, database: Database, origin: Origin, loop: int, arrays: Sequence[NDArray[Any]]) -> None:
        source = (origin.producer, origin.rank)
        keys = [self._key(origin, prefix, self._next[source]) for prefix in self._prefixes]
        values = dict(zip(keys, map(tensors.encode, arrays), strict=True))
        put_when_there_is_room(database, lambda: database.set_values(values))
        self._next[source] += 1


class _ListStage:
    def __init__(self, info: DataInfo, producers: Sequence[str], is_renamed: bool) -> None:
        self._info, self._producers, self._is_renamed = info, producers, is_renamed
        self.list_keys: Sequence[bytes] = [info.list_key(producer) for producer in producers]
        self._tensor_names = list(dict.fromkeys(filter(None, (info.sample_name, info.target_name))))

    def prepare(self, database: Database) -> None:
        """Publish what the list holds, for feeds that know only its name, where nobody has."""
        for key in map(self._info.key, self._producers):
            if not database.exist([key])[0]:
                _put_dataset(database, DatasetKeys(key.removesuffix(METADATA_SUFFIX)), self._info.to_dataset())

    def keys(self, batches: Sequence[RecordedBatch]) -> Iterator[bytes]:
        for batch in batches:
            yield self._dataset_keys(batch.origin, 0).metadata

    def _dataset_keys(self, origin: Origin, loop: int) -> DatasetKeys:
        entry = origin.name
        if self._is_renamed:
            entry = f"{self._producers[origin.producer]}.".encode() + entry[entry.find(b"{") :]
        # Feeds count an entry once, however often it comes.
        return DatasetKeys(entry[:-1] + b"_loop%d}" % loop if loop else entry)

    def put(self, database: Database, origin: Origin, loop: int, arrays: Sequence[NDArray[Any]]) -> None:
        keys = self._dataset_keys(origin, loop)
        dataset = Dataset(keys.name)
        for name, array in zip(self._tensor_names, arrays, strict=True):
            dataset.add_tensor(name, array, copy=False)
        _put_dataset(database, keys, dataset)
        producer = self._producers[origin.producer]
        list_key = f"{producer}.{self._info.list_name}" if producer else self._info.list_name
        _append(database, list_key.encode(), keys.entry)


def _put_dataset(database: Database, keys: DatasetKeys, dataset: Dataset) -> None:
    fields = [item for field in dataset.encoded_fields().items() for item in field]
    values = {keys.tensor(name): tensors.encode(dataset.get_tensor(name)) for name in dataset.get_tensor_names()}
    commands = [
        *((b"SET", key, value) for key, value in values.items()),
        (b"HSET", keys.metadata, *fields, COMPLETE_FIELD, b"1"),
    ]
    put_when_there_is_room(database, lambda: database.transaction(keys.metadata, *commands))


def _append(database: Database, list_key: bytes, entry: bytes) -> None:
    def push() -> None:
        database.command_once(list_key, b"RPUSH", list_key, entry)

    try:
        put_when_there_is_room(database, push)
    except StoreConnectionError:
        # Whether the entry arrived is unknown; a second one is harmless, since feeds count a dataset once.
        put_when_there_is_room(database, push)
