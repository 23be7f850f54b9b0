"""Record servers: one in this process, and one of its own that tests may kill."""

import signal
import subprocess
import sys

import pytest

from smartml.monitor import RecordServer

VARIABLES = ("SMARTML_MONITOR", "SMARTML_MONITOR_AUTH", "SMARTML_MONITOR_CERTIFICATE")


@pytest.fixture(autouse=True)
def no_server_around(monkeypatch):
    """Run each test as if nothing had told it of a record server."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def store(tmp_path):
    """The folder of the records of `server`."""
    return tmp_path / "records"


@pytest.fixture
def server(store):
    with RecordServer(store, port=0, durability="never") as running:
        yield running


class ServerProcess:
    """A record server that can be killed, and started again at the same place and port."""

    def __init__(self, path):
        self.path, self.port = path, 0
        self.start()

    def start(self):
        command = [sys.executable, "-m", "smartml.monitor.grpc_server", str(self.path), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.address = self._process.stdout.readline().split()[-1]
        self.port = int(self.address.rpartition(":")[2])

    def end(self, number=signal.SIGKILL):
        self._process.send_signal(number)
        self._process.communicate()
        return self._process.returncode


@pytest.fixture
def server_process(store):
    started = ServerProcess(store)
    yield started
    started.end()
