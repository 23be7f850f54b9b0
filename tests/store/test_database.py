"""The database under raw keys, as feeds use it."""

import pickle

import numpy as np
import pytest

from smartml import Client
from smartml.errors import StoreReplyError, TensorFormatError


@pytest.fixture
def database(client):
    return client.database


@pytest.fixture(params=["single server", "cluster"])
def any_database(request):
    """The database of a single server, then that of a cluster: both give the same answers."""
    if request.param == "cluster":
        yield request.getfixturevalue("cluster_client").database
    else:
        with Client(address=request.getfixturevalue("start_server")().address) as made:
            yield made.database


def test_replies_come_in_the_order_of_the_commands(any_database):
    any_database.set_values({b"%d" % number: b"x" * number for number in range(50)})

    assert any_database.each([(b"STRLEN", b"%d" % number) for number in range(50)]) == list(range(50))
    assert any_database.each([]) == []


def test_the_largest_numbers_are_read(any_database):
    for number in (2**63 - 1, -(2**63)):
        any_database.set_values({b"number": b"%d" % number})

        assert any_database.commands(b"number", (b"INCRBY", b"number", b"0")) == [number]


def test_the_first_error_names_its_key_and_the_others_were_carried_out(any_database):
    any_database.command("RPUSH", b"list", b"x")

    with pytest.raises(StoreReplyError, match="refused a command on key 'list': WRONGTYPE"):
        any_database.each([(b"SET", b"a", b"1"), (b"INCR", b"list"), (b"SET", b"b", b"2")])

    assert any_database.exist([b"a", b"b"]) == [True, True]


def test_existing_keys_are_told_and_counted(any_database):
    any_database.set_values({b"a": b"", b"c": b""})

    assert any_database.exist([b"a", b"b", b"c"]) == [True, False, True]
    assert any_database.count_existing([b"a", b"b", b"c"]) == 2
    assert any_database.exist([]) == []
    assert any_database.count_existing([]) == 0


def test_more_keys_are_counted_than_one_command_names(any_database):
    any_database.set_values({b"%d" % number: b"" for number in range(0, 10_000, 2)})

    assert any_database.count_existing([b"%d" % number for number in range(10_000)]) == 5000


def test_hashes_come_whole_and_missing_ones_empty(any_database):
    any_database.command("HSET", b"h", b"a", b"1", b"b", b"\xff")

    assert any_database.hashes([b"none", b"h"]) == [{}, {b"a": b"1", b"b": b"\xff"}]


