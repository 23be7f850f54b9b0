"""One running Redis server: a node of a cluster, or a database by itself."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from smartml.errors import StoreConnectionError, StoreError, StoreReplyError, StoreTimeoutError
from smartml.experiment.cluster import SLOTS
from smartml.experiment.guardian import GRACE_S
from smartml.experiment.job import Job
from smartml.experiment.process import ProcessJob
from smartml.experiment.record import NodeRecord
from smartml.experiment.schedulers.local import Command
from smartml.experiment.server import ServerConfig, find_server
from smartml.experiment.states import Status
from smartml.experiment.supervisor import supervisor
from smartml.store import Credentials
from smartml.store.credentials import write_secret


class Node:
    """One server of the database `database`: where it is, how it is doing, and how to reach it.

    `job` is what this process started for it, or the batch job that runs it; otherwise it is found by its record.
    `credentials` let us in.
    """

    def __init__(
        self, database: str, record: NodeRecord, job: Job | None = None, credentials: Credentials | None = None
    ) -> None:
        self.database = database
        self.record = record
        self.job = job
        self.credentials = credentials or Credentials()

    @property
    def name(self) -> str:
        """`<db_identifier>_<index>`, or the identifier itself where there is but one server."""
        return self.record.name

    @property
    def address(self) -> str:
        """Where clients reach it, `127.0.0.1:6780`, or `unix:///path` where that is the only way."""
        return f"{self.record.host}:{self.record.port}" if self.record.port else f"unix://{self.record.unix_socket}"

    @property
    def port(self) -> int:
        """The port for clients; 0 for none."""
        return self.record.port

    @property
    def pid(self) -> int:
        """Its process, on its host."""
        return self.record.server_pid or self.record.pid

    @property
    def log(self) -> str:
        """The path of its log."""
        return self.record.log

    @property
    def title(self) -> str:
        """What to call it in a message."""
        if self.name == self.database:
            return f"database {self.database}"
        return f"node {self.name} ({self.address}) of database {self.database}"

    @property
    def status(self) -> Status:
        """What it is doing, or how it ended."""
        if self.job is not None:
            return self.job.status
        return Status.STATUS_RUNNING if self.is_there() else Status.STATUS_COMPLETED

    @property
    def is_running(self) -> bool:
        """True while its process lives."""
        return self.status in (Status.STATUS_RUNNING, Status.STATUS_PAUSED)

    def is_there(self) -> bool:
        """Tell whether its process lives, or where that cannot be known here, whether it answers."""
        if self.record.is_process_here:
            return self.record.find_process() is not None
        # The process is one of another machine, so it can only be asked.
        return self.answers()

    def answers(self, timeout_s: float = 2.0) -> bool:
        """Tell whether a server answers there."""
        try:
            with self.connection(timeout_s) as client:
                return bool(client.ping())
        except (StoreReplyError, StoreTimeoutError):
            # It loads its data, say, or has much to do.
            return True
        except StoreError:
            return False

    def connection(self, timeout_s: float = 5.0) -> "contextlib.AbstractContextManager[redis.Redis]":
        """Connect to it for administration; its errors leave as smartml's. Never retries."""
        return _connection(self, timeout_s)

    def info(self, section: str | None = None) -> dict[str, Any]:
        """Return what Redis's INFO tells. Raises StoreConnectionError when it does not answer."""
        with self.connection() as client:
            return dict(client.info(section) if section else client.info())

    def is_healthy(self, timeout_s: float = 1.0) -> bool:
        """Tell whether it answers and, in a cluster, sees all slots served."""
        try:
            with self.connection(timeout_s) as client:
                return bool(client.ping()) and missing_in_cluster(client) is None
        except StoreError:
            return False

    def slot_owners(self) -> list[tuple[int, int, int]]:
        """Return who holds which slots, as this node sees it: first slot, last slot, port of the primary."""
        with self.connection() as client:
            # First slot, last slot, then (host, port, ...) of the primary and of its replicas.
            return [(first, last, port) for first, last, (_, port, *_), *_ in _ask(client, "CLUSTER SLOTS")]


