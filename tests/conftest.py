"""One real server for all tests, and a client of it that finds an empty database."""

import pytest

from smartml import Client, Orchestrator


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
