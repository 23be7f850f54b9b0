"""What a trainer gets besides samples: samplers by name, transforms, identifiers and weights, priorities."""

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, FeedError
from smartml.feeds import BatchInfo, Prioritised
from smartml.feeds.samplers import Batching, Draw
from smartml.pipeline import Composable, IterableSamplerSource, IterableSource

from .conftest import flat, import_keras, needs, numbers, one_pass

FRAMEWORKS = pytest.mark.parametrize(
    "framework",
    [
        pytest.param(None, id="plain"),
        pytest.param("keras", marks=needs("keras")),
        pytest.param("torch", marks=needs("torch")),
    ],
)


class LastFirst:
    """A sampler of one's own."""

    def begin_pass(self, held, batching: Batching, random):
        class Backwards:
            def __len__(self):
                return batching.count(len(held))

            def draw(self, number):
                end = len(held) - number * batching.batch_size
                return Draw(np.arange(end - batching.batch_size, end))

        return Backwards()


# Samplers


@FRAMEWORKS
@pytest.mark.parametrize("sampler", ["uniform", "prioritised", Prioritised(alpha=1)])
def test_samplers_with_replacement_serve_any_number_of_batches(framework, sampler, producer, make_feed):
    producer.put(numbers(1, 2, 3))
    feed = make_feed(framework, sampler=sampler, batches_per_epoch=5)

    batches = one_pass(feed)

    assert len(feed) == len(batches) == 5
    assert set(flat(batches)) <= {1, 2, 3}
    assert feed.stats.used == 10


@FRAMEWORKS
def test_a_sampler_may_be_an_object_of_ones_own(framework, producer, make_feed):
    producer.put(numbers(1, 2, 3, 4, 5))

    assert one_pass(make_feed(framework, sampler=LastFirst())) == [[4, 5], [2, 3]]


@pytest.mark.parametrize("sampler", ["shuffled", "uniform", "prioritised"])
def test_a_sampler_sees_the_set_grow_and_be_replaced(sampler, producer, make_feed):
    producer.put(numbers(1, 2, 3, 4))
    feed = make_feed(sampler=sampler, capacity=4, policy="fifo", batch_size=1, seed=1)
    for first in range(5, 41, 4):
        assert set(flat(one_pass(feed))) <= set(feed.samples.tolist())
        producer.put(numbers(*range(first, first + 4)))

    assert set(flat(one_pass(feed))) <= {37, 38, 39, 40}


@pytest.mark.parametrize("sampler", ["shuffled", "uniform", "prioritised"])
def test_what_is_left_unread_of_a_pass_changes_no_later_one(sampler, producer, make_feed):
    producer.put(numbers(*range(50)))
    one, other = (make_feed(sampler=sampler, seed=7) for _ in range(2))
    one.update_data(), other.update_data()
    one.batch(3)

    assert one_pass(one) == one_pass(other)


def test_two_feeds_do_not_share_the_sampler_they_were_given(producer, make_feed):
    producer.put(numbers(1, 2))
    sampler = Prioritised(alpha=1, epsilon=0)
    one, other = (make_feed(sampler=sampler, batch_size=2) for _ in range(2))

    one.update_priorities([0, 1], [0, 1])

    assert one_pass(one) == [[2, 2]]
    assert one_pass(other) == [[1, 2]]


# What a batch carries


@FRAMEWORKS
def test_batches_tell_their_samples(framework, producer, make_feed):
    producer.put(numbers(10, 11, 12), numbers(0, 1, 2))
    feed = make_feed(framework, targets=True, return_info=True, shuffle=True, capacity=3, policy="fifo")
    producer.put(numbers(13), numbers(3))

    ((x, y, info),) = one_pass_of_info(feed)

    assert isinstance(info, BatchInfo)
    assert [10 + number for number in np.asarray(info.ids).tolist()] == np.asarray(x).tolist()
    assert np.asarray(info.ids).tolist() == np.asarray(y).tolist() == feed.last_batch.ids.tolist()
    assert np.asarray(info.weights).tolist() == [1, 1]
    assert (type(info.ids), type(info.weights)) == (type(x), type(x))


def one_pass_of_info(feed):
    feed.update_data()
    return [feed.batch(number) for number in range(len(feed))]


def test_weights_alone_may_be_asked_for(producer, make_feed):
    producer.put(numbers(1, 2))

    ((x, weights),) = make_feed(return_info="weights")

    assert (x.tolist(), weights.tolist(), weights.dtype) == ([1, 2], [1, 1], np.float32)


@needs("keras")
def test_keras_weighs_samples_by_them(producer, make_feed):
    keras = import_keras()
    producer.put(np.ones((2, 1), "float32"), numbers(0, 1).reshape(2, 1))
    feed = make_feed("keras", targets=True, sampler=Prioritised(alpha=1, beta=1, epsilon=0), return_info="weights")
    feed.update_priorities([0, 1], [0, 1])

    class One(keras.layers.Layer):
        def build(self, shape):
            self.value = self.add_weight(shape=(1,), initializer="zeros")

        def call(self, x):
            return x * self.value

    model = keras.Sequential([One()])
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    model.fit(feed, epochs=1, verbose=0)

    # Only the second sample was drawn.
    assert feed.last_batch.ids.tolist() == [1, 1]
    assert model.predict(np.ones((1, 1), "float32"), verbose=0).item() == pytest.approx(1)


