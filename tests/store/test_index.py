"""Indices: what is read from names, who tells them what, and that they cost nothing where nobody follows."""

import re
import struct

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from smartml import Client
from smartml.errors import StoreFullError
from smartml.store.index import NO_NUMBER, make_header, split_key
from smartml.store.keys import index_key
from smartml.store.module import find_module

needs_module = pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")

ARRAY = np.arange(3, dtype="f4")
# Pieces of names: numbers of all kinds, and what is nearly one.
PIECES = [
    "_",
    "_",
    "a",
    "points",
    ".",
    "0",
    "7",
    "00",
    "01",
    "42",
    "4294967294",
    "4294967295",
    "99999999999",
    "²",
    "-1",
]


def names_of(keys):
    """What a plain reading of keys says: stem, first and second number."""
    for key in keys:
        words = key.split("_")
        numbers = []
        while len(words) > 1 and len(numbers) < 2 and re.fullmatch("0|[1-9][0-9]*", words[-1]):
            if int(words[-1]) >= NO_NUMBER or words[:-1] == [""]:
                break
            numbers.insert(0, int(words.pop()))
        yield None if not numbers else ("_".join(words).encode(), *([NO_NUMBER] * (2 - len(numbers))), *numbers)


def records(raw, stem):
    """The records of an index, without its header."""
    value = raw.get(index_key(stem))
    assert len(value) % 8 == 0
    return [struct.unpack_from("<II", value, start) for start in range(8, len(value), 8)]


def follow(raw, *stems):
    for stem in stems:
        raw.set(index_key(stem), make_header())


@pytest.fixture
def telling_client(client, raw):
    """A client that knows that the stem "points" is followed."""
    follow(raw, b"points")
    client.put_tensor("points_0", ARRAY)
    return client


# What names say


@given(st.lists(st.sampled_from(PIECES), min_size=1).map("".join))
def test_names_are_read_from_their_end(name):
    assert [split_key(name.encode())] == list(names_of([name]))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("points_3_17", (b"points", 3, 17)),
        ("points_17", (b"points", NO_NUMBER, 17)),
        ("e.points_2_3_17", (b"e.points_2", 3, 17)),
        ("points_03_17", (b"points_03", NO_NUMBER, 17)),
        ("points_17_4294967294", (b"points", 17, 4294967294)),
        ("points_4294967295", None),
        ("points17", None),
        ("points_", None),
        ("_17", None),
        ("_3_17", (b"_3", NO_NUMBER, 17)),
        ("17", None),
    ],
)
def test_names_end_in_one_number_or_two(name, parts):
    assert split_key(name.encode()) == parts


@needs_module
def test_the_module_reads_names_as_the_client_does(raw, client):
    chance = np.random.default_rng(0)
    names = {"".join(chance.choice(PIECES, chance.integers(1, 9))) for _ in range(1500)}
    expected = dict(zip(names, names_of(names), strict=True))
    follow(raw, *{parts[0] for parts in expected.values() if parts})

    for name in names:
        raw.execute_command("AI.TENSORSET", name, "INT8", 1)

    told = {
        (key.removeprefix(b".smartml.index."), *numbers)
        for key in raw.keys(".smartml.index.*")
        for numbers in records(raw, key.removeprefix(b".smartml.index."))
    }
    assert told == {parts for parts in expected.values() if parts}


# Who tells what


def test_a_client_tells_what_it_puts_once_it_knows_that_somebody_follows(telling_client, raw):
    telling_client.put_tensor("points_1", ARRAY)
    telling_client.put_tensor("points_5_2", ARRAY)

    assert records(raw, b"points") == [(NO_NUMBER, 1), (5, 2)]
    np.testing.assert_array_equal(telling_client.get_tensor("points_5_2"), ARRAY, strict=True)


