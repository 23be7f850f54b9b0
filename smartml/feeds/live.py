"""Samples as they arrive: each once, straight from the database into a stream of the pipeline."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from smartml import tensors
from smartml.errors import FeedTimeoutError, SampleMismatchError, StateError
from smartml.feeds.absence import describe_absence
from smartml.feeds.discovery import Arrival, Discovery
from smartml.feeds.intervals import NOTHING, Intervals
from smartml.feeds.presence import have_producers_ended, note_consumer
from smartml.feeds.schemes import DataInfo, KeyOrder, KeyScheme, choose_producers, download_info, read_scheme
from smartml.feeds.sources import list_sources
from smartml.feeds.stream import Until, checked_until, rows_of
from smartml.feeds.supply import list_keys, make_discovery
from smartml.feeds.waiting import LONGEST_POLL_S, SHORTEST_POLL_S, checked_timeout
from smartml.pipeline import Composable
from smartml.pipeline.explain import Meters, met
from smartml.pipeline.stage import Stage, State
from smartml.store import Client, Database

# So much is read at once where batches are waiting: many small ones make a round trip worth while.
_READ_AHEAD_BYTES = 1 << 20
_MOST_AT_ONCE = 64


class RedisSource(Composable):
    """Begin a chain with the samples that producers put into the database, each once, as they arrive.

    What to look for is named as for a `DataDownloader`, by list or by key. Items are samples, `x`, `(x, x)` or
    `(x, y)` as a feed would serve them but with targets as they were put; or (`batches`) what was put at once, stacked
    along axis 0. Nothing is kept: memory does not grow with the stream.

    A pass goes on for ever, or with `until="producers_done"` until all producers have ended and everything was given.
    FeedTimeoutError when nothing new came for `wait_timeout_s` seconds (None: wait for ever). A state says what was
    given; a pass that goes on from it raises StateError if the batch that was given in part is gone. A batch that does
    not fit ends the pass with TensorFormatError, MetadataError or SampleMismatchError; the next one passes it over.

    Each process sees an order of its own, which is why it cannot be split between ranks or workers: feeds can.
    """

    def __init__(
        self,
        data_info_or_list_name: DataInfo | str | None = None,
        *,
        batches: bool = False,
        until: Until | None = None,
        wait_timeout_s: float | None = 600.0,
        cluster: bool | None = None,
        address: str | None = None,
        sample_prefix: str | None = None,
        target_prefix: str | None = None,
        uploader_ranks: int | None = None,
        key_order: KeyOrder = "rank_iteration",
        producer_prefixes: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.scheme = read_scheme(data_info_or_list_name, sample_prefix, target_prefix, uploader_ranks, key_order)
        # A list that is only named tells the rest itself.
        self.is_published = isinstance(data_info_or_list_name, str)
        self.batches, self.until = batches, checked_until(until)
        self.wait_timeout_s = checked_timeout("wait_timeout_s", wait_timeout_s)
        self._database = (cluster, address)
        self._producer_prefixes = producer_prefixes

    @property
    def has_own_order(self) -> bool:
        """Always: what arrives first depends on when one looks."""
        return True

    def connect(self) -> tuple[Client, tuple[str, ...]]:
        """Return a client for one pass, and the producers to follow."""
        client = Client(*self._database)
        return client, choose_producers(client.sources, self._producer_prefixes)

    def begin(self, state: State = None, meters: Meters | None = None) -> Stage:
        """Begin to look, at the first item."""
        self._last = met(Arriving(self, state), self, meters)
        return self._last


class Arriving(Stage):
    """What arrives, in one pass."""

    def __init__(self, source: RedisSource, state: State) -> None:
        self._source = source
        self._begun_at = state
        # Per source of the discovery: the positions that were given; None before the first look.
        self._given: list[Intervals] | None = None
        # The batch that was given in part: source, position and number of samples.
        self._inside: list[int] | None = None
        # Whether samples are their own targets.
        self._is_doubled = False
        self._stopped = threading.Event()

    def open(self) -> Iterator[Any]:
        """Look for what is new, until the end."""
        client, producers = self._source.connect()
        with client:
            scheme = self._source.scheme
            note_consumer(client.database)
            yield from self._follow(client, scheme, producers)

    def _follow(self, client: Client, scheme: KeyScheme | DataInfo, producers: Sequence[str]) -> Iterator[Any]:
        database, wait = client.database, _Wait(self._source.wait_timeout_s, self._stopped)
        if isinstance(scheme, DataInfo) and self._source.is_published:
            # Not that of the source, which is a description.
            scheme = DataInfo(scheme.list_name)
            keys = [scheme.key(producer) for producer in producers]
            while not download_info(scheme, client, producers):
                if not wait.pause(lambda: describe_absence(database, keys, producers)):
                    return
        self._is_doubled = _is_doubled(scheme)
        discovery = make_discovery(database, scheme, producers)
        yield from self._resume(database, discovery, len(list_sources(scheme, producers)))
        while True:
            # Asked before the look, so that nothing comes between the two.
            have_ended = self._source.until is not None and have_producers_ended(
                database, producers, list_keys(scheme, producers)
            )
            found = discovery.arrivals(discovery.find())
            is_new = False
            for arrival, arrays in _read(database, found):
                is_new = True
                wait.begin()
                discovery.confirm(np.array([arrival.place]))
                yield from self._give(arrival, arrays, 0)
                # What downstream did meanwhile was no waiting.
                wait.begin()
            if is_new:
                continue
            if have_ended:
                return
            if not wait.pause(lambda: describe_absence(database, discovery.describe_next(), producers)):
                return

    def _resume(self, database: Database, discovery: Discovery, sources: int) -> Iterator[Any]:
        """Go on where the pass of the state was; give the rest of a batch first."""
        if self._begun_at is None:
            self._given = [NOTHING] * sources
            return
        self._given = [Intervals.joined(parts) for parts in self._begun_at["given"]]
        if len(self._given) != sources:
            raise StateError(
                f"the state is one of {len(self._given)} producers and ranks, and here are {sources}: follow the same"
            )
        discovery.resume(self._given)
        if self._begun_at["inside"] is None:
            return
        source, position, given = self._inside = self._begun_at["inside"]
        try:
            read = list(_read(database, discovery.arrivals(np.array([[source, position]]))))
        except IndexError:
            # The list itself is shorter.
            read = []
        if not read:
            raise StateError(f"batch {position} of producer {source}, which was given in part, is no longer there")
        discovery.confirm(np.array([[source, position]]))
        yield from self._give(*read[0], given)

    def _give(self, arrival: Arrival, arrays: list[Any] | Exception, start: int) -> Iterator[Any]:
        if isinstance(arrays, Exception):
            self._note_given(arrival)
            raise arrays
        batch = self._named(arrays)
        if self._source.batches:
            self._note_given(arrival)
            yield batch
            return
        count = len(arrays[0])
        for number, sample in enumerate(itertools.islice(rows_of(batch), start, None), start + 1):
            if number < count:
                self._inside = [*arrival.place, number]
            else:
                self._note_given(arrival)
            yield sample
        if not count:
            self._note_given(arrival)

    def _named(self, arrays: list[Any]) -> Any:
        if len(arrays) == 1:
            return (arrays[0], arrays[0]) if self._is_doubled else arrays[0]
        return tuple(arrays)

    def _note_given(self, arrival: Arrival) -> None:
        assert self._given is not None
        source, position = arrival.place
        self._given[source] |= Intervals(((position, position + 1),))
        self._inside = None

    def state(self) -> State:
        """Tell which batches were given, and how much of the last one."""
        if self._given is None:
            return self._begun_at
        given = [[list(part) for part in intervals.parts] for intervals in self._given]
        return {"given": given, "inside": None if self._inside is None else list(self._inside)}

    def stop(self) -> None:
        """Wait no longer."""
        self._stopped.set()


def _is_doubled(scheme: KeyScheme | DataInfo) -> bool:
    """Tell whether samples are their own targets."""
    if isinstance(scheme, KeyScheme):
        return scheme.sample_prefix == scheme.target_prefix
    return scheme.sample_name == scheme.target_name


class _Wait:
    """Waiting for something new: in growing pauses, and not for ever."""

    def __init__(self, timeout_s: float | None, stopped: threading.Event) -> None:
        self._timeout_s, self._stopped = timeout_s, stopped
        self.begin()

    def begin(self) -> None:
        """Count from now."""
        self._since, self._pause_s = time.monotonic(), SHORTEST_POLL_S

    def pause(self, describe: Any) -> bool:
        """Pause; tell whether to look again. Raises FeedTimeoutError, with a description, when time is up."""
        waited_s = time.monotonic() - self._since
        if self._timeout_s is not None and waited_s >= self._timeout_s:
            raise FeedTimeoutError(f"nothing new came within {self._timeout_s:g} s. {describe()}")
        left_s = self._pause_s if self._timeout_s is None else self._timeout_s - waited_s
        is_stopped = self._stopped.wait(min(self._pause_s, left_s))
        self._pause_s = min(1.5 * self._pause_s, LONGEST_POLL_S)
        return not is_stopped


def _read(database: Database, arrivals: Sequence[Arrival]) -> Iterator[tuple[Arrival, list[Any] | Exception]]:
    """Read the arrays of arrivals, or what is wrong with them; those that are gone are left out."""
    stopped: set[int | None] = set()
    at_once, first = 1, 0
    while first < len(arrivals):
        some = arrivals[first : first + at_once]
        first += at_once
        values = iter(database.fetch([key for arrival in some for key in arrival.keys if arrival.problem is None]))
        largest = 1
        for arrival in some:
            if arrival.problem is not None:
                yield arrival, arrival.problem
                continue
            own = [next(values) for _ in arrival.keys]
            if arrival.line is not None and arrival.line in stopped:
                continue
            there = [value for value in own if value is not None]
            if len(there) < len(own):
                # Those behind it in its line have to wait for it.
                stopped.add(arrival.line)
                continue
            largest = max(largest, sum(map(len, there)))
            yield arrival, _decoded(arrival, there)
        at_once = max(1, min(_MOST_AT_ONCE, _READ_AHEAD_BYTES // largest))


def _decoded(arrival: Arrival, values: Sequence[Any]) -> list[Any] | Exception:
    names = [key.decode(errors="replace") for key in arrival.keys]
    try:
        arrays = [tensors.decode(value, key) for value, key in zip(values, arrival.keys, strict=True)]
    except ValueError as error:
        return error
    rows = [len(array) if array.ndim else None for array in arrays]
    if None in rows or len(set(rows)) > 1:
        return SampleMismatchError(
            f"a batch has samples along axis 0, as many in each tensor: {' and '.join(map(repr, names))} are of shapes "
            f"{' and '.join(str(array.shape) for array in arrays)}"
        )
    return arrays
