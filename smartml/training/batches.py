"""Samples made into batches of tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from smartml.errors import SampleError
from smartml.training.inputs import Encoded, InputEncoder
from smartml.training.model import Tensors
from smartml.training.outputs import OutputDecoder, SequenceDecoder


@dataclass(frozen=True)
class Sample:
    """One example: raw values by name of input and output; what is missing is not there."""

    id: str
    inputs: Mapping[str, Any]
    targets: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A sample that encoders and decoders have checked."""

    id: str
    inputs: Mapping[str, Any]
    targets: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """What one forward pass takes, and what it should answer."""

    ids: list[str]
    inputs: dict[str, Tensors]
    # Of outputs that are sequences, the text so far.
    texts: dict[str, torch.Tensor]
    targets: dict[str, Tensors]

    def to(self, device: torch.device) -> "Batch":
        """Return the same on a device."""

        def moved(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(moved, value))
            return value.to(device, non_blocking=True)

        parts = ({name: moved(it) for name, it in part.items()} for part in (self.inputs, self.texts, self.targets))
        return Batch(self.ids, *parts)


@dataclass(frozen=True)
class Codec:
    """All inputs and outputs of a run together."""

    inputs: dict[str, InputEncoder]
    outputs: dict[str, OutputDecoder]

    def prepare(self, sample: Sample) -> Prepared:
        """Check all values of a sample. Raises SampleError that names the field."""
        inputs = {name: _named(name, encoder.prepare, sample.inputs.get(name)) for name, encoder in self.inputs.items()}
        targets = {
            name: _named(name, decoder.prepare, sample.targets.get(name)) for name, decoder in self.outputs.items()
        }
        return Prepared(sample.id, inputs, targets)

    def collate(self, prepared: Sequence[Prepared], random: np.random.Generator | None = None) -> Batch:
        """Make a batch; `random` is given in training."""
        inputs: dict[str, Tensors] = {}
        texts: dict[str, torch.Tensor] = {}
        targets: dict[str, Tensors] = {}
        for name, encoder in self.inputs.items():
            inputs[name] = _tensors(encoder.collate([one.inputs[name] for one in prepared], random))
        for name, decoder in self.outputs.items():
            encoded = decoder.collate([one.targets[name] for one in prepared], random)
            if isinstance(decoder, SequenceDecoder):
                texts[name], targets[name] = map(torch.from_numpy, encoded)
            else:
                targets[name] = _tensors(encoded)
        return Batch([one.id for one in prepared], inputs, texts, targets)


def _named(name: str, prepare: Callable[[Any], Any], value: Any) -> Any:
    try:
        return prepare(value)
    except SampleError as error:
        raise SampleError(f"{name!r}: {error}", field=name) from error


def _tensors(encoded: Encoded) -> Tensors:
    if isinstance(encoded, tuple):
        return tuple(map(torch.from_numpy, encoded))
    return torch.from_numpy(encoded)
