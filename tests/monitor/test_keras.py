"""A callback of Keras that logs `fit`."""

import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from smartml.monitor import DataLogger, script

if "KERAS_BACKEND" not in os.environ and "keras" not in sys.modules and find_spec("torch"):
    # The quicker one to start.
    os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras", reason="the package 'keras' is not installed")


@pytest.fixture
def model():
    made = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    made.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=["mae"])
    return made


def fit(model, callback, epochs=2):
    x, y = np.ones((12, 2), "float32"), np.zeros((12, 1), "float32")
    return model.fit(
        x, y, batch_size=4, epochs=epochs, verbose=0, callbacks=[callback], validation_data=(x, y), shuffle=False
    )


def test_losses_and_metrics_are_logged_by_step_and_by_epoch(server, model):
    from smartml.monitor.keras import MonitorCallback

    with DataLogger("run", grpc_uri=server.address) as log:
        callback = MonitorCallback(log)
        history = fit(model, callback)
        fit(model, callback, epochs=1)

    found = {name: fields for (_, name, _), fields in script.export(server.address).items()}
    assert found["batch/loss"]["x"].tolist() == list(range(9))
    assert found["epoch/val_mae"]["x"].tolist() == [0, 1, 2]
    for metric in ("loss", "mae", "val_loss", "val_mae"):
        assert found[f"epoch/{metric}"]["y"].tolist()[:2] == pytest.approx(history.history[metric])
    assert found["epoch/learning_rate"]["y"].tolist() == pytest.approx([0.01] * 3)


def test_a_training_goes_on_without_its_server(model, monkeypatch):
    from smartml.monitor.keras import MonitorCallback

    monkeypatch.setenv("SMARTML_MONITOR", "127.0.0.1:1")
    monkeypatch.setattr("smartml.monitor.keras.EXIT_TIMEOUT_S", 0.1)
    log = DataLogger("run", exit_timeout_s=0.1)
    history = fit(model, MonitorCallback(log, every_batches=0))
    assert len(history.history["loss"]) == 2
    log.close()
    assert log.counts.dropped == 2 * 5
