"""What `smartml.training` has learned, as a predictor takes it."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smartml import training
from smartml.errors import CheckpointError
from smartml.serving.batching import Sample
from smartml.serving.description import (
    ArrayField,
    BytesField,
    Field,
    ImageField,
    ModelDescription,
    TabularField,
    TextField,
)
from smartml.training.run_folder import RunFolder, score_of


class RunModel:
    """A trained model; arrays that it answers are arrays, not text."""

    def __init__(self, trained: "training.TrainedModel") -> None:
        self._trained = trained
        self.description = _describe(trained)
        self.needs_generation = trained.needs_generation
        self._arrays = {name: it for name, it in self.description.outputs.items() if isinstance(it, ArrayField)}

    def encode(self, samples: Sequence[Sample]) -> Any:
        return self._trained.encode(samples)

    def forward(self, batch: Any) -> Any:
        return self._trained.forward(batch)

    def decode(self, outputs: Any, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        return self._with_arrays(self._trained.decode(outputs, samples))

    def generate(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        return self._with_arrays(self._trained.generate(samples))

    def _with_arrays(self, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for name, field in self._arrays.items():
            for answer in answers:
                answer[name] = np.frombuffer(base64.b64decode(answer[name]), field.dtype).reshape(field.shape)
        return answers


def load_run(checkpoint: Path, device: str) -> RunModel:
    """Load a checkpoint of a run. Raises CheckpointError."""
    return RunModel(training.load_run(checkpoint, device))


def _describe(trained: "training.TrainedModel") -> ModelDescription:
    outputs = {name: _field(decoder.describe()) for name, decoder in trained.outputs.items()}
    inputs = {name: _field(encoder.describe()) for name, encoder in trained.inputs.items()}
    # What is generated begins with what is given.
    inputs |= {name: field for name, field in outputs.items() if isinstance(field, TextField)}
    return ModelDescription(inputs, outputs)


def _field(described: Mapping[str, Any]) -> Field:
    kind = described["type"]
    if kind == "bytes":
        return BytesField(described["max_length"])
    if kind == "sequence":
        return TextField(described["max_length"])
    if kind == "array":
        return ArrayField(tuple(described["shape"]), np.dtype(described["dtype"]))
    if kind == "image":
        channels, height, width = described["shape"]
        return ImageField((channels, height, width))
    assert kind == "tabular", kind
    columns = described["columns"].items()
    return TabularField({name: tuple(column["values"]) if "values" in column else None for name, column in columns})


# Checkpoints


def find_checkpoint(path: Path) -> Path:
    """Return a checkpoint that is named, or the best one of a run folder. Raises CheckpointError."""
    if not path.is_dir():
        return path
    found = list_checkpoints(path)
    if not found:
        raise CheckpointError(f"there is no checkpoint in {path}: name a run folder, or a file in its saved_models")
    return found[-1]


def score(checkpoint: Path) -> tuple[float, int]:
    """Return what checkpoints of a run are ranked by: what has no name of theirs, or no number in it, is the worst."""
    found = score_of(checkpoint)
    return (-math.inf, -1) if found is None or math.isnan(found[0]) else found


def list_checkpoints(run: Path) -> list[Path]:
    """List the checkpoints of a run folder, best last."""
    return [path for performance, _, path in RunFolder(run).checkpoints() if not math.isnan(performance)]
