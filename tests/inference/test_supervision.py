"""Workers that the server starts, loses, and starts again."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis

from smartml import Client, Orchestrator
from smartml.errors import ArgumentTypeError, ArgumentValueError

from .conftest import DEADLINE_S, needs_onnx, needs_torch, workers_of
from .doubling import doubling_model

X = np.ones((2, 3), "f4")
ENDLESS = "def f(x):\n    i = 0\n    while i >= 0:\n        i = 1 - i\n    return x + i\n"
STORE = ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", doubling_model())


def log_of(database):
    return (Path(database.path) / "orchestrator.inference.log").read_text()


CALL = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")


def store(client):
    client.execute_command(*STORE)


@pytest.fixture
def own(tmp_path, eventually):
    """A database of the test's own, and its client: `own(inference=2)`."""
    started = []

    def start(**options):
        database = Orchestrator(tmp_path / f"db{len(started)}", port=0, intra_op_threads=1, **options)
        database.start()
        started.append(database)
        client = redis.Redis(port=database.port, socket_timeout=DEADLINE_S)
        with Client(address=database.address) as ours:
            ours.put_tensor("x", X)
        return database, client

    yield start
    for database in started:
        workers = workers_of(database) if database.is_running else []
        database.stop()
        # Nothing is left of it, zombies included.
        eventually(lambda gone=workers: not any(it.is_running() for it in gone))


def test_a_database_without_models_has_no_worker(own):
    database, _ = own()

    assert workers_of(database) == []


@needs_onnx
def test_a_worker_is_there_as_soon_as_a_model_is_stored_and_ends_with_the_database(own, eventually):
    database, client = own()

    store(client)

    eventually(lambda: len(workers_of(database)) == 1)
    assert client.execute_command(*CALL) == b"OK"
    assert "loaded b'm' (ONNX, CPU)" in log_of(database)
    (worker,) = workers_of(database)
    database.stop()
    assert not worker.is_running()


@needs_torch
@needs_onnx
def test_a_killed_worker_fails_its_call_and_is_started_again(own, eventually):
    database, client = own()
    client.execute_command("AI.SCRIPTSET", "endless", "CPU", "SOURCE", ENDLESS)
    store(client)
    client.execute_command(*CALL)
    (worker,) = workers_of(database)

    def kill():
        eventually(lambda: client.info("clients")["blocked_clients"] == 1)
        eventually(lambda: worker.cpu_percent(0.1) > 30)
        worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with redis.Redis(port=database.port) as caller:
        with pytest.raises(redis.ResponseError, match="the inference worker died while it ran this model or script"):
            caller.execute_command("AI.SCRIPTRUN", "endless", "f", "INPUTS", "x", "OUTPUTS", "y")
        killer.join()
        assert not client.exists("y2")
        assert caller.execute_command(*CALL) == b"OK"
    (successor,) = workers_of(database)
    assert successor.pid != worker.pid


@needs_onnx
def test_an_idle_worker_that_is_killed_is_missed_by_nobody(own, eventually):
    database, client = own(inference=2)
    store(client)
    client.execute_command(*CALL)
    eventually(lambda: client.info("clients")["blocked_clients"] == 2)
    former = workers_of(database)
    assert len(former) == 2

    for worker in former:
        worker.kill()
    eventually(lambda: not any(it.is_running() for it in former))

    assert client.execute_command(*CALL) == b"OK"


def test_a_worker_that_cannot_start_is_told_to_who_waits_for_it(own, monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no interpreter here\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    database, client = own()
    store(client)

    with pytest.raises(redis.ResponseError, match="the inference worker of this database does not come up"):
        client.execute_command(*CALL)
    assert "no interpreter here" in log_of(database)
    # And it is tried again, for whoever asks again.
    with pytest.raises(redis.ResponseError, match="the inference worker of this database does not come up"):
        client.execute_command(*CALL)


def test_a_database_may_have_no_workers(own):
    _, client = own(inference=False)
    store(client)

    with pytest.raises(redis.ResponseError, match="no inference worker is connected to this database"):
        client.execute_command(*CALL)


@pytest.mark.parametrize(("wrong", "error"), [("auto", ArgumentTypeError), (-1, ArgumentValueError)])
def test_a_number_of_workers_that_cannot_be_is_refused(wrong, error):
    with pytest.raises(error, match="inference must be"):
        Orchestrator(port=0, inference=wrong)


@needs_onnx
@pytest.mark.parametrize(
    "options", [{"password": True}, {"unix_socket": "s o c.sock"}, {"port": None, "unix_socket": True}]
)
def test_a_worker_finds_the_way_into_a_guarded_database(tmp_path, options):
    with Orchestrator(tmp_path / "it's here", **{"port": 0, **options}) as database, database.connect() as client:
        client.put_tensor("x", X)
        client.database.command(*STORE)

        client.database.command(*CALL)

        np.testing.assert_array_equal(client.get_tensor("y"), 2 * X)


@needs_onnx
def test_models_of_an_earlier_run_are_run_with_its_data(tmp_path):
    for kind in ("aof", "rdb"):
        with Orchestrator(tmp_path / kind, port=0, persistence=kind) as database, database.connect() as client:
            client.put_tensor("x", X)
            client.database.command(*STORE)
        with Orchestrator(tmp_path / kind, port=0, persistence=kind) as database, database.connect() as client:
            assert workers_of(database) == []
            client.database.command(*CALL)
            np.testing.assert_array_equal(client.get_tensor("y"), 2 * X)


@needs_onnx
def test_workers_of_a_database_that_is_killed_end(own, eventually):
    database, client = own()
    store(client)
    client.execute_command(*CALL)
    (worker,) = workers_of(database)

    os.kill(database.pid, signal.SIGKILL)

    eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


@needs_torch
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_worker_ends_with_a_killed_database_in_the_middle_of_a_run(own, eventually):
    database, client = own()
    client.execute_command("AI.SCRIPTSET", "endless", "CPU", "SOURCE", ENDLESS)
    eventually(lambda: client.info("clients")["blocked_clients"] == 1)
    (worker,) = workers_of(database)
    caller = redis.Connection(port=database.port)
    caller.connect()
    caller.send_command("AI.SCRIPTRUN", "endless", "f", "INPUTS", "x", "OUTPUTS", "y")
    eventually(lambda: worker.cpu_percent(0.1) > 5)

    os.kill(database.pid, signal.SIGKILL)

    eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    caller.disconnect()


@needs_onnx
def test_a_worker_is_started_by_hand_for_a_server_that_starts_none(own):
    database, client = own(inference=False)
    store(client)
    command = [sys.executable, "-m", "smartml", "inference", database.address, "--threads", "1"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert worker.stdout.readline() == f"ready for the models of the database at {database.address}\n"
        deadline = threading.Event()
        for _ in range(200):
            if client.info("clients")["blocked_clients"]:
                break
            deadline.wait(0.05)
        assert client.execute_command(*CALL) == b"OK"
        database.stop()
        _, said = worker.communicate(timeout=DEADLINE_S)
        assert worker.returncode == 1 and f"the database at {database.address} has ended" in said
    finally:
        worker.kill()
        worker.communicate()
