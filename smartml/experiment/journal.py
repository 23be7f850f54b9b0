"""The journal of an experiment: what was started, and how it ended, in `<exp_path>/.smartml/journal.jsonl`.

One JSON object per line, whole lines appended with one write, so that several processes may write, and one that is
killed leaves at most its last line unfinished. `time` is in seconds since the epoch. The lines, by their `event`:

    experiment  name, launcher, pid, created, host                      a script begins to start things
    start       id, name, kind, number, is_detached, grace_s, and what finds the job again:
                host, pid, created, command, folder, out, err           a process of that machine; its id is its mark
                (a kind of jobs adds its own: `Job.record`)
    wait        id, name, kind, number, is_detached, waits_for, command, folder
                                                                        a program waits for others before it starts
    settle      id, status, reason                                      it does not start any more
    database    name, record                                            a database runs; `record` is its record.py file
    stop        id                                                      somebody asked for the end of a job or wait
    end         id, returncode [, reason]                               a job has ended; null = nobody knows the code
"""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from smartml.errors import NotStartedError
from smartml.experiment.guardian import Root, find_root
from smartml.experiment.job import Job
from smartml.experiment.output import open_to_append
from smartml.experiment.states import Status

logger = logging.getLogger(__name__)

# So many lines wait to be written at once, at most, while many programs are started, and for so long.
_MOST_PENDING = 32
_LONGEST_PENDING_S = 0.2

# Where, in the folder of an experiment.
JOURNAL = Path(".smartml", "journal.jsonl")


class Start(NamedTuple):
    """What the journal says of every start, whatever kind of job it is."""

    name: str
    kind: str
    number: int
    is_detached: bool
    grace_s: float


class Wait(NamedTuple):
    """What the journal says of a program that waits for others before it starts."""

    id: str
    name: str
    kind: str
    number: int
    is_detached: bool
    waits_for: str
    command: list[str]
    folder: str


