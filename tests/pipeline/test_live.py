"""Samples as they arrive from a live database, as a stream."""

import itertools
import json
import pickle
import threading

import numpy as np
import pytest
from servers import DEADLINE_S, wait_until

from smartml.errors import (
    ArgumentValueError,
    FeedTimeoutError,
    PyTorchSplittingException,
    SampleMismatchError,
    StateError,
)
from smartml.feeds import DataInfo, TrainingDataUploader
from smartml.pipeline import RedisSource


def numbers(*values):
    return np.array(values, "float32")


class ByKey:
    """Puts tensors `points_<iteration>`."""

    arguments = {"sample_prefix": "points"}

    def __init__(self, client):
        self._client, self._iteration = client, 0

    def put(self, *values):
        self._client.put_tensor(f"points_{self._iteration}", numbers(*values))
        self._iteration += 1

    def close(self):
        pass


class ByList:
    """Puts datasets on a list."""

    arguments = {"data_info_or_list_name": "training"}

    def __init__(self, client):
        self._uploader = TrainingDataUploader("training", "points", None)
        self._uploader.publish_info()

    def put(self, *values):
        self._uploader.put_batch(numbers(*values))

    def close(self):
        self._uploader.close()


@pytest.fixture(params=[ByKey, ByList], ids=["by key", "by list"])
def producer(request, client):
    made = request.param(client)
    yield made
    made.close()


def source(producer, **arguments):
    return RedisSource(**{"wait_timeout_s": DEADLINE_S, **producer.arguments, **arguments})


def first(items, count):
    return [np.asarray(item).tolist() for item in itertools.islice(items, count)]


def test_samples_come_one_by_one_in_the_order_they_arrived(producer):
    producer.put(0, 1, 2)
    producer.put(3)

    assert first(source(producer), 4) == [0, 1, 2, 3]


def test_batches_come_as_they_were_put(producer):
    producer.put(0, 1, 2)
    producer.put()
    producer.put(3)

    assert first(source(producer, batches=True), 3) == [[0, 1, 2], [], [3]]
    assert first(source(producer), 4) == [0, 1, 2, 3]


def test_what_is_put_while_a_pass_waits_joins_it(producer):
    producer.put(0)
    items = iter(source(producer))
    assert next(items) == 0
    late = threading.Timer(0.05, producer.put, [1, 2])
    late.start()

    assert first(items, 2) == [1, 2]
    late.join()


def test_a_second_pass_begins_with_the_first_sample(producer):
    producer.put(0, 1)
    chain = source(producer).map(float)

    one, other = iter(chain), iter(chain)

    assert [next(one), next(other), next(one), next(other)] == [0, 0, 1, 1]


def test_waiting_ends_with_an_error_that_says_what_is_missing(producer):
    producer.put(0)
    items = iter(source(producer, wait_timeout_s=0))
    next(items)

    with pytest.raises(FeedTimeoutError, match=r"nothing new came within 0 s\. .*(points_1|training)"):
        next(items)


def test_information_that_nobody_has_published_is_waited_for(client):
    with pytest.raises(FeedTimeoutError, match="training_info"):
        RedisSource("training", wait_timeout_s=0).collect()


def test_a_pass_ends_when_producers_have_if_that_is_wanted(client):
    producer = ByList(client)
    for number in range(100):
        producer.put(number)
    producer.close()

    assert source(producer, until="producers_done").map(int).collect() == list(range(100))


def test_targets_come_with_their_samples(client):
    with TrainingDataUploader("training") as uploader:
        uploader.put_batch(numbers(1, 2), numbers(10, 20))

    pairs = RedisSource(DataInfo("training"), until="producers_done").collect()
    doubled = RedisSource(DataInfo("training", "samples", "samples"), until="producers_done").collect()

    assert pairs == [(1, 10), (2, 20)]
    assert doubled == [(1, 1), (2, 2)]