def test_many_tensors_are_told_by_one_command_for_each_stem(telling_client, raw):
    follow(raw, b"values")
    telling_client.put_tensor("values_0", ARRAY)
    raw.config_resetstat()

    telling_client.put_tensors({f"{stem}_{rank}_1": ARRAY for rank in range(4) for stem in ("points", "values", "x")})

    assert records(raw, b"points") == records(raw, b"values") == [(rank, 1) for rank in range(4)]
    assert raw.info("commandstats")["cmdstat_append"]["calls"] == 2
    assert raw.exists("x_3_1")


def test_of_more_than_two_numbers_the_last_two_are_told(telling_client, raw):
    follow(raw, b"points_1")
    for rank in range(3):
        telling_client.put_tensor(f"points_1_{rank}_0", ARRAY)
        telling_client.put_tensor(f"points_2_{rank}_0", ARRAY)
    telling_client.put_tensors({f"points_{group}_{rank}_1": ARRAY for group in (1, 2) for rank in range(2)})

    assert records(raw, b"points_1") == [(1, 0), (2, 0), (0, 1), (1, 1)]
    assert records(raw, b"points") == []


@pytest.mark.parametrize("name", ["mesh", "points17", "points_", "{points_1}.x"])
def test_other_names_are_told_nobody(name, telling_client, raw):
    telling_client.put_tensor(name, ARRAY)

    assert records(raw, b"points") == []


def test_the_prefix_of_an_entity_is_part_of_the_stem(connect, raw):
    follow(raw, b"left.points", b"points")
    client = connect(SSKEYOUT="left")
    for iteration in range(3):
        client.put_tensor(f"points_{iteration}", ARRAY)

    assert records(raw, b"left.points") == [(NO_NUMBER, 1), (NO_NUMBER, 2)]
    assert records(raw, b"points") == []


def test_nothing_is_stored_where_nobody_follows(client, raw):
    for iteration in range(3):
        client.put_tensor(f"points_{iteration}", ARRAY)

    assert sorted(raw.keys()) == [b"points_0", b"points_1", b"points_2"]


def test_whether_anybody_follows_is_asked_once_for_many_puts(client, raw):
    raw.config_resetstat()
    client.put_tensors({f"points_{rank}_0": ARRAY for rank in range(100)})
    client.put_tensors({f"values_{rank}_0": ARRAY for rank in range(100)})

    assert raw.info("commandstats")["cmdstat_exists"]["calls"] <= 2


def test_an_index_that_expired_is_not_made_again_by_those_who_put(telling_client, raw):
    raw.delete(index_key(b"points"))

    telling_client.put_tensors({"points_1": ARRAY, "points_2": ARRAY})
    telling_client.put_tensor("points_3", ARRAY)

    assert sorted(raw.keys()) == [b"points_0", b"points_1", b"points_2", b"points_3"]


def test_a_key_that_is_no_index_fails_no_put(telling_client, raw):
    raw.delete(index_key(b"points"))
    raw.rpush(index_key(b"points"), "something else")

    telling_client.put_tensor("points_1", ARRAY)
    telling_client.put_tensor("points_2", ARRAY)

    assert telling_client.tensor_exists("points_1") and telling_client.tensor_exists("points_2")
    assert raw.lrange(index_key(b"points"), 0, -1) == [b"something else"]


def test_who_may_not_write_the_index_puts_all_the_same(start_server):
    server = start_server()
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "producer", "on", ">secret", "~points*", "+@all")
        follow(admin, b"points")
        with Client(address=server.address, username="producer", password="secret", cluster=False) as client:
            for iteration in range(3):
                client.put_tensor(f"points_{iteration}", ARRAY)

        assert admin.exists("points_0", "points_1", "points_2") == 3
        assert records(admin, b"points") == []


def test_who_may_not_ask_for_silence_tells_all_the_same(start_server):
    server = start_server()
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "producer", "on", ">secret", "~*", "+@all", "-client")
        follow(admin, b"points")
        with Client(address=server.address, username="producer", password="secret", cluster=False) as client:
            for iteration in range(4):
                client.put_tensor(f"points_{iteration}", ARRAY + iteration)
            assert [client.get_tensor(f"points_{iteration}")[0] for iteration in range(4)] == [0, 1, 2, 3]

        assert set(records(admin, b"points")) == {(NO_NUMBER, 1), (NO_NUMBER, 2), (NO_NUMBER, 3)}


