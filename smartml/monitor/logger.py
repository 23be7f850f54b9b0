"""Log what a run goes through, without disturbing it."""

import asyncio
import atexit
import json
import logging
import os
import sys
import threading
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.monitor.access import Access, checked_address, default_address, default_scope
from smartml.monitor.pending import Counts, Pending, WhenFull, check_text
from smartml.monitor.sender import Sender

logger = logging.getLogger(__name__)

_TENSOR_TYPES = ("jax", "numpy", "torch")
_FLUSH_EVERY_S = 2.0
# What a program waits at its end for a server that does not answer.
EXIT_TIMEOUT_S = 5.0
_MAX_QUEUE_MB = 256.0
_MAX_DEVICE_MB = 64.0


class _Yielding:
    """What `write` returns: awaited, it lets others run once; otherwise it is nothing."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_YIELDING = _Yielding()


class Flushed:
    """Whether all that was written before is kept by the server: a truth, or, in an event loop, awaited to be one."""

    def __init__(self, sender: Sender | None, timeout_s: float | None, wait: bool) -> None:
        self._sender, self._timeout_s = sender, timeout_s
        self._asked = 0 if sender is None else sender.ask()
        self._is_kept = self._wait() if wait else None

    def _wait(self) -> bool:
        return self._sender is None or self._sender.wait(self._asked, self._timeout_s)

    def __repr__(self) -> str:
        return f"Flushed({'not awaited' if self._is_kept is None else self._is_kept})"

    def __bool__(self) -> bool:
        if self._is_kept is None:
            self._is_kept = self._wait()
        return self._is_kept

    def __await__(self) -> Generator[Any, None, bool]:
        if self._is_kept is None:
            self._is_kept = yield from asyncio.to_thread(self._wait).__await__()
        return self._is_kept


class DataLogger:
    """Log points to a record server, from any thread, and from code that awaits or does not.

        with DataLogger("run24", grpc_uri="127.0.0.1:8081") as log:
            log.write("loss", x=step, y=loss)

    scope: the run; None: what a monitored experiment has named for this program. delete_existing: begin anew; False
    continues what the scope has, and so does a scope that an experiment has named: that begins it anew, once for all
    who write there. grpc_uri: host:port of the server, by default what SMARTML_MONITOR names, or 127.0.0.1:8081.
    flush_every: seconds between two flushes.
    tensor_type: "numpy", "torch" or "jax"; checked, and without effect: arrays are told by their own types, and may be
    mixed. access: a token and a certificate, by default as the environment says.

    A logger never harms its program. Wrong arguments raise in `write`; all that happens later, to the network or the
    server, is counted, told once by logging and tried again. What waits to be sent takes `max_queue_mb` of memory at
    most (and may leave `max_device_mb` on devices before it is fetched early): beyond it the oldest points are dropped,
    or, with `when_full="block"`, `write` waits for room. `counts` tells of all that. Leaving the `with` block, or the
    interpreter, sends what is left, also when an error passes through, for `exit_timeout_s` at most.

    It begins to talk when it is entered, or at the first write. In the child of a fork, or
    another process that it is sent to, it begins anew, goes on with the same scope, and never deletes.
    Raises ArgumentTypeError, ArgumentValueError, RecordsAccessError.
    """

    def __init__(
        self,
        scope: str | None = None,
        delete_existing: bool = True,
        *,
        grpc_uri: str | None = None,
        flush_every: float = _FLUSH_EVERY_S,
        tensor_type: str = "numpy",
        access: Access | None = None,
        when_full: WhenFull = "drop_oldest",
        max_queue_mb: float = _MAX_QUEUE_MB,
        max_device_mb: float = _MAX_DEVICE_MB,
        exit_timeout_s: float = EXIT_TIMEOUT_S,
    ) -> None:
        if scope is None and (scope := default_scope()):
            delete_existing = False
        if not isinstance(scope, str):
            raise ArgumentTypeError(f"scope must be text that names the run, not {type(scope).__name__}: {scope!r:.80}")
        if not scope:
            raise ArgumentValueError("scope is empty: name the run")
        check_text("scope", scope)
        if when_full not in ("drop_oldest", "block"):
            raise ArgumentValueError(f"when_full must be 'drop_oldest' or 'block', not {when_full!r}")
        self.scope = scope
        self._delete_existing = bool(delete_existing)
        self._access = access
        self._exit_timeout_s = _positive("exit_timeout_s", exit_timeout_s)
        self._limits = (
            int(_positive("max_queue_mb", max_queue_mb) * 1e6),
            int(_positive("max_device_mb", max_device_mb) * 1e6),
        )
        self._when_full: WhenFull = when_full
        self._pending = Pending(*self._limits, when_full)
        self._sender: Sender | None = None
        self._starting = threading.Lock()
        self.init(grpc_uri, flush_every, tensor_type)

    def init(
        self, grpc_uri: str | None = None, flush_every: float = _FLUSH_EVERY_S, tensor_type: str = "numpy"
    ) -> "DataLogger":
        """Give the settings that the constructor was not given, before the first write."""
        if self._sender is not None:
            raise ArgumentValueError(f"the logger of {self.scope!r} is at work already: give its settings before")
        if tensor_type not in _TENSOR_TYPES:
            raise ArgumentValueError(f"tensor_type must be one of {', '.join(_TENSOR_TYPES)}, not {tensor_type!r}")
        self.address = checked_address(default_address() if grpc_uri is None else grpc_uri)
        self._flush_every_s = _positive("flush_every", flush_every)
        return self

    @property
    def counts(self) -> Counts:
        """What became of the points: sent, dropped, refused; and how often sending was tried again."""
        return self._pending.counts

    def write(self, name: str, /, start_index: int = 0, **fields: Any) -> _Yielding:
        """Log points to a name: a value for each field, all broadcast to (index, point).

        A scalar is one value for all points, a vector the values of so many points, a matrix (I, P) P points for each
        of the indexes from `start_index` on. Integers are stored as int64, float16, bfloat16 and float32 as float32,
        Python's floats and float64 as float64. What is on a device is copied there, and fetched at the flush.
        `await` it to let other tasks run. Raises ArgumentTypeError, ArgumentValueError.
        """
        signature = (start_index, *fields, *map(type, fields.values()))
        pending = self._pending
        with pending.lock:
            run = pending.runs.get(name)
            if run is not None and run.left > 0 and run.signature == signature:
                try:
                    for append, value in zip(run.appends, fields.values()):  # noqa: B905 - as long as each other
                        append(value)
                except OverflowError as error:
                    raise pending.too_large(run, fields) from error
                run.left -= 1
                return _YIELDING
        pending.add(name, start_index, fields)
        if self._sender is None:
            self._start()
        return _YIELDING

    write_sync = write

    def write_config(self, config: Mapping[str, Any]) -> _Yielding:
        """Attach facts to the scope: text, numbers, booleans, None, lists and nested mappings. Every call adds one.

        Raises ArgumentTypeError.
        """
        if not isinstance(config, Mapping):
            raise ArgumentTypeError(f"a config is a mapping, not {type(config).__name__}: {config!r:.80}")
        packed = json.dumps(_plain(config, "config"))
        self._start().add_config(packed)
        return _YIELDING

    async def yield_to_flush(self) -> None:
        """Let other tasks of the event loop run; the flush itself needs no such help."""
        await asyncio.sleep(0)

    def flush(self, timeout_s: float | None = None) -> Flushed:
        """Send what was written so far; true when all of it is kept by the server (or refused, see `counts`).

        It blocks, for `timeout_s` at most; called in an event loop it does not, and is awaited.
        """
        return Flushed(self._sender, timeout_s, wait=not _is_in_event_loop())

    def close(self, timeout_s: float | None = None) -> None:
        """Send what is left, for `timeout_s` at most, and end; a later write begins again."""
        with self._starting:
            sender, self._sender = self._sender, None
        if sender is None:
            return
        _at_work.discard(self)
        left = sender.end(self._exit_timeout_s if timeout_s is None else timeout_s)
        # It may begin again; not from nothing.
        self._delete_existing = False
        if left:
            logger.warning("%d points of %r were not sent in time, and are lost", left, self.scope)
        self._pending.open(True)

    def __enter__(self) -> "DataLogger":
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> "DataLogger":
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Shielded: a task that is cancelled sends what it has logged, too.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self.close))

    def _start(self) -> Sender:
        with self._starting:
            if self._sender is None:
                self._sender = Sender(
                    self.address, self._access, self.scope, self._delete_existing, self._flush_every_s, self._pending
                )
                _note_at_work(self)
            return self._sender

    def __getstate__(self) -> dict[str, Any]:
        own = ("_pending", "_sender", "_starting")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin_anew()

    def _begin_anew(self) -> None:
        # Threads and connections stay with the process they are of, which sends what was pending.
        self._pending = Pending(*self._limits, self._when_full)
        self._starting = threading.Lock()
        self._sender = None
        self._delete_existing = False


# Those to be flushed when the interpreter ends.
_at_work: set[DataLogger] = set()


@atexit.register
def _close_all() -> None:
    for each in list(_at_work):
        each.close()


def _note_at_work(log: DataLogger) -> None:
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None and not _at_work:
        # Processes of multiprocessing end without what atexit knows.
        from multiprocessing.util import Finalize

        Finalize(None, _close_all, exitpriority=100)
    _at_work.add(log)


def _after_fork() -> None:
    for each in list(_at_work):
        each._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _positive(argument: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < float("inf"):
        raise ArgumentValueError(f"{argument} must be a number above 0, not {value!r:.80}")
    return float(value)


def _plain(value: object, place: str) -> Any:
    """Return what JSON can hold of a config."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ArgumentTypeError(f"{place} has the key {key!r:.80}: keys are text")
        return {key: _plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{number}]") for number, item in enumerate(value)]
    raise ArgumentTypeError(
        f"{place} is of type {type(value).__name__}: text, numbers, booleans, None, lists and mappings can be kept"
    )
