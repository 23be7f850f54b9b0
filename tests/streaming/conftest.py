"""Servers of ours, in this process and in others, that end with the test."""

import contextlib
import importlib.util
import multiprocessing
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from servers import find_free_port, wait_until


@pytest.fixture
def serving():
    """Serve a source on a free port; closed at the end of the test."""
    from smartml.streaming import serve

    servers = []

    def start(source, *args, **options):
        servers.append(serve(source, *args, **{"port": 0, **options}))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


@pytest.fixture
def eir_server():
    """Start the example server of EIR's guide; return its address."""
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package!r} is not installed")
    processes = []

    def start(*options):
        port = find_free_port()
        program = Path(__file__).with_name("eir_server.py")
        processes.append(subprocess.Popen([sys.executable, program, str(port), *options]))
        wait_until(lambda: accepts(port))
        return f"ws://127.0.0.1:{port}/ws"

    yield start
    for process in processes:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def _serve(connection, make_source, port, options):
    from smartml.streaming import serve

    with serve(make_source(), port=port, **options) as server:
        connection.send(server.url)
        connection.recv()


class ServerProcess:
    """A server in a process of its own, which can be killed and started again at the same port."""

    def __init__(self, make_source, options):
        self._arguments = (make_source, find_free_port(), options)
        self._process = None
        self.url = self.start()

    def start(self):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments))
        self._process.start()
        wait_until(lambda: self._connection.poll(0.1))
        return self._connection.recv()

    def kill(self):
        self._process.kill()
        self._process.join(20)

    def close(self):
        if self._process.is_alive():
            self._connection.send(None)
            self._process.join(20)


@pytest.fixture
def server_process():
    """Serve what a function returns, in another process."""
    started = []

    def start(make_source, **options):
        started.append(ServerProcess(make_source, options))
        return started[-1]

    yield start
    for each in started:
        each.close()
