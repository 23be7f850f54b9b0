"""The records of an experiment: a record server beside it, which its programs find, and its states logged there."""

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import smartml.monitor as records
from smartml.errors import ServerStartError, SmartMLError
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.states import Status
from smartml.monitor.access import ADDRESS_VARIABLE, RECORDS_FOLDER, SCOPE_VARIABLE

# How often states are looked at, and databases asked.
_LOOK_S, _ASK_S = 0.25, 1.0
# The number of each state in the records, which hold numbers alone.
_NUMBERS = {status: number for number, status in enumerate(Status)}


class Monitoring:
    """Keeps records for an experiment from now until `close`, or the end of this process, in whatever way that comes.

    Programs started meanwhile find the server by SMARTML_MONITOR, and log to `<experiment>/<program>` unless they name
    another scope. To the scope `<experiment>` go the states (`states/<entity>`; the config of the scope has their
    numbers) and of every database memory and keys (`database/<identifier>/...`, the index is the node), by Unix time.

    What earlier runs of the experiment recorded under these scopes is deleted. Where SMARTML_MONITOR names a server
    already, that one is used. Raises ServerStartError, MissingDependencyError.
    """

    def __init__(
        self,
        name: str,
        path: str,
        states: Callable[[], Mapping[str, Status]],
        databases: Callable[[], Iterable[Orchestrator]],
    ) -> None:
        self.folder = Path(path, RECORDS_FOLDER)
        self._states, self._databases = states, databases
        # What was last logged.
        self._known: dict[str, Status] = {}
        self._asked_s = 0.0
        # Databases that were asked at least once: a new one is asked at once, since a run may be short.
        self._asked: set[str] = set()
        self._over = threading.Event()
        self._noting = threading.Lock()
        self._server: subprocess.Popen[str] | None = None
        # What it has put into the environment, and what was there before.
        self._before = {variable: os.environ.get(variable) for variable in (ADDRESS_VARIABLE, SCOPE_VARIABLE)}
        self.address = os.environ.get(ADDRESS_VARIABLE) or self._start_server("0")
        os.environ.update({ADDRESS_VARIABLE: self.address, SCOPE_VARIABLE: name})
        self._forget_earlier_runs(name)
        self._log = records.DataLogger(name, grpc_uri=self.address, flush_every=0.25)
        self._log.write_config(
            {"started": time.time(), "states": {str(status): number for status, number in _NUMBERS.items()}}
        )
        self._thread = threading.Thread(target=self._watch, name="smartml-monitoring", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is recorded any more."""
        return self._over.is_set()

    def look(self) -> None:
        """Log what has changed now: a run may be over before the next look."""
        self._note()

    def close(self) -> None:
        """Log the last states, and end the server; the records stay in the folder."""
        if self._over.is_set():
            return
        self._over.set()
        atexit.unregister(self.close)
        self._thread.join()
        self._note()
        self._log.close()
        for variable, value in self._before.items():
            os.environ.pop(variable, None)
            if value is not None:
                os.environ[variable] = value
        if self._server is not None:
            # It ends when nobody holds the other end of its input.
            self._server.communicate()

    def _start_server(self, port: str) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "server.log"
        command = [sys.executable, "-m", "smartml.monitor.grpc_server", str(self.folder), port, "--while-stdin-is-open"]
        with open(log, "a", encoding="utf-8") as errors:
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Ctrl-C is for the script, which ends it in order.
                start_new_session=True,
            )
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            self._server.communicate()
            said = log.read_text(encoding="utf-8").strip().splitlines()
            raise ServerStartError(
                f"the record server of {self.folder} did not start: {said[-1] if said else 'it said nothing'}"
            )
        return line.split()[-1]

    def _forget_earlier_runs(self, name: str) -> None:
        with contextlib.closing(records.RecordClient(self.address)) as client:
            for scope in client.scopes():
                if scope == name or scope.startswith(f"{name}/"):
                    client.delete(scope)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            self._note()
            if self._server is not None and self._server.poll() is not None:
                self._restart_server()

    def _restart_server(self) -> None:
        """Start it again where it was: what was logged meanwhile is waiting to be sent."""
        assert self._server is not None
        self._server.communicate()
        # Somebody may have taken the port; it is tried again.
        with contextlib.suppress(ServerStartError):
            self._start_server(self.address.rpartition(":")[2])

    def _note(self) -> None:
        with self._noting:
            now = time.time()
            for entity, status in self._states().items():
                if self._known.get(entity) is not status:
                    self._known[entity] = status
                    self._log.write(f"states/{entity}", x=now, y=_NUMBERS[status])
            running = {database.db_identifier for database in self._databases()}
            if now - self._asked_s >= _ASK_S or not running <= self._asked:
                self._asked_s, self._asked = now, running
                self._note_databases(now)

    def _note_databases(self, now: float) -> None:
        for database in self._databases():
            for number, node in enumerate(database.nodes):
                try:
                    info = node.info()
                except SmartMLError:
                    # It ends, or hangs: its state tells.
                    continue
                place = f"database/{database.db_identifier}"
                self._log.write(f"{place}/memory", start_index=number, x=now, y=info["used_memory"])
                keys = info.get("db0", {}).get("keys", 0)
                self._log.write(f"{place}/keys", start_index=number, x=now, y=keys)
