"""What holds for every feed: by key and by list, alone and for both frameworks."""

import itertools
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from servers import wait_until

from smartml import Client
from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FeedError,
    FeedTimeoutError,
    SampleMismatchError,
)
from smartml.feeds import DataDownloader, DataInfo, TrainingDataUploader

from .conftest import build, flat, needs, numbers, one_pass

FRAMEWORKS = pytest.mark.parametrize(
    "framework",
    [
        pytest.param(None, id="plain"),
        pytest.param("keras", marks=needs("keras")),
        pytest.param("torch", marks=needs("torch")),
    ],
)


# Growing


@FRAMEWORKS
def test_a_feed_grows_with_what_producers_put(framework, producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed(framework)
    first = one_pass(feed)

    producer.put(numbers(3, 4))
    producer.put(numbers(5, 6))

    assert first == [[1, 2]]
    assert one_pass(feed) == [[1, 2], [3, 4], [5, 6]]
    assert len(feed) == 3
    assert feed.num_samples == 6


@FRAMEWORKS
def test_a_static_feed_keeps_what_it_found_first(framework, producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed(framework, dynamic=False)
    one_pass(feed)

    producer.put(numbers(3, 4))

    assert one_pass(feed) == [[1, 2]]


@FRAMEWORKS
def test_every_pass_serves_each_sample_once(framework, producer, make_feed):
    for value in range(0, 12, 3):
        producer.put(numbers(value, value + 1, value + 2))
    feed = make_feed(framework, shuffle=True)

    for _ in range(3):
        assert sorted(flat(one_pass(feed))) == list(range(12))


def test_the_first_batch_alone_is_there_once(producer, make_feed):
    producer.put(numbers(1, 2))

    feed = make_feed()

    assert feed.num_samples == 2
    assert one_pass(feed) == [[1, 2]]


def test_iterating_twice_gives_the_same(producer, make_feed):
    producer.put(numbers(1, 2, 3, 4))
    feed = make_feed()

    assert one_pass(feed) == one_pass(feed) == [[1, 2], [3, 4]]


def test_a_pass_goes_on_over_its_own_order_when_another_begins(producer, make_feed):
    producer.put(numbers(*range(20)))
    feed = make_feed(shuffle=True, seed=1)

    served = []
    for batch in feed:
        served += batch.tolist()
        feed.update_data()

    assert sorted(served) == list(range(20))


def test_samples_of_several_batches_fill_one(producer, make_feed):
    for value in (1, 2, 3, 4):
        producer.put(numbers(value))

    assert one_pass(make_feed(batch_size=4)) == [[1, 2, 3, 4]]


# Samples and targets


@FRAMEWORKS
def test_a_batch_is_samples_and_targets(framework, producer, make_feed):
    producer.put(numbers(1, 2), numbers(10, 20))

    assert one_pass(make_feed(framework, targets=True)) == [([1, 2], [10, 20])]


@FRAMEWORKS
def test_without_targets_a_batch_is_samples_alone(framework, producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed(framework)

    assert one_pass(feed) == [[1, 2]]
    assert not feed.need_targets


@FRAMEWORKS
@pytest.mark.parametrize(
    "arguments",
    [
        {"sample_prefix": "points", "target_prefix": "points"},
        {"data_info_or_list_name": DataInfo("training", "points", "points")},
    ],
    ids=["by-key", "by-list"],
)
def test_samples_may_be_their_own_targets(framework, arguments, client, close_later):
    client.put_tensor("points_0", numbers(1, 2))
    with TrainingDataUploader("training", "points", "points") as uploader:
        uploader.put_batch(numbers(1, 2))

    feed = close_later(build(framework, True, batch_size=2, shuffle=False, **arguments))

    assert feed.autoencoding
    assert one_pass(feed) == [([1, 2], [1, 2])]


@FRAMEWORKS
def test_labels_become_one_hot(framework, producer, make_feed):
    producer.put(numbers(1, 2), np.array([2, 0]))

    batches = one_pass(make_feed(framework, targets=True, num_classes=3))

    assert batches == [([1, 2], [[0, 0, 1], [1, 0, 0]])]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_labels_may_stand_in_a_column_of_any_integers(dtype, producer, make_feed):
    producer.put(numbers(1, 2), np.array([[1], [0]], dtype))

    (batch,) = make_feed(targets=True, num_classes=2)

    assert batch[1].tolist() == [[0, 1], [1, 0]]
    assert batch[1].dtype == np.float32


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.array([0, 3]), r"labels lie in \[0, 3\], num_classes=3"),
        (np.array([-1, 2]), r"labels lie in \[-1, 2\], num_classes=3"),
        (numbers(0, 1), "must be integers of shape .* not float32"),
        (np.array([[0, 1], [1, 0]]), r"must be integers of shape .* not int64 of shape \(2, 2\)"),
    ],
    ids=["too-large", "negative", "float", "one-hot-already"],
)
def test_labels_that_cannot_be_encoded_say_why(labels, reason, producer, make_feed):
    producer.put(numbers(1, 2), labels)
    feed = make_feed(targets=True, num_classes=3)

    with pytest.raises(SampleMismatchError, match=reason):
        list(feed)


