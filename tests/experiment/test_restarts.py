"""Databases that die and come back: noticed, reported, started again with what they had, and not missed by clients."""

import os
import signal

import numpy as np
import pytest
import redis

from smartml import Client, Orchestrator
from smartml.errors import NotStartedError
from smartml.feeds import DataDownloader


@pytest.fixture
def kill(eventually):
    """Kill a node of a database without warning; return when another process has its place."""

    def act(db, index=0):
        pid = db.nodes[index].pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: db.nodes[index].pid != pid and db.status != "New")

    return act


def test_a_server_that_comes_back_has_not_failed_meanwhile(tmp_path):
    with Orchestrator(tmp_path, port=0, persistence="aof", restarts=1) as db:
        victim = db.pid
        os.kill(victim, signal.SIGKILL)
        seen = {db.status}
        while db.pid == victim or db.is_restarting:
            seen.add(db.status)
        assert seen <= {"Running", "New"} and db.status == "Running"


@pytest.mark.parametrize("persistence", ["rdb", "aof"])
def test_a_server_that_dies_comes_back_with_its_data_where_it_was(
    tmp_path, each_server, persistence, kill, caplog, alive
):
    with Orchestrator(tmp_path, port=0, persistence=persistence, restarts=2, password=True) as db:
        db.set_max_clients(77)
        address, pid = db.address, db.pid
        with db.connect() as client:
            client.put_tensor("x", np.arange(5))
            client.database.command("SAVE")
            kill(db)
            # The connection of before was cut, and nobody minds.
            assert client.get_tensor("x").tolist() == [0, 1, 2, 3, 4]
            assert client.database.command("CONFIG", "GET", "maxclients") == {b"maxclients": b"77"}
        assert (db.address, db.status) == (address, "Running")
        assert db.pid != pid and Orchestrator.attach(tmp_path).pid == db.pid
        assert "database orchestrator is gone: killed by SIGKILL" in caplog.text
        assert "database orchestrator serves again (restart 1 of 2)" in caplog.text
        pid = db.pid
    assert not alive(pid)
    with pytest.raises(NotStartedError):
        Orchestrator.attach(tmp_path)


def test_its_end_is_reported_within_two_seconds(tmp_path, caplog, eventually):
    with Orchestrator(tmp_path, port=0) as db:
        os.kill(db.pid, signal.SIGKILL)
        eventually(lambda: "is gone" in caplog.text)
        assert db.status == "Failed" and not db.is_running


def test_a_server_that_dies_too_often_is_given_up(tmp_path, kill, eventually, caplog):
    with Orchestrator(tmp_path, port=0, persistence="aof", restarts=1) as db:
        kill(db)
        os.kill(db.pid, signal.SIGKILL)
        eventually(lambda: db.status == "Failed")
        assert not db.is_running
        assert caplog.text.count("is gone") == 2 and caplog.text.count("serves again") == 1


def test_a_server_that_cannot_come_back_is_tried_as_often_as_allowed(tmp_path, eventually, caplog, monkeypatch):
    with Orchestrator(tmp_path, port=0, persistence="aof", restarts=2) as db:
        monkeypatch.setenv("SMARTML_REDIS_SERVER", "/bin/false")
        os.kill(db.pid, signal.SIGKILL)
        eventually(lambda: db.status == "Failed")
        assert "database orchestrator is given up after 2 restarts" in caplog.text
        assert "cannot be started again (1 of 2): the database server ended while starting: exit code 1" in caplog.text
        assert "cannot be started again (2 of 2)" in caplog.text


def test_a_server_that_somebody_else_has_shut_down_stays_so(tmp_path, eventually, caplog):
    with Orchestrator(tmp_path, port=0, persistence="aof", restarts=3) as db:
        Orchestrator.attach(tmp_path).stop()
        eventually(lambda: not db.is_running)
        assert "is gone: exit code 0" in caplog.text and "serves again" not in caplog.text


