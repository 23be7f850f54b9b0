"""The thread of a logger: it takes what is pending, and sends it until the server says that it is kept."""

import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator

from smartml.errors import RecordsAccessError, RecordsConnectionError, RecordsNotFoundError, SmartMLError
from smartml.monitor import columns
from smartml.monitor.access import Access
from smartml.monitor.client import TIMEOUT_S, RecordClient
from smartml.monitor.pending import Entry, Pending, Points, points_of
from smartml.monitor.records_pb2 import Block, WriteRequest

logger = logging.getLogger(__name__)

# A request is sent when it has come to so many bytes; a block of it has no more points than this.
_REQUEST_BYTES = 1 << 20
_BLOCK_POINTS = 1 << 16
# Waited after the first failure, and at most, where each wait is twice the one before.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
# How often a request is tried again that the server answers with an error of its own.
_MOST_FAILURES = 5
# Waited at most when the program ends.
_LAST_WAIT_S = 0.2


class Sender:
    """Sends what a queue holds, every so many seconds or when it is asked to, in a thread that lives as the process.

    Whatever fails here is counted, told once by logging and tried again: the program that logs never hears of it.
    """

    def __init__(
        self,
        address: str,
        access: Access | None,
        scope: str,
        delete_existing: bool,
        flush_every_s: float,
        pending: Pending,
    ) -> None:
        self._client = RecordClient(address, access)
        self._scope = scope
        self._delete_existing = delete_existing
        self._flush_every_s = flush_every_s
        self._pending = pending
        self._session = uuid.uuid4().hex
        self._sequence = 0
        self._has_begun = False
        # JSON texts, still to be sent.
        self._configs: list[str] = []
        # Counts the flushes that were asked for, and those that are done.
        self._asked, self._done = 0, 0
        self._has_ended = False
        self._state = threading.Condition()
        # From now on nothing is tried again after this time.
        self._deadline: float | None = None
        self._is_failing = False
        # Reasons that were told of.
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._run, name=f"smartml-logger-{scope}", daemon=True)
        self._thread.start()

    def add_config(self, config: str) -> None:
        """Send a config with the next flush, which begins now."""
        with self._state:
            self._configs.append(config)
        self.ask()

    def ask(self) -> int:
        """Begin to send now; return what to `wait` for."""
        with self._state:
            self._asked += 1
            asked = self._asked
        self._pending.is_urgent.set()
        return asked

    def wait(self, asked: int, timeout_s: float | None) -> bool:
        """Return True when all that was pending when it was asked for is kept, or can never be."""
        with self._state:
            self._state.wait_for(lambda: self._done >= asked or self._has_ended, timeout_s)
            return self._done >= asked

    def end(self, timeout_s: float) -> int:
        """Send what is pending, for so many seconds at most, and end; return how many points are left behind."""
        dropped = self._pending.counts.dropped
        with self._state:
            self._deadline = time.monotonic() + timeout_s
        self._pending.open(False)
        self._pending.is_urgent.set()
        self._thread.join(timeout_s + 1.0)
        # What it may still wait for ends with the connection.
        self._client.close()
        self._thread.join(1.0)
        self._discard()
        return self._pending.counts.dropped - dropped

    def _discard(self) -> None:
        while entries := self._pending.drain():
            self._pending.counts.dropped += sum(map(len, entries))
            self._pending.release(sum(entry.bytes for entry in entries))

    # --- In the thread ---

    def _run(self) -> None:
        try:
            self._send_until_the_end()
        finally:
            with self._state:
                self._has_ended = True
                self._state.notify_all()

    def _send_until_the_end(self) -> None:
        while True:
            # First: what is asked for from now on is seen in the next round at the latest.
            self._pending.is_urgent.clear()
            is_last = self._deadline is not None
            with self._state:
                asked = self._asked
            if not self._send_all():
                return
            with self._state:
                self._done = asked
                self._state.notify_all()
            if is_last:
                return
            self._pending.is_urgent.wait(self._flush_every_s)

    def _send_all(self) -> bool:
        """Send what is pending; return False when there is no time left to try it again."""
        if not self._has_begun and not self._repeat(self._begin):
            return False
        with self._state:
            configs, self._configs = self._configs, []
        if configs and not self._deliver(WriteRequest(configs=configs)):
            return False
        while entries := self._pending.drain():
            left, size = sum(map(len, entries)), sum(entry.bytes for entry in entries)
            try:
                for request, points in self._requests(entries):
                    if not self._deliver(request):
                        self._pending.counts.dropped += left
                        return False
                    left -= points
            finally:
                self._pending.release(size)
        return True

    def _requests(self, entries: list[Entry]) -> Iterator[tuple[WriteRequest, int]]:
        """Yield requests of a bounded size, and how many points each has."""
        by_name: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_name[entry.name].append(entry)
        request, points, size = WriteRequest(), 0, 0
        for name, same in by_name.items():
            for block in self._blocks(name, same):
                request.blocks.append(block)
                points += block.points
                size += len(block.data)
                if size > _REQUEST_BYTES:
                    yield request, points
                    request, points, size = WriteRequest(), 0, 0
        if request.blocks:
            yield request, points

    def _blocks(self, name: str, entries: list[Entry]) -> Iterator[Block]:
        try:
            groups = points_of(entries)
        except Exception:
            # What a device may raise is known to nobody; it must end neither this thread nor the program.
            self._pending.counts.refused += sum(map(len, entries))
            if name not in self._told:
                self._told.add(name)
                logger.exception("%r cannot be fetched from its device: these points are lost", name)
            return
        for group in groups:
            yield from _encoded(group)

    def _deliver(self, request: WriteRequest) -> bool:
        """Send one request until it is kept; return False when there is no time left."""
        self._sequence += 1
        request.session, request.sequence = self._session, self._sequence
        failures = 0

        def attempt() -> None:
            nonlocal failures
            try:
                self._write(request)
            except (RecordsConnectionError, RecordsAccessError):
                raise
            except SmartMLError as error:
                # It is there, and will not have this one: what comes behind it shall not wait for ever.
                failures += 1
                if failures < _MOST_FAILURES:
                    raise
                self._refuse("", sum(block.points for block in request.blocks), str(error))

        return self._repeat(attempt)

    def _begin(self) -> None:
        self._client.begin(self._session, self._scope, self._delete_existing)
        self._has_begun = True
        # Whatever it has to be told again later is no new start.
        self._delete_existing = False

    def _write(self, request: WriteRequest) -> None:
        try:
            refusals = self._client.write(request, self._time_left())
        except RecordsNotFoundError:
            # It is another store, or has lost what it had: let this go on there.
            self._begin()
            refusals = self._client.write(request, self._time_left())
        counts = self._pending.counts
        counts.sent += sum(block.points for block in request.blocks)
        for refusal in refusals:
            counts.sent -= refusal.points
            self._refuse(refusal.name, refusal.points, refusal.reason)

    def _refuse(self, name: str, points: int, reason: str) -> None:
        self._pending.counts.refused += points
        if reason not in self._told:
            self._told.add(reason)
            logger.warning("points of %r are not kept by the record server: %s", name or self._scope, reason)

    def _time_left(self) -> float:
        return TIMEOUT_S if self._deadline is None else max(0.1, min(TIMEOUT_S, self._deadline - time.monotonic()))

    def _repeat(self, act: Callable[[], object]) -> bool:
        """Try until it succeeds, with longer and longer waits; return False when there is no time left."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                act()
            except SmartMLError as error:
                self._note_failure(error)
            else:
                if self._is_failing:
                    self._is_failing = False
                    logger.info("the record server at %s answers again", self._client)
                return True
            if not self._pause(wait_s):
                return False
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _note_failure(self, error: SmartMLError) -> None:
        self._pending.counts.retries += 1
        if not self._is_failing:
            self._is_failing = True
            logger.warning(
                "what is logged to %r cannot be sent now, and is kept to be sent later: %s", self._scope, error
            )

    def _pause(self, seconds: float) -> bool:
        """Wait, but no longer than until the end is near; return False when no time is left."""
        is_ending = self._deadline is not None
        until = time.monotonic() + (min(seconds, _LAST_WAIT_S) if is_ending else seconds)
        while (left := until - time.monotonic()) > 0 and (is_ending or self._deadline is None):
            time.sleep(min(left, 0.05))
        return self._deadline is None or time.monotonic() < self._deadline


def _encoded(group: Points) -> Iterator[Block]:
    for begin in range(0, len(group), _BLOCK_POINTS):
        arrays = [values[begin : begin + _BLOCK_POINTS] for values in group.fields.values()]
        encoded = [columns.encode(array) for array in arrays]
        yield Block(
            name=group.name,
            index=group.index,
            fields=group.fields,
            points=len(arrays[0]),
            columns=[column for column, _ in encoded],
            data=b"".join(data for _, data in encoded),
        )