def test_producers_are_followed_by_their_prefixes(client, monkeypatch):
    from smartml import Client

    for name in ("hot", "cold"):
        monkeypatch.setenv("SSKEYOUT", name)
        with Client() as other:
            other.use_tensor_ensemble_prefix(True)
            other.put_tensor("points_0", numbers(len(name)))
    monkeypatch.setenv("SSKEYIN", "hot,cold")

    assert first(RedisSource(sample_prefix="points"), 2) == [3, 4]
    assert first(RedisSource(sample_prefix="points", producer_prefixes="c"), 1) == [4]


def test_a_batch_that_does_not_fit_ends_the_pass_and_is_passed_over_by_the_next(client):
    for iteration, values in enumerate([1, [1, 2], [3, 4]]):
        client.put_tensor(f"x_{iteration}", np.array(values))
        client.put_tensor(f"y_{iteration}", np.array([1, 2]))
    chain = RedisSource(sample_prefix="x", target_prefix="y", batches=True, wait_timeout_s=DEADLINE_S)

    with pytest.raises(SampleMismatchError, match=r"'x_0' and 'y_0' are of shapes \(\) and \(2,\)"):
        next(iter(chain))
    chain.load_state_dict(chain.state_dict())

    assert [x.tolist() for x, _ in itertools.islice(chain, 2)] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("batches", [False, True])
def test_a_pass_goes_on_at_the_exact_item(batches, producer):
    for start in range(0, 12, 3):
        producer.put(start, start + 1, start + 2)
    number = 4 if batches else 12
    expected = first(source(producer, batches=batches), number)

    for position in range(number):
        chain = source(producer, batches=batches)
        head = first(items := iter(chain), position)
        state = json.loads(json.dumps(items.state_dict()))
        chain.load_state_dict(state)
        assert head + first(chain, number - position) == expected


def test_chains_that_hold_samples_back_go_on_exactly_while_more_arrives(producer):
    for start in range(0, 60, 4):
        producer.put(*range(start, start + 4))

    def chain():
        return source(producer).shuffle(10, seed=3).map(int).async_map(abs, max_workers=2).batched(3).take(18)

    head = list(itertools.islice(items := iter(chain()), 5))
    state = items.state_dict()
    rest = list(itertools.islice(items, 5))
    producer.put(60)
    second = chain()
    second.load_state_dict(state)

    assert list(itertools.islice(second, 5)) == rest
    assert len({value for batch in head + rest for value in batch}) == 30


def test_a_batch_that_is_gone_cannot_be_gone_on_with(client):
    client.put_tensor("points_0", numbers(0, 1))
    chain = RedisSource(sample_prefix="points", wait_timeout_s=0)
    next(iter(chain))
    state = chain.state_dict()
    client.delete_tensor("points_0")
    chain.load_state_dict(state)

    with pytest.raises(StateError, match="batch 0 of producer 0, which was given in part, is no longer there"):
        next(iter(chain))


def test_closing_a_pass_wakes_who_waits_for_samples(producer, new_threads):
    producer.put(0)
    items = iter(source(producer, wait_timeout_s=None).async_map(float))
    # The thread that reads ahead waits for the next one from here on.
    assert next(items) == 0

    items.close()

    wait_until(lambda: not new_threads())


def test_a_chain_can_be_pickled_during_a_pass(producer):
    producer.put(0, 1)
    chain = source(producer).map(float)
    next(iter(chain))

    assert first(pickle.loads(pickle.dumps(chain)), 2) == [0, 1]


def test_an_end_that_is_not_known_is_refused(client):
    with pytest.raises(ArgumentValueError, match="None or \"producers_done\", not 'done'"):
        RedisSource("training", until="done")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_live_source_is_not_split_between_workers(client):
    pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    chain = RedisSource(sample_prefix="points").split_by_worker_pytorch().to_torch_iterable()
    items = iter(DataLoader(chain, batch_size=None, num_workers=2))
    try:
        with pytest.raises(PyTorchSplittingException, match="'RedisSource' gives another order"):
            next(items)
    finally:
        items._shutdown_workers()
