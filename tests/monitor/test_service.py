"""The record server: who may talk to it, and how it is found."""

import concurrent.futures
import shutil
import signal
import subprocess
import threading
import time

import pytest

from smartml.errors import (
    ArgumentValueError,
    MonitorError,
    RecordsAccessError,
    RecordsConnectionError,
    RecordsInUseError,
    RecordsNotFoundError,
)
from smartml.monitor import Access, DataLogger, Guard, RecordClient, RecordServer, open_records, script
from smartml.monitor.records_pb2 import WriteRequest

from .blocks import block, points


@pytest.fixture
def client(server):
    made = RecordClient(server.address)
    yield made
    made.close()


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("a secret\n")
    path.chmod(0o600)
    return path


def write(client, sequence, values, session="session"):
    return client.write(WriteRequest(session=session, sequence=sequence, blocks=[block("loss", x=values)]))


def test_a_server_and_its_folder_tell_the_same(client, store):
    client.begin("session", "run", True)
    for sequence in range(1, 30):
        write(client, sequence, [sequence])
    client.write(WriteRequest(session="session", sequence=30, configs=['{"a": 1}']))

    with_folder = open_records(store)
    for source in (client, with_folder):
        update = source.query(None)
        assert points(update) == list(range(1, 30))
        assert not source.query(update.cursor)
        assert (source.scopes(), source.names("run"), source.configs()) == (["run"], ["loss"], {"run": [{"a": 1}]})
        with pytest.raises(RecordsNotFoundError, match="no scope called 'x'; there is: 'run'"):
            source.names("x")
        with pytest.raises(ArgumentValueError, match="no regular expression"):
            source.query(None, scopes="(")
    assert client.query(None).cursor == with_folder.query(None).cursor
    assert client.health().points == 29
    with_folder.close()


def test_a_long_history_comes_in_many_messages_and_as_one_update(client):
    client.begin("session", "run", True)
    values = list(range(0, 900_000, 3))
    for sequence in range(1, 21):
        write(client, sequence, [value * value for value in values])
    update = client.query(None)
    assert len(update.added) == 20
    assert update.added[7].fields["x"].tolist() == [value * value for value in values]


def test_subscribers_are_pushed_what_comes_until_they_close(server, client):
    client.begin("session", "run", True)
    write(client, 1, [1])
    seen, first = [], threading.Event()
    subscriber = RecordClient(server.address)

    def follow():
        for update in subscriber.subscribe(None, names="loss"):
            seen.extend(points(update))
            first.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert first.wait(20)
    for sequence in range(2, 10):
        write(client, sequence, [sequence])
    client.compact()
    write(client, 10, [10])
    deadline = time.monotonic() + 20
    # Compaction made it begin again.
    while seen[-10:] != list(range(1, 11)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.01)
    subscriber.close()
    thread.join(20)
    assert not thread.is_alive()


def test_a_subscriber_hears_that_the_server_has_gone(server_process):
    client = RecordClient(server_process.address)
    news = client.subscribe(None)
    update = next(news)
    server_process.end()
    with pytest.raises(RecordsConnectionError, match=f"record server at {server_process.address}"):
        next(news)
    server_process.start()
    client.begin("session", "run", True)
    write(client, 1, [1])
    assert points(next(client.subscribe(update.cursor))) == [1]
    client.close()


def test_many_loggers_write_side_by_side(server):
    def work(number):
        with DataLogger(f"run {number}", grpc_uri=server.address, flush_every=0.01) as log:
            for step in range(500):
                log.write("a", x=step)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert set(script.counts(server.address).values()) == {500}
    assert len(script.scopes(server.address)) == 8


def test_a_taken_port_and_a_taken_store_are_refused(server, tmp_path):
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(MonitorError, match=f"cannot listen on 127.0.0.1:{port}"):
        RecordServer(tmp_path / "other", port)
    with pytest.raises(RecordsInUseError):
        RecordServer(tmp_path / "records", 0)
    # What was refused holds nothing.
    RecordServer(tmp_path / "other", 0).stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_does_so_in_order(server_process, number):
    with DataLogger("run", grpc_uri=server_process.address) as log:
        log.write("a", x=1)
    assert server_process.end(number) == 0
    assert script.scopes(server_process.path) == ["run"]
    server_process.start()


def test_what_answers_is_no_record_server():
    client = RecordClient("127.0.0.1:1")
    with pytest.raises(RecordsConnectionError, match=r"no answer from the record server at 127\.0\.0\.1:1"):
        client.scopes()
    client.close()
    with pytest.raises(MonitorError, match="has been closed"):
        client.scopes()
    for address in ("", "host", "host:", ":80", 7):
        with pytest.raises(ArgumentValueError, match="host:port"):
            RecordClient(address)


def test_without_the_token_nobody_is_let_in(tmp_path, token_file, monkeypatch, caplog):
    wrong = tmp_path / "wrong"
    wrong.write_text("another")
    wrong.chmod(0o600)
    with RecordServer(tmp_path / "records", 0, guard=Guard(token_file)) as server:
        for access in (Access(), Access(wrong)):
            client = RecordClient(server.address, access)
            with pytest.raises(RecordsAccessError, match="wants a token"):
                client.scopes()
            with pytest.raises(RecordsAccessError, match="wants a token"):
                client.query(None)
            client.close()
        monkeypatch.setenv("SMARTML_MONITOR_AUTH", str(token_file))
        with DataLogger("run", grpc_uri=server.address) as log:
            log.write("a", x=1)
        assert script.scopes(server.address) == ["run"]
        with DataLogger("run", grpc_uri=server.address, access=Access(wrong), exit_timeout_s=0.2) as log:
            log.write("a", x=1)
    assert "wants a token" in caplog.text


def test_others_are_let_in_only_with_token_and_tls(tmp_path, token_file):
    for host, guard, words in (
        ("0.0.0.0", Guard(), "needs a token file"),
        ("0.0.0.0", Guard(token_file), "needs a certificate"),
        ("127.0.0.1", Guard(certificate_file=token_file), "both a certificate and its key"),
    ):
        with pytest.raises(RecordsAccessError, match=words):
            RecordServer(tmp_path / "records", 0, host, guard=guard)
    RecordServer(tmp_path / "records", 0, "0.0.0.0", guard=Guard(token_file, allow_plain_text=True)).stop()

    token_file.chmod(0o644)
    with pytest.raises(RecordsAccessError, match="chmod 600"):
        RecordServer(tmp_path / "records", 0, guard=Guard(token_file))
    with pytest.raises(RecordsAccessError, match="cannot be read"):
        RecordServer(tmp_path / "records", 0, guard=Guard(tmp_path / "none"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not installed")
def test_records_travel_by_tls(tmp_path, token_file, monkeypatch):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)

    guard = Guard(token_file, certificate, key)
    with RecordServer(tmp_path / "records", 0, guard=guard) as server:
        access = Access(token_file, certificate)
        with DataLogger("run", grpc_uri=server.address, access=access) as log:
            log.write("a", x=1)
        assert script.scopes(server.address, access=access) == ["run"]
        with pytest.raises(RecordsConnectionError):
            script.scopes(server.address, access=Access(token_file))


def test_a_stopped_server_leaves_no_thread(store, new_threads):
    with RecordServer(store, port=0) as server:
        client = RecordClient(server.address)
        assert client.scopes() == []
        assert new_threads()
        client.close()

    assert not new_threads()
