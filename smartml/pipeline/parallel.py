"""Steps that work on several items at once.

A thread of each step's own, the filler, reads upstream, hands the items to an executor and their futures to the reader:

    upstream ── filler ──► executor's workers
                  │              │ results
                  └── futures ──►└──► reader

The filler takes a token for each item, and the reader gives one back for each result that it hands on, so that no more
items than the buffer holds are under way, and the filler reads on while reader and workers are busy. All of it goes
through `queue.SimpleQueue`, which is written in C: a lock of `threading` would cost more than the hand-over itself.

Where the step stands is told by the number of the next item to give, and where upstream stood at or before it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress, count, islice, repeat
from queue import Empty, SimpleQueue
from traceback import format_exception
from typing import Any, TypeAlias

from smartml.errors import ArgumentTypeError, PipelineError
from smartml.pipeline.policies import ErrorPolicy, Guard, Note, Raise, Skipped, at_item, check_policy
from smartml.pipeline.stage import Anchors, Begin, Keep, Stage, State
from smartml.pipeline.steps import check_callable, check_count


@dataclass(frozen=True)
class Work:
    """What `async_map` was told."""

    callback: Callable[..., Any]
    keywords: dict[str, Any]
    buffer: int
    max_workers: int | None
    executor: Any
    ordered: bool
    chunk_size: int
    on_error: ErrorPolicy

    def __post_init__(self) -> None:
        check_callable("async_map", self.callback)
        check_count("buffer", self.buffer, least=1)
        check_count("chunk_size", self.chunk_size, least=1)
        if self.max_workers is not None:
            check_count("max_workers", self.max_workers, least=1)
        check_policy(self.on_error)
        if self.executor is not None and not _is_executor(self.executor):
            raise ArgumentTypeError(
                "executor must be None, a concurrent.futures.Executor, a dask.distributed.Client or 'numba', "
                f"not {self.executor!r:.80}"
            )

    def __repr__(self) -> str:
        name = getattr(self.callback, "__name__", type(self.callback).__name__)
        executor = "threads" if self.executor is None else type(self.executor).__name__
        return f"{name}, buffer={self.buffer}, {executor}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Work:
        # Executors hold locks; a copy of the chain works on the same one.
        return self

    @property
    def call(self) -> Callable[[Any], Any]:
        """The function of one item."""
        callback = partial(self.callback, **self.keywords) if self.keywords else self.callback
        return callback if isinstance(self.on_error, Raise) else Guard(callback, self.on_error)


@dataclass(frozen=True)
class Read:
    """Read a key from a store: a list of what it stands for, itself or the items of its iterator."""

    store: Any

    def __call__(self, key: Any) -> list[Any]:
        value = self.store.get(key)
        # An iterator does its work where it is read, which must be here.
        return list(value) if isinstance(value, Iterator) else [value]


# What the filler hands to the reader, as a plain tuple, which is fast: the number of the item, or those of a chunk's,
# and the future of the result.
_Task: TypeAlias = "tuple[int | list[int], Any]"


@dataclass(frozen=True)
class _End:
    """Nothing more comes: upstream ended, by an error or not, after so many tasks; or, with None, nobody wants more."""

    tasks: int | None
    error: BaseException | None = None


class AsyncMapped(Stage):
    """A function of several items at once."""

    def __init__(self, begin: Begin, state: State, work: Work) -> None:
        saved, given = state or (None, [0])
        self.upstream: Stage = begin(None if saved is None else saved[1])
        self._anchors = Anchors(self.upstream, saved)
        self._work = work
        # The number of the oldest item that was not given, and those behind it that were.
        self._oldest: int = given[0]
        self._ahead: set[int] = set(given[1:])
        self._begun_at: State = state
        # The hand-over lives as long as the generator that reads from it.
        self._handover: Callable[[], _Handover | None] = _nothing
        self._is_stopped = False

    @staticmethod
    def has_own_order(work: Work) -> bool:
        """Tell whether results come as they are done."""
        return not work.ordered

    def items(self, keep: Keep = None) -> Iterator[Any]:
        """Call the function for the items to keep, and no others."""
        return self.watched(self._read(keep))

    def _read(self, keep: Keep) -> Iterator[Any]:
        work = self._work
        start = self._anchors.begin()
        wanted = self._wanted(start, keep)
        numbers = compress(count(start), chain(wanted, repeat(True)))
        items = zip(numbers, self.upstream.items(wanted or None), strict=False)
        handover = _Handover(work, self._anchors, self, items)
        del items
        self._handover = weakref.ref(handover)
        note = work.on_error.begin_pass("async_map")
        try:
            handover.start()
            if work.chunk_size > 1:
                yield from self._give_chunks(handover, note)
            elif work.ordered and isinstance(work.on_error, Raise):
                yield from self._give(handover)
            else:
                yield from self._give_each(handover, note)
        finally:
            handover.close()

    def _wanted(self, start: int, keep: Keep) -> list[object]:
        """Tell of the first items which to read: not those that were given, nor those that whoever reads leaves out."""
        wanted: list[object] = []
        kept = iter(() if keep is None else keep)
        for number in range(start, max(self._ahead, default=self._oldest - 1) + 1):
            was_given = number < self._oldest or number in self._ahead
            wanted.append(not was_given and next(kept, True))
        wanted.extend(kept)
        for number, want in enumerate(wanted, start):
            if not want and number >= self._oldest:
                self._mark(number)
        return wanted

    # The shortest way, for what is asked for most.
    def _give(self, handover: _Handover) -> Iterator[Any]:
        take, give_back = handover.tasks.get, handover.room.put
        while type(task := take()) is tuple:
            number, future = task
            self._oldest = number + 1
            try:
                result = future.result()
            except Exception as error:
                at_item(error, "async_map", number)
                raise
            give_back(None)
            yield result
        _raise_end(task)

    def _give_each(self, handover: _Handover, note: Note) -> Iterator[Any]:
        for number, future in handover.in_turn():
            self._mark(number)
            try:
                result = future.result()
            except Exception as error:
                at_item(error, "async_map", number)
                raise
            handover.room.put(None)
            if type(result) is Skipped:
                note(result.error, number)
            else:
                yield result

    def _give_chunks(self, handover: _Handover, note: Note) -> Iterator[Any]:
        for numbers, future in handover.in_turn():
            try:
                results, failure = future.result()
            except Exception as error:
                # The executor failed, and with it the whole chunk.
                self._mark(numbers[0])
                at_item(error, "async_map", numbers[0])
                raise
            for number, result in zip(numbers, results, strict=False):
                self._mark(number)
                handover.room.put(None)
                if type(result) is Skipped:
                    note(result.error, number)
                else:
                    yield result
            if failure is not None:
                number = numbers[len(results)]
                self._mark(number)
                raise failure.error_at(number)

    def _mark(self, number: int) -> None:
        """Take note that an item was given."""
        if number != self._oldest:
            self._ahead.add(number)
            return
        number += 1
        while number in self._ahead:
            self._ahead.discard(number)
            number += 1
        self._oldest = number

    @property
    def oldest(self) -> int:
        """The number of the oldest item that was not given."""
        return self._oldest

    @property
    def depth(self) -> int:
        """How many tasks wait to be given, done or not."""
        handover = self._handover()
        return 0 if handover is None else handover.tasks.qsize()

    @property
    def is_stopped(self) -> bool:
        """Tell whether nobody will ask for more."""
        return self._is_stopped

    def stop(self) -> None:
        """Wake the reader, which may be the filler of a step downstream, and let nothing more begin."""
        self._is_stopped = True
        handover = self._handover()
        if handover is not None:
            handover.stop()
        self.upstream.stop()

    def state(self) -> State:
        """Tell where upstream stood before the oldest item that was not given, and which behind it were."""
        saved = self._anchors.before(self._oldest)
        return [saved, [self._oldest, *sorted(number for number in self._ahead if number > self._oldest)]]


class _Handover:
    """What the filler, the workers and the reader of one pass share."""

    def __init__(self, work: Work, anchors: Anchors, stage: AsyncMapped, items: Iterator[tuple[int, Any]]) -> None:
        self._work, self._anchors, self._stage = work, anchors, stage
        # Upstream's items with their numbers. No frame holds them, which an error would keep alive.
        self._items = items
        self.tasks: SimpleQueue[Any] = SimpleQueue()
        # One token for each item that may be under way.
        self.room: SimpleQueue[None] = SimpleQueue()
        for _ in range(max(work.buffer, work.chunk_size)):
            self.room.put(None)
        # Held while the filler turns to upstream or to the executor: behind the stop it does neither.
        self._gate = threading.Lock()
        self._is_stopping = stage.is_stopped
        # Set while the filler may have to wait for upstream, for as long as that likes.
        self._is_reading = False
        self._begun = 0
        self._pool: ThreadPoolExecutor | None = None
        self._filler = threading.Thread(target=self._fill, name="smartml-async_map", daemon=True)

    def start(self) -> None:
        """Let the filler begin."""
        executor = self._work.executor
        if executor is None:
            executor = self._pool = ThreadPoolExecutor(self._work.max_workers, "smartml-async_map")
        elif _is_of(executor, "concurrent.futures.process", "ProcessPoolExecutor"):
            # Where processes are forked, they should be there before our thread is: its locks would be copied as held.
            executor.submit(int)
        # dask computes equal calls once, unless it is told that they may differ.
        is_futures = isinstance(executor, Executor)
        self._submit: Callable[..., Any] = executor.submit if is_futures else partial(executor.submit, pure=False)
        self._filler.start()

    # The filler's thread

    def _fill(self) -> None:
        error: BaseException | None = None
        try:
            self._hand_over()
        # Every error of upstream is the reader's, behind the results of the items before it.
        except BaseException as caught:  # noqa: BLE001
            error = caught
        # Letting go of upstream ends what runs there, in the thread that reads it.
        self._items = iter(())
        self.tasks.put(_End(self._begun, error))
        # An error refers to this frame; together they would be a circle.
        del error

    def _hand_over(self) -> None:
        call, take_token, put, gate = self._work.call, self.room.get, self.tasks.put, self._gate
        size, is_ordered = self._work.chunk_size, self._work.ordered
        # How far upstream goes on before where it stands is noted again.
        spacing = max(self._work.buffer, size)
        note_at = self._anchors.last + spacing
        numbers: int | list[int]
        while True:
            for _ in range(size):
                take_token()
            with gate:
                if self._is_stopping:
                    return
                self._is_reading = True
            chunk, failure = self._pull(size)
            if not chunk:
                break
            last, item = chunk[-1]
            with gate:
                self._is_reading = False
                if self._is_stopping:
                    return
                if size == 1:
                    numbers, future = last, self._submit(call, item)
                else:
                    numbers = [number for number, _ in chunk]
                    future = self._submit(_call_each, call, [item for _, item in chunk])
                self._begun += 1
                if is_ordered:
                    put((numbers, future))
            if not is_ordered:
                future.add_done_callback(partial(_put, put, numbers))
            if failure is not None or len(chunk) < size:
                break
            if last + 1 >= note_at:
                self._anchors.note(last + 1, self._stage.oldest)
                note_at = last + 1 + spacing
        self._is_reading = False
        if failure is not None:
            raise failure

    def _pull(self, size: int) -> tuple[list[tuple[int, Any]], BaseException | None]:
        """Read so many items; fewer if upstream ends, or fails: then with its error."""
        chunk: list[tuple[int, Any]] = []
        try:
            for pair in islice(self._items, size):
                chunk.append(pair)
        # It is raised behind what was read before.
        except BaseException as error:  # noqa: BLE001
            return chunk, error
        return chunk, None

    # The reader's thread

    def in_turn(self) -> Iterator[Any]:
        """Give tasks in the order of the items, or as they are done; then raise what ended upstream."""
        end: _End | None = None
        given = 0
        while end is None or given < (end.tasks or 0):
            task = self.tasks.get()
            if type(task) is tuple:
                given += 1
                yield task
            elif task.tasks is None:
                return
            else:
                end = task
        _raise_end(end)

    def stop(self) -> None:
        """Let nothing more begin; wake the filler and the reader."""
        with self._gate:
            self._is_stopping = True
        for _ in range(self._work.chunk_size):
            self.room.put(None)
        self.tasks.put(_End(None))

    def close(self) -> None:
        """Cancel what has not started, and wait for what runs, if the pool is our own."""
        self.stop()
        # What upstream waits for in the filler's thread must end, too.
        self._stage.upstream.stop()
        if self._filler.ident is not None and not self._is_reading:
            self._filler.join()
        while True:
            try:
                task = self.tasks.get_nowait()
            except Empty:
                break
            if type(task) is tuple:
                task[1].cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


class _Failure:
    """An error inside a chunk; its traceback does not travel between processes, but its text does."""

    def __init__(self, error: BaseException) -> None:
        self._error, self._process = error, os.getpid()
        self._text = "".join(format_exception(type(error), error, error.__traceback__))

    def error_at(self, number: int) -> BaseException:
        """Return the error, with the number of its item."""
        at_item(self._error, "async_map", number)
        if self._process != os.getpid():
            self._error.__cause__ = PipelineError(f"in process {self._process}:\n{self._text}")
        return self._error


def _call_each(call: Callable[[Any], Any], values: list[Any]) -> tuple[list[Any], _Failure | None]:
    """Call a function of each value, up to the first that fails."""
    results: list[Any] = []
    try:
        for value in values:
            results.append(call(value))
    # It is raised where the reader comes to its item.
    except Exception as error:  # noqa: BLE001
        return results, _Failure(error)
    return results, None


def _put(put: Callable[[Any], None], numbers: int | list[int], future: Future[Any]) -> None:
    put((numbers, future))


def _raise_end(end: _End) -> None:
    if end.error is not None:
        raise end.error


def _nothing() -> None:
    return None


def _is_executor(given: Any) -> bool:
    return isinstance(given, Executor) or _is_of(given, "distributed", "Client")


def _is_of(given: Any, module: str, name: str) -> bool:
    """Tell whether an object is of a class. Only a module that was imported can have made it; importing takes long."""
    found = sys.modules.get(module)
    return found is not None and isinstance(given, getattr(found, name))
