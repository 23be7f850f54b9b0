"""Samples of a streaming server as the beginning of a chain: asked for ahead, and resumed after a lost connection."""

from __future__ import annotations

import copy
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from smartml.errors import (
    ArgumentValueError,
    StateError,
    StreamingConnectionError,
    StreamingError,
    StreamingTimeoutError,
)
from smartml.pipeline import Composable
from smartml.pipeline.explain import Meters, met
from smartml.pipeline.stage import Stage, State, Tally
from smartml.pipeline.steps import check_count
from smartml.streaming.client import ClientOptions, StreamingClient
from smartml.streaming.protocol import Data, ErrorMessage, Heartbeat, Info
from smartml.streaming.samples import Sample

logger = logging.getLogger(__name__)

# Between attempts to connect, or questions that were answered with an error: at first, and at most.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
# Of a server of ours that is faster than its client, so many batches come in one message, up to about so many bytes; or
# more of them, if they are this small together. What a message costs both sides, it costs once.
_MOST_BATCHES, _MOST_BYTES, _SMALL_BYTES = 8, 1 << 22, 1 << 17
# Never more than were used of late in this time.
_MOST_S = 0.1
# So many errors in a row are no passing trouble.
_MOST_ERRORS = 5


@dataclass(frozen=True)
class SetUp:
    """What a trainer knows before it trains: some samples, those kept for validation, and the source of the others."""

    info: Info
    # For statistics, vocabularies and the like, in the order in which they came; validation is a part of them.
    samples: list[Sample]
    validation: list[Sample]
    # A stream from the beginning, without the samples of the validation.
    training: WebSocketSource


