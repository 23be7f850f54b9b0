"""Which slot a key belongs to, and what nodes say about where it is."""

import pytest

from smartml.errors import StoreReplyError
from smartml.store.address import ServerAddress
from smartml.store.slots import SLOTS, key_slot, read_redirection, read_slot_map, slot_tag

ASKED = ServerAddress("10.0.0.1", 7000)


@pytest.mark.parametrize(
    "key",
    [b"abc", b"", b"{}a", b"x{}y{z}", b"}a{b}", b"{a", b"a}", b"p{a}{b}", b"{{a}}", b"{a}}", b"a{b", b"\xff{\x00}"],
)
def test_a_key_belongs_to_the_slot_that_the_server_says(cluster, key):
    assert key_slot(key) == cluster.slot_of(key)


def test_every_slot_has_a_tag():
    tags = [slot_tag(slot) for slot in range(SLOTS)]

    assert [key_slot(b"{%b}.x" % tag) for tag in tags] == list(range(SLOTS))
    assert not any(b"{" in tag or b"}" in tag for tag in tags)


def test_tags_are_those_of_smartredis():
    # As seen on the wire (spec: SmartRedis on the wire, 1.1).
    assert [slot_tag(slot).hex() for slot in (0, 5461, 10922, 10923)] == ["0000", "384d", "709a", "edeb"]


def test_a_map_tells_where_rows_of_slots_begin():
    nodes = [[b"10.0.0.1", 7000, b"id"], [b"10.0.0.2", 7000, b"id"]]
    reply = [[0, 99, nodes[0]], [100, 199, nodes[1]], [300, 399, nodes[1]], [400, 16383, nodes[0]]]

    assert read_slot_map(reply, ASKED).first_slots == [0, 100, 300, 400]


def test_a_map_tells_who_holds_a_slot():
    reply = [
        [0, 99, [b"10.0.0.1", 7000, b"id"], [b"10.0.0.9", 7009, b"id"]],
        [200, 16383, [b"name", 7001, b"id", [b"ip", b"10.0.0.2"]]],
    ]

    found = read_slot_map(reply, ASKED)

    assert found.owners[0] == found.owners[99] == ServerAddress("10.0.0.1", 7000)
    assert found.owners[100] is None and found.owners[199] is None
    assert found.owners[200] == found.owners[16383] == ServerAddress("name", 7001)
    assert len(found.owners) == 16384
    assert found.primaries == (ServerAddress("10.0.0.1", 7000), ServerAddress("name", 7001))
    assert found.replicas == (ServerAddress("10.0.0.9", 7009),)


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_node_without_a_name_is_where_it_was_asked_or_where_it_says_its_address_is(host):
    reply = [[0, 0, [host, 7001, b"id"]], [1, 1, [host, 7002, b"id", [b"ip", b"10.0.0.2"]]]]

    assert read_slot_map(reply, ASKED).owners[:2] == (ServerAddress("10.0.0.1", 7001), ServerAddress("10.0.0.2", 7002))


@pytest.mark.parametrize(
    ("text", "address", "is_once"),
    [
        ("MOVED 7 10.0.0.2:7001", ServerAddress("10.0.0.2", 7001), False),
        ("ASK 7 10.0.0.2:7001", ServerAddress("10.0.0.2", 7001), True),
        ("MOVED 7 :7001", ServerAddress("10.0.0.1", 7001), False),
        ("MOVED 7 fe80::1:7001", ServerAddress("fe80::1", 7001), False),
    ],
)
def test_a_redirection_is_read(text, address, is_once):
    found = read_redirection(StoreReplyError(text), ASKED)

    assert (found.slot, found.address, found.is_once) == (7, address, is_once)


def test_a_moved_slot_changes_its_place_on_the_map_only():
    before = read_slot_map([[0, 16383, [b"10.0.0.1", 7000, b"id"]]], ASKED)

    after = before.with_moved([read_redirection(StoreReplyError("MOVED 7 10.0.0.2:7001"), ASKED)])

    assert after.owners[7] == ServerAddress("10.0.0.2", 7001)
    assert after.owners[6] == after.owners[8] == ASKED
    assert before.owners[7] == ASKED
