"""What is found, whoever tells of it: producers with and without an index, damaged indices, and what it costs."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import wait_until

from smartml import Client
from smartml.feeds.announced import Announced
from smartml.feeds.index_reader import IndexReader
from smartml.feeds.key_discovery import KeyDiscovery
from smartml.feeds.schemes import KeyScheme
from smartml.store.index import make_header
from smartml.store.keys import index_key

from .conftest import numbers

# No time in which a test ends.
NEVER_S = 1e9
INDEX = index_key(b"points")


class Follower:
    """A discovery that confirms what it finds, and keeps it in order."""

    def __init__(self, client, producers=("",), full_look_s=0.0, **scheme):
        self.discovery = KeyDiscovery(
            client.database, KeyScheme("points", **scheme), list(producers), full_look_s=full_look_s
        )
        self.found = []
        # The second look makes the indices.
        self.look()
        self.look()

    def look(self, times=1):
        """Look so often; return the places that were found, as tuples."""
        found = []
        for _ in range(times):
            places = self.discovery.find()
            self.discovery.confirm(places)
            found += map(tuple, places.tolist())
        self.found += found
        return found

    def look_only_where_told(self):
        """From now on nothing is asked for that was announced."""
        self.discovery.full_look_s = NEVER_S


def plain_put(client, *keys):
    """Put tensors as one who knows of no index."""
    client.database.set_values({key.encode(): b"" for key in keys})


def tell(client, *records, index=INDEX):
    client.database.command("APPEND", index, np.array(records, "<u4").tobytes())


@pytest.fixture
def followed(client):
    """Make followers of sources whose first batch was announced already, which then ask for nothing announced."""

    def follow(ranks=None, targets=False, **scheme):
        if targets:
            scheme["target_prefix"] = "values"
        follower = Follower(client, ranks=ranks, **scheme)
        every = range(ranks or 1)
        for prefix in ("points", "values")[: 1 + targets]:
            names = [f"{prefix}_0" if ranks is None else f"{prefix}_{rank}_0" for rank in every]
            # The first put of a client asks whether anybody follows.
            client.put_tensors(dict.fromkeys(names, numbers(0)))
            client.put_tensors(dict.fromkeys(names, numbers(0)))
        assert follower.look(2) == [(rank, 0) for rank in every]
        follower.look_only_where_told()
        return follower

    return follow


# Who tells


def test_what_is_announced_is_found_without_asking_for_any_key(followed, client, command_counts):
    follower = followed(ranks=50)
    command_counts()
    assert follower.look() == []

    client.put_tensors({f"points_{rank}_1": numbers(1) for rank in range(50)})
    client.put_tensor("points_7_2", numbers(2))

    assert follower.look() == sorted([(rank, 1) for rank in range(50)] + [(7, 2)])
    assert follower.look() == []
    counts = command_counts()
    assert {name: counts.get(name, 0) for name in ("getrange", "exists")} == {"getrange": 3, "exists": 0}


def test_samples_wait_for_targets_that_are_announced_later(followed, client, command_counts):
    follower = followed(ranks=3, targets=True)
    command_counts()
    client.put_tensors({f"points_{rank}_1": numbers(1) for rank in range(3)})
    assert follower.look() == []

    client.put_tensors({f"values_{rank}_1": numbers(1) for rank in (2, 1)})

    assert follower.look() == [(1, 1), (2, 1)]
    assert "exists" not in command_counts()


def test_nobody_is_covered_before_anything_was_announced(client):
    follower = Follower(client, ranks=2)
    follower.look_only_where_told()
    for iteration in range(3):
        plain_put(client, f"points_0_{iteration}", f"points_1_{iteration}")
        assert follower.look() == [(0, iteration), (1, iteration)]


def test_what_nobody_announces_is_found_at_a_full_look_and_at_every_look_from_then_on(followed, client):
    follower = followed(ranks=2)
    plain_put(client, "points_1_1")
    follower.discovery.full_look_s = 0
    assert follower.look() == [(1, 1)]
    follower.look_only_where_told()

    plain_put(client, "points_1_2")

    assert follower.look() == [(1, 2)]


def test_targets_that_nobody_announces_are_found_at_a_full_look(followed, client):
    follower = followed(ranks=2, targets=True)
    client.put_tensor("points_1_1", numbers(1))
    plain_put(client, "values_1_1")
    assert follower.look() == []

    follower.discovery.full_look_s = 0

    assert follower.look() == [(1, 1)]


def test_who_announces_again_is_covered_again(followed, client, command_counts):
    follower = followed(ranks=2)
    plain_put(client, "points_1_1")
    follower.discovery.full_look_s = 0
    follower.look()
    client.put_tensor("points_1_2", numbers(2))
    assert follower.look(2) == [(1, 2)]
    follower.look_only_where_told()
    command_counts()

    assert follower.look() == []

    assert command_counts() == {"getrange": 1}


@pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ({}, "points_{1}"),
        ({"ranks": 3}, "points_{0}_{1}"),
        ({"ranks": 3, "order": "iteration_rank"}, "points_{1}_{0}"),
        ({"producers": ("left", "right"), "ranks": 2}, "right.points_{0}_{1}"),
    ],
    ids=["no rank", "rank first", "iteration first", "entities"],
)
def test_records_are_read_under_every_scheme(scheme, names, client, command_counts):
    follower = Follower(client, **scheme)
    name = names.format
    last_rank = scheme.get("ranks", 1) - 1
    index = index_key(b"right.points" if "producers" in scheme else b"points")
    source = last_rank + 2 * ("producers" in scheme)
    for iteration in range(3):
        plain_put(client, name(last_rank, iteration))
        told = {"points_{1}": (0xFFFFFFFF, iteration), "points_{1}_{0}": (iteration, last_rank)}
        tell(client, told.get(names, (last_rank, iteration)), index=index)
        # Of other tensors, whose names have another form.
        tell(client, (0xFFFFFFFF, 7) if scheme else (3, 7), index=index)
        assert follower.look() == [(source, iteration)]


def test_a_prefix_that_ends_in_a_number_shares_its_index(client, command_counts):
    discovery = KeyDiscovery(client.database, KeyScheme("points_1", "points_2"), [""], full_look_s=0)
    discovery.find(), discovery.find()
    for iteration in range(3):
        for prefix in (1, 2, 3):
            client.put_tensor(f"points_{prefix}_{iteration}", numbers(iteration))
        places = discovery.find()
        discovery.confirm(places)
        assert places.tolist() == [[0, iteration]]
    discovery.full_look_s = NEVER_S
    discovery.find()
    command_counts()

    discovery.find()

    assert command_counts() == {"getrange": 2}


def test_a_feed_that_comes_later_learns_from_the_index_who_is_covered(followed, client, command_counts):
    followed(ranks=20)
    later = Follower(client, ranks=20)
    assert later.found == [(rank, 0) for rank in range(20)]
    later.look_only_where_told()
    later.look()
    command_counts()

    assert later.look() == []

    assert command_counts() == {"getrange": 1}


def test_who_looks_once_makes_no_index(client):
    KeyDiscovery(client.database, KeyScheme("points"), [""], full_look_s=0).find()

    assert not client.key_exists(INDEX.decode())


def test_indices_that_tell_of_few_sources_each_are_not_followed(client):
    assert IndexReader(client.database, KeyScheme("points", "values"), ["a", "b"], ["points", "values"]).is_worthwhile
    assert not IndexReader(client.database, KeyScheme("points"), list("abcdefgh"), ["points"]).is_worthwhile
    assert IndexReader(client.database, KeyScheme("points", None, 64), list("abcdefgh"), ["points"]).is_worthwhile


# Laws


def test_random_puts_are_each_found_once_in_their_order(client):
    chance = np.random.default_rng(1)
    follower = Follower(client, ranks=40)
    there = [(rank, iteration) for rank in range(40) for iteration in range(500)]
    order = chance.permutation(len(there))
    for part in np.array_split(order, 25):
        chosen = [there[number] for number in part]
        plain_put(client, *(f"points_{rank}_{iteration}" for rank, iteration in chosen))
        # Some are told of, some twice, some not at all.
        tell(client, *(place for place in chosen if place[0] % 3), *chosen[::7])
        follower.look()
    follower.look(2)

    assert len(follower.found) == 20_000
    for rank in range(40):
        assert [iteration for source, iteration in follower.found if source == rank] == list(range(500))


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=12), max_size=6),
)
def test_what_covers_a_source_is_a_row_without_gaps(batches):
    announced = Announced(1, 3)
    announced.settle(np.arange(3), np.zeros(3, np.int64))
    told = {0: set(), 1: set(), 2: set()}
    for batch in batches:
        sources = np.array([source for source, _ in batch], np.int64)
        iterations = np.array([iteration for _, iteration in batch], np.int64)
        announced.note(0, sources, iterations)
        for source, iteration in batch:
            told[source].add(iteration)
        asked = announced.asked
        # What a look at the keys would find: all that was told of, up to the first gap.
        rows = np.array([next(i for i in range(9) if i not in told[source]) for source in range(3)])
        announced.settle(asked, rows[asked])
        assert announced.ends().tolist() == rows.tolist()
        for source in range(3):
            is_in_row = bool(told[source]) and max(told[source]) + 1 == rows[source]
            assert (source not in announced.asked) == is_in_row


def test_what_was_found_is_found_again_until_it_is_confirmed(followed, client):
    follower = followed(ranks=3)
    client.put_tensors({"points_0_1": numbers(1), "points_2_1": numbers(1), "points_2_2": numbers(1)})
    discovery = follower.discovery
    everything = [[0, 1], [2, 1], [2, 2]]
    for full_look_s in (NEVER_S, 0, NEVER_S):
        discovery.full_look_s = full_look_s
        assert discovery.find().tolist() == everything
    discovery.confirm(np.array([[2, 1]]))
    assert discovery.find().tolist() == [[0, 1], [2, 2]]
    discovery.confirm(np.array([[2, 2], [0, 1]]))
    assert discovery.find().tolist() == []


def test_what_others_found_may_be_confirmed_before_it_was_read(followed, client, command_counts):
    follower = followed(ranks=2)
    client.put_tensors({"points_0_1": numbers(1), "points_0_2": numbers(1), "points_1_1": numbers(1)})
    follower.discovery.confirm(np.array([[0, 1], [0, 2]]))

    assert follower.look() == [(1, 1)]
    command_counts()
    assert follower.look() == []
    assert command_counts() == {"getrange": 1}


# Gaps, and what is gone


def test_a_gap_is_waited_for_and_warned_of(followed, client, caplog):
    follower = followed(ranks=2)
    client.put_tensors({"points_0_2": numbers(2), "points_1_1": numbers(1)})
    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        assert follower.look(8) == [(1, 1)]
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for 'points_0_1', while iteration 2 is there"
    ]

    client.put_tensor("points_0_1", numbers(1))

    assert follower.look() == [(0, 1), (0, 2)]


def test_what_was_announced_and_deleted_is_waited_for_no_more_than_without_an_index(followed, client):
    follower = followed(ranks=2)
    client.put_tensors({"points_0_1": numbers(1), "points_1_1": numbers(1)})
    client.delete_tensor("points_0_1")
    # An announcement is a hint, and found until the keys are looked at.
    places = follower.discovery.find()
    assert places.tolist() == [[0, 1], [1, 1]]
    follower.discovery.confirm(places[1:])

    follower.discovery.full_look_s = 0
    assert follower.look() == []
    follower.look_only_where_told()
    client.put_tensor("points_0_1", numbers(1))

    assert follower.look() == [(0, 1)]


def test_what_others_read_and_deleted_is_passed_over(client, make_plain_feed, caplog):
    follower = Follower(client)
    for iteration in range(2):
        client.put_tensor(f"points_{iteration}", numbers(iteration))
        follower.look()
    follower.look_only_where_told()
    for iteration in range(2, 30):
        client.put_tensor(f"points_{iteration}", numbers(iteration))
    make_plain_feed(sample_prefix="points", batch_size=1, delete_after="read")
    assert len(follower.discovery.find()) == 28
    client.put_tensor("points_30", numbers(30))

    follower.discovery.full_look_s = 0
    for _ in range(3):
        follower.look()

    assert follower.found == [(0, 0), (0, 1), (0, 30)]


# Indices that are not what they were


@pytest.mark.parametrize(
    "damage",
    [
        lambda database: database.command("DEL", INDEX),
        lambda database: database.command("SET", INDEX, make_header()),
        lambda database: database.command("SET", INDEX, b""),
        lambda database: database.command("SET", INDEX, b"something else, and longer than it was" * 100),
        lambda database: database.command("APPEND", INDEX, b"odd"),
        lambda database: database.command("APPEND", INDEX, b"\x01\0\0\0\x63\0\0\0" + b"\xff\xfe\0\0" * 6),
        lambda database: (database.command("DEL", INDEX), database.command("RPUSH", INDEX, "x")),
    ],
    ids=["deleted", "anew", "empty", "foreign", "odd", "nonsense", "a list"],
)
def test_a_damaged_index_costs_a_look_and_nothing_else(damage, followed, client):
    follower = followed(ranks=2)
    client.put_tensor("points_0_1", numbers(1))
    assert follower.look() == [(0, 1)]

    damage(client.database)
    client.put_tensors({"points_0_2": numbers(2), "points_1_1": numbers(1)})
    follower.discovery.full_look_s = 0
    follower.look(3)
    client.put_tensors({"points_0_3": numbers(2), "points_1_2": numbers(1)})
    follower.look(2)

    assert sorted(follower.found) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]


def test_an_index_that_was_lost_is_followed_anew(followed, client, command_counts):
    follower = followed(ranks=2)
    client.database.command("FLUSHALL")
    follower.discovery.full_look_s = 0
    follower.look(2)
    follower.look_only_where_told()
    with Client() as restarted:
        for iteration in range(1, 5):
            restarted.put_tensors({f"points_{rank}_{iteration}": numbers(iteration) for rank in range(2)})
            assert follower.look() == [(0, iteration), (1, iteration)]
    follower.discovery.full_look_s = 0
    follower.look()
    follower.look_only_where_told()
    command_counts()

    assert follower.look() == []

    assert command_counts() == {"getrange": 1}


def test_a_full_database_is_followed_by_asking(client):
    discovery = KeyDiscovery(client.database, KeyScheme("points"), [""], full_look_s=0)
    client.put_tensor("points_0", numbers(0))
    client.database.command("CONFIG SET", "maxmemory", "1")
    try:
        for _ in range(3):
            assert discovery.find().tolist() == [[0, 0]]
    finally:
        client.database.command("CONFIG SET", "maxmemory", "0")


def test_an_index_disappears_when_nobody_follows_any_more(followed, client):
    follower = followed()
    follower.discovery.full_look_s = 0
    client.database.command("EXPIRE", INDEX, "1000000")
    follower.look()

    assert 0 < client.database.command("TTL", INDEX) <= 600


# Feeds


def test_a_feed_is_fed_by_announcements(client, make_plain_feed, command_counts):
    feed = make_plain_feed(sample_prefix="points", uploader_ranks=4, batch_size=1, init_samples=False)
    iteration = 0

    def is_fed_without_asking():
        nonlocal iteration
        client.put_tensors({f"points_{rank}_{iteration}": numbers(iteration) for rank in range(4)})
        iteration += 1
        command_counts()
        feed.update_data()
        return "exists" not in command_counts()

    wait_until(is_fed_without_asking)

    assert feed.num_samples == 4 * iteration
