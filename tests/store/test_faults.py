"""What happens when servers die, hang, refuse, or are none, and when connections break at the worst moment."""

import contextlib
import socket
import threading

import numpy as np
import pytest
from servers import Server, server_program

from smartml import Client, Dataset
from smartml.errors import (
    ArgumentValueError,
    StoreConnectionError,
    StoreFullError,
    StoreProtocolError,
    StoreReplyError,
    StoreTimeoutError,
)
from smartml.store import TLS

LARGE = np.arange(500_000, dtype="f8")


def make(name="d", number=1):
    dataset = Dataset(name)
    dataset.add_tensor("x", np.full(3, number))
    dataset.add_tensor("large", LARGE)
    dataset.add_meta_scalar("number", number)
    return dataset


# No server


def test_a_server_that_is_not_there_is_named_with_how_it_was_found(monkeypatch):
    with pytest.raises(StoreConnectionError) as caught:
        Client(address="127.0.0.1:1", connect_timeout_s=0.1)
    assert str(caught.value) == (
        "no database answers at 127.0.0.1:1 (given as address) within 0.1 s: [Errno 111] Connection refused"
    )
    assert isinstance(caught.value, ConnectionError)

    monkeypatch.setenv("SSDB", "127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(StoreConnectionError, match=r"at 127\.0\.0\.1:[12] or 127\.0\.0\.1:[12] \(named by SSDB\)"):
        Client(connect_timeout_s=0.1)


def test_a_socket_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreConnectionError, match=r"no database answers at unix://.*/a\.sock .*No such file"):
        Client(address=f"unix://{tmp_path}/a.sock", connect_timeout_s=0.1)


@pytest.mark.parametrize(
    ("address", "reason"),
    [("host.invalid:6379", ""), (f"{'a' * 70}.example:80", "label"), (f"unix:///{'a' * 200}", "AF_UNIX path too long")],
)
def test_what_can_never_be_reached_is_not_waited_for(address, reason):
    with pytest.raises(StoreConnectionError, match=rf"no database answers at .* \(given as address\): .*{reason}"):
        Client(address=address, connect_timeout_s=100)


def test_a_server_that_comes_up_late_is_waited_for(start_server, eventually):
    late = start_server()
    late.kill()
    starter = threading.Timer(0.2, late.start)
    starter.start()

    with Client(address=late.address, connect_timeout_s=20) as client:
        assert not client.key_exists("t")
    starter.join()


# No Redis


