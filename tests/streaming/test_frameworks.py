"""Batches of a streaming server in PyTorch and Keras."""

import importlib.util
import os
import warnings

import numpy as np
import pytest

pytest.importorskip("websockets", reason="pip install websockets")
pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml.streaming import Sample, WebSocketSource
from smartml.streaming.batches import batches_of


def pairs(number):
    return [(np.full(3, n, "float32"), np.float32(2 * n)) for n in range(number)]


def forty():
    return pairs(40)


def test_what_can_be_stacked_is_and_the_rest_are_lists():
    samples = [
        Sample({"x": np.ones((2, 3)), "t": {"a": 1, "b": None}, "note": "p"}, {"y": {"y": 3}}, "0"),
        Sample({"x": np.zeros((2, 3)), "t": {"b": 2.5, "a": 4}, "note": "q"}, {}, "1"),
    ]
    [(inputs, targets)] = batches_of(samples, 8)
    assert inputs["x"].shape == (2, 2, 3)
    assert np.array_equal(inputs["t"], np.array([[1, np.nan], [4, 2.5]], "float32"), equal_nan=True)
    assert inputs["note"] == ["p", "q"]
    assert targets == {"y": [{"y": 3}, None]}
    [(inputs, _)] = batches_of([Sample({"x": np.ones(2), "t": {"a": "f"}}, {}, "0")] * 2, 8)
    assert inputs["t"] == [{"a": "f"}] * 2


def test_torch_gets_tensors_batch_by_batch(serving):
    torch = pytest.importorskip("torch", reason="pip install torch")
    from smartml.streaming.torch import StreamingDataset

    dataset = StreamingDataset(WebSocketSource(serving(pairs(10)).url, batch_size=4))
    for _ in range(2):
        batches = list(dataset)
        assert [len(inputs["samples"]) for inputs, _ in batches] == [4, 4, 2]
        assert torch.equal(batches[1][0]["samples"], torch.arange(4.0, 8.0)[:, None].repeat(1, 3))
        assert torch.equal(batches[1][1]["targets"], torch.arange(8.0, 16.0, 2)[:, None])
    pairs_only = StreamingDataset(dataset.source, lambda inputs, targets: (inputs["samples"], targets["targets"]))
    x, y = next(iter(pairs_only))
    assert (x.shape, y.shape) == ((4, 3), (4, 1))


@pytest.mark.parametrize("shared", [False, True])
def test_workers_of_a_torch_loader_get_samples_of_their_own(server_process, shared):
    pytest.importorskip("torch", reason="pip install torch")
    from torch.utils.data import DataLoader

    from smartml.streaming.torch import StreamingDataset

    server = server_process(forty, shared=shared)
    dataset = StreamingDataset(WebSocketSource(server.url, batch_size=4, shared=shared))
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    found = [value for inputs, _ in loader for value in inputs["samples"][:, 0].tolist()]
    assert sorted(found) == list(range(40))


def test_keras_fits_a_stream(serving):
    for package in ("keras", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package!r} is not installed")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
    from smartml.streaming.keras import StreamingDataset

    dataset = StreamingDataset(WebSocketSource(serving(pairs(64)).url, batch_size=8))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(iter(dataset), verbose=0)
        assert len(history.history["loss"]) == 1
        assert len(model.fit(iter(dataset), steps_per_epoch=2, epochs=4, verbose=0).history["loss"]) == 4
    assert [len(x) for x, _ in dataset] == [8] * 8