def test_shapes_and_dtypes_arrive_as_they_were_put(producer, make_feed):
    samples = np.arange(24, dtype="int16").reshape(2, 3, 4)
    targets = np.array([True, False])
    producer.put(samples, targets)

    ((x, y),) = make_feed(targets=True)

    assert (x.dtype, y.dtype) == (np.int16, np.bool_)
    assert np.array_equal(x, samples)
    assert np.array_equal(y, targets)


def test_what_is_held_can_be_looked_at(producer, make_feed):
    feed = make_feed(targets=True, init_samples=False)
    assert feed.samples is None
    assert feed.targets is None
    producer.put(numbers(1, 2), numbers(10, 20))
    feed.update_data()

    feed.samples[0] = 99

    assert feed.samples.tolist() == [1, 2]
    assert feed.targets.tolist() == [10, 20]


def test_without_targets_there_are_none_to_look_at(producer, make_feed):
    producer.put(numbers(1, 2))

    assert make_feed().targets is None


# Batches


@FRAMEWORKS
def test_a_last_smaller_batch_is_left_out_unless_asked_for(framework, producer, make_feed):
    producer.put(numbers(1, 2, 3))

    assert one_pass(make_feed(framework)) == [[1, 2]]
    assert one_pass(make_feed(framework, drop_last=False)) == [[1, 2], [3]]
    assert len(make_feed(framework, drop_last=False)) == 2


def test_with_a_smaller_last_batch_one_sample_is_enough_to_begin(producer, make_feed):
    producer.put(numbers(1))

    assert one_pass(make_feed(batch_size=32, drop_last=False)) == [[1]]


@FRAMEWORKS
def test_the_same_seed_and_arrivals_give_the_same_batches(framework, producer, make_feed):
    producer.put(numbers(*range(50)))
    one, other = make_feed(framework, shuffle=True, seed=7), make_feed(framework, shuffle=True, seed=7)
    first = one_pass(one)
    assert first == one_pass(other)

    producer.put(numbers(*range(50, 60)))

    second = one_pass(one)
    assert second == one_pass(other)
    assert second[: len(first)] != first


def test_another_seed_gives_other_batches(producer, make_feed):
    producer.put(numbers(*range(50)))

    assert one_pass(make_feed(shuffle=True, seed=7)) != one_pass(make_feed(shuffle=True, seed=8))


