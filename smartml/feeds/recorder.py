"""Follows a running stream, as a feed does, and writes every batch to disk as it arrives."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from smartml import tensors
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FeedTimeoutError,
    MetadataError,
    SampleMismatchError,
    StoreError,
    TensorFormatError,
)
from smartml.extras import require
from smartml.feeds.absence import describe_absence
from smartml.feeds.buffer import Column
from smartml.feeds.discovery import Arrival, places_of
from smartml.feeds.progress import Progress, Report
from smartml.feeds.recording import LONGEST_NAME, Header, Origin
from smartml.feeds.recording_writer import NewBatch, RecordingWriter, make_folder
from smartml.feeds.schemes import DataInfo, KeyScheme, choose_producers
from smartml.feeds.supply import make_discovery
from smartml.feeds.transfer import check_fit, read_columns
from smartml.feeds.waiting import LONGEST_POLL_S, SHORTEST_POLL_S
from smartml.store import Client, Database
from smartml.store.dataset_commands import fetch_datasets
from smartml.store.keys import METADATA_SUFFIX, DatasetKeys

logger = logging.getLogger(__name__)

# Batches that wait already are written together until they are so many, or so large.
_BATCHES_AT_ONCE = 64
_BYTES_AT_ONCE = 1 << 23


def record(
    client: Client,
    path: str | Path,
    scheme: KeyScheme | DataInfo | str,
    *,
    producers: Sequence[str] = (),
    until_idle_s: float | None = None,
    limit: int | None = None,
    stop: Callable[[], bool] | None = None,
    report: Report | None = None,
) -> Progress:
    """Write the batches of a stream to the folder `path`, those that are there and those to come, each once.

    `scheme` says what to look for, as for a `DataDownloader`: prefixes, or a list (its name alone, when producers
    publish the rest). Producers are those named, else those of `SSKEYIN`. Ends when nothing new has come for
    `until_idle_s` seconds, after `limit` batches, or, between two batches, once `stop()` is true; returns what it
    wrote. `report` is called for every batch. A few batches at a time are in memory, one if it is large. A batch that
    does not fit the first one is left out, with a warning in the log. Trainers with `delete_after` do not wait for a
    recorder: what they delete before it has looked is not recorded.

    Raises RecordingError when the folder is not empty or cannot be written to, FeedTimeoutError when nothing at all
    came in `until_idle_s`, MissingDependencyError without Zarr, StoreConnectionError when the database went away;
    whatever ends it, what was recorded until then can be replayed.
    """
    limits = _Limits(until_idle_s, limit, stop)
    if not isinstance(scheme, KeyScheme | DataInfo | str):
        raise ArgumentTypeError(f"a KeyScheme, a DataInfo or the name of a list is needed, not {scheme!r:.80}")
    names = tuple(producers) or choose_producers(client.sources, None)
    # Before anything is waited for.
    require("zarr", "recording a stream", "recording")
    with _folder(Path(path)):
        if isinstance(scheme, str):
            # Who knows only its name asks the producers for the rest.
            info = DataInfo(scheme)
            if not _await_info(client.database, info, names, limits):
                return Progress()
            scheme = info
        return _Recorder(client.database, Path(path), Header(scheme, names), limits, report).run()


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make the folder, and remove it again when nothing came to be in it."""
    was_there = path.exists()
    make_folder(path)
    try:
        yield
    finally:
        if not was_there:
            with contextlib.suppress(OSError):
                path.rmdir()


class _Limits:
    """When a recording ends, and how long to wait until it is looked again."""

    def __init__(self, until_idle_s: float | None, batches: int | None, stop: Callable[[], bool] | None) -> None:
        if until_idle_s is not None and not until_idle_s > 0:
            raise ArgumentValueError(f"until_idle_s must be a number of seconds above 0, not {until_idle_s!r}")
        if batches is not None and (not isinstance(batches, int) or batches < 1):
            raise ArgumentValueError(f"limit must be a positive number of batches or None, not {batches!r}")
        self.until_idle_s, self._batches, self._stop = until_idle_s, batches, stop
        self.note_news()

    def note_news(self) -> None:
        self._last_news, self._pause_s = time.monotonic(), SHORTEST_POLL_S

    def is_reached(self, batches: int) -> bool:
        return self.is_stopped() or batches == self._batches

    def is_stopped(self) -> bool:
        return self._stop is not None and self._stop()

    def wait(self) -> bool:
        """Wait a little; tell whether there is time left for anything to come."""
        left_s = float("inf")
        if self.until_idle_s is not None:
            left_s = self._last_news + self.until_idle_s - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(self._pause_s, left_s))
        self._pause_s = min(1.5 * self._pause_s, LONGEST_POLL_S)
        return True


def _await_info(database: Database, info: DataInfo, producers: Sequence[str], limits: _Limits) -> bool:
    """Take over what a producer publishes of a list; tell whether that came before the recording was stopped."""
    keys = [info.key(producer) for producer in producers]
    datasets = [DatasetKeys(key[: -len(METADATA_SUFFIX)]) for key in keys]
    while not limits.is_stopped():
        for dataset in filter(None, fetch_datasets(database, datasets)):
            info.take_over(dataset)
            limits.note_news()
            return True
        if not limits.wait():
            raise FeedTimeoutError(
                f"nobody published what the list {info.list_name!r} holds within {limits.until_idle_s:g} s: name its "
                f"samples and targets, or check the names. {describe_absence(database, keys, producers)}"
            )
    return False


