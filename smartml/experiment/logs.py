"""The output of what an experiment has started, line by line, from the end of the files on."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from smartml.errors import NotStartedError
from smartml.experiment.experiment import Experiment
from smartml.experiment.journal import Journal, Script, read_journal
from smartml.experiment.lookup import check_names
from smartml.experiment.states import Status

# Read from one file before the next has its turn, so that one that writes without end does not hide the others.
_CHUNK_BYTES = 1 << 16

# Between two looks at the files.
_LOOK_S = 0.1

# A line that gets longer than this without an end is shown in parts.
_LONGEST_BYTES = 1 << 20


class Line(NamedTuple):
    """A line of output."""

    name: str
    # True for error output.
    is_error: bool
    text: str


class Logs:
    """The outputs of an experiment; those of programs that it starts later come as well.

    names: of which programs and nodes of databases, by default of all. lines: how many of those that are there
    already come first, from each file. Raises NotStartedError.
    """

    def __init__(self, exp_path: Path, names: Sequence[str] = (), lines: int = 10) -> None:
        self.exp_path = exp_path
        self._file = Journal(str(exp_path)).file
        self._names = list(names)
        self._lines = lines
        self._tails: dict[Path, _Tail] = {}
        # The script that was the last to start things.
        self.script: Script | None = None
        # Which file the journal was, and how long.
        self._seen: tuple[int, int] | None = None
        self._look(is_first=True)

    def earlier(self) -> Iterator[Line]:
        """Yield the last lines of what is there, from each file those of its own; `new` goes on behind them."""
        for tail in self._tails.values():
            yield from tail.last(self._lines)

    def new(self) -> Iterator[Line]:
        """Yield the lines that have come since the last call; returns at once."""
        self._look()
        for tail in self._tails.values():
            yield from tail.read()

    def rest(self) -> Iterator[Line]:
        """Yield what has come since, to the very end of each file."""
        while lines := list(self.new()):
            yield from lines
        yield from self.unfinished()

    def unfinished(self) -> Iterator[Line]:
        """Yield of each file what stands behind its last line feed."""
        for tail in self._tails.values():
            yield from tail.rest()

    def rows_of(self, experiment: Experiment) -> list[dict[str, Any]]:
        """Return the rows of those whose output this is."""
        return [row for row in experiment.rows() if not self._names or row["name"] in self._names]

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails.values():
            tail.close()

    def _look(self, is_first: bool = False) -> None:
        """Take in the programs that the journal has got since."""
        try:
            status = os.stat(self._file)
            if (seen := (status.st_ino, status.st_size)) == self._seen:
                return
            history = read_journal(self._file)
        except (OSError, NotStartedError):
            if is_first:
                # Says in words what is not there.
                read_journal(self._file)
            # Else somebody has cleaned up.
            return
        self._seen, self.script = seen, history.script
        if is_first:
            check_names(history, self._names)
        for entry in history.jobs.values():
            name = str(entry.start["name"])
            if self._names and name not in self._names:
                continue
            for file in entry.outputs:
                if file not in self._tails:
                    self._tails[file] = _Tail(name, file)


def follow(logs: Logs, stop: Callable[[], bool]) -> Iterator[Line]:
    """Yield the lines that come, until nothing runs any more that could write some, or `stop()`."""
    watched: Experiment | None = None
    while not stop():
        yield from logs.new()
        if watched is None and (logs.script is None or not logs.script.is_running):
            # Nothing more is started: how what still runs is doing can be watched from here.
            watched = Experiment.attach(logs.exp_path)
        if watched is not None and all(Status(row["status"]).is_terminal for row in logs.rows_of(watched)):
            break
        time.sleep(_LOOK_S)
    yield from logs.rest()


class _Tail:
    """What comes to one file, though it is replaced by another of its name when its program is started again."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._file: BinaryIO | None = None
        # The beginning of a line whose end has not come.
        self._begun = b""

    def last(self, count: int) -> Iterator[Line]:
        """Yield the last lines that are complete, and go on behind them."""
        self._open()
        if self._file is None:
            return
        size = self._file.seek(0, os.SEEK_END)
        back = _CHUNK_BYTES
        while True:
            self._file.seek(max(0, size - back))
            *lines, self._begun = self._file.read().split(b"\n")
            if back >= size or len(lines) > count:
                break
            back *= 4
        # The first is the end of a line, or one more than asked for.
        for line in lines[-count:] if count > 0 else ():
            yield self._line(line)

    def read(self) -> Iterator[Line]:
        """Yield the lines that have come."""
        self._open()
        while self._file is not None:
            if self._is_cut():
                self._file.seek(0)
            data = self._file.read(_CHUNK_BYTES)
            if not data and not self._is_replaced():
                return
            if not data:
                yield from self.rest()
                self.close()
                self._open()
                continue
            *lines, self._begun = (self._begun + data).split(b"\n")
            for line in lines:
                yield self._line(line)
            if len(self._begun) > _LONGEST_BYTES:
                yield from self.rest()
            if len(data) == _CHUNK_BYTES:
                # The others have their turn first.
                return

    def rest(self) -> Iterator[Line]:
        """Yield the line whose end has not come."""
        if self._begun:
            line, self._begun = self._begun, b""
            yield self._line(line)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        if self._file is None:
            # Else it is not there yet, or not any more.
            with contextlib.suppress(OSError):
                self._file = open(self._path, "rb")  # noqa: SIM115 (closed by `close`)

    def _is_replaced(self) -> bool:
        assert self._file is not None
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        return not os.path.samestat(there, os.fstat(self._file.fileno()))

    def _is_cut(self) -> bool:
        assert self._file is not None
        return os.fstat(self._file.fileno()).st_size < self._file.tell()

    def _line(self, data: bytes) -> Line:
        # A progress bar rewrites its line: what it says last counts.
        text = data.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
        return Line(self._name, self._path.suffix == ".err", text)