class WebSocketSource(Composable):
    """Begin a chain with the samples of a streaming server: smartml's, or any that speaks EIR's protocol.

    Items are `Sample`s. A pass begins with the server's first sample (`from_start`), or where the server goes on for a
    new connection; it ends when the stream does. `prefetch` batches are on their way while one is used. smartml's own
    server, as long as it is the faster side, is asked for several batches in a message: up to 8 of up to about 4 MB, or
    more where they are small, up to 128 KB; and no more than are used in a tenth of a second. When the connection is
    lost, the pass goes on behind the last sample that came, where the server tells positions, as smartml's does; with
    another server, samples may come twice or not at all, which is logged.

    shared: the server hands each sample to one client only, so that ranks and workers that each read this need no other
    split. Raises StreamingConnectionError when no server was there for `reconnect_timeout_s`, StreamingTimeoutError
    when no sample came for `wait_timeout_s`, StreamingError for what the server says is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        batch_size: int = 32,
        prefetch: int = 2,
        from_start: bool = True,
        shared: bool = False,
        options: ClientOptions | None = None,
    ) -> None:
        super().__init__()
        check_count("batch_size", batch_size, least=1)
        check_count("prefetch", prefetch, least=0)
        if not url.startswith(("ws://", "wss://")):
            raise ArgumentValueError(f"a streaming server's address is ws://host:port/path, not {url!r:.80}")
        self.url, self.batch_size, self.batches_ahead = url, batch_size, prefetch
        self.from_start, self.shared = from_start, shared
        self.options = options or ClientOptions()
        self.validation_ids: frozenset[str] = frozenset()
        if shared:
            self.splits = frozenset({"rank", "worker"})

    @property
    def has_own_order(self) -> bool:
        """Where the server shares its samples out, each process has others."""
        return self.shared

    def begin(self, state: State = None, meters: Meters | None = None) -> Stage:
        """Begin to ask, at the first item."""
        self._last = met(Receiving(self, state), self, meters)
        return self._last

    def open(self) -> StreamingClient:
        """Connect, for questions to the server; waits for it as a pass does."""
        client = connected(self.url, self.options, threading.Event(), lambda client: None)
        assert client is not None
        return client

    def info(self) -> Info:
        """Ask the server what the stream is made of."""
        with self.open() as client:
            return client.info()

    def status(self) -> dict[str, Any]:
        """Ask the server how the stream is doing."""
        with self.open() as client:
            return dict(client.status())

    def set_up(self, samples: int, validation: float | int = 0.1, seed: int = 0) -> SetUp:
        """Gather the first samples, choose some of them for validation, and keep the server from sending those again.

        validation: a share of the gathered samples, or their number. Chosen by chance, the same for the same seed and
        samples. Fewer are gathered if the stream ends before.
        """
        check_count("samples", samples, least=1)
        gathered: list[Sample] = []
        with self.open() as client:
            info = client.info()
            # Of an earlier set-up, whose samples would be missing in this one.
            client.set_validation_ids(())
            client.reset()
            while len(gathered) < samples and (batch := client.get_data(min(self.batch_size, samples - len(gathered)))):
                gathered += batch
            client.reset()
            del gathered[samples:]
            chosen = _choose(gathered, validation, seed)
            client.set_validation_ids(chosen)
        training = copy.copy(self)
        training.validation_ids = chosen
        return SetUp(info, gathered, [sample for sample in gathered if sample.sample_id in chosen], training)


def _choose(samples: list[Sample], validation: float | int, seed: int) -> frozenset[str]:
    is_share = isinstance(validation, float)
    if not 0 <= validation <= (1.0 if is_share else len(samples)):
        raise ArgumentValueError(
            f"validation must be a share from 0.0 to 1.0, or a number up to {len(samples)}, as many samples were "
            f"gathered, not {validation!r}"
        )
    names = sorted({sample.sample_id for sample in samples})
    number = round(validation * len(names)) if is_share else int(validation)
    return frozenset(random.Random(seed).sample(names, min(number, len(names))))


def connected(
    url: str, options: ClientOptions, stopped: threading.Event, prepare: Callable[[StreamingClient], object]
) -> StreamingClient | None:
    """Return a connection that is prepared, as soon as the server is there; None once it is stopped."""
    deadline, pause_s = time.monotonic() + options.reconnect_timeout_s, _FIRST_PAUSE_S
    while not stopped.is_set():
        client = None
        try:
            client = StreamingClient(url, options)
            prepare(client)
            return client
        except BaseException as error:
            if client is not None:
                client.close()
            if not isinstance(error, StreamingConnectionError):
                raise
            if time.monotonic() + pause_s >= deadline:
                raise StreamingConnectionError(f"{error} (tried for {options.reconnect_timeout_s:g} s)") from error
            logger.info("%s: trying again", error)
        stopped.wait(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return None


class Receiving(Stage):
    """What a server sends, in one pass."""

    def __init__(self, source: WebSocketSource, state: State) -> None:
        self._source = source
        self._begun_at = state
        # As the server names it, once it has; positions belong to it.
        self._stream: str | None = None
        self._info: Info | None = None
        # Before the batch that came last, until all of it was given; None where the server tells none.
        self._position: int | None = None
        # Counts the samples of that batch that were given, or passed over.
        self._of_batch = Tally()
        # How many were given in all, before that batch.
        self._given_before = 0
        # From the beginning of that batch, to be passed over, as they were given before the state was saved.
        self._skip = 0
        self._is_started = False
        self._stopped = threading.Event()
        self._client: StreamingClient | None = None
        self._load(state)

    def _load(self, state: State) -> None:
        if state is None:
            return
        if not isinstance(state, dict) or state.keys() != {"stream", "position", "of_batch", "given"}:
            raise StateError(f"this is no state of a streaming source: {state!r:.80}")
        self._stream, self._position = state["stream"], state["position"]
        self._given_before = state["given"]
        self._skip = state["given"] if self._position is None else state["of_batch"]

    def open(self) -> Iterator[Sample]:
        """Receive, until the end."""
        self._is_started = True
        source = self._source
        while (client := connected(source.url, source.options, self._stopped, self._place)) is not None:
            self._client = client
            with client:
                try:
                    for data in self._messages(client):
                        yield from self._give(client, data)
                        self._given(data)
                    return
                except StreamingTimeoutError:
                    raise
                except StreamingConnectionError as error:
                    logger.warning("%s: connecting again", error)
                finally:
                    self._client = None

    def _place(self, client: StreamingClient) -> None:
        """Go where the pass stands."""
        source, known = self._source, client.extension
        info, is_first = client.info(), self._info is None
        if self._info not in (None, info):
            raise StreamingError(f"{client.name} tells another info than before: {info}, not {self._info}")
        if source.shared and known is not None and not known.is_shared:
            raise StreamingError(f"{client.name} gives every client all its samples: serve them with shared=True")
        if source.validation_ids:
            client.set_validation_ids(source.validation_ids)
        # Only now, so that what fails before is tried again as the first time.
        if known is not None and known.positions:
            self._place_by_position(client, known.stream, is_first=is_first)
        elif not is_first:
            # A reset would bring all samples again.
            logger.warning("%s tells no positions: samples may come twice, or not at all", client.name)
        elif self._skip or (source.from_start and not source.shared):
            client.reset()
        self._info = info

    def _place_by_position(self, client: StreamingClient, stream: str | None, *, is_first: bool) -> None:
        is_same = self._stream in (None, stream)
        if not is_same and is_first:
            raise StateError(f"{client.name} serves another stream than the one of the state: its positions differ")
        if not is_same:
            logger.warning("%s serves another stream than before: it is read from its beginning", client.name)
            self._position, self._skip = None, 0
        self._stream = stream
        if self._position is not None:
            wanted, self._position = self._position, client.reset(self._position)
            if self._position is not None and self._position > wanted:
                logger.warning(
                    "%s holds no samples before %d: %d are lost", client.name, self._position, self._position - wanted
                )
        elif self._source.from_start or self._skip:
            self._position = client.reset()

    def _messages(self, client: StreamingClient) -> Iterator[Data]:
        """Ask ahead; give what comes."""
        errors, size = 0, self._source.batch_size
        # Numbers of samples, of what was asked for and has not come.
        asked: deque[int] = deque()
        while True:
            while len(asked) <= self._source.batches_ahead:
                client.ask_for_data(size)
                asked.append(size)
            answer = self._next_answer(client)
            wanted = asked.popleft()
            if isinstance(answer, Data):
                began = time.monotonic()
                yield answer
                if answer.is_end:
                    return
                errors, size = 0, self._next_size(client, wanted, answer, time.monotonic() - began)
                continue
            errors += 1
            if errors == _MOST_ERRORS:
                raise StreamingError(f"{client.name} answers getData with an error, again and again: {answer.message}")
            logger.info("%s answers getData with an error: %s", client.name, answer.message)
            self._stopped.wait(min(_FIRST_PAUSE_S * 2 ** (errors - 1), _LONGEST_PAUSE_S))

    def _next_size(self, client: StreamingClient, wanted: int, data: Data, used_s: float) -> int:
        """Tell how many samples to ask for next: twice as many as came, if all that were asked for did."""
        size, came, known = self._source.batch_size, len(data.samples), client.extension
        # Who asks for nothing ahead gets nothing ahead, and what is shared out is not taken from others.
        is_alone = known is not None and not known.is_shared and self._source.batches_ahead > 0
        if not is_alone or came < wanted:
            return size
        sample_bytes = max(data.size / came, 1.0)
        fitting = min(_MOST_BYTES / sample_bytes, max(_SMALL_BYTES / sample_bytes, _MOST_BATCHES * size))
        in_time = came * _MOST_S / max(used_s, 1e-6)
        return size * max(1, int(min(2 * wanted, fitting, in_time) / size))

    def _next_answer(self, client: StreamingClient) -> Data | ErrorMessage:
        options = self._source.options
        began = asked_at = time.monotonic()
        while True:
            left_s = options.heartbeat_s
            if options.wait_timeout_s is not None:
                left_s = min(left_s, began + options.wait_timeout_s - time.monotonic())
            answer = client.receive_data(left_s)
            if answer is not None:
                return answer
            now = time.monotonic()
            if options.wait_timeout_s is not None and now >= began + options.wait_timeout_s:
                raise StreamingTimeoutError(f"{client.name} has sent no sample for {options.wait_timeout_s:g} s")
            client.send(Heartbeat())
            if client.extension is None and now >= asked_at + options.timeout_s:
                # Some servers let a heartbeat stand for data that is not there yet, and wait to be asked again.
                client.ask_for_data(self._source.batch_size)
                asked_at = now

    def _give(self, client: StreamingClient, data: Data) -> Iterator[Sample]:
        """Give the samples of a message, none of them with a line of Python."""
        samples, hidden = client.each(data), self._source.validation_ids
        if hidden:
            # Servers may only confirm that they know these names.
            samples = (sample for sample in samples if sample.sample_id not in hidden)
        self._of_batch = Tally()
        counted = self._of_batch.watch(samples)
        return islice(counted, self._skip, None) if self._skip else counted

    def _given(self, data: Data) -> None:
        """Note that all of a message was given."""
        came = self._of_batch()
        skipped = min(self._skip, came)
        self._skip -= skipped
        self._given_before += came - skipped
        self._of_batch = Tally()
        self._position = data.position

    def state(self) -> State:
        """Tell where the server stood before the batch that came last, and how much of that was given."""
        if not self._is_started:
            return self._begun_at
        came = self._of_batch()
        return {
            "stream": self._stream,
            "position": self._position,
            "of_batch": came,
            "given": self._given_before + came - min(self._skip, came),
        }

    def stop(self) -> None:
        """Wait no longer."""
        self._stopped.set()
        if self._client is not None:
            self._client.close()
