"""The orchestrator: the Redis that an experiment starts, or that is started alone."""

import contextlib
import logging
import os
import re
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
    StoreError,
    UnsupportedError,
)
from smartml.experiment.cluster import BUS_OFFSET, Shape, covers_all_slots
from smartml.experiment.folder import DatabaseFolder
from smartml.experiment.guardian import GRACE_S
from smartml.experiment.node import Node, launch_node, shut_down
from smartml.experiment.ports import free_ports, interface_address
from smartml.experiment.process import ProcessJob
from smartml.experiment.readiness import wait_until_ready
from smartml.experiment.record import DatabaseRecord, read_record
from smartml.experiment.schedulers.local import DEFAULT_DATABASE
from smartml.experiment.server import (
    PERSISTENCE,
    SOCKET_PATH_BYTES,
    ServerConfig,
    find_server,
    largest_value,
    memory_bytes,
)
from smartml.experiment.states import Status, combined
from smartml.experiment.supervisor import supervisor
from smartml.store.module import find_module

logger = logging.getLogger(__name__)

# A free port may be taken by another program before the server has it; that often it does not happen in a row.
_PORT_TRIES = 10

# What may be part of a file's and of an environment variable's name.
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Orchestrator:
    """Start a Redis server or cluster, hand out its address, and stop it. Usable alone or in an Experiment.

        with Orchestrator(port=0) as db:
            client = Client(address=db.address)

    path: folder of its configuration, log, data and record. When None: `<exp_path>/<db_identifier>` in an
        experiment; alone `<current folder>/<db_identifier>` where something is to be kept (`persistence`, `detach`),
        else a temporary folder, removed when the server is stopped.
    port: 0 takes a free one. The nodes of a cluster take this one and those that follow, and for talking to each other
        those 10000 above.
    interface: network interface(s) to listen on besides loopback; the first one's address is handed out. There is
        no password yet: on an interface named here, whoever reaches the machine reaches the data, as a warning says.
    db_nodes: 1, or from 3 on a Redis Cluster of so many servers on this machine, which share the keys.
    replicas: copies of each of the `db_nodes`, servers too; when a node dies, one takes its place after some seconds.
        What was written in the last moment before may be lost, and the database counts as failed all the same.
    unix_socket: path of a socket beside TCP, relative to `path`; True for `<db_identifier>.sock`. Not for clusters.
    max_memory: of each server, in bytes, or as Redis writes it ("3gb"). When it is full, writers get an error; nothing
        is evicted.
    persistence: "rdb" (a snapshot when stopped, and every minute while something changes) or "aof" (every write,
        flushed to disk every second); the next start in the same `path`, of as many nodes, begins with that data. None
        keeps nothing.
    detach: the database outlives this process; find it again by `Orchestrator.attach(path)`. Otherwise it ends with
        this process, in whatever way that ends.
    startup_timeout_s: how long it may take until it answers, loading its data included. A cluster takes two seconds:
        so long a fresh node serves nothing.
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
        replicas: int = 0,
        unix_socket: str | os.PathLike[str] | bool | None = None,
        max_memory: int | str | None = None,
        persistence: str | None = None,
        detach: bool = False,
        startup_timeout_s: float = 30.0,
    ) -> None:
        if launcher != "local":
            raise UnsupportedError(f"launcher {launcher!r} cannot start a database yet; there is: 'local'")
        shape = Shape(db_nodes, replicas)
        if not isinstance(port, int) or isinstance(port, bool):
            raise ArgumentTypeError(f"port must be an int, got {type(port).__name__}: {port!r}")
        highest = 65535 if not shape.is_cluster else 65535 - BUS_OFFSET - (shape.size - 1)
        if not 0 <= port <= highest:
            why = f", since {shape.size} nodes need the ports that follow and those {BUS_OFFSET} above"
            raise ArgumentValueError(
                f"port must be 0 (any that is free) to {highest}, got {port}{why if shape.is_cluster else ''}"
            )
        if shape.is_cluster and unix_socket not in (None, False):
            raise ArgumentValueError(
                f"unix_socket={unix_socket!r} with db_nodes={db_nodes}: clients reach the nodes of a cluster by TCP "
                "alone; leave it out, or use db_nodes=1"
            )
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
        self.replicas = replicas
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
        self._shape = shape
        # The servers, the primaries first, from their start on; also when another process started them.
        self._nodes: tuple[Node, ...] = ()
        self._folder = None if self._given_path is None else DatabaseFolder(Path(self._given_path), db_identifier)
        # The name under which the folder is guarded, when it is temporary.
        self._scratch: str | None = None
        # From here on the end of a server is news.
        self._is_up = False

    @classmethod
    def attach(cls, path: str | os.PathLike[str] = ".", db_identifier: str = DEFAULT_DATABASE) -> "Orchestrator":
        """Find the database that another process, or an earlier one, started in `path`.

        `path` may also be its record, `<path>/<db_identifier>.json`. The database is not watched from here, and lives
        on when this process ends. Nodes of a cluster may have ended: `status` and `nodes` tell. Raises NotStartedError
        when none runs there.
        """
        file = Path(path).absolute()
        if file.is_dir() or file.suffix != ".json":
            file = file / f"{db_identifier}.json"
        record = read_record(file)
        identifier, shape, first = record.db_identifier, record.shape, record.nodes[0]
        nodes = tuple(Node(identifier, node) for node in record.nodes)
        if not any(node.is_running for node in nodes):
            raise NotStartedError(
                f"the database of {file.parent} (pid {first.pid}, {first.host}:{first.port}) has ended; "
                f"the last it had to say is in {first.log}"
            )
        is_row = [node.port for node in nodes] == list(range(first.port, first.port + len(nodes)))
        found = cls(
            file.parent,
            first.port if is_row else 0,
            db_nodes=shape.primaries,
            db_identifier=identifier,
            replicas=shape.replicas,
            detach=True,
        )
        found._nodes = nodes
        return found

    @property
    def type(self) -> str:
        """The kind of entity, as tables show it."""
        return type(self).__name__

    @property
    def path(self) -> str | None:
        """The folder of its files; None while that is not decided."""
        return None if self._folder is None else str(self._folder.path)

    @property
    def checkpoint_file(self) -> str | None:
        """The record by which `attach` finds the running database."""
        return None if self._folder is None else str(self._folder.record_file)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The servers, each with its name, address, pid, log and status: primaries first. Empty before the start."""
        return self._nodes

    @property
    def port(self) -> int:
        """The port, of a cluster that of its first node; 0 until a free one was taken."""
        return self.ports[0]

    @property
    def ports(self) -> list[int]:
        """The port of each server."""
        return [node.port for node in self._nodes] or self._given_ports()

    @property
    def hosts(self) -> list[str]:
        """The IP addresses of the servers' hosts; empty before the start."""
        return list(dict.fromkeys(node.record.host for node in self._nodes))

    @property
    def address(self) -> str:
        """The address for clients, `127.0.0.1:6780`, those of a cluster with commas between them.

        Raises NotStartedError before the start.
        """
        return ",".join(self.get_address())

    @property
    def unix_socket(self) -> str | None:
        """The path of the unix socket, if one was asked for. Raises NotStartedError before the start."""
        return self._started_nodes()[0].record.unix_socket

    @property
    def pid(self) -> int:
        """The process of the (first) server. Raises NotStartedError before the start."""
        return self.pids[0]

    @property
    def pids(self) -> list[int]:
        """The process of each server. Raises NotStartedError before the start."""
        return [node.pid for node in self._started_nodes()]

    @property
    def log(self) -> str:
        """The path of the (first) server's log. Raises NotStartedError before the start."""
        return self.logs[0]

    @property
    def logs(self) -> list[str]:
        """The path of each server's log. Raises NotStartedError before the start."""
        return [node.log for node in self._started_nodes()]

    @property
    def status(self) -> Status:
        """What the database is doing, or how it ended; failed as soon as one node of a cluster has."""
        return combined(node.status for node in self._nodes)

    @property
    def job(self) -> ProcessJob | None:
        """The (first) server's process as a job, when this process started it."""
        return next(iter(self.jobs), None)

    @property
    def jobs(self) -> list[ProcessJob]:
        """The process of each server as a job, when this process started it."""
        return [node.job for node in self._nodes if node.job is not None]

    @property
    def is_running(self) -> bool:
        """True while a process of it lives (`is_active` also asks whether it answers)."""
        return any(node.is_running for node in self._nodes)

    def get_address(self) -> list[str]:
        """Return the addresses for clients, one of each server. Raises NotStartedError before the start."""
        return [node.address for node in self._started_nodes()]

    def is_active(self) -> bool:
        """Return True when the server answers, or in a cluster all slots are served."""
        healthy = [node for node in self._nodes if node.is_running and node.is_healthy()]
        if not healthy or len(healthy) == len(self._nodes):
            return bool(healthy)
        # A node is not missed any more once a replica serves its slots.
        try:
            return covers_all_slots(healthy[0].slot_owners(), [node.port for node in healthy])
        except StoreError:
            return False

    def start(self, default_path: str | os.PathLike[str] | None = None) -> None:
        """Start the database and return as soon as it answers.

        default_path: the folder, where the constructor was given none.
        Raises ServerStartError (PortTakenError where that is why), AlreadyStartedError, TensorModuleError when
        SMARTML_TENSOR_MODULE names a file that is not there, and ArgumentValueError where the folder holds the data of
        another number of nodes. What was started until then is stopped.
        """
        if self.is_running:
            raise AlreadyStartedError(f"database {self.name!r} runs already at {self.address}: stop it first")
        # Tells of a missing program before anything is made.
        find_server()
        if find_module() is None:
            logger.warning(
                "database %s has no tensor module, which programs of SmartRedis need: "
                "build it by `smartml module build`",
                self.name,
            )
        self._open_folder(default_path)
        try:
            self._start_somewhere()
        except BaseException as error:
            self._clean_up()
            if isinstance(error, LaunchError):
                raise ServerStartError(f"the database server does not run: {error}") from error
            raise

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop the database cleanly, saving where persistence is on; by force what has not ended after `grace_s`.

        Does nothing when it has ended already. Raises NotStartedError when it was never started.
        """
        running = [node for node in self._started_nodes() if node.is_running]
        for node in running:
            if node.job is not None:
                node.job.is_cancelled = True
        primaries = self._nodes[: self._shape.primaries]
        # Replicas first: a primary would wait for those that lag behind.
        for is_primary in (False, True):
            group = [node for node in running if (node in primaries) is is_primary]
            for node, error in shut_down(group, grace_s).items():
                logger.error("%s cannot save its data, and is stopped without: %s", node.title, error)
        self._remove_record()

    def __enter__(self) -> "Orchestrator":
        if not self.is_running:
            self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Orchestrator {self.name} {self.address if self._nodes else '-'} {self.status}>"

    def info(self, section: str | None = None) -> dict[str, Any]:
        """Return what Redis's INFO tells; of a cluster, the first node that runs (`nodes` has the others).

        Raises StoreConnectionError when it does not answer.
        """
        nodes = self._started_nodes()
        return next((node for node in nodes if node.is_running), nodes[0]).info(section)

    def set_db_conf(self, key: str, value: str) -> None:
        """Change a setting of every running server, in Redis's terms. Raises StoreReplyError when it refuses."""
        if not isinstance(key, str) or not isinstance(value, str):
            raise ArgumentTypeError(f"a setting and its value must be str, got {key!r} and {value!r}")
        for node in self._started_nodes():
            with node.connection() as client:
                client.config_set(key, value)

    def enable_checkpoints(self, frequency: int) -> None:
        """Save a snapshot every `frequency` seconds while something changes, and when stopped."""
        self.set_db_conf("save", f"{int(frequency)} 1")

    def set_max_memory(self, memory: int | str) -> None:
        """Limit the memory of each server for data: bytes, or as Redis writes it ("3gb")."""
        memory_bytes(memory)
        self.set_db_conf("maxmemory", str(memory))

    def set_eviction_strategy(self, strategy: str) -> None:
        """Say what happens when the memory is full, by Redis's names ("noeviction", "allkeys-lru", ...)."""
        self.set_db_conf("maxmemory-policy", strategy)

    def set_max_clients(self, clients: int = 50_000) -> None:
        """Limit the number of connections to each server."""
        self.set_db_conf("maxclients", str(clients))

    def set_max_message_size(self, size: int = 1_073_741_824) -> None:
        """Limit the size of one value, in bytes."""
        self.set_db_conf("proto-max-bulk-len", str(size))

    def _started_nodes(self) -> tuple[Node, ...]:
        if not self._nodes:
            raise NotStartedError(f"database {self.name!r} was not started; call its start(), or exp.start(db)")
        return self._nodes

    def _open_folder(self, default_path: str | os.PathLike[str] | None) -> None:
        self._scratch = None
        given = self._given_path or default_path
        if given is None and not self.persistence and not self.detach:
            self._folder = DatabaseFolder.make_temporary(self.db_identifier)
            self._scratch = supervisor.guard_folder(self._folder.path)
            return
        self._folder = DatabaseFolder(Path(given or self.db_identifier).absolute(), self.db_identifier)
        self._folder.path.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(NotStartedError):
            there = self.attach(self._folder.path, self.db_identifier)
            raise AlreadyStartedError(
                f"a database runs already in {self._folder.path} (pid {there.pid}, {there.address}): stop it by "
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

    def _given_ports(self) -> list[int]:
        return [self._given_port + index if self._given_port else 0 for index in range(self._shape.size)]

    def _listening(self) -> tuple[str, ...]:
        # The address that is handed out comes first: from it, too, the nodes of a cluster reach each other.
        return tuple(dict.fromkeys([*self._addresses, "127.0.0.1"]))

    def _start_somewhere(self) -> None:
        if self._given_port:
            self._start_at(self._given_ports())
            return
        for tries_left in reversed(range(_PORT_TRIES)):
            try:
                self._start_at(free_ports(self._listening(), self._shape))
                return
            except PortTakenError:
                if not tries_left:
                    raise

    def _start_at(self, ports: Sequence[int]) -> None:
        folder, host = self._folder, self._addresses[0]
        assert folder is not None
        folder.write_nodes_files(self._shape, [(host, port) for port in ports], bool(self.persistence))
        self._is_up = False
        nodes: list[Node] = []
        try:
            for index, config in enumerate(self._configs(folder, ports)):
                files = (folder.output_file(index, "out"), folder.output_file(index, "err"))
                options = {"on_end": self._on_end, "detach": self.detach, "scratch": self._scratch}
                nodes.append(launch_node(self.name, config, folder.path, files, **options))
            wait_until_ready(nodes, self.startup_timeout_s)
        except BaseException:
            supervisor.stop(node.job for node in nodes if node.job is not None)
            raise
        self._nodes = tuple(nodes)
        record = DatabaseRecord(self.db_identifier, self._shape, tuple(node.record for node in nodes))
        record.write(folder.record_file)
        self._is_up = True
        logger.info("database %s answers at %s after %.3f s", self.name, self.address, self.jobs[0].runtime_s)
        exposed = [address for address in self._addresses if not address.startswith("127.")]
        if exposed:
            logger.warning(
                "database %s has no password: whoever reaches %s can read and change its data",
                self.name,
                " or ".join(exposed),
            )

    def _configs(self, folder: DatabaseFolder, ports: Sequence[int]) -> list[ServerConfig]:
        names = self._shape.names(self.db_identifier)
        nodes_files = folder.nodes_files(self._shape, bool(self.persistence))
        return [
            ServerConfig(
                name=name,
                port=port,
                bind=self._listening(),
                unix_socket=self._socket_path(folder.path),
                max_memory=self._max_memory,
                persistence=self.persistence,
                max_value_bytes=largest_value(self._max_memory),
                nodes_file=None if nodes_file is None else nodes_file.name,
                module=find_module(),
            )
            for name, port, nodes_file in zip(names, ports, nodes_files, strict=True)
        ]

    def _on_end(self, job: ProcessJob) -> None:
        """Hear of the end of a server that this process started."""
        if not self._is_up:
            return
        if not job.is_cancelled:
            # The folder stays, for its log is wanted now.
            supervisor.release([job])
            title = next(node.title for node in self._nodes if node.job is job)
            logger.error("%s is gone: %s; %s", title, job.ending, job.last_words)
        elif all(other.returncode is not None for other in self.jobs):
            self._clean_up(keep_files=not all(other.is_cancelled for other in self.jobs))

    def _remove_record(self) -> None:
        if self._folder is not None:
            self._folder.record_file.unlink(missing_ok=True)

    def _clean_up(self, keep_files: bool = False) -> None:
        self._remove_record()
        if self._folder is not None and self._scratch is not None and not keep_files:
            self._folder.remove()
            supervisor.release_folder(self._scratch)
