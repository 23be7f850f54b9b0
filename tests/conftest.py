"""One real server for all tests, and a client of it that finds an empty database; one Slurm, too."""

import os
import signal
import threading

import pytest
from servers import wait_until
from slurm import LocalSlurm, need_slurm

from smartml import Client, Orchestrator

# Networks of this size gain nothing by a second thread, and where cores are busy, its waiting takes most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What runs in the background, or behind nohup, ignores them, and so would each program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def server():
    """A running Orchestrator, shared by the whole session."""
    with Orchestrator(port=0, unix_socket=True) as db:
        yield db


@pytest.fixture
def client(server, monkeypatch):
    """A client of the emptied server, which also is what the environment names for clients made by the test."""
    monkeypatch.setenv("SSDB", server.address)
    monkeypatch.setenv("SR_DB_TYPE", "Standalone")
    for name in ("SSKEYIN", "SSKEYOUT", "SMARTML_DB_AUTH"):
        monkeypatch.delenv(name, raising=False)
    with Client() as made:
        made.database.command("FLUSHALL")
        yield made


@pytest.fixture
def eventually():
    """Wait until a condition holds, and return what it says."""
    return wait_until


@pytest.fixture
def new_threads():
    """A function that lists smartml's threads that began after the test did; those before are of other tests."""
    before = set(threading.enumerate())
    return lambda: [it for it in threading.enumerate() if it.name.startswith("smartml") and it not in before]


@pytest.fixture(scope="session")
def shared_slurm(tmp_path_factory):
    """A running Slurm of four nodes, shared by the whole session."""
    need_slurm()
    with LocalSlurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def slurm(shared_slurm, monkeypatch):
    """A Slurm with nothing to do, which also is the one that commands started by the test find."""
    for name, value in shared_slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SMARTML_QUERY_INTERVAL_S", "0.2")
    yield shared_slurm
    shared_slurm.repair()
