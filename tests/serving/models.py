"""A small network of torch that predictors of the tests have, with a field of every kind.

Its weights are what a seed gives: it has learned nothing, but its answers depend on all of its inputs, one sample at a
time, as those of a trained one do.
"""

import numpy as np
import pytest

from smartml.errors import SampleError
from smartml.serving.description import ArrayField, BytesField, ModelDescription, TabularField, TextField
from smartml.serving.predictor import Predictor

torch = pytest.importorskip("torch", reason="the package 'torch' is not installed")

# Tests share the machine with others.
torch.set_num_threads(1)

COLORS = ("blue", "green", "red")
SHAPE = (3, 2)
DESCRIPTION = ModelDescription(
    inputs={
        "raw": BytesField(16),
        "note": TextField(12),
        "facts": TabularField({"color": COLORS, "height (m)": None}),
        "field": ArrayField(SHAPE, np.dtype("<f4")),
    },
    outputs={
        "verdict": TabularField({"Outcome": ("bad", "good"), "speed": None}),
        "later": ArrayField(SHAPE, np.dtype("<f4")),
    },
)


class Network(torch.nn.Module):
    """Mixes what it is given."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.letters = torch.nn.Embedding(257, 4)
        self.body = torch.nn.Sequential(torch.nn.Linear(8 + 4 + 6, 32), torch.nn.Tanh())
        self.heads = torch.nn.ModuleDict({"outcome": torch.nn.Linear(32, 2), "speed": torch.nn.Linear(32, 1)})
        self.later = torch.nn.Linear(32, 6)

    def forward(self, letters, numbers):
        joined = torch.cat([self.letters(letters).mean(2).flatten(1), numbers], 1)
        hidden = self.body(joined)
        return self.heads["outcome"](hidden).softmax(1), self.heads["speed"](hidden), self.later(hidden)


class TorchModel:
    """Encodes, runs and decodes the network; notes the size of each batch."""

    needs_generation = False

    def __init__(self, seed=0):
        self._network = Network(seed).eval()
        self.batches = []
        # A color that it does not know, whatever is said of it.
        self.refused = None

    def encode(self, samples):
        letters = np.full((len(samples), 2, 16), 256)
        numbers = np.zeros((len(samples), 10), np.float32)
        for number, sample in enumerate(samples):
            for place, data in enumerate((sample["raw"], sample["note"].encode()[:12])):
                data = data[:16]
                letters[number, place, : len(data)] = list(data)
            color = sample["facts"]["color"]
            if color not in COLORS or color == self.refused:
                raise SampleError(f"sample {number}, field 'facts': no color {color!r}", number, "facts")
            numbers[number, COLORS.index(color)] = 1
            numbers[number, 3] = sample["facts"]["height (m)"]
            numbers[number, 4:] = np.asarray(sample["field"]).ravel()
        return torch.from_numpy(letters), torch.from_numpy(numbers)

    @torch.inference_mode()
    def forward(self, batch):
        self.batches.append(len(batch[0]))
        return self._network(*batch)

    def decode(self, outputs, samples):
        outcomes, speeds, later = (part.numpy() for part in outputs)
        return [
            {
                "verdict": {
                    "Outcome": dict(zip(("bad", "good"), outcomes[number].tolist(), strict=True)),
                    "speed": {"speed": float(speeds[number, 0])},
                },
                "later": later[number].reshape(SHAPE),
            }
            for number in range(len(samples))
        ]

    def generate(self, samples):
        raise AssertionError("it does not generate")


def make_predictor(seed=0, model=None):
    return Predictor(model or TorchModel(seed), DESCRIPTION, f"network {seed}")


def make_sample(number=0):
    """A sample with raw values; each number gives another one."""
    return {
        "raw": b"sample %d" % number,
        "note": f"note {number}",
        "facts": {"color": COLORS[number % 3], "height (m)": number / 10},
        "field": np.full(SHAPE, number % 7, np.float32),
    }