def test_a_batch_beyond_the_last_is_an_index_error(producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed()

    assert feed.batch(0).tolist() == [1, 2]
    for number in (1, -1):
        with pytest.raises(IndexError, match=f"no batch {number}: the pass has 1"):
            feed.batch(number)


# Waiting


@FRAMEWORKS
def test_a_feed_waits_for_a_late_producer(framework, producer, make_feed, in_background, command_counts):
    def put_once_the_feed_looks():
        seen = dict.fromkeys(("exists", "lrange"), 0)

        def has_looked_often():
            counts = command_counts()
            for name in seen:
                seen[name] += counts.get(name, 0)
            return max(seen.values()) >= 5

        wait_until(has_looked_often)
        producer.put(numbers(1))
        producer.put(numbers(2))

    in_background(put_once_the_feed_looks)

    assert one_pass(make_feed(framework)) == [[1, 2]]


def test_a_feed_waits_for_a_process_that_starts_late(make_plain_feed, tmp_path):
    script = tmp_path / "producer.py"
    script.write_text(
        "import numpy as np\n"
        "from smartml import Client\n"
        "with Client() as client:\n"
        "    client.put_tensor('points_0', np.array([1, 2], 'float32'))\n"
    )
    with subprocess.Popen([sys.executable, script]) as process:
        assert one_pass(make_plain_feed(sample_prefix="points", wait_timeout_s=60)) == [[1, 2]]
    assert process.returncode == 0


def test_without_init_the_feed_looks_when_samples_are_asked_for(producer, make_feed):
    feed = make_feed(init_samples=False)
    assert feed.num_samples == 0
    producer.put(numbers(1, 2))

    assert len(feed) == 1


def test_a_wait_in_vain_says_how_much_came_and_where_it_looked(producer, make_feed, server):
    producer.put(numbers(1, 2))

    with pytest.raises(FeedTimeoutError) as caught:
        make_feed(batch_size=32, wait_timeout_s=0)

    assert "2 samples are there, 32 are needed for a batch" in str(caught.value)
    assert "none came within 0 s" in str(caught.value)
    assert server.address in str(caught.value)
    assert isinstance(caught.value, TimeoutError)


def test_a_feed_that_waited_in_vain_goes_on_from_there(producer, make_feed):
    feed = make_feed(init_samples=False)
    producer.put(numbers(1))
    with pytest.raises(FeedTimeoutError, match="1 samples are there"):
        feed.init_samples(wait_timeout_s=0)

    producer.put(numbers(2))
    feed.init_samples(wait_timeout_s=0)

    assert one_pass(feed) == [[1, 2]]


def test_arriving_samples_begin_the_wait_anew(producer, make_feed, monkeypatch):
    # A clock on which every sleep takes a second; a sample comes every fourth one.
    seconds = itertools.count(1)
    now = 0

    def sleep(_):
        nonlocal now
        now = next(seconds)
        if now % 4 == 0:
            producer.put(numbers(now))

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: now)

    feed = make_feed(batch_size=10, wait_timeout_s=5)

    assert (feed.num_samples, now) == (10, 40)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_wait_that_makes_no_sense_is_refused(timeout, make_feed):
    with pytest.raises(ArgumentValueError, match="wait_timeout_s must be"):
        make_feed(wait_timeout_s=timeout)


def test_a_wait_without_end_ends_with_ctrl_c(command_counts):
    code = "from smartml.feeds import DataDownloader; DataDownloader(sample_prefix='points', wait_timeout_s=None)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: command_counts().get("exists"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert errors.endswith("KeyboardInterrupt\n")


def test_a_wait_ends_with_ctrl_c_and_the_feed_can_be_used_further(producer, make_feed, monkeypatch):
    feed = make_feed(init_samples=False)

    def press_ctrl_c(seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile, pytest.raises(KeyboardInterrupt):
        meanwhile.setattr("time.sleep", press_ctrl_c)
        feed.init_samples()
    producer.put(numbers(1, 2))

    assert one_pass(feed) == [[1, 2]]


# Replicas


@FRAMEWORKS
def test_replicas_share_the_samples_without_overlap(framework, producer, make_feed):
    for value in range(9):
        producer.put(numbers(value))

    shares = [
        one_pass(make_feed(framework, batch_size=1, replica_rank=rank, num_replicas=3, shuffle=True))
        for rank in range(3)
    ]

    assert sorted(flat(flat(shares))) == list(range(9))
    assert list(map(len, shares)) == [3, 3, 3]


def test_replicas_share_what_comes_later_too(producer, make_feed):
    producer.put(numbers(0))
    producer.put(numbers(1))
    feeds = [make_feed(batch_size=1, replica_rank=rank, num_replicas=2) for rank in range(2)]
    assert [one_pass(feed) for feed in feeds] == [[[0]], [[1]]]

    producer.put(numbers(2))
    producer.put(numbers(3))

    assert [one_pass(feed) for feed in feeds] == [[[0], [2]], [[1], [3]]]


@pytest.mark.parametrize(("rank", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_a_replica_outside_its_group_is_refused(rank, count, make_feed):
    with pytest.raises(ArgumentValueError, match=f"not {rank} of {count}"):
        make_feed(replica_rank=rank, num_replicas=count)


def test_a_feed_that_holds_samples_cannot_become_another_replica(producer, make_feed):
    producer.put(numbers(1, 2))

    with pytest.raises(ArgumentValueError, match="already holds samples"):
        make_feed().set_replica_parameters(1, 2)


# Arguments


@pytest.mark.parametrize("arguments", [{}, {"data_info_or_list_name": "training", "sample_prefix": "points"}])
def test_exactly_one_scheme_must_be_named(arguments, client):
    with pytest.raises(ArgumentValueError, match="not both and not none"):
        DataDownloader(**arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"batch_size": 0}, "batch_size must be a positive number, not 0"),
        ({"batch_size": 1.5}, "batch_size must be a positive number, not 1.5"),
        ({"num_classes": 0}, "num_classes must be a positive number or None, not 0"),
        ({"sample_prefix": ""}, "sample_prefix must be a name, not ''"),
        ({"uploader_ranks": 0}, "uploader_ranks must be a positive number or None, not 0"),
        ({"key_order": "rank"}, "key_order must be one of .*'iteration_rank'.* not 'rank'"),
    ],
)
def test_arguments_that_cannot_work_say_what_can(arguments, reason, client):
    with pytest.raises(ArgumentValueError, match=reason):
        DataDownloader(**{"sample_prefix": "points", **arguments})


