"""Feeds for Keras: what fit, evaluate and predict see, whatever the backend."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from .conftest import import_keras, numbers, skip_without

BACKENDS = ["torch", "tensorflow"]


@pytest.fixture
def keras():
    return import_keras()


@pytest.fixture
def make_model(keras):
    """Build a model of one weight that changes with every batch, so that steps can be counted."""

    def make():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        return model

    return make


@pytest.fixture
def watch(keras):
    """Return a callback that runs functions at the end of epochs, and counts the batches of each."""

    class Watch(keras.callbacks.Callback):
        def __init__(self, at_epoch_end=lambda epoch: None, at_batch_end=lambda: None):
            super().__init__()
            self.batches = []
            self.at_epoch_end, self.at_batch_end = at_epoch_end, at_batch_end

        def on_epoch_begin(self, epoch, logs=None):
            self.batches.append(0)

        def on_train_batch_end(self, batch, logs=None):
            self.batches[-1] += 1
            self.at_batch_end()

        def on_epoch_end(self, epoch, logs=None):
            self.at_epoch_end(epoch)

    return Watch


def column(*values):
    """Samples that are vectors of one number: shape (n, 1)."""
    return numbers(*values).reshape(-1, 1)


def test_a_single_fit_sees_the_set_grow(producer, make_feed, make_model, watch):
    producer.put(column(1, 2), column(1, 2))
    feed = make_feed("keras", targets=True)
    # What comes at the end of an epoch is part of the next one.
    counter = watch(lambda epoch: [producer.put(column(3, 4), column(3, 4)) for _ in range(epoch + 1)])

    make_model().fit(feed, epochs=4, verbose=0, callbacks=[counter])

    assert counter.batches == [1, 2, 4, 7]


def test_one_fit_per_epoch_sees_the_set_grow(producer, make_feed, make_model, watch):
    producer.put(column(1, 2), column(1, 2))
    feed = make_feed("keras", targets=True)
    model, counter = make_model(), watch(lambda epoch: producer.put(column(3, 4), column(3, 4)))

    for epoch in range(3):
        model.fit(feed, epochs=epoch + 1, initial_epoch=epoch, verbose=0, callbacks=[counter])

    assert counter.batches == [1, 2, 3]


def test_a_static_feed_does_not_grow(producer, make_feed, make_model, watch):
    producer.put(column(1, 2), column(1, 2))
    feed = make_feed("keras", dynamic=False, targets=True)
    counter = watch(lambda epoch: producer.put(column(3, 4), column(3, 4)))

    make_model().fit(feed, epochs=3, verbose=0, callbacks=[counter])

    assert counter.batches == [1, 1, 1]


def test_what_comes_during_an_epoch_is_part_of_the_next(producer, make_feed, make_model, watch):
    producer.put(column(1, 2), column(1, 2))
    feed = make_feed("keras", targets=True)
    counter = watch(at_batch_end=lambda: producer.put(column(3, 4), column(3, 4)))

    make_model().fit(feed, epochs=3, verbose=0, callbacks=[counter])

    assert counter.batches == [1, 2, 4]


@pytest.fixture
def train_and_note(make_model):
    """Fit a model to a feed and return the number of every sample it was trained on, in order."""

    def fit(feed, epochs):
        model = make_model()
        model.run_eagerly = True
        trained = []

        def train_step(data):
            # Eagerly, each backend has a nest of its own around the batch.
            samples = data[0] if len(data) == 2 else data[0][0]
            trained.append(float(samples[0, 0]))
            # TensorFlow hands back no logs that are empty.
            return {"loss": import_keras().ops.zeros(())}

        model.train_step = train_step
        model.fit(feed, epochs=epochs, verbose=0)
        return trained

    return fit


def test_every_epoch_trains_on_every_sample_once(producer, make_feed, train_and_note):
    for value in range(5):
        producer.put(column(value), column(value))
    feed = make_feed("keras", targets=True, batch_size=1, shuffle=True)

    trained = train_and_note(feed, 3)

    assert [sorted(trained[5 * epoch : 5 * epoch + 5]) for epoch in range(3)] == 3 * [[0, 1, 2, 3, 4]]


def test_loading_threads_serve_as_many_and_a_warning_says_what_is_not_exact(
    producer, make_feed, train_and_note, caplog
):
    for value in range(5):
        producer.put(column(value), column(value))
    with caplog.at_level(logging.WARNING, "smartml.feeds"):
        feed = make_feed("keras", targets=True, batch_size=1, shuffle=True, workers=2)

    trained = train_and_note(feed, 3)

    assert ["workers=2" in record.getMessage() for record in caplog.records] == [True]
    assert len(trained) == 15
    assert set(trained) <= {0, 1, 2, 3, 4}


def test_loading_threads_see_the_set_grow(producer, make_feed, make_model, watch):
    for value in range(5):
        producer.put(column(value), column(value))
    feed = make_feed("keras", targets=True, batch_size=1, workers=2, max_queue_size=2)
    counter = watch(at_batch_end=lambda: producer.put(column(9), column(9)))

    make_model().fit(feed, epochs=3, verbose=0, callbacks=[counter])

    assert (feed.workers, counter.batches) == (2, [5, 10, 20])


def test_extra_ends_of_an_epoch_do_no_harm(producer, make_feed):
    producer.put(numbers(1, 2))
    feed = make_feed("keras")

    for _ in range(5):
        feed.on_epoch_end()

    assert len(feed) == 1
    assert feed[0].tolist() == [1, 2]


def test_asking_for_a_batch_has_no_side_effect(producer, make_feed):
    producer.put(numbers(1, 2))
    producer.put(numbers(3, 4))
    feed = make_feed("keras")
    producer.put(numbers(5, 6))

    assert [feed[index].tolist() for index in (1, 0, 1, 1)] == [[3, 4], [1, 2], [3, 4], [3, 4]]
    assert len(feed) == 2
    with pytest.raises(IndexError):
        feed[2]


def test_the_number_of_batches_behaves_as_a_number(producer, make_feed):
    producer.put(numbers(*range(10)))
    feed = make_feed("keras")
    count = feed.num_batches

    assert count == 5
    assert count != 4
    assert 4 < count < 6
    assert 5 <= count <= 5
    assert (count + 1, 1 + count, count - 1, 7 - count) == (6, 6, 4, 2)
    assert (count * 2, count / 2, 11 / count, count // 2, 11 // count, count % 3, 7 % count) == (
        10,
        2.5,
        2.2,
        2,
        2,
        2,
        2,
    )
    assert list(range(count)) == [0, 1, 2, 3, 4]
    assert min(count, 3) == 3
    assert int(count) == float(count) == 5
    assert hash(count) == hash(5)
    assert f"{count} {count:3d} {count!r}" == "5   5 5"
    assert count == feed.num_batches

    producer.put(numbers(10, 11))
    feed.on_epoch_end()

    assert count == 6


def test_a_model_is_evaluated_on_what_is_there(producer, make_feed, make_model):
    producer.put(column(1, 2, 3, 4), column(1, 2, 3, 4))
    model = make_model()
    model.set_weights([np.array([[2.0]])])

    # Mean of 1, 4, 9 and 16.
    assert model.evaluate(make_feed("keras", targets=True), verbose=0) == pytest.approx(7.5)


@pytest.mark.parametrize("targets", [False, True])
def test_predictions_come_in_order_of_arrival_without_shuffling(targets, producer, make_feed, make_model):
    producer.put(column(1, 2, 3), column(0, 0, 0) if targets else None)
    model = make_model()
    model.set_weights([np.array([[2.0]])])

    predicted = model.predict(make_feed("keras", targets=targets, drop_last=False), verbose=0)

    assert predicted.tolist() == [[2], [4], [6]]


def test_a_feed_may_be_the_validation_data(producer, make_feed, make_model):
    producer.put(column(1, 2), column(1, 2))
    feed, unseen = make_feed("keras", targets=True), make_feed("keras", dynamic=False, targets=True)

    history = make_model().fit(feed, validation_data=unseen, epochs=2, verbose=0)

    assert len(history.history["val_loss"]) == 2


def test_samples_that_are_their_own_targets_train_an_autoencoder(client, make_model, close_later):
    import_keras()
    from smartml.feeds.keras import DynamicDataGenerator

    client.put_tensor("points_0", column(1, 2))
    feed = close_later(DynamicDataGenerator(sample_prefix="points", target_prefix="points", batch_size=2))
    model = make_model()
    model.set_weights([np.array([[1.0]])])

    assert model.evaluate(feed, verbose=0) == 0


def test_steps_per_epoch_may_be_limited(producer, make_feed, make_model, watch):
    for value in range(6):
        producer.put(column(value, value), column(value, value))
    counter = watch()

    make_model().fit(make_feed("keras", targets=True), epochs=3, steps_per_epoch=2, verbose=0, callbacks=[counter])

    assert counter.batches == [2, 2, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_backend_trains_on_a_growing_set(backend, client, tmp_path):
    skip_without("keras")
    skip_without(backend)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"backend {backend}",
        "single fit [1, 2, 3]",
        "fit per epoch [4, 5, 6]",
        "workers [7, 8, 9]",
        "evaluated 0.0",
        "predicted (20, 1)",
    ]


SCRIPT = """
import keras
import numpy as np

