"""The client: how it finds its database, names and prefixes, threads, processes."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from smartml import Client, Dataset
from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreConnectionError, StoreReplyError


def make(name, number):
    dataset = Dataset(name)
    dataset.add_tensor("x", np.array([number]))
    return dataset


# Finding the database


def test_a_client_finds_its_database_in_the_environment(server, monkeypatch):
    monkeypatch.setenv("SSDB", server.address)
    monkeypatch.setenv("SR_DB_TYPE", "Standalone")

    with Client() as client:
        client.put_tensor("t", np.arange(3))
        assert client.get_tensor("t").tolist() == [0, 1, 2]
        assert repr(client) == f"Client({server.address}, single server, reads '', writes '')"


def test_a_client_without_a_database_says_what_to_do():
    with pytest.raises(StoreConnectionError, match="the environment variable SSDB is not set"):
        Client()


def test_a_named_database_has_prefixes_of_its_own(server, monkeypatch):
    for name, value in {"SSDB": "nowhere:1", "SSKEYIN": "wrong", "SSDB_two": server.address}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"SR_DB_TYPE_two": "Standalone", "SSKEYIN_two": "a,b", "SSKEYOUT_two": "c"}.items():
        monkeypatch.setenv(name, value)

    with Client(db_identifier="two") as client:
        assert client.sources == ("a", "b")
        client.put_tensor("t", np.zeros(1))
        assert client.key_exists("c.t")


def test_a_client_asks_the_server_what_it_is(server):
    with Client(address=server.address) as client:
        assert not client.database.is_cluster


def test_an_address_may_be_one_of_several(server):
    with Client(address=["127.0.0.1:1", server.address, "127.0.0.1:2"]) as client:
        assert str(client.database.address) == server.address
    with Client(address=f"127.0.0.1:1,{server.address}") as client:
        assert str(client.database.address) == server.address


def test_a_client_speaks_through_a_unix_socket(server, raw):
    with Client(address=f"unix://{server.unix_socket}") as client:
        client.put_tensor("t", np.arange(100_000))
        client.put_dataset(make("d", 1))
        client.append_to_list("l", make("d", 1))

        assert client.get_tensor("t").sum() == np.arange(100_000).sum()
        assert len(client.get_datasets_from_list("l")) == client.get_list_length("l") == 1
    assert raw.exists("t")


def test_a_url_leads_to_a_database(server, raw):
    with Client.from_url(f"redis://{server.address}/2") as client:
        client.put_tensor("t", np.zeros(1))
        assert client.tensor_exists("t")
        client.delete_tensor("t")
        assert not client.tensor_exists("t")
        client.put_tensor("t", np.zeros(1))

    assert not raw.exists("t")
    with Client.from_url(f"unix://{server.unix_socket}") as client:
        assert not client.tensor_exists("t")


def test_a_database_number_that_is_not_there_is_refused(server):
    with pytest.raises(StoreReplyError, match=r"\(given as a URL\) lets nobody in: ERR DB index is out of range"):
        Client.from_url(f"redis://{server.address}/1000")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": "a:1", "cluster": "no"}, "cluster must be True, False or None, not str"),
        ({"address": 6379}, "an address is text such as '127.0.0.1:6379', not int: 6379"),
        ({"address": ["a:1", None]}, "an address is text such as '127.0.0.1:6379', not NoneType"),
        ({"address": "a:1", "logger_name": 3}, "the name of a logger must be str, not int"),
        ({"address": "a:1", "db_identifier": 3}, "the name of a database must be str, not int"),
        ({"address": "a:1", "password": 3}, "password must be str or None, not int"),
        ({"address": "a:1", "timeout_s": "3"}, "timeout_s must be a number of seconds, not str"),
        ({"address": "a:1", "tls": {}}, "tls must be a smartml.store.TLS or None, not dict"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_before_connecting(arguments, message):
    with pytest.raises(ArgumentTypeError, match=message):
        Client(**arguments)


# Prefixes


def test_a_client_reads_under_the_first_source_and_writes_under_its_own_prefix(connect, raw):
    producer = connect(SSKEYOUT="sim_0")
    consumer = connect(SSKEYIN="sim_0,sim_1", SSKEYOUT="trainer")

    producer.put_tensor("t", np.arange(3))
    producer.put_dataset(make("d", 7))
    producer.append_to_list("l", make("d", 7))

    assert sorted(raw.keys()) == [b"sim_0.l", b"sim_0.t", b"sim_0.{d}.meta", b"sim_0.{d}.x"]
    assert raw.lrange("sim_0.l", 0, -1) == [b"sim_0.{d}"]
    assert consumer.get_tensor("t").tolist() == [0, 1, 2]
    assert consumer.get_dataset("d").get_name() == "d"
    assert [dataset.get_name() for dataset in consumer.get_datasets_from_list("l")] == ["d"]
    assert repr(consumer).endswith("reads 'sim_0', writes 'trainer')")


def test_copies_and_new_names_are_written_old_names_read(connect, raw):
    connect(SSKEYOUT="a").put_tensors({"t": np.zeros(1), "u": np.zeros(1)})
    client = connect(SSKEYIN="a", SSKEYOUT="b")

    client.copy_tensor("t", "t")
    client.rename_tensor("u", "v")

    assert sorted(raw.keys()) == [b"a.t", b"b.t", b"b.v"]


def test_datasets_and_lists_are_copied_from_source_to_own_prefix(connect, raw):
    producer = connect(SSKEYOUT="a")
    producer.put_dataset(make("d", 1))
    producer.append_to_list("l", make("d", 1))
    client = connect(SSKEYIN="a", SSKEYOUT="b")
    client.append_to_list("l", make("old", 1))

    client.copy_dataset("d", "d")
    client.copy_list("l", "l")

    assert raw.hgetall("b.{d}.meta") == raw.hgetall("a.{d}.meta")
    assert raw.lrange("b.l", 0, -1) == [b"a.{d}"]


def test_the_source_can_be_changed(connect):
    for name in ("a", "b"):
        connect(SSKEYOUT=name).put_tensor("t", np.full(1, ord(name)))
    client = connect(SSKEYIN="a,b")

    client.set_data_source("b")

    assert client.get_tensor("t").tolist() == [ord("b")]
    with pytest.raises(ArgumentValueError, match="'c' is not an incoming entity; known are: a, b"):
        client.set_data_source("c")


def test_each_kind_of_key_has_a_switch_for_its_prefix(connect, raw):
    client = connect(SSKEYIN="a", SSKEYOUT="a")
    client.use_tensor_ensemble_prefix(False)
    client.use_dataset_ensemble_prefix(False)
    client.use_list_ensemble_prefix(False)

    client.put_tensor("t", np.zeros(1))
    client.put_dataset(make("d", 1))
    client.append_to_list("l", make("d", 1))
    assert sorted(raw.keys()) == [b"l", b"t", b"{d}.meta", b"{d}.x"]
    assert client.tensor_exists("t") and client.dataset_exists("d") and client.get_list_length("l") == 1

    for switch in (
        client.use_tensor_ensemble_prefix,
        client.use_dataset_ensemble_prefix,
        client.use_list_ensemble_prefix,
    ):
        switch(True)
    assert not client.tensor_exists("t") and not client.dataset_exists("d") and client.get_list_length("l") == 0


@pytest.mark.parametrize("kind", ["tensor", "dataset", "list"])
def test_a_switch_is_a_bool(client, kind):
    with pytest.raises(ArgumentTypeError, match="use_prefix must be bool, not int: 1"):
        getattr(client, f"use_{kind}_ensemble_prefix")(1)


def test_a_raw_key_has_no_prefix(connect):
    client = connect(SSKEYIN="a", SSKEYOUT="a")
    client.put_tensor("t", np.zeros(1))

    assert client.tensor_exists("t") and client.key_exists("a.t")
    assert not client.key_exists("t")


# Threads and processes


def test_threads_share_a_client(client):
    failures = []

    def work(number):
        for round_number in range(20):
            expected = np.full(1000 * number, round_number)
            client.put_tensor(f"t{number}", expected)
            client.put_dataset(make(f"d{number}", round_number))
            if not (client.get_tensor(f"t{number}") == expected).all():
                failures.append(number)
            if client.get_dataset(f"d{number}").get_tensor("x") != round_number:
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def run(code, *arguments):
    """Run Python code in a process of its own, where every warning is an error."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