@contextlib.contextmanager
def answering(reply):
    """A server that gives one answer, whatever it is asked, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\r\n",
        b":not a number\r\n",
        b"$99999999999999999999\r\n",
        b"$-\r\n",
        b"*x\r\n",
        b"$3\r\nabcXY",
        b"x" * 100_000,
    ],
)
def test_what_is_no_redis_is_told_apart_at_once(reply):
    with answering(reply) as address, pytest.raises(StoreProtocolError) as caught:
        Client(address=address, connect_timeout_s=100)

    assert f"no database answers at {address} (given as address): " in str(caught.value)
    assert "does not speak the Redis protocol: it sent b" in str(caught.value)


def test_a_server_that_hangs_up_at_once_is_given_some_time():
    with (
        answering(b"") as address,
        pytest.raises(StoreConnectionError, match=r"within 0\.2 s: .*closed the connection"),
    ):
        Client(address=address, connect_timeout_s=0.2)


# A server that refuses


def test_a_password_is_needed_where_one_is_set(start_server):
    guarded = start_server("--requirepass", "secret")

    with pytest.raises(StoreReplyError, match=r"\(given as address\) lets nobody in: NOAUTH"):
        Client(address=guarded.address, connect_timeout_s=100)
    with pytest.raises(StoreReplyError, match="lets nobody in: WRONGPASS"):
        Client(address=guarded.address, password="guess", connect_timeout_s=100)
    with Client(address=guarded.address, password="secret") as client:
        check_commands(client)


def test_a_user_may_have_few_rights(start_server, tmp_path, monkeypatch):
    # Neither PING nor HELLO, with which a connection begins.
    rights = "+@read +@write +@transaction +auth"
    guarded = start_server("--requirepass", "admin", "--user", *f"me on >secret ~* {rights}".split())
    with Client(address=guarded.address, username="me", password="secret") as client:
        check_commands(client)
    with Client.from_url(f"redis://me:secret@{guarded.address}") as client:
        check_commands(client)

    credentials = tmp_path / "credentials"
    credentials.write_text('{"username": "me", "password": "secret"}')
    credentials.chmod(0o600)
    monkeypatch.setenv("SMARTML_DB_AUTH", str(credentials))
    for connect in (lambda: Client(address=guarded.address), lambda: Client.from_url(f"redis://{guarded.address}")):
        with connect() as client:
            check_commands(client)


def test_the_rights_of_a_user_are_the_limits_of_a_client(start_server):
    guarded = start_server("--user", "me", "on", ">secret", "~mine*", "+@all", "-set")

    with Client(address=guarded.address, username="me", password="secret") as client:
        with pytest.raises(StoreReplyError, match="refused a command on key 'mine': NOPERM"):
            client.put_tensor("mine", np.zeros(1))
        with pytest.raises(StoreReplyError, match="refused a command on key 'other': NOPERM"):
            client.get_tensor("other")
        with pytest.raises(StoreReplyError, match="no permissions to access one of the keys"):
            client.get_list_length("other")


def check_commands(client):
    """Use both ways to the server: the one of tensors and the one of small commands."""
    client.put_tensor("t", np.arange(3))
    client.put_dataset(make())
    assert client.get_tensor("t").tolist() == [0, 1, 2]
    assert client.get_dataset("d").get_meta_scalars("number").tolist() == [1]
    assert client.dataset_exists("d")
    assert client.get_list_length("empty") == 0


def test_a_full_server_leaves_nothing_half_written(start_server):
    full = start_server()
    with Client(address=full.address, full_timeout_s=0) as client:
        client.put_dataset(make(number=1))
        client.config_set("maxmemory", "1", full.address)

        with pytest.raises(StoreFullError, match="OOM"):
            client.put_tensor("t", LARGE)
        with pytest.raises(StoreFullError, match="OOM"):
            client.put_dataset(make(number=2))

        assert client.get_dataset("d").get_tensor("x").tolist() == [1, 1, 1]
        assert not client.tensor_exists("t")


def test_a_value_above_the_limit_of_the_server_is_refused_with_the_reason(start_server):
    small = start_server("--proto-max-bulk-len", "1mb")
    with Client(address=small.address) as client:
        for array in (LARGE, np.zeros(200_000), np.zeros(20_000_000)):
            with pytest.raises(StoreReplyError, match="invalid bulk length"):
                client.put_tensor("t", array)
        client.put_tensor("t", np.arange(3))
        assert client.get_tensor("t").tolist() == [0, 1, 2]


def test_a_server_without_a_free_place_is_waited_for(start_server):
    full = start_server("--maxclients", "1")
    with Client(address=full.address) as first:
        with pytest.raises(StoreReplyError, match="lets nobody in: ERR max number of clients reached"):
            Client(address=full.address, connect_timeout_s=0.2)
        leaver = threading.Timer(0.2, first.close)
        leaver.start()
        with Client(address=full.address, connect_timeout_s=20):
            leaver.join()


# A server that dies


def test_a_client_goes_on_when_its_server_was_restarted(start_server):
    server = start_server()
    with Client(address=server.address) as client:
        calls = [
            lambda: client.put_tensor("t", np.arange(3)),
            lambda: client.tensor_exists("t"),
            lambda: client.put_dataset(make()),
            lambda: client.get_datasets_from_list("l"),
            lambda: client.get_list_length("l"),
            lambda: client.dataset_exists("d"),
            lambda: client.append_to_list("l", make()),
            lambda: list(client.database.scan(b"*")),
        ]
        for call in [*calls, *reversed(calls)]:
            check_commands(client)
            server.kill()
            server.start()
            call()


def test_a_client_waits_for_a_server_that_restarts(start_server):
    server = start_server()
    with Client(address=server.address, connect_timeout_s=20) as client:
        for call in (lambda: client.put_tensor("t", LARGE), lambda: client.get_list_length("l")):
            call()
            server.kill()
            starter = threading.Timer(0.2, server.start)
            starter.start()
            call()
            starter.join()


def test_a_server_that_does_not_come_back_is_named(start_server):
    server = start_server()
    with Client(address=server.address, connect_timeout_s=0.2) as client:
        check_commands(client)
        server.kill()

        for call in (
            lambda: client.get_tensor("t"),
            lambda: client.put_tensor("t", LARGE),
            lambda: client.get_list_length("l"),
            lambda: client.get_dataset("d"),
            lambda: client.append_to_list("l", make()),
        ):
            with pytest.raises(StoreConnectionError, match=f"no database answers at {server.address} .* within 0.2 s"):
                call()


# A server that hangs


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_tensor("t"),
        lambda client: client.put_tensor("new", np.zeros(10_000_000)),
        lambda client: client.put_tensor("new", np.zeros(1)),
        lambda client: client.get_list_length("l"),
        lambda client: client.get_dataset("d"),
    ],
    ids=["get", "put large", "put small", "small command", "dataset"],
)
def test_a_server_that_hangs_ends_in_a_timeout(start_server, call):
    server = start_server()
    with Client(address=server.address, timeout_s=0.5) as client:
        check_commands(client)
        client.put_tensor("other", np.arange(7))
        server.hang()

        with pytest.raises(StoreTimeoutError, match=f"in the time allowed .*the database at {server.address}"):
            call(client)

        # An answer that comes late is not taken for that to the next question.
        server.go_on()
        assert client.get_tensor("other").tolist() == [0, 1, 2, 3, 4, 5, 6]
        assert client.get_list_length("empty") == 0


def test_a_server_that_hangs_lets_nobody_in(start_server):
    server = start_server()
    server.hang()

    with pytest.raises(StoreTimeoutError, match=r"\(given as address\).*: it takes connections, but does not answer"):
        Client(address=server.address, connect_timeout_s=0.2)


def test_a_slow_answer_is_waited_for_longer_than_a_connection(start_server):
    server = start_server()
    with Client(address=server.address, timeout_s=20, connect_timeout_s=0.3) as client:
        for call in (lambda: client.tensor_exists("t"), lambda: client.get_list_length("l")):
            call()
            server.hang()
            waker = threading.Timer(0.6, server.go_on)
            waker.start()
            assert not call()
            waker.join()


def test_an_append_without_an_answer_says_that_it_may_have_happened(start_server):
    server = start_server()
    with Client(address=server.address, timeout_s=0.5) as client:
        client.append_to_list("l", make())
        server.hang()
        with pytest.raises(StoreTimeoutError, match="Whether the command was carried out is not known"):
            client.append_to_list("l", make())
        server.go_on()

        # It was: the server had it in its queue. It was not repeated.
        assert client.poll_list_length("l", 2, 10, 500)


# Connections that break


@pytest.mark.parametrize("reply_bytes", [0, 1, 3])
def test_an_idempotent_command_is_repeated_when_its_reply_is_lost(proxy, raw, reply_bytes):
    with Client(address=proxy.address) as client:
        client.put_dataset(make())
        for call in (
            lambda: client.put_tensor("t", LARGE),
            lambda: client.put_tensors({"u": LARGE, "v": np.zeros(1)}),
            lambda: client.put_dataset(make(number=2)),
            lambda: client.get_list_length("l"),
            lambda: client.delete_tensor("t"),
            lambda: client.copy_dataset("d", "e"),
            lambda: client.delete_dataset("e"),
        ):
            proxy.cut_after(reply_bytes)
            call()

        assert client.get_dataset("d").get_meta_scalars("number").tolist() == [2]
        assert not raw.exists("t") and raw.exists("u") and not raw.exists("{e}.meta")


@pytest.mark.parametrize("reply_bytes", [0, 5, 100_000, 1_000_000, LARGE.nbytes + 10])
def test_a_value_cut_in_the_middle_is_fetched_again(proxy, reply_bytes):
    with Client(address=proxy.address) as client:
        client.put_tensors({"a": LARGE, "b": LARGE + 1})
        client.put_dataset(make())
        out = np.empty_like(LARGE)

        proxy.cut_after(reply_bytes)
        assert (client.get_tensor("a") == LARGE).all()
        proxy.cut_after(reply_bytes)
        assert (client.get_tensor("b", out=out) == LARGE + 1).all()
        proxy.cut_after(reply_bytes)
        assert [array[0] for array in client.get_tensors(["b", "a", "b"]).values()] == [1, 0]
        proxy.cut_after(reply_bytes)
        assert (client.get_dataset("d").get_tensor("large") == LARGE).all()


def test_a_connection_that_breaks_again_and_again_is_an_error(proxy):
    with Client(address=proxy.address) as client:
        client.put_tensor("t", LARGE)

        proxy.cut_after(100_000, times=2)
        with pytest.raises(StoreConnectionError, match="connection lost while receiving from the database at"):
            client.get_tensor("t")

        assert (client.get_tensor("t") == LARGE).all()


def test_an_append_whose_reply_is_lost_is_not_repeated(proxy, raw):
    with Client(address=proxy.address) as client:
        client.append_to_list("l", make())

        proxy.cut_after(0)
        with pytest.raises(StoreConnectionError, match="Whether the command was carried out is not known"):
            client.append_to_list("l", make())

        assert raw.llen("l") == 2
        client.append_to_list("l", make())
        assert raw.llen("l") == 3


def test_a_rename_whose_reply_is_lost_is_not_repeated(proxy, raw):
    with Client(address=proxy.address) as client:
        client.put_tensor("a", np.zeros(1))

        # The reply of EXISTS passes, ":1" and a line end; that of RENAME is cut.
        proxy.cut_after(4)
        with pytest.raises(StoreConnectionError, match="Whether the command was carried out is not known"):
            client.rename_tensor("a", "b")

        assert raw.keys() == [b"b"]


def test_all_connections_of_all_threads_may_have_gone_stale(client, raw):
    client.put_tensor("t", np.arange(3))
    all_at_once = threading.Barrier(4)

    def hold_a_connection():
        def place(index, size):
            all_at_once.wait()
            return [memoryview(bytearray(size))]

        client.database.receive([b"t"], place)

    threads = [threading.Thread(target=hold_a_connection) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raw.client_kill_filter(_type="normal", skipme=True)

    assert client.get_tensor("t").tolist() == [0, 1, 2]
    client.append_to_list("l", make())


def test_an_append_is_not_sent_into_a_connection_that_the_server_closed(client, raw):
    client.append_to_list("l", make())
    raw.client_kill_filter(_type="normal", skipme=True)

    client.append_to_list("l", make())

    assert raw.llen("l") == 2


# TLS settings that cannot work


def test_a_certificate_that_is_not_there_is_named(server, tmp_path):
    with pytest.raises(ArgumentValueError, match=r"TLS\(ca_file='.*nowhere.*cannot be used: .*No such file"):
        Client(address=server.address, tls=TLS(ca_file=str(tmp_path / "nowhere")))


# A server that is on its way up


def test_a_server_that_loads_its_data_is_waited_for_longer_than_one_that_is_silent(tmp_path):
    kept = ("--dbfilename", "kept.rdb")
    first = Server(tmp_path, *kept).start()
    with Client(address=first.address) as client:
        client.put_tensors({f"x_{number}": np.random.default_rng(number).random(256) for number in range(60)})
        client.database.command("SAVE")
    first.kill()

    # What is random is not compressed. Microseconds for each key; it listens again after so many bytes.
    slowly = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
    slow = Server(tmp_path, *kept, *slowly, binary=server_program("on the PATH")).start()
    try:
        with pytest.raises(StoreReplyError, match="lets nobody in: LOADING"):
            Client(address=slow.address, connect_timeout_s=0.2, timeout_s=0.3)
        with Client(address=slow.address, connect_timeout_s=0.2) as client:
            assert len(list(client.database.scan(b"x_*"))) == 60
    finally:
        slow.kill()
