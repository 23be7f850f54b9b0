"""The programs of the guide to online training run word for word, but for their imports.

What the guide leaves out ("simulation code", "some ML model") is handed in as variables. The guide's own programs do
not fit together: its producer puts `values_…`, its trainer looks for `value_…`.
"""

import numpy as np
import pytest

from smartml.errors import FeedTimeoutError
from smartml.feeds import DataDownloader

from .conftest import import_keras

PRODUCER = """
from smartml import Client
# simulation initialization code
client = Client(cluster=False, address=None)

for iteration in range(num_iterations):
    # simulation code producing two tensors, data_points
    # and data_values
    client.put_tensor(f"points_{iteration}", data_points)
    client.put_tensor(f"values_{iteration}", data_values)
"""

TRAINER = """
from smartml.feeds.keras import DynamicDataGenerator
generator = DynamicDataGenerator(
        sample_prefix="points",
        target_prefix="value",
        batch_size=32,
        cluster=False)

# model initialization

for epoch in range(100):
    model.fit(generator,
              steps_per_epoch=None,
              epochs=epoch+1,
              initial_epoch=epoch,
              batch_size=generator.batch_size,
              verbose=2)
"""

TRAINER_OF_RANKS = """
from smartml.feeds.keras import DynamicDataGenerator
generator = DynamicDataGenerator(
                sample_prefix="points",
                target_prefix="value",
                batch_size=32,
                cluster=False,
                uploader_ranks=8)
"""


@pytest.fixture
def run(client, close_later):
    """Run a program of the guide with these variables, and return all its variables."""

    def run(program, **variables):
        exec(compile(program, "guide", "exec"), variables)
        for name in ("client", "generator"):
            if name in variables:
                close_later(variables[name])
        return variables

    return run


@pytest.fixture
def samples():
    x = np.linspace(-1, 1, 64, dtype="float32").reshape(32, 2)
    return {"data_points": x, "data_values": x.sum(axis=1, keepdims=True)}


def test_the_trainer_learns_from_the_producer_of_an_experiment(run, samples, monkeypatch, capsys):
    keras = import_keras()
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")

    monkeypatch.setenv("SSKEYOUT", "producer")
    run(PRODUCER.replace("values_", "value_"), num_iterations=2, **samples)
    monkeypatch.delenv("SSKEYOUT")
    monkeypatch.setenv("SSKEYIN", "producer")

    generator = run(TRAINER, model=model)["generator"]

    assert len(generator) == 2
    assert model.evaluate(generator, verbose=0) < 1e-3
    assert "Epoch 100/100" in capsys.readouterr().out


def test_the_trainer_follows_eight_ranks(run, samples, client):
    import_keras()
    for rank in range(8):
        for iteration in range(3):
            client.put_tensor(f"points_{rank}_{iteration}", samples["data_points"])
            client.put_tensor(f"value_{rank}_{iteration}", samples["data_values"])

    generator = run(TRAINER_OF_RANKS)["generator"]

    assert len(generator) == 24
    x, y = generator[0]
    assert (x.shape, y.shape) == ((32, 2), (32, 1))


def test_the_guides_own_mistake_is_told(run, samples):
    run(PRODUCER, num_iterations=3, **samples)

    with pytest.raises(FeedTimeoutError) as caught:
        DataDownloader(sample_prefix="points", target_prefix="value", cluster=False, wait_timeout_s=0)

    assert "Looked for 'value_0'" in str(caught.value)
    assert "similar keys there: 'values_0'" in str(caught.value)