def test_a_stop_meanwhile_leaves_nothing(tmp_path, eventually, monkeypatch, alive):
    script = tmp_path / "server"
    script.write_text(f"#!/bin/sh\necho $$ > '{tmp_path}/pid'\nexec sleep 100\n")
    script.chmod(0o755)
    db = Orchestrator(tmp_path / "db", port=0, persistence="aof", restarts=5)
    db.start()
    monkeypatch.setenv("SMARTML_REDIS_SERVER", str(script))
    os.kill(db.pid, signal.SIGKILL)
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    assert db.is_running and db.status == "New"
    db.stop()
    assert not db.is_running
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_node_of_a_cluster_rejoins_it(tmp_path, kill):
    with Orchestrator(tmp_path, port=0, db_nodes=3, persistence="aof", restarts=1) as db, db.connect() as client:
        client.put_tensors({f"x_{number}": np.arange(number) for number in range(30)})
        kill(db, 1)
        kill(db, 2)
        assert db.is_active() and db.status == "Running"
        for number in range(30):
            assert client.get_tensor(f"x_{number}").tolist() == list(range(number))
        client.put_tensors({f"y_{number}": np.arange(number) for number in range(30)})


def test_an_experiment_stops_a_database_that_has_come_back(exp, kill, alive):
    db = exp.create_database(port=0, persistence="aof", restarts=1)
    exp.start(db)
    kill(db)
    pid = db.pid
    rows = [[cell.strip() for cell in line.split("|")] for line in exp.summary().splitlines()[2:]]
    assert [(row[2], row[4], row[5], row[7]) for row in rows] == [
        ("orchestrator", rows[0][4], "1", "Failed"),
        ("orchestrator", str(pid), "2", "Running"),
    ]
    exp.stop()
    assert not alive(pid)


def test_a_script_that_ends_takes_along_a_database_that_has_come_back(script, tmp_path, alive, eventually):
    launch = script("""
import os, signal, time
from smartml import Orchestrator
db = Orchestrator("db", 0, persistence="aof", restarts=1)
db.start()
first = db.pid
os.kill(first, signal.SIGKILL)
while db.pid == first:
    time.sleep(0.01)
print(db.pid)
os.kill(os.getpid(), signal.SIGKILL)
""")
    pid = int(launch.stdout.readline())
    launch.wait()
    eventually(lambda: not alive(pid))


PRODUCER = """
import time
import numpy as np
from smartml import Client
client = Client()
for iteration in range(60):
    client.put_tensor(f"points_{iteration}", np.full(8, iteration, "float32"))
    time.sleep(0.02)
"""


def test_neither_producer_nor_trainer_notice_and_nothing_is_lost(exp, program, kill, monkeypatch):
    db = exp.create_database(port=0, persistence="aof", restarts=3, password=True)
    producer = program(PRODUCER, "producer")
    exp.start(db, producer, block=False)
    monkeypatch.setenv("SMARTML_DB_AUTH", db.auth_file)
    feed = DataDownloader(
        sample_prefix="points", batch_size=8, shuffle=False, address=db.address, seed=0, wait_timeout_s=30
    )
    killed = 0
    while feed.num_samples < 60 * 8:
        if killed < 2 and feed.num_samples > 15 * 8 * (killed + 1):
            kill(db)
            killed += 1
        seen = [float(batch[0]) for batch in feed]
        assert seen == sorted(seen)
    assert killed == 2
    assert exp.wait(producer, timeout_s=20) and exp.get_status(producer) == ["Completed"]
    assert [float(batch.sum()) / 8 for batch in feed] == [float(number) for number in range(60)]
    feed.close()


def test_clients_of_redis_py_and_ours_find_it_at_the_same_address(tmp_path, kill):
    with (
        Orchestrator(tmp_path, port=0, persistence="aof", restarts=1) as db,
        redis.Redis("127.0.0.1", db.port) as plain,
        Client(address=db.address) as client,
    ):
        plain.set("a", "1")
        kill(db)
        assert plain.get("a") == b"1"
        assert client.key_exists("a")
