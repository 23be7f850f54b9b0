"""What a logger was given and has not yet sent: bounded, in order, and cheap to add to."""

import threading
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.monitor import columns
from smartml.monitor.columns import Array
from smartml.monitor.transfer import Kept, fetch, keep

Value = TypeVar("Value")
# What happens to a write that finds the queue full.
WhenFull = Literal["drop_oldest", "block"]

# Scalars of these types go into arrays of these codes; all others take the longer way.
_CODES: dict[type, str] = {
    bool: "q",
    int: "q",
    float: "d",
    np.float64: "d",
    np.float32: "f",
    **dict.fromkeys((np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64), "q"),
}
# Points that room is made for at once: in the first place, and at most.
_FIRST_ROOM, _MOST_ROOM = 64, 8192
# What one entry of the queue takes beside its numbers, about.
_OVERHEAD_BYTES = 500


class Run:
    """Scalars of one name, all written with the same index, fields and types: the way of most writes."""

    __slots__ = ("appends", "bytes", "columns", "fields", "left", "name", "signature", "start_index")

    def __init__(self, name: str, signature: tuple[Any, ...], start_index: int, codes: Mapping[str, str]) -> None:
        self.name = name
        # Index, fields and types: a write that has the same one may be appended.
        self.signature = signature
        self.start_index = start_index
        self.fields = tuple(codes)
        self.columns = [array(code) for code in codes.values()]
        self.appends: list[Callable[[Any], None]] = [column.append for column in self.columns]
        # Points that fit into the room that was made.
        self.left = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.columns[-1])

    def cut(self) -> str:
        """Take away what is left of a point of which not every value fits; return the field that did not."""
        points = len(self)
        at = next(number for number, column in enumerate(self.columns) if len(column) == points)
        for column in self.columns[:at]:
            column.pop()
        return self.fields[at]


class Arrays(NamedTuple):
    """One write of arrays, or of what stays on a device."""

    name: str
    start_index: int
    # (index, point), which all fields have together.
    shape: tuple[int, int]
    values: dict[str, Kept]
    bytes: int

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]


Entry = Run | Arrays


@dataclass
class Counts:
    """Points, by what became of them."""

    # The server has said that it keeps them.
    sent: int = 0
    # The queue was full, or the time to send them was over.
    dropped: int = 0
    # The server will never take them, since their scope or name was deleted, or has other fields; or a device failed.
    refused: int = 0
    # How often nothing could be sent, and was kept to be tried again.
    retries: int = 0


