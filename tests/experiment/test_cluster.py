"""A Redis Cluster on paper."""

import pytest

from smartml.experiment.cluster import (
    SLOTS,
    Shape,
    covers_all_slots,
    moved_nodes_files,
    new_nodes_files,
    read_shape,
    slot_ranges,
)


def addresses(count, first=7000):
    return [("127.0.0.1", first + index) for index in range(count)]


@pytest.mark.parametrize("primaries", [1, 3, 4, 7, 100, SLOTS])
def test_every_slot_has_one_primary_and_the_shares_are_even(primaries):
    ranges = slot_ranges(primaries)

    assert [slot for first, last in ranges for slot in range(first, last + 1)] == list(range(SLOTS))
    sizes = {last - first + 1 for first, last in ranges}
    assert max(sizes) - min(sizes) <= 1


def test_every_node_reads_the_same_of_all_and_which_it_is_itself():
    texts = new_nodes_files(Shape(3, replicas=1), addresses(6))

    lines = [text.replace("myself,", "").splitlines() for text in texts]
    assert all(own == lines[0] for own in lines)
    for index, text in enumerate(texts):
        assert [f":{7000 + index}@{17000 + index} myself," in line for line in text.splitlines()].index(True) == index


def test_primaries_hold_the_slots_and_each_replica_follows_one():
    lines = [line.split() for line in new_nodes_files(Shape(3, replicas=1), addresses(6))[0].splitlines()[:6]]

    assert [words[8:] for words in lines] == [["0-5460"], ["5461-10921"], ["10922-16383"], [], [], []]
    assert [words[3] for words in lines] == ["-", "-", "-", lines[0][0], lines[1][0], lines[2][0]]
    assert len({words[0] for words in lines}) == 6


def test_two_clusters_have_no_node_in_common():
    one, other = (new_nodes_files(Shape(3), addresses(3))[0] for _ in range(2))

    assert not {line[:40] for line in one.splitlines()[:3]} & {line[:40] for line in other.splitlines()[:3]}


def test_a_moved_cluster_differs_in_its_addresses_alone():
    texts = new_nodes_files(Shape(3, replicas=1), addresses(6))

    moved = moved_nodes_files(texts, addresses(6, first=8000))

    assert moved == [text.replace(":7", ":8").replace("@17", "@18") for text in texts]


def test_a_moved_cluster_forgets_who_was_down_and_who_was_added_by_hand():
    texts = new_nodes_files(Shape(3), addresses(3))
    texts[0] = texts[0].replace(" master", " master,fail?", 1).replace("@17001", "@17001,host.example,shard-id=ab")
    stranger = "f" * 40 + " 10.0.0.9:6379@16379 master,noaddr - 0 0 9 disconnected\n"

    moved = moved_nodes_files([stranger + texts[0], *texts[1:]], addresses(3, first=8000))

    assert "fail" not in moved[0]
    assert "10.0.0.9" not in moved[0]
    assert "127.0.0.1:8001@18001,host.example,shard-id=ab master" in moved[0]


@pytest.mark.parametrize("shape", [Shape(3), Shape(4, replicas=2)], ids=str)
def test_the_shape_is_read_back(shape):
    assert read_shape(new_nodes_files(shape, addresses(shape.size))) == shape


def test_after_a_failover_the_latest_epoch_tells_the_shape():
    texts = new_nodes_files(Shape(3, replicas=1), addresses(6))
    # The replica of the first primary has its slots now; the first primary died before it could hear of that.
    replica = texts[3].splitlines()[3].split()[0]
    texts[3] = (
        texts[3]
        .replace(" 0-5460", "")
        .replace(f"{replica} 127.0.0.1:7003@17003 myself,slave", f"{replica} 127.0.0.1:7003@17003 myself,master")
        .replace("connected\n", "connected 0-5460\n", 1)
        .replace("currentEpoch 3", "currentEpoch 4")
    )

    assert read_shape(texts) == Shape(3, replicas=1)


@pytest.mark.parametrize("damaged", ["", "REDIS0010", "vars currentEpoch 1 lastVoteEpoch 0\n"])
def test_what_no_node_wrote_has_no_shape(damaged):
    with pytest.raises(ValueError, match="not what a node of a cluster writes"):
        read_shape([damaged])


def test_files_of_two_clusters_have_no_shape():
    one, other = (new_nodes_files(Shape(3), addresses(3)) for _ in range(2))
    with pytest.raises(ValueError, match="do not belong together"):
        read_shape([*one[:2], other[2]])
    with pytest.raises(ValueError, match="do not belong together"):
        read_shape(one[:2])


def test_slots_of_a_node_that_is_gone_are_not_covered():
    owners = [(0, 5460, 7000), (5461, 10922, 7001), (10923, 16383, 7002)]

    assert covers_all_slots(owners, [7000, 7001, 7002])
    assert not covers_all_slots(owners, [7000, 7001])
    assert not covers_all_slots(owners[1:], [7000, 7001, 7002])