def test_values_are_received_where_the_caller_wants_them(any_database):
    sizes = {b"small": 3, b"empty": 0, b"large": 300_000}
    any_database.set_values({key: b"v" * size for key, size in sizes.items()})
    landed = {}

    def place(index, size):
        landed[index] = bytearray(size)
        view = memoryview(landed[index])
        return [view[: size // 3], view[size // 3 :]]

    assert any_database.receive([b"small", b"none", b"empty", b"large"], place) == [3, None, 0, 300_000]
    assert landed == {0: b"vvv", 2: b"", 3: b"v" * 300_000}


def test_values_are_received_in_order_whatever_stands_between_them(any_database):
    # Behind a large value the line of another such value is expected: here come none and smaller ones, too.
    sizes = {b"large": 131_072, b"other": 131_073, b"longer": 1_048_576, b"empty": 0, b"small": 5, b"none": None}
    any_database.set_values({key: key[:1] * size for key, size in sizes.items() if size is not None})
    random = np.random.default_rng(0)
    for _ in range(8):
        keys = [list(sizes)[number] for number in random.choice(6, 30, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])]
        landed = [None] * len(keys)

        def place(index, size, landed=landed):
            landed[index] = bytearray(size)
            return [memoryview(landed[index])]

        assert any_database.receive(keys, place) == [sizes[key] for key in keys]

        assert landed == [None if sizes[key] is None else key[:1] * sizes[key] for key in keys]


def test_values_are_fetched_in_order_whatever_their_sizes(any_database):
    # Runs of one size, of a length and number that end anywhere in a buffer; none; and what needs memory of its own.
    sizes = [4120] * 40 + [0, 0, 3, 30_000, 30_000, 5] + [4120] * 3 + [70_000, 16_384, 16_383] + [4121] * 600
    values = {b"%d" % number: bytes([number % 251]) * size for number, size in enumerate(sizes)}
    any_database.set_values(values)
    keys = [*list(values)[:20], b"none", *list(values)[20:], b"none", b"none"]

    for _ in range(2):
        fetched = any_database.fetch(keys)

        assert [value if value is None else bytes(value) for value in fetched] == [values.get(key) for key in keys]


def test_what_is_no_string_is_refused_after_all_others_were_received(any_database):
    any_database.command("RPUSH", b"list", b"x")
    any_database.set_values({b"a": b"1", b"b": b"2"})
    landed = {index: bytearray(1) for index in (0, 2)}

    with pytest.raises(TensorFormatError, match="key 'list' does not hold a tensor: it is a Redis value of type list"):
        any_database.receive([b"a", b"list", b"b"], lambda index, size: [memoryview(landed[index])])

    assert landed == {0: b"1", 2: b"2"}
    with pytest.raises(TensorFormatError, match="key 'list' does not hold a tensor: it is a Redis value of type list"):
        any_database.fetch([b"a", b"list", b"b"])
    assert any_database.fetch([b"a", b"b"]) == [b"1", b"2"]


@pytest.mark.parametrize("position", [1, 3, 5])
def test_a_refusal_among_large_values_spoils_none_of_them(position, any_database):
    any_database.command("RPUSH", b"list", b"x")
    any_database.set_values({b"%d" % number: bytes([number]) * 100_000 for number in range(6)})
    keys = [b"%d" % number for number in range(6)]
    keys[position] = b"list"
    landed = [bytearray(100_000) for _ in keys]

    with pytest.raises(TensorFormatError, match="key 'list' does not hold a tensor"):
        any_database.receive(keys, lambda index, size: [memoryview(landed[index])])

    assert all(landed[n] == bytes([n]) * 100_000 for n in range(6) if n != position)


def test_a_transaction_is_carried_out_whole_or_not_at_all(any_database):
    replies = any_database.transaction(b"{t}a", (b"SET", b"{t}a", b"1"), (b"STRLEN", b"{t}a"))
    assert replies == [b"OK", 1]

    with pytest.raises(StoreReplyError, match=r"'{t}b': ERR wrong number of arguments"):
        any_database.transaction(b"{t}b", (b"SET", b"{t}b", b"1"), (b"STRLEN",))
    assert any_database.exist([b"{t}b"]) == [False]


def test_an_update_starts_again_when_another_comes_in_between(any_database):
    seen = []

    def change(value):
        if not seen:
            any_database.command("SET", b"k", b"theirs")
        seen.append(value)
        return [(b"SET", b"k", value + b" and mine")]

    any_database.command("SET", b"k", b"old")
    any_database.update(b"k", (b"GET", b"k"), change)

    assert seen == [b"old", b"theirs"]
    assert any_database.command("GET", b"k") == b"theirs and mine"


def test_an_update_may_find_that_nothing_is_to_be_done(any_database):
    assert any_database.update(b"k", (b"GET", b"k"), lambda value: []) == []


@pytest.mark.parametrize("command", [("LLEN", b"text"), ("INCR", b"text")])
def test_a_refused_command_names_its_key(any_database, command):
    any_database.command("SET", b"text", b"x")

    with pytest.raises(StoreReplyError, match="the database refused a command on key 'text': "):
        any_database.command(*command)


def test_an_unknown_command_says_so(database):
    with pytest.raises(StoreReplyError, match="unknown command"):
        database.command("NONSENSE")


def test_keys_are_searched_by_a_pattern(any_database):
    any_database.set_values({b"a_%d" % number: b"" for number in range(3000)} | {b"b": b""})

    assert {*any_database.scan(b"a_*")} == {f"a_{number}" for number in range(3000)}
    assert list(any_database.scan(b"c*")) == []


def test_similar_keys_come_nearest_first(any_database):
    any_database.set_values(dict.fromkeys((b"points_3_17", b"points_3_18", b"values_3_17", b"other"), b""))

    assert any_database.similar_keys(b"points_3_17")[0] == "points_3_17"
    assert any_database.similar_keys(b"point_3_18")[0] == "points_3_18"
    assert any_database.similar_keys(b"\xff\xfe") == []


def test_a_database_travels_as_its_settings(client):
    client.put_tensor("a", np.ones(1))

    copy = pickle.loads(pickle.dumps(client.database))

    assert copy.exist([b"a"]) == [True]
    assert copy.settings == client.database.settings
    copy.close()