class Journal:
    """Write the journal of the experiment in a folder. Where that cannot be done it is logged, and harms nothing."""

    def __init__(self, exp_path: str) -> None:
        self.file = Path(exp_path) / JOURNAL
        self._lock = threading.Lock()
        # Events with their lines that are not written yet, and how many there are before they are written.
        self._pending: list[tuple[str, str]] = []
        self._most_pending = 1
        # When they were written the last time, by the monotonic clock.
        self._flushed = 0.0

    def experiment(self, name: str, launcher: str, pid: int, created: float) -> None:
        """Note that a script begins to start things."""
        host = os.uname().nodename
        self._write("experiment", name=name, launcher=launcher, pid=pid, created=created, host=host)

    def start(self, job: Job, start: Start) -> None:
        """Note a started job."""
        self._write("start", may_wait=not job.is_detached, **{**start._asdict(), **job.record()})

    def wait(self, wait: "Wait") -> None:
        """Note that a program waits for others before it starts; its start, with the same number, ends that."""
        self._write("wait", **wait._asdict())

    def settle(self, wait_id: str, status: Status, reason: str) -> None:
        """Note that a program that waits for others will not start."""
        self._write("settle", id=wait_id, status=str(status), reason=reason)

    def is_stopped(self, wait_id: str) -> bool:
        """Tell whether somebody has asked for a program that waits not to start."""
        try:
            # Not read line by line: each of a thousand programs may have waited.
            return _stop_line(wait_id).encode() in self.file.read_bytes()
        except OSError:
            return False

    def database(self, name: str, record: str) -> None:
        """Note a running database."""
        self._write("database", name=name, record=record)

    def stop(self, job_id: str) -> None:
        """Note that a job was asked to end, or a program that waits not to start."""
        self._write("stop", id=job_id)

    def end(self, job: Job) -> None:
        """Note how a job has ended."""
        reason = {"reason": job.reason} if job.reason else {}
        self._write("end", may_wait=not job.is_detached, id=job.record()["id"], returncode=job.returncode, **reason)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what a block tells of processes that end with this one a few lines at a time: it starts many."""
        with self._lock:
            self._most_pending = _MOST_PENDING
        try:
            yield
        finally:
            with self._lock:
                self._most_pending = 1
                self._flush()

    def _write(self, event: str, may_wait: bool = False, **fields: object) -> None:
        line = json.dumps({"event": event, **fields, "time": time.time()})
        with self._lock:
            self._pending.append((event, line))
            is_full = len(self._pending) >= self._most_pending
            if is_full or not may_wait or time.monotonic() - self._flushed > _LONGEST_PENDING_S:
                self._flush()

    def _flush(self) -> None:
        """Append the lines that are there, with one write. The lock is held."""
        pending, self._pending = self._pending, []
        self._flushed = time.monotonic()
        try:
            if pending:
                _append(self.file, [line for _, line in pending])
        except OSError as error:
            events = ", ".join(dict.fromkeys(f"a {event}" for event, _ in pending))
            logger.warning("the journal %s does not learn of %s: %s", self.file, events, error)


def _append(file: Path, lines: Iterable[str]) -> None:
    """Append lines to a file with one write, and make its folder where it is missing. Raises OSError."""
    descriptor = open_to_append(file)
    try:
        os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
    finally:
        os.close(descriptor)


class Script(NamedTuple):
    """A script that has started things."""

    pid: int
    created: float
    host: str

    @property
    def is_here(self) -> bool:
        """True when this machine can tell whether it runs."""
        return self.host == os.uname().nodename

    @property
    def is_running(self) -> bool:
        """True when it is known to run."""
        return self.is_here and find_root(Root(self.pid, self.created)) is not None


@dataclass
class Entry:
    """What a journal says of one job."""

    start: dict[str, Any]
    is_stopped: bool = False
    # The script that has started it.
    script: Script | None = None
    # The line of its end; None as long as there is none.
    end: dict[str, Any] | None = None

    @property
    def outputs(self) -> list[Path]:
        """The files that it writes to."""
        # Those of a batch job, or of a process.
        names = self.start.get("outputs") or [self.start[kind] for kind in ("out", "err") if kind in self.start]
        return list(dict.fromkeys(map(Path, names)))


@dataclass
class WaitEntry:
    """What a journal says of a program that waits for others before it starts, or did when its script ended."""

    wait: Wait
    # When it began.
    time: float
    is_stopped: bool = False
    # The script that would start it.
    script: Script | None = None
    # What became of it without a start, and why; None as long as it waits.
    status: Status | None = None
    reason: str = ""


@dataclass
class History:
    """What a journal says, all together."""

    name: str = ""
    launcher: str = "local"
    # The script that was the last to start things; it may have ended.
    script: Script | None = None
    # By their ids, in the order of their starts.
    jobs: dict[str, Entry] = field(default_factory=dict)
    # Programs that were not started, by the ids of their waits.
    waits: dict[str, WaitEntry] = field(default_factory=dict)
    # Their ids, by name and number of the start.
    latest_waits: dict[tuple[str, int], str] = field(default_factory=dict)
    # The record files of databases, by their names; of those with one name the latest.
    databases: dict[str, str] = field(default_factory=dict)


def read_journal(file: Path) -> History:
    """Read a journal. Lines that are damaged are left out, with a warning. Raises NotStartedError."""
    try:
        lines = file.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise NotStartedError(f"no experiment was started in {file.parent.parent}: {error}") from error
    history = History()
    for number, line in enumerate(lines, 1):
        try:
            _apply(json.loads(line), history)
        except (ValueError, TypeError, KeyError) as error:
            # The last one is being written, or its writer was killed.
            if number < len(lines) or line.endswith(b"\n"):
                logger.warning("line %d of %s is damaged, and left out: %r", number, file, error)
    if not history.name:
        raise NotStartedError(f"{file} does not name an experiment: it is not a journal, or its beginning is lost")
    return history


def start_line(start: Start, record: Mapping[str, Any]) -> str:
    """Return the line of a start without its end: who starts the job adds what is known only then, and a brace."""
    return json.dumps({"event": "start", **start._asdict(), **record})[:-1]


def _stop_line(job_id: str) -> str:
    """Return what the line begins with that asks for the end of a job."""
    return json.dumps({"event": "stop", "id": job_id})[:-1]


def find_end(file: Path, job_id: str) -> Entry | None:
    """Return what a journal says of a job, or None when it does not know it."""
    try:
        return read_journal(file).jobs.get(job_id)
    except NotStartedError:
        return None


def _apply(line: dict[str, Any], history: History) -> None:
    event = line["event"]
    if event == "experiment":
        history.name, history.launcher = str(line["name"]), str(line["launcher"])
        host = str(line.get("host", os.uname().nodename))
        history.script = Script(int(line["pid"]), float(line["created"]), host)
    elif event == "start":
        history.jobs[line["id"]] = Entry(line, script=history.script)
        # Started by the script that has waited, or by another in which nothing had to be waited for.
        history.waits.pop(history.latest_waits.pop((line["name"], line["number"]), ""), None)
    elif event == "wait":
        wait = Wait(*(line[name] for name in Wait._fields))
        history.waits[wait.id] = WaitEntry(wait, float(line["time"]), script=history.script)
        history.latest_waits[wait.name, wait.number] = wait.id
    elif event == "settle":
        if waited := history.waits.get(line["id"]):
            waited.status, waited.reason = Status(line["status"]), str(line["reason"])
    elif event == "database":
        history.databases[line["name"]] = str(line["record"])
    elif event == "stop":
        # A program that waited may have been started in this very moment.
        if found := history.jobs.get(line["id"]) or history.waits.get(line["id"]):
            found.is_stopped = True
    elif event == "end":
        history.jobs[line["id"]].end = line