def test_a_list_must_be_named_by_text(client):
    with pytest.raises(ArgumentTypeError, match="a list name or a DataInfo is needed, not int"):
        DataDownloader(3)


def test_a_feed_pickles_with_what_it_holds(producer, make_feed, close_later):
    producer.put(numbers(1, 2))
    feed = close_later(pickle.loads(pickle.dumps(make_feed())))

    producer.put(numbers(3, 4))

    assert one_pass(feed) == [[1, 2], [3, 4]]


# Producers of an experiment


@pytest.fixture
def entity(scheme, of_entity, close_later):
    """Make a producer that runs as an entity."""

    def make(name):
        with of_entity(name):
            return type(scheme)(scheme.producer_class, close_later(Client()), close_later).producer()

    return make


@FRAMEWORKS
def test_all_incoming_entities_are_followed(framework, entity, make_feed, monkeypatch):
    left, right = entity("left"), entity("right")
    left.put(numbers(1, 2))
    right.put(numbers(3, 4))
    left.put(numbers(5, 6))
    monkeypatch.setenv("SSKEYIN", "left,right")

    feed = make_feed(framework)

    assert feed.producers == ("left", "right")
    assert one_pass(feed) == [[1, 2], [5, 6], [3, 4]]


@pytest.mark.parametrize(
    ("prefixes", "chosen"),
    [
        ("left", ("left_0", "left_1")),
        (["left_1", "right"], ("left_1", "right_0")),
        ([], ("left_0", "left_1", "right_0")),
        (None, ("left_0", "left_1", "right_0")),
    ],
)
def test_producer_prefixes_pick_among_incoming_entities(prefixes, chosen, entity, make_feed, monkeypatch):
    names = ("left_0", "left_1", "right_0")
    for number, name in enumerate(names):
        entity(name).put(numbers(number))
    monkeypatch.setenv("SSKEYIN", ",".join(names))

    feed = make_feed(batch_size=1, producer_prefixes=prefixes)

    assert feed.producers == chosen
    assert one_pass(feed) == [[names.index(name)] for name in chosen]


def test_a_prefix_that_picks_nobody_lists_the_incoming_entities(make_feed, monkeypatch):
    monkeypatch.setenv("SSKEYIN", "left,right")

    with pytest.raises(FeedError, match="no incoming entity begins with 'middle'; incoming are: left, right"):
        make_feed(producer_prefixes="middle")


def test_a_prefix_without_incoming_entities_says_how_to_register_them(make_feed):
    with pytest.raises(FeedError, match="register_incoming_entity"):
        make_feed(producer_prefixes="left")


def test_replicas_of_many_short_producers_share_evenly(entity, make_feed, monkeypatch):
    names = [f"member_{number}" for number in range(6)]
    for number, name in enumerate(names):
        entity(name).put(numbers(number))
    monkeypatch.setenv("SSKEYIN", ",".join(names))

    shares = [one_pass(make_feed(batch_size=1, replica_rank=rank, num_replicas=2)) for rank in range(2)]

    assert sorted(map(len, shares)) == [3, 3]
    assert sorted(flat(flat(shares))) == list(range(6))
