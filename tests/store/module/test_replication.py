"""What the module writes is a plain string everywhere: on replicas, in snapshots, in append-only files."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis

from smartml import Client
from smartml.store.index import make_header
from smartml.store.keys import index_key
from smartml.store.module import find_module

ARRAY = np.arange(12, dtype="f4").reshape(3, 4)
INDEX = index_key(b"points")
CALL = ("AI.TENSORSET", "t", "FLOAT", 3, 4, "BLOB", ARRAY.tobytes())

pytestmark = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")


@pytest.fixture
def with_module(start_server, tmp_path):
    """A server that has the module, and its redis-py client."""
    options = ("--loadmodule", str(find_module()), "--dbfilename", "d.rdb", "--appendfilename", "a.aof")
    made = start_server(*options)
    with redis.Redis(port=made.port) as raw:
        yield made, raw


def test_a_replica_needs_no_module(with_module, start_server, eventually):
    primary, raw = with_module
    replica = start_server("--replicaof", "127.0.0.1", str(primary.port))
    with redis.Redis(port=replica.port) as copied:
        eventually(lambda: copied.info("replication")["master_link_status"] == "up")

        raw.execute_command(*CALL)
        raw.expire("t", 1000)
        raw.execute_command(*CALL)

        eventually(lambda: copied.exists("t") and copied.ttl("t") == -1)
        assert copied.get("t") == raw.get("t")
        assert "unknown command" not in str(copied.info("errorstats"))
    with Client(address=replica.address) as client:
        np.testing.assert_array_equal(client.get_tensor("t"), ARRAY, strict=True)


def test_a_transaction_is_replicated_as_one(with_module, start_server, eventually):
    primary, raw = with_module
    replica = start_server("--replicaof", "127.0.0.1", str(primary.port))
    with redis.Redis(port=replica.port) as copied:
        eventually(lambda: copied.info("replication")["master_link_status"] == "up")
        with raw.pipeline(transaction=True) as together:
            together.execute_command(*CALL)
            together.rename("t", "u")
            together.execute()
        eventually(lambda: copied.exists("u"))
        assert copied.keys() == [b"u"]
        assert copied.get("u") == raw.get("u")


def test_what_an_index_is_told_is_replicated_too(with_module, start_server, eventually):
    primary, raw = with_module
    replica = start_server("--replicaof", "127.0.0.1", str(primary.port))
    with redis.Redis(port=replica.port) as copied:
        eventually(lambda: copied.info("replication")["master_link_status"] == "up")
        raw.set(INDEX, make_header())

        raw.execute_command("AI.TENSORSET", "points_0", "INT8", 1)
        with raw.pipeline(transaction=True) as together:
            together.execute_command("AI.TENSORSET", "points_3_1", "INT8", 1)
            together.execute()

        eventually(lambda: copied.exists("points_3_1"))
        assert raw.strlen(INDEX) == 24
        eventually(lambda: copied.get(INDEX) == raw.get(INDEX))


def test_models_and_what_they_give_out_are_replicated_without_a_module(with_module, start_server, eventually):
    primary, raw = with_module
    replica = start_server("--replicaof", "127.0.0.1", str(primary.port))
    with redis.Redis(port=replica.port) as copied, redis.Redis(port=primary.port) as caller:
        eventually(lambda: copied.info("replication")["master_link_status"] == "up")
        raw.execute_command(*CALL)
        raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"wei", b"ghts")
        raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "text")
        raw.execute_command("AI.SCRIPTDEL", "s")
        worker = redis.Connection(port=primary.port, socket_timeout=20)
        worker.connect()
        worker.send_command("SMARTML.INFERENCE")
        eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(
                caller.execute_command, "AI.MODELEXECUTE", "m", *("INPUTS", 1, "t", "OUTPUTS", 2, "u", "v")
            )
            ((number, *_, (given,)),) = worker.read_response()
            # It is handed out as it is stored.
            assert given == raw.get("t")
            worker.send_command("SMARTML.INFERENCE", number, 5, 2, given, given)
            assert reply.result(20) == b"OK"
        worker.disconnect()

        eventually(lambda: set(copied.keys()) == {b"t", b"m", b"u", b"v"})
        assert copied.get("m") == raw.get("m")
        assert copied.get("u") == copied.get("v") == given
        assert "unknown command" not in str(copied.info("errorstats"))


def test_an_append_only_file_and_a_snapshot_need_no_module(with_module, start_server, eventually):
    server, raw = with_module
    raw.set(INDEX, make_header())
    raw.execute_command(*CALL)
    raw.save()
    # Else the server keeps writes back while the disk is busy, and loses them when it is killed.
    raw.config_set("appendfsync", "always")
    raw.config_set("appendonly", "yes")
    eventually(
        lambda: not any(raw.info("persistence")[f"aof_rewrite_{state}"] for state in ("in_progress", "scheduled"))
    )
    raw.execute_command("AI.TENSORSET", "later", "INT8", 1, "VALUES", 7)
    raw.execute_command("AI.TENSORSET", "points_3", "INT8", 1)
    stored, index = raw.get("t"), raw.get(INDEX)
    server.kill()

    for options, keys in (
        (("--appendonly", "yes", "--appendfilename", "a.aof"), {b"t", b"later", b"points_3", INDEX}),
        ((), {b"t", INDEX}),
    ):
        again = start_server("--dbfilename", "d.rdb", *options)
        with redis.Redis(port=again.port) as plain:
            plain.ping()
            assert set(plain.keys()) == keys
            assert plain.get("t") == stored
            assert plain.get(INDEX) == (index if b"later" in keys else index[:8])
        again.kill()