class Pending:
    """The queue of a logger. Usable from several threads; `lock` is held to read `runs` or append to one."""

    def __init__(self, max_bytes: int, max_device_bytes: int, when_full: WhenFull) -> None:
        self.lock = threading.Lock()
        # The one of each name that may be appended to.
        self.runs: dict[str, Run] = {}
        self.counts = Counts()
        # Set when it is time to send, whatever the clock says.
        self.is_urgent = threading.Event()
        self._room = threading.Condition(self.lock)
        self._entries: deque[Entry] = deque()
        self._max_bytes = max_bytes
        self._max_device_bytes = max_device_bytes
        self._when_full = when_full
        # In the queue, and taken from it but not yet sent.
        self._bytes = 0
        self._device_bytes = 0
        # As the first write of each name had them.
        self._fields: dict[str, tuple[str, ...]] = {}
        # Nobody waits for room any more.
        self._is_open = True

    def add(self, name: object, start_index: object, values: Mapping[str, Any]) -> None:
        """Take one write that no run is there for. Raises ArgumentTypeError, ArgumentValueError."""
        checked, index = _checked_name(name), _checked_index(start_index)
        for field in values:
            check_text("a field", field)
        if not values:
            raise ArgumentValueError(f"a write to {checked!r} needs a field: write({checked!r}, x=1, y=0.5)")
        if all(type(value) in _CODES for value in values.values()):
            self._add_scalars(checked, index, values)
        else:
            # They are looked at before anything is copied, and again when nobody else can write.
            self._add_arrays(checked, index, self._in_order(checked, values))

    def _in_order(self, name: str, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return the values in the order of the first write. Raises ArgumentValueError."""
        declared = self._fields.get(name)
        if declared is None or declared == tuple(values):
            return values
        if set(declared) != set(values):
            raise ArgumentValueError(
                f"{name!r} has the fields {', '.join(declared)} since its first write, not {', '.join(values)}: "
                "give all of them, or write to another name"
            )
        return {field: values[field] for field in declared}

    def _add_scalars(self, name: str, index: int, values: Mapping[str, Any]) -> None:
        with self.lock:
            values = self._in_order(name, values)
            signature = (index, *values, *map(type, values.values()))
            run = self.runs.get(name)
            if run is None or run.signature != signature or len(run) >= _MOST_ROOM:
                run = Run(name, signature, index, {field: _CODES[type(value)] for field, value in values.items()})
                self._enter(run, _OVERHEAD_BYTES)
                self.runs[name] = run
            if run.left <= 0:
                self._make_room(run)
            try:
                for append, value in zip(run.appends, values.values(), strict=True):
                    append(value)
            except OverflowError as error:
                raise self.too_large(run, values) from error
            self._fields.setdefault(name, run.fields)
            run.left -= 1

    def _make_room(self, run: Run) -> None:
        room = min(max(len(run), _FIRST_ROOM), _MOST_ROOM)
        run.left = room
        self._note(run, 8 * len(run.columns) * room)

    def too_large(self, run: Run, values: Mapping[str, Any]) -> ArgumentValueError:
        """Take back a point of which a value was too large; return the error to raise."""
        field = run.cut()
        return ArgumentValueError(
            f"field {field!r} of {run.name!r} has the integer {values[field]}: from {columns.LIMITS[0]} to "
            f"{columns.LIMITS[1]} can be stored; write a float"
        )

    def _add_arrays(self, name: str, index: int, values: Mapping[str, Any]) -> None:
        kept = {field: keep(name, field, value) for field, value in values.items()}
        shape = columns.broadcast_shape(name, {field: it.shape for field, it in kept.items()})
        if 0 in shape:
            # No points have no types either.
            return
        size = _OVERHEAD_BYTES + sum(it.bytes for it in kept.values())
        with self.lock:
            entry = Arrays(name, index, shape, dict(self._in_order(name, kept)), size)
            # What comes later stands behind it.
            self.runs.pop(name, None)
            self._fields.setdefault(name, tuple(entry.values))
            self._enter(entry, entry.bytes)
            self._device_bytes += _device_bytes(entry)
            if self._device_bytes > self._max_device_bytes:
                self.is_urgent.set()

    def _enter(self, entry: Entry, size: int) -> None:
        if self._when_full == "block":
            self._room.wait_for(lambda: not self._is_open or not self._bytes or self._bytes + size <= self._max_bytes)
        self._entries.append(entry)
        if isinstance(entry, Arrays):
            self._bytes += size
        else:
            self._note(entry, size)
        self._keep_to_bound(entry)

    def _note(self, run: Run, size: int) -> None:
        run.bytes += size
        self._bytes += size
        self._keep_to_bound(run)

    def _keep_to_bound(self, newest: Entry) -> None:
        # Half of it is soon enough to begin to send, and late enough not to send all the time.
        if self._bytes > self._max_bytes // 2:
            self.is_urgent.set()
        if self._when_full == "block":
            return
        while self._bytes > self._max_bytes and self._entries[0] is not newest:
            entry = self._entries.popleft()
            if self.runs.get(entry.name) is entry:
                del self.runs[entry.name]
            self.counts.dropped += len(entry)
            self._bytes -= entry.bytes
            self._device_bytes -= _device_bytes(entry)

    def drain(self) -> list[Entry]:
        """Take the oldest entries, of which there are more only when they are large; they are held until `release`."""
        entries: list[Entry] = []
        size = 0
        with self.lock:
            # What cannot be sent now shall not leave the queue without room: the oldest are dropped, not the newest.
            while self._entries and size <= self._max_bytes // 4:
                entry = self._entries.popleft()
                entries.append(entry)
                size += entry.bytes
                self._device_bytes -= _device_bytes(entry)
                if self.runs.get(entry.name) is entry:
                    del self.runs[entry.name]
        return entries

    def release(self, size: int) -> None:
        """Note that entries of so many bytes are not held any more."""
        with self._room:
            self._bytes -= size
            self._room.notify_all()

    def open(self, is_open: bool) -> None:
        """Let writes wait for room, or not any more."""
        with self._room:
            self._is_open = is_open
            self._room.notify_all()


def _device_bytes(entry: Entry) -> int:
    if isinstance(entry, Run):
        return 0
    return sum(kept.bytes for kept in entry.values.values() if kept.device is not None)


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise ArgumentTypeError(f"the name to write to must be text, not {type(name).__name__}: {name!r:.80}")
    if not name:
        raise ArgumentValueError("the name to write to is empty")
    check_text("the name to write to", name)
    return name


def check_text(what: str, text: str) -> None:
    """Raise ArgumentValueError for text that cannot be sent, since it has no encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentValueError(f"{what} is no text that can be encoded: {text!r:.80}") from error


def _checked_index(start_index: object) -> int:
    if isinstance(start_index, bool) or not isinstance(start_index, int | np.integer):
        raise ArgumentTypeError(f"start_index must be a whole number, not {start_index!r:.80}")
    if not 0 <= start_index < 2**63:
        raise ArgumentValueError(f"start_index must be 0 or more, not {start_index}")
    return int(start_index)


@dataclass(frozen=True, eq=False)
class Points:
    """Points of one group, to be sent."""

    name: str
    index: int
    fields: dict[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))


def points_of(entries: list[Entry]) -> list[Points]:
    """Return the points of entries of one name, those of each group together and in the order of the writes."""
    arrays = [entry for entry in entries if isinstance(entry, Arrays)]
    fields = entries[0].fields if isinstance(entries[0], Run) else tuple(entries[0].values)
    # One transfer for each column.
    fetched = {field: iter(fetch([entry.values[field] for entry in arrays])) for field in fields}
    groups: dict[int, list[dict[str, Array]]] = {}
    for entry in entries:
        if isinstance(entry, Run):
            found = {
                field: np.frombuffer(entry.columns[at], entry.columns[at].typecode) for at, field in enumerate(fields)
            }
            if len(entry):
                groups.setdefault(entry.start_index, []).append(found)
            continue
        if entry.shape == (1, 1):
            groups.setdefault(entry.start_index, []).append({it: next(fetched[it]).reshape(1) for it in fields})
            continue
        whole = {field: np.broadcast_to(next(fetched[field]), entry.shape) for field in fields}
        for row in range(entry.shape[0]):
            groups.setdefault(entry.start_index + row, []).append({field: whole[field][row] for field in fields})
    return [
        Points(entries[0].name, index, {field: columns.join([part[field] for part in parts]) for field in fields})
        for index, parts in groups.items()
    ]
