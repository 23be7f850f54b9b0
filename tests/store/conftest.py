"""Real Redis servers, of two versions and in every shape that the store speaks to."""

import contextlib
import functools
import socket
import threading

import pytest
import redis
from servers import DEADLINE_S, KINDS, Cluster, Server, find_free_port, server_program

from smartml import Client, Orchestrator

# What a test finds in its environment decides where a client connects and which prefixes it uses.
VARIABLES = ("SSDB", "SR_DB_TYPE", "SSKEYIN", "SSKEYOUT", "SMARTML_DB_AUTH")


@pytest.fixture(autouse=True)
def no_experiment_around(monkeypatch):
    """Run each test as if nothing had told it of a database."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def free_port():
    return find_free_port


@pytest.fixture(scope="session")
def start_database():
    """Start a database on a kind of server, once in the session: `start_database("on the PATH").address`."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(kind):
            started = Orchestrator(port=0, unix_socket=True, inference=False)
            # Only for the start: servers of other tests are theirs to choose.
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("SMARTML_REDIS_SERVER", server_program(kind))
                return stack.enter_context(started)

        yield start


@pytest.fixture(scope="session")
def inference_database():
    """Start a database that runs models, once in the session: `inference_database("a cluster").connect()`."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(kind):
            nodes = 3 if kind == "a cluster" else 1
            return stack.enter_context(Orchestrator(port=0, db_nodes=nodes, intra_op_threads=1))

        yield start


@pytest.fixture(scope="session", params=KINDS)
def server(request, start_database):
    """A database on each kind of server, over TCP and a unix socket."""
    return start_database(request.param)


@pytest.fixture
def raw(server):
    """What other clients see: redis-py, with bytes in and out. The database is empty when a test begins."""
    host, port = server.address.split(":")
    with redis.Redis(host=host, port=int(port)) as plain:
        plain.flushall()
        yield plain


@pytest.fixture
def client(raw, server):
    with Client(address=server.address) as connected:
        yield connected


@pytest.fixture
def connect(raw, server, monkeypatch):
    """Make clients with an environment of their own: `connect(SSKEYIN="a,b")`."""
    with contextlib.ExitStack() as stack:

        def make(**environment):
            with monkeypatch.context() as context:
                for name, value in environment.items():
                    context.setenv(name, value)
                return stack.enter_context(Client(address=server.address))

        yield make


@pytest.fixture
def start_server(tmp_path):
    """Start servers with options: `start_server("--requirepass", "secret").address`."""
    started = []

    def start(*options, **settings):
        # Known before it is up, so that one that never comes up is killed, too.
        started.append(Server(tmp_path, *options, **settings))
        return started[-1].start()

    yield start
    for one in started:
        one.kill()


class Proxy:
    """Stands before a server and can cut connections at the worst moment."""

    def __init__(self, port):
        self._upstream = port
        # How many more bytes of replies may pass until the connection is cut; None: all of them.
        self._allowance = None
        self._cuts = 0
        self._lock = threading.Lock()
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = []
        self._run(self._accept)

    def cut_after(self, reply_bytes, times=1):
        """Cut the connection when the server has answered and so many bytes of its reply have passed."""
        with self._lock:
            self._allowance, self._cuts = reply_bytes, times
            self._granted = reply_bytes

    def _run(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            self._sockets += [client, server]
            self._run(self._pump, client, server, False)
            self._run(self._pump, server, client, True)

    def _pump(self, source, destination, are_replies):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if are_replies:
                    data, is_last = self._let_pass(data)
                    destination.sendall(data)
                    if is_last:
                        break
                else:
                    destination.sendall(data)
        for end in (source, destination):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _let_pass(self, data):
        with self._lock:
            if self._allowance is None:
                return data, False
            if 0 < self._allowance >= len(data):
                self._allowance -= len(data)
                return data, False
            passing = data[: self._allowance]
            self._cuts -= 1
            self._allowance = self._granted if self._cuts else None
            return passing, True

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()


@pytest.fixture
def proxy(raw, server):
    """A proxy before the server."""
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.fixture(scope="session")
def cluster_servers(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def cluster(cluster_servers):
    """A cluster of three servers, empty."""
    for node in cluster_servers.nodes:
        node.flushall()
    return cluster_servers


@pytest.fixture
def own_cluster(tmp_path):
    """A cluster for one test alone, which may break it. What is left of it serves its slots all the same."""
    started = Cluster(tmp_path)
    try:
        started.start()
        for node in started.nodes:
            node.config_set("cluster-require-full-coverage", "no")
        yield started
    finally:
        started.stop()


@pytest.fixture
def cluster_client(cluster):
    with Client(cluster=True, address=cluster.address) as connected:
        yield connected


class Background:
    """Runs functions in threads; raises their errors when they are joined."""

    def __init__(self):
        self._threads = []
        self._errors = []

    def __call__(self, function):
        def guarded():
            try:
                function()
            except BaseException as error:  # noqa: BLE001
                self._errors.append(error)

        self._threads.append(threading.Thread(target=guarded))
        self._threads[-1].start()

    def join(self):
        for thread in self._threads:
            thread.join(2 * DEADLINE_S)
            assert not thread.is_alive()
        assert not self._errors, self._errors


@pytest.fixture
def in_background():
    """Run functions in threads that are joined, and whose errors are raised, when the test ends at the latest."""
    background = Background()
    yield background
    background.join()