def test_an_index_that_no_room_is_left_for_fails_no_put(start_server):
    server = start_server()
    with (
        redis.Redis(port=server.port) as admin,
        Client(address=server.address, full_timeout_s=0) as client,
    ):
        follow(admin, b"points")
        client.put_tensor("points_0", ARRAY)
        client.put_tensor("points_1", ARRAY)
        admin.config_set("maxmemory", "1")

        with pytest.raises(StoreFullError):
            client.put_tensor("points_2", ARRAY)
        admin.config_set("maxmemory", "0")
        client.put_tensor("points_2", ARRAY)

        assert records(admin, b"points") == [(NO_NUMBER, 1), (NO_NUMBER, 2)]


def test_a_put_is_repeated_with_what_it_tells_when_the_connection_breaks(raw, proxy):
    follow(raw, b"points")
    with Client(address=proxy.address) as client:
        client.put_tensor("points_0", ARRAY)
        proxy.cut_after(reply_bytes=2)
        client.put_tensor("points_1", ARRAY)

    assert records(raw, b"points") == [(NO_NUMBER, 1)] * 2


def test_a_client_of_a_cluster_tells_nobody(cluster_client):
    cluster_client.database.command("SET", index_key(b"points"), make_header())

    for iteration in range(3):
        cluster_client.put_tensor(f"points_{iteration}", ARRAY)

    assert len(cluster_client.database.command("GET", index_key(b"points"))) == 8


def test_what_is_copied_or_renamed_is_told_nobody(telling_client, raw):
    telling_client.copy_tensor("points_0", "points_1")
    telling_client.rename_tensor("points_1", "points_2")

    assert records(raw, b"points") == []


# The module


@needs_module
def test_the_module_tells_what_it_sets(raw):
    follow(raw, b"points")

    raw.execute_command("AI.TENSORSET", "points_0", "INT8", 1)
    with raw.pipeline(transaction=True) as together:
        together.execute_command("AI.TENSORSET", "points_3_1", "INT8", 1)
        together.execute_command("AI.TENSORSET", "mesh", "INT8", 1)
        together.execute()
    raw.eval("return redis.call('AI.TENSORSET', KEYS[1], 'INT8', 1)", 1, "points_3_2")

    assert records(raw, b"points") == [(NO_NUMBER, 0), (3, 1), (3, 2)]


@needs_module
def test_the_module_tells_nobody_of_what_it_refuses(raw):
    follow(raw, b"points")

    with pytest.raises(redis.ResponseError):
        raw.execute_command("AI.TENSORSET", "points_0", "INT8", 1, "VALUES", 300)

    assert records(raw, b"points") == []


@needs_module
@pytest.mark.parametrize("value", [None, b"", b"12345678", b"SMI1"], ids=str)
def test_the_module_makes_no_index(value, raw):
    if value is not None:
        raw.set(index_key(b"points"), value)

    raw.execute_command("AI.TENSORSET", "points_0", "INT8", 1)

    assert raw.get(index_key(b"points")) == value


@needs_module
def test_a_key_that_is_no_index_does_not_disturb_the_module(raw):
    raw.rpush(index_key(b"points"), "something else")

    assert raw.execute_command("AI.TENSORSET", "points_0", "INT8", 1) == b"OK"
    assert raw.lrange(index_key(b"points"), 0, -1) == [b"something else"]


@needs_module
def test_a_transaction_that_watches_an_index_is_broken_by_what_is_told(raw):
    follow(raw, b"points")
    with raw.pipeline() as watching:
        watching.watch(index_key(b"points"))
        raw.execute_command("AI.TENSORSET", "points_0", "INT8", 1)
        watching.multi()
        watching.ping()
        with pytest.raises(redis.WatchError):
            watching.execute()