FORK = """
import os, sys
import numpy as np
from smartml import Client

client = Client(address=sys.argv[1])
client.put_tensor("parent", np.arange(3))
client.key_exists("parent")
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        for _ in range(50):
            client.put_tensor(f"child_{number}", np.full(1000, number))
            assert client.get_tensor(f"child_{number}")[0] == number
            assert client.get_list_length("l") == 0
        os._exit(0)
    children.append(pid)
for _ in range(50):
    assert client.get_tensor("parent").tolist() == [0, 1, 2]
    assert client.get_list_length("l") == 0
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
assert [int(client.get_tensor(f"child_{n}")[0]) for n in range(4)] == [0, 1, 2, 3]
"""


def test_forked_processes_go_on_with_connections_of_their_own(raw, server):
    run(FORK, server.address)


SPAWN = """
import multiprocessing, os, sys
import numpy as np
from smartml import Client

def put(client, number):
    client.put_tensor(f"t{number}", np.full(3, number))

if __name__ == "__main__":
    client = Client(address=sys.argv[1])
    context = multiprocessing.get_context(sys.argv[2])
    children = [context.Process(target=put, args=(client, n)) for n in range(2)]
    for child in children: child.start()
    for child in children: child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert client.get_tensor("t1").tolist() == [1, 1, 1]
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_client_goes_to_processes_of_multiprocessing(raw, server, tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(SPAWN)

    command = [sys.executable, "-W", "error", str(script), server.address, method]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert (result.returncode, result.stderr) == (0, "")


def test_a_pickled_client_keeps_its_prefixes(connect):
    client = connect(SSKEYIN="a,b", SSKEYOUT="c")
    client.set_data_source("b")
    client.use_list_ensemble_prefix(False)

    with pickle.loads(pickle.dumps(client)) as twin:
        assert repr(twin) == repr(client)
        assert twin.sources == ("a", "b")
        twin.append_to_list("l", make("d", 1))
        assert twin.key_exists("l")


def test_a_client_that_is_never_closed_earns_no_warning(raw, server):
    run(f"from smartml import Client; Client(address={server.address!r}).key_exists('a')")


def test_a_closed_client_opens_again(client):
    client.put_tensor("t", np.arange(3))
    client.close()
    client.close()

    assert client.get_tensor("t").tolist() == [0, 1, 2]
    assert client.get_list_length("l") == 0