class _Recorder:
    """One recording on its way from the database to disk."""

    def __init__(self, database: Database, path: Path, header: Header, limits: _Limits, report: Report | None) -> None:
        self._database, self._path, self._header, self._limits, self._report = database, path, header, limits, report
        self._progress = Progress()
        self._discovery = make_discovery(database, header.scheme, header.producers)
        self._columns: list[Column] | None = None
        self._writer: RecordingWriter | None = None
        # Found and fetched, but not written yet.
        self._waiting: list[tuple[Arrival, NewBatch]] = []
        # When the first batch was found.
        self._began: float | None = None
        # Why nothing that is there can be recorded; each reason is told once.
        self._reason = ""

    def run(self) -> Progress:
        try:
            while not self._limits.is_reached(self._progress.batches):
                if self._take_all(self._discovery.arrivals(self._discovery.find()), time.monotonic()):
                    self._limits.note_news()
                elif not self._limits.wait():
                    if self._began is None:
                        raise self._silence()
                    break
        except StoreError:
            self._write()
            logger.warning("the recording %s ends with %s", self._path, self._progress)
            raise
        finally:
            if self._writer is not None:
                self._writer.close()
        return self._progress

    def _silence(self) -> FeedTimeoutError:
        looked_for = describe_absence(self._database, self._discovery.describe_next(), self._header.producers)
        reason = f"{self._reason}. " if self._reason else ""
        return FeedTimeoutError(f"no sample came within {self._limits.until_idle_s:g} s. {reason}{looked_for}")

    def _take_all(self, arrivals: Sequence[Arrival], found: float) -> int:
        """Record what was found at one moment; return how many of it were dealt with."""
        # No entry that comes again is of use here.
        self._discovery.take_repeated()
        if not arrivals or not self._knows_columns(arrivals):
            return 0
        dealt_with = 0
        # Lines in which one has disappeared: those behind it have to wait.
        stopped: set[int | None] = set()
        for arrival in arrivals:
            if self._limits.is_reached(self._progress.batches + len(self._waiting)):
                break
            if arrival.line is None or arrival.line not in stopped:
                is_settled = self._take(arrival, found)
                dealt_with += is_settled
                if not is_settled:
                    stopped.add(arrival.line)
        self._write()
        return dealt_with

    def _knows_columns(self, arrivals: Sequence[Arrival]) -> bool:
        if self._columns is None:
            try:
                self._columns = read_columns(self._database, arrivals)
            except (TensorFormatError, SampleMismatchError, MetadataError) as error:
                if str(error) != self._reason:
                    logger.warning("nothing of what is there can be recorded: %s", error)
                self._reason = str(error)
        return self._columns is not None

    def _take(self, arrival: Arrival, found: float) -> bool:
        """Record one batch, or leave it out; tell whether it was still there."""
        try:
            arrays = self._fetch(arrival)
            origin = self._origin(arrival)
        except (TensorFormatError, SampleMismatchError, MetadataError) as error:
            self._discovery.confirm(places_of([arrival]))
            self._progress = replace(self._progress, left_out=self._progress.left_out + 1)
            logger.warning("left out of the recording: %s", error)
            return True
        if arrays is None:
            return False
        if self._began is None:
            self._began = found
        self._waiting.append((arrival, NewBatch(tuple(arrays), found - self._began, origin)))
        is_enough = sum(batch.nbytes for _, batch in self._waiting) >= _BYTES_AT_ONCE
        if is_enough or len(self._waiting) == _BATCHES_AT_ONCE:
            self._write()
        return True

    def _fetch(self, arrival: Arrival) -> list[NDArray[Any]] | None:
        """Fetch the tensors of a batch; None when it is gone again. Raises what `record` leaves out."""
        if arrival.problem is not None:
            raise arrival.problem
        values = self._database.fetch(arrival.keys)
        arrays = [
            tensors.decode(value, key) for key, value in zip(arrival.keys, values, strict=True) if value is not None
        ]
        if len(arrays) < len(values):
            return None
        assert self._columns is not None
        check_fit(arrival, [tensors.describe(array) for array in arrays], self._columns)
        return arrays

    def _origin(self, arrival: Arrival) -> Origin:
        source, iteration = arrival.place
        scheme = self._header.scheme
        if isinstance(scheme, KeyScheme):
            # As the discovery numbers its sources.
            producer, rank = divmod(source, scheme.ranks or 1)
            return Origin(producer, None if scheme.ranks is None else rank, iteration)
        name = arrival.keys[0].removesuffix(f".{scheme.sample_name}".encode())
        if len(name) > LONGEST_NAME:
            raise SampleMismatchError(
                f"the name of dataset {name.decode(errors='replace')!r} is too long: at most "
                f"{LONGEST_NAME} bytes can be recorded"
            )
        return Origin(source, None, iteration, name)

    def _write(self) -> None:
        """Write what waits, and only then note it as dealt with."""
        if not self._waiting:
            return
        arrivals, batches = zip(*self._waiting, strict=True)
        self._waiting = []
        if self._writer is None:
            assert self._columns is not None
            self._writer = RecordingWriter(self._path, self._header, self._columns, batches[0].num_samples)
        self._writer.append(batches)
        self._discovery.confirm(places_of(arrivals))
        for batch in batches:
            self._progress = self._progress.with_batch(batch.arrays)
            if self._report is not None:
                self._report(self._progress)