from smartml import Client
from smartml.feeds.keras import DynamicDataGenerator

client = Client()
iteration = 0


def put():
    global iteration
    values = np.arange(2, dtype="float32").reshape(2, 1)
    client.put_tensors({f"points_{iteration}": values, f"values_{iteration}": values})
    iteration += 1


class PutOne(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.batches = []

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.batches[-1] += 1
        if batch == 0:
            put()


print("backend", keras.backend.backend())
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
model.compile(keras.optimizers.SGD(0.0), "mse")
model.set_weights([np.array([[1.0]])])
names = {"sample_prefix": "points", "target_prefix": "values", "batch_size": 2}

put()
generator, counter = DynamicDataGenerator(**names), PutOne()
model.fit(generator, epochs=3, verbose=0, callbacks=[counter])
print("single fit", counter.batches)

counter = PutOne()
for epoch in range(3):
    model.fit(
        generator, steps_per_epoch=None, epochs=epoch + 1, initial_epoch=epoch, batch_size=2, verbose=0,
        callbacks=[counter],
    )
print("fit per epoch", counter.batches)

counter = PutOne()
model.fit(DynamicDataGenerator(workers=2, **names), epochs=3, verbose=0, callbacks=[counter])
print("workers", counter.batches)

print("evaluated", model.evaluate(DynamicDataGenerator(**names), verbose=0))
print("predicted", model.predict(DynamicDataGenerator(**names), verbose=0).shape)
"""
