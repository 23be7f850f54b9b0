"""The orchestrator: the Redis that an experiment starts, or that is started alone."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smartml.errors import (
    AlreadyStartedError,
    ArgumentTypeError,
    ArgumentValueError,
    LaunchError,
    NotStartedError,
    PortTakenError,
    ServerStartError,
    StoreConnectionError,
    StoreError,
    UnsupportedError,
)
from smartml.experiment.guardian import GRACE_S
from smartml.experiment.record import ServerRecord, read_record
from smartml.experiment.schedulers.local import DEFAULT_DATABASE, Command
from smartml.experiment.server import (
    PERSISTENCE,
    SOCKET_PATH_BYTES,
    ServerConfig,
    connection,
    find_server,
    free_port,
    interface_address,
    largest_value,
    memory_bytes,
    wait_until_ready,
)
from smartml.experiment.states import Status
from smartml.experiment.supervisor import Job, supervisor

logger = logging.getLogger(__name__)

# A free port may be taken by another program before the server has it; that often it does not happen in a row.
_PORT_TRIES = 10

# What may be part of a file's and of an environment variable's name.
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Orchestrator:
    """Start a Redis server, hand out its address, and stop it. Usable alone or in an Experiment.

        with Orchestrator(port=0) as db:
            client = Client(address=db.address)

    path: folder of its configuration, log, data and record. When None: `<exp_path>/<db_identifier>` in an
        experiment; alone `<current folder>/<db_identifier>` where something is to be kept (`persistence`, `detach`),
        else a temporary folder, removed when the server is stopped.
    port: 0 takes a free one.
    interface: network interface(s) to listen on besides loopback; the first one's address is handed out. There is
        no password yet: on an interface named here, whoever reaches the machine reaches the data, as a warning says.
    unix_socket: path of a socket beside TCP, relative to `path`; True for `<db_identifier>.sock`.
    max_memory: bytes, or as Redis writes it ("3gb"). When it is full, writers get an error; nothing is evicted.
    persistence: "rdb" (a snapshot when stopped, and every minute while something changes) or "aof" (every write,
        flushed to disk every second); the next start in the same `path` begins with that data. None keeps nothing.
    detach: the server outlives this process; find it again by `Orchestrator.attach(path)`. Otherwise it ends with
        this process, in whatever way that ends.
    startup_timeout_s: how long it may take until it answers, loading its data included.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        port: int = 6379,
        interface: str | Sequence[str] = "lo",
        launcher: str = "local",
        db_nodes: int = 1,
        *,
        db_identifier: str = DEFAULT_DATABASE,
        unix_socket: str | os.PathLike[str] | bool | None = None,
        max_memory: int | str | None = None,
        persistence: str | None = None,
        detach: bool = False,
        startup_timeout_s: float = 30.0,
    ) -> None:
        if launcher != "local":
            raise UnsupportedError(f"launcher {launcher!r} cannot start a database yet; there is: 'local'")
        if db_nodes != 1:
            raise UnsupportedError(
                f"db_nodes={db_nodes}: clusters of databases cannot be started yet; use db_nodes=1, one server "
                "as large as the memory allows"
            )
        if not isinstance(port, int) or isinstance(port, bool):
            raise ArgumentTypeError(f"port must be an int, got {type(port).__name__}: {port!r}")
        if not 0 <= port <= 65535:
            raise ArgumentValueError(f"port must be 0 (any that is free) to 65535, got {port}")
        if not isinstance(db_identifier, str) or not _IDENTIFIER.fullmatch(db_identifier):
            raise ArgumentValueError(
                f"db_identifier {db_identifier!r} must be made of letters, digits, '_', '-' and '.'"
            )
        if persistence is not None and persistence not in PERSISTENCE:
            kinds = "; ".join(f"{kind!r}: {meaning}" for kind, meaning in PERSISTENCE.items())
            raise ArgumentValueError(f"persistence {persistence!r} is unknown; there are None and {kinds}")
        if max_memory is not None:
            memory_bytes(max_memory)
        self.launcher = launcher
        self.db_nodes = self.num_shards = db_nodes
        self.name = self.db_identifier = db_identifier
        self.persistence = persistence
        self.detach = detach
        self.startup_timeout_s = startup_timeout_s
        self._given_path = None if path is None else os.path.abspath(os.fspath(path))
        self._given_port = port
        self._given_socket = unix_socket
        self._max_memory = max_memory
        names = [interface] if isinstance(interface, str) else list(interface)
        self._addresses = [interface_address(name) for name in names]
        # What is known of the server, from its start on; also when another process started it.
        self._record: ServerRecord | None = None
        self._folder: Path | None = None if self._given_path is None else Path(self._given_path)
        # None when the server was started by another process.
        self._job: Job | None = None
        # From here on the end of the server is news.
        self._is_up = False
        self._is_temporary = False

    @classmethod
    def attach(cls, path: str | os.PathLike[str] = ".", db_identifier: str = DEFAULT_DATABASE) -> "Orchestrator":
        """Find the server that another process, or an earlier one, started in `path`.

        `path` may also be its record, `<path>/<db_identifier>.json`. The server is not watched from here, and lives
        on when this process ends. Raises NotStartedError when none runs there.
        """
        file = Path(path).absolute()
        if file.is_dir() or file.suffix != ".json":
            file = file / f"{db_identifier}.json"
        record = read_record(file)
        if record.find_process() is None:
            raise NotStartedError(
                f"the database of {file.parent} (pid {record.pid}, {record.host}:{record.port}) has ended; "
                f"the last it had to say is in {record.log}"
            )
        found = cls(file.parent, record.port, db_identifier=record.db_identifier, detach=True)
        found._record = record
        return found

    @property
    def type(self) -> str:
        """The kind of entity, as tables show it."""
        return type(self).__name__

    @property
    def path(self) -> str | None:
        """The folder of its files; None while that is not decided."""
        return None if self._folder is None else str(self._folder)

    @property
    def checkpoint_file(self) -> str | None:
        """The record by which `attach` finds the running server."""
        return None if self._folder is None else str(self._folder / f"{self.db_identifier}.json")

    @property
    def port(self) -> int:
        """The port; 0 until a free one was taken."""
        return self._record.port if self._record else self._given_port

    @property
    def ports(self) -> list[int]:
        """The port, as a list."""
        return [self.port]

    @property
    def hosts(self) -> list[str]:
        """The IP addresses of the server's hosts; empty before the start."""
        return [self._record.host] if self._record else []

    @property
    def address(self) -> str:
        """The address for clients, `127.0.0.1:6780`. Raises NotStartedError before the start."""
        record = self._running_record()
        return f"{record.host}:{record.port}"

    @property
    def unix_socket(self) -> str | None:
        """The path of the unix socket, if one was asked for. Raises NotStartedError before the start."""
        return self._running_record().unix_socket

    @property
    def pid(self) -> int:
        """The process of the server. Raises NotStartedError before the start."""
        return self._running_record().pid

    @property
    def log(self) -> str:
        """The path of the server's log. Raises NotStartedError before the start."""
        return self._running_record().log

    @property
    def status(self) -> Status:
        """What the server is doing, or how it ended."""
        if self._job is not None:
            return self._job.status
        if self._record is None:
            return Status.STATUS_NEVER_STARTED
        return Status.STATUS_RUNNING if self._record.find_process() else Status.STATUS_COMPLETED

    @property
    def job(self) -> Job | None:
        """The server's process as a job, when this process started it."""
        return self._job

    @property
    def is_running(self) -> bool:
        """True while the server's process lives (`is_active` also asks whether it answers)."""
        return self._record is not None and self.status in (Status.STATUS_RUNNING, Status.STATUS_PAUSED)

    def get_address(self) -> list[str]:
        """Return the addresses for clients. Raises NotStartedError before the start."""
        return [self.address]

    def is_active(self) -> bool:
        """Return True when the server answers."""
        if not self.is_running:
            return False
        try:
            with self._connection(timeout_s=1.0) as client:
                return bool(client.ping())
        except StoreError:
            return False

    def start(self, default_path: str | os.PathLike[str] | None = None) -> None:
        """Start the server and return as soon as it answers.

        default_path: the folder, where the constructor was given none.
        Raises ServerStartError (PortTakenError where that is why), AlreadyStartedError.
        """
        if self.is_running:
            raise AlreadyStartedError(f"database {self.name!r} runs already at {self.address}: stop it first")
        binary = find_server()
        self._make_folder(default_path)
        try:
            for tries_left in reversed(range(_PORT_TRIES)):
                try:
                    self._start_at(self._given_port or free_port(self._addresses[0]), binary)
                    return
                except PortTakenError:
                    if self._given_port or not tries_left:
                        raise
        except PortTakenError:
            self._clean_up()
            raise
        except LaunchError as error:
            raise ServerStartError(f"the database server does not run: {error}") from error

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop the server cleanly, saving where persistence is on; by force when it has not ended after `grace_s`.

        Does nothing when it has ended already. Raises NotStartedError when it was never started.
        """
        record = self._running_record()
        if self.is_running:
            if self._job is not None:
                self._job.is_cancelled = True
            try:
                with self._connection(timeout_s=grace_s) as client:
                    # Without an option Redis saves exactly when it was configured to keep snapshots.
                    client.shutdown()
            except StoreConnectionError:
                pass  # It hangs, or has ended meanwhile.
            except StoreError as error:
                logger.error("database %s cannot save its data, and is stopped without: %s", self.name, error)
            self._end(record, grace_s)
        self._remove_record()

    def __enter__(self) -> "Orchestrator":
        if not self.is_running:
            self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Orchestrator {self.name} {self.address if self._record else '-'} {self.status}>"

    def info(self, section: str | None = None) -> dict[str, Any]:
        """Return what Redis's INFO tells. Raises StoreConnectionError when the server does not answer."""
        with self._connection() as client:
            return dict(client.info(section) if section else client.info())

    def set_db_conf(self, key: str, value: str) -> None:
        """Change a setting of the running server, in Redis's terms. Raises StoreReplyError when it refuses."""
        if not isinstance(key, str) or not isinstance(value, str):
            raise ArgumentTypeError(f"a setting and its value must be str, got {key!r} and {value!r}")
        with self._connection() as client:
            client.config_set(key, value)

    def enable_checkpoints(self, frequency: int) -> None:
        """Save a snapshot every `frequency` seconds while something changes, and when stopped."""
        self.set_db_conf("save", f"{int(frequency)} 1")

    def set_max_memory(self, memory: int | str) -> None:
        """Limit the memory for data: bytes, or as Redis writes it ("3gb")."""
        memory_bytes(memory)
        self.set_db_conf("maxmemory", str(memory))

    def set_eviction_strategy(self, strategy: str) -> None:
        """Say what happens when the memory is full, by Redis's names ("noeviction", "allkeys-lru", ...)."""
        self.set_db_conf("maxmemory-policy", strategy)

    def set_max_clients(self, clients: int = 50_000) -> None:
        """Limit the number of connections."""
        self.set_db_conf("maxclients", str(clients))

    def set_max_message_size(self, size: int = 1_073_741_824) -> None:
        """Limit the size of one value, in bytes."""
        self.set_db_conf("proto-max-bulk-len", str(size))

    def _running_record(self) -> ServerRecord:
        if self._record is None:
            raise NotStartedError(f"database {self.name!r} was not started; call its start(), or exp.start(db)")
        return self._record

    def _connection(self, timeout_s: float = 5.0) -> "contextlib.AbstractContextManager[Any]":
        record = self._running_record()
        return connection(record.host, record.port, timeout_s)

    def _make_folder(self, default_path: str | os.PathLike[str] | None) -> None:
        self._is_temporary = False
        if self._given_path is not None:
            self._folder = Path(self._given_path)
        elif default_path is not None:
            self._folder = Path(default_path).absolute()
        elif self.persistence or self.detach:
            self._folder = Path(self.db_identifier).absolute()
        else:
            self._folder = Path(tempfile.mkdtemp(prefix="smartml-"))
            self._is_temporary = True
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(NotStartedError):
            there = self.attach(self._folder, self.db_identifier)
            raise AlreadyStartedError(
                f"a database runs already in {self._folder} (pid {there.pid}, {there.address}): stop it by "
                "Orchestrator.attach(path).stop(), or take another path"
            )

    def _socket_path(self, folder: Path) -> str | None:
        if self._given_socket is None or self._given_socket is False:
            return None
        given = f"{self.db_identifier}.sock" if self._given_socket is True else self._given_socket
        path = os.path.join(folder, os.fspath(given))
        size = len(os.fsencode(path)) + 1
        if size > SOCKET_PATH_BYTES:
            raise ArgumentValueError(
                f"the path of the unix socket takes {size} bytes, the system allows {SOCKET_PATH_BYTES}: "
                f"{path}; name a shorter one by unix_socket="
            )
        return path

    def _start_at(self, port: int, binary: Path) -> None:
        folder = self._folder
        assert folder is not None
        config = ServerConfig(
            name=self.db_identifier,
            port=port,
            bind=tuple(dict.fromkeys(["127.0.0.1", *self._addresses])),
            unix_socket=self._socket_path(folder),
            max_memory=self._max_memory,
            persistence=self.persistence,
            max_value_bytes=largest_value(self._max_memory),
        )
        (folder / f"{self.db_identifier}.conf").write_text(config.text(), encoding="ascii")
        command = Command(
            argv=(str(binary), f"{self.db_identifier}.conf"),
            folder=folder,
            environment=os.environ,
            out=folder / f"{self.db_identifier}_0.out",
            err=folder / f"{self.db_identifier}_0.err",
        )
        self._is_up = False
        host = self._addresses[0]
        job = supervisor.launch(
            self.name,
            command,
            on_end=self._on_end,
            is_service=True,
            detach=self.detach,
            scratch=folder if self._is_temporary else None,
        )
        try:
            wait_until_ready(job, host, port, self.startup_timeout_s)
        except BaseException:
            supervisor.stop([job])
            # Its log is wanted now.
            supervisor.release([job])
            raise
        self._job = job
        self._record = ServerRecord(
            self.db_identifier, host, port, *job.root, job.mark, config.unix_socket, str(command.out)
        )
        self._record.write(Path(str(self.checkpoint_file)))
        self._is_up = True
        logger.info("database %s answers at %s after %.3f s", self.name, self.address, job.runtime_s)
        exposed = [address for address in self._addresses if not address.startswith("127.")]
        if exposed:
            logger.warning(
                "database %s has no password: whoever reaches %s can read and change its data",
                self.name,
                " or ".join(exposed),
            )

    def _end(self, record: ServerRecord, grace_s: float) -> None:
        """Wait for the end of the server, and help where it does not come."""
        deadline = time.monotonic() + grace_s
        while record.find_process() and time.monotonic() < deadline:
            time.sleep(0.005)
        supervisor.end({record.mark: record.root}, grace_s)
        if self._job is not None:
            supervisor.wait([self._job], GRACE_S)

    def _on_end(self, job: Job) -> None:
        """Hear of the end of the server that this process started."""
        if job.is_cancelled and self._is_up:
            self._clean_up()
        elif self._is_up:
            supervisor.release([job])
            logger.error("database %s is gone: %s; %s", self.name, job.ending, job.last_words)

    def _remove_record(self) -> None:
        if self.checkpoint_file:
            Path(self.checkpoint_file).unlink(missing_ok=True)

    def _clean_up(self) -> None:
        self._remove_record()
        if self._is_temporary and self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