def launch_node(
    database: str,
    config: ServerConfig,
    folder: Path,
    output: tuple[Path, Path],
    credentials: Credentials | None = None,
    **options: Any,
) -> Node:
    """Start a server in a folder, its output and error output in the files given; `options` as for the supervisor.

    Returns at once: see `wait_until_ready`. Raises LaunchError.
    """
    conf = folder / f"{config.name}.conf"
    # The nodes of a cluster are told the password.
    write_secret(conf, config.text())
    out, err = output
    command = Command((str(find_server()), conf.name), folder, os.environ, out, err)
    job = supervisor.launch(config.name, command, is_service=True, **options)
    record = NodeRecord(config.name, config.bind[0], config.port, *job.root, job.mark, config.unix_socket, str(out))
    return Node(database, record, job, credentials)


@contextlib.contextmanager
def _connection(node: Node, timeout_s: float) -> Iterator["redis.Redis"]:
    record, credentials = node.record, node.credentials
    options: dict[str, Any] = {"host": record.host, "port": record.port}
    if not record.port:
        options = {"unix_socket_path": record.unix_socket}
    elif credentials.tls is not None:
        # Whether the certificate names this host is for clients to look at.
        options |= {"ssl": True, "ssl_ca_certs": credentials.tls.ca_file, "ssl_check_hostname": False}
        options["ssl_cert_reqs"] = "required" if credentials.tls.verify else "none"
    client = redis.Redis(
        **options,
        username=credentials.username,
        password=credentials.password,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=True,
    )
    try:
        with _errors_as_ours(f"the database at {node.address}", timeout_s):
            yield client
    finally:
        client.close()


@contextlib.contextmanager
def _errors_as_ours(where: str, timeout_s: float) -> Iterator[None]:
    try:
        yield
    except redis.TimeoutError as error:
        raise StoreTimeoutError(f"{where} did not answer within {timeout_s} s: {error}") from error
    except redis.ConnectionError as error:
        raise StoreConnectionError(f"{where} does not answer: {error}") from error
    except redis.RedisError as error:
        raise StoreReplyError(f"{where} refused: {error}") from error


def shut_down(nodes: Sequence[Node], grace_s: float) -> dict[Node, StoreError]:
    """End servers in order, saving where that is configured; by force those that have not ended after `grace_s`.

    All are asked before one is waited for. Returns the nodes that could not save their data, and why.
    """
    refusals: dict[Node, StoreError] = {}
    with contextlib.ExitStack() as connections:
        asked = []
        for node in nodes:
            # One that does not let itself be asked hangs, or has ended meanwhile.
            with contextlib.suppress(StoreConnectionError), node.connection(grace_s) as client:
                link: Any = client.connection_pool.make_connection()
                connections.callback(link.disconnect)
                link.connect()
                # Without an option Redis saves exactly when it was configured to keep snapshots.
                link.send_command("SHUTDOWN")
                asked.append((node, link))
        for node, link in asked:
            try:
                with _errors_as_ours(f"the database at {node.address}", grace_s):
                    link.read_response()
            except StoreConnectionError:
                pass  # This is how it says that it ends.
            except StoreError as error:
                refusals[node] = error
    deadline = time.monotonic() + grace_s
    while any(node.is_there() for node in nodes) and time.monotonic() < deadline:
        time.sleep(0.005)
    supervisor.end({node.record.mark: node.record.root for node in nodes if node.record.is_process_here}, grace_s)
    # A batch job ends with the last of its servers, who need not be among these.
    supervisor.wait([node.job for node in nodes if isinstance(node.job, ProcessJob)], GRACE_S)
    return refusals


def missing_in_cluster(client: "redis.Redis") -> str | None:
    """Return what keeps the cluster of a server from being whole, as the server sees it; None when it is, or alone."""
    server = client.info("server")
    # Valkey calls it otherwise.
    if server.get("redis_mode", server.get("server_mode")) != "cluster":
        return None
    seen = _ask(client, "CLUSTER INFO")
    if seen["cluster_state"] != "ok" or seen["cluster_slots_ok"] != str(SLOTS):
        return f"did not see its cluster serve all slots ({seen['cluster_slots_ok']} are)"
    replication = client.info("replication")
    if replication["role"] == "slave" and replication["master_link_status"] != "up":
        return "did not get the data of its primary"
    return None


def _ask(client: "redis.Redis", command: str) -> Any:
    run: Any = client.execute_command
    return run(command)