# Priorities


@FRAMEWORKS
def test_a_trainer_tells_what_samples_are_worth(framework, producer, make_feed):
    producer.put(numbers(1, 2, 3, 4))
    feed = make_feed(framework, sampler=Prioritised(alpha=1, epsilon=0), return_info=True, batch_size=4)
    ((_, info),) = one_pass_of_info(feed)

    feed.update_priorities(info.ids, np.asarray(info.ids) == 2)

    x, info = feed.batch(0)
    assert np.asarray(x).tolist() == [3, 3, 3, 3]
    assert np.asarray(info.ids).tolist() == [2, 2, 2, 2]


def test_priorities_of_samples_that_have_left_are_passed_over(producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed(sampler=Prioritised(alpha=1, epsilon=0), capacity=2, policy="fifo")
    producer.put(numbers(3))
    feed.update_data()

    feed.update_priorities([0, 1, 2, 77, -1], [9, 0, 1, 9, 9])

    assert one_pass(feed) == [[3, 3]]


@pytest.mark.parametrize(
    ("ids", "priorities", "reason"),
    [
        ([0, 1], [1], r"int64 of shape \(2,\) and values of shape \(1,\)"),
        ([0.5], [1], r"float64 of shape \(1,\)"),
        ([0], [-1], "finite and at least 0"),
        ([0], [float("nan")], "finite and at least 0"),
    ],
)
def test_priorities_that_make_no_sense_are_refused(ids, priorities, reason, producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed(sampler="prioritised")

    with pytest.raises(ArgumentValueError, match=reason):
        feed.update_priorities(ids, priorities)


def test_a_sampler_without_priorities_says_which_has_them(producer, make_feed):
    producer.put(numbers(1, 2))

    with pytest.raises(ArgumentValueError, match="knows no priorities: build it with sampler='prioritised'"):
        make_feed().update_priorities([0], [1])


# Transforms


@FRAMEWORKS
def test_transforms_change_samples_then_batches(framework, producer, make_feed):
    producer.put(numbers(1, 2), numbers(10, 20))

    def swap(sample):
        assert all(np.ndim(part) == 0 for part in sample)
        return sample[1], sample[0]

    feed = make_feed(framework, targets=True, sample_transform=swap, transform=lambda batch: (batch[0] + 1, batch[1]))

    assert one_pass(feed) == [([11, 21], [1, 2])]


@FRAMEWORKS
def test_transforms_of_samples_alone(framework, producer, make_feed):
    producer.put(numbers(1, 2))

    assert one_pass(make_feed(framework, sample_transform=lambda x: np.stack([x, -x]))) == [[[1, -1], [2, -2]]]
    assert one_pass(make_feed(framework, transform=lambda x: {"x": x}["x"] * 2)) == [[2, 4]]


@FRAMEWORKS
def test_transforms_may_be_steps_of_the_pipeline(framework, producer, make_feed):
    producer.put(numbers(1, 2))
    steps = Composable().map(lambda x: x + 1).map(lambda x: 2 * x)

    assert one_pass(make_feed(framework, sample_transform=steps)) == [[4, 6]]
    assert one_pass(make_feed(framework, transform=steps.async_map(lambda x: x - 1, max_workers=1))) == [[3, 5]]
    assert one_pass(make_feed(framework, transform=Composable())) == [[1, 2]]


@pytest.mark.parametrize(
    ("steps", "made"), [(Composable().filter(lambda x: False), 0), (Composable().map(lambda x: [x, x]).flatten(), 2)]
)
def test_steps_that_make_anything_but_one_item_of_one_are_refused(steps, made, producer, make_feed):
    producer.put(numbers(1, 2))

    with pytest.raises(FeedError, match=rf"made {made} items of one, .* use feed\.stream\(\)"):
        one_pass(make_feed(transform=steps))


@pytest.mark.parametrize("chain", [IterableSource([1]).map(str), IterableSamplerSource([[1]])])
def test_steps_with_a_source_of_their_own_are_refused(chain, make_feed):
    with pytest.raises(
        ArgumentValueError, match=r"begin with Composable\(\), not with a source of their own: Iterable"
    ):
        make_feed(init_samples=False, sample_transform=chain)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"sampler": "best"}, ArgumentValueError, "no sampler 'best'; known are: shuffled, uniform, prioritised"),
        ({"sampler": 3}, ArgumentTypeError, "sampler must be one of shuffled, uniform, prioritised, or have the me"),
        ({"sampler": Prioritised}, ArgumentTypeError, "sampler must be one of"),
        ({"batches_per_epoch": 3}, ArgumentValueError, "batches_per_epoch is for sampler='uniform'"),
        ({"batches_per_epoch": 0, "sampler": "uniform"}, ArgumentValueError, "a positive number or None, not 0"),
        ({"transform": 3}, ArgumentTypeError, "transform must be a function of one argument, not 3"),
        ({"return_info": "ids"}, ArgumentValueError, "return_info must be True, False or \"weights\", not 'ids'"),
        ({"log_stats_every_s": -1}, ArgumentValueError, "log_stats_every_s must be a number of seconds or None"),
    ],
)
def test_arguments_that_cannot_work_say_what_can(arguments, error, reason, make_plain_feed):
    with pytest.raises(error, match=reason):
        make_plain_feed(sample_prefix="points", **arguments)
