"""All nodes of a cluster work at the same time: each stands behind a proxy that holds back what it answers."""

import contextlib
import socket
import threading

import numpy as np
import pytest
from servers import DEADLINE_S, Cluster

from smartml import Client, Dataset
from smartml.store.descriptions import read_descriptions

NAMES = [f"t{i}" for i in range(60)]


class Gate:
    """Once shut, keeps replies until requests have come to all proxies."""

    def __init__(self, count):
        self._count = count
        self._changed = threading.Condition()
        self._seen = None

    def shut(self):
        with self._changed:
            self._seen = set()

    def note_request(self, proxy):
        with self._changed:
            if self._seen is not None:
                self._seen.add(proxy)
                if len(self._seen) == self._count:
                    self._seen = None
                self._changed.notify_all()

    def wait(self):
        with self._changed:
            self._changed.wait_for(lambda: self._seen is None, DEADLINE_S)


class HoldingProxy:
    """Stands before a server; its replies pass when the gate is open."""

    def __init__(self, port, gate):
        self._upstream, self._gate = port, gate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._threads = []
        self._run(self._accept)

    def _run(self, target, *arguments):
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                self._sockets += [client, server]
                self._run(self._pump, client, server, lambda: self._gate.note_request(self))
                self._run(self._pump, server, client, self._gate.wait)

    def _pump(self, source, destination, before):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                before()
                destination.sendall(data)
        for end in (source, destination):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()


@pytest.fixture(scope="module")
def held_cluster(tmp_path_factory):
    """A cluster whose nodes are known by the addresses of their proxies, and the gate that all of these keep."""
    gate = Gate(3)
    proxies = []

    def announce(port):
        proxies.append(HoldingProxy(port, gate))
        return proxies[-1].port

    started = Cluster(tmp_path_factory.mktemp("held"), announce)
    try:
        started.start()
        yield started, gate
    finally:
        for proxy in proxies:
            proxy.close()
        started.stop()


@pytest.fixture
def held(held_cluster):
    """A client that has talked to every node, and the gate."""
    cluster, gate = held_cluster
    for node in cluster.nodes:
        node.flushall()
    with Client(cluster=True, address=f"127.0.0.1:{cluster.announced[0]}", timeout_s=DEADLINE_S / 2) as client:
        client.put_tensors({name: np.full(3, number) for number, name in enumerate(NAMES)})
        for number in range(60):
            dataset = Dataset(f"d{number}")
            dataset.add_tensor("x", np.full(3, number))
            client.put_dataset(dataset)
            client.append_to_list("list", dataset)
        assert all(node.dbsize() for node in cluster.nodes)
        yield client, gate


KEYS = [name.encode() for name in NAMES]
LARGE = np.arange(200_000.0)
CALLS = {
    "put_tensors": lambda client: client.put_tensors({name: np.zeros(9) for name in NAMES}),
    "put large tensors": lambda client: client.put_tensors(dict.fromkeys(NAMES[:12], LARGE)),
    "get_tensors": lambda client: client.get_tensors(NAMES)["t7"].tolist() == [7, 7, 7] or 1 / 0,
    "exist": lambda client: client.database.exist([*KEYS, b"none"]) == [True] * 60 + [False] or 1 / 0,
    "count_existing": lambda client: client.database.count_existing([*KEYS, b"none"]) == 60 or 1 / 0,
    "read_descriptions": lambda client: read_descriptions(client.database, KEYS)[7].shape == (3,) or 1 / 0,
    "hashes": lambda client: all(client.database.hashes([b"{d%d}.meta" % i for i in range(60)])) or 1 / 0,
}


@pytest.mark.parametrize("name", CALLS)
def test_every_node_is_asked_before_any_is_waited_for(held, name):
    client, gate = held

    gate.shut()

    CALLS[name](client)


def test_datasets_are_read_from_all_nodes_at_once(held):
    client, gate = held
    # One question to the node of the list comes first: what its entries name.
    keys = [b"{d%d}.meta" % number for number in range(60)]
    landed = {}

    def place(index, number, size):
        landed[index] = bytearray(size)
        return [memoryview(landed[index])]

    gate.shut()
    read = client.database.hashes_with_values(keys, lambda index, stored: [b"{d%d}.x" % index], place)

    assert [len(values) for _, values in read] == [1] * 60 and len(landed) == 60
    datasets = client.get_datasets_from_list("list")
    assert [dataset.get_tensor("x")[0] for dataset in datasets] == list(range(60))
