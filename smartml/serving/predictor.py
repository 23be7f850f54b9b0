"""The trained model by itself: samples in, answers out, no transport."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from smartml.errors import ArgumentValueError, PredictionError, SampleError, SmartMLError
from smartml.serving.batching import Outcome, Sample
from smartml.serving.description import ModelDescription
from smartml.serving.runs import find_checkpoint, load_run


class ServedModel(Protocol):
    """What a predictor asks of a model. One thread at a time uses it."""

    # Whether answers are generated token by token; else one forward pass gives them.
    needs_generation: bool

    def encode(self, samples: Sequence[Sample]) -> Any:
        """Turn raw values into what `forward` takes, one batch. Raises SampleError that names sample and field."""

    def forward(self, batch: Any) -> Any:
        """Run the model once for the whole batch."""

    def decode(self, outputs: Any, samples: Sequence[Sample]) -> Sequence[dict[str, Any]]:
        """Turn what the model gave into an answer per sample: a value for each output."""

    def generate(self, samples: Sequence[Sample]) -> Sequence[dict[str, Any]]:
        """Answer samples token by token, where `needs_generation`."""


class Predictor:
    """A model and what is known of it: `predict` answers samples.

    Samples are mappings of each input's name to its raw value: bytes, text, a mapping of columns, an array; image files
    as bytes. An answer maps each output's name to a mapping (tabular), text (sequence) or array. Thread-safe: calls
    take turns.
    """

    def __init__(
        self,
        model: ServedModel,
        description: ModelDescription,
        name: str = "model",
        *,
        checkpoint: Path | None = None,
    ) -> None:
        self.description = description
        # What answers are said to be of; of a checkpoint its file name.
        self.name = name
        # Where the model was loaded from, if from a file.
        self.checkpoint = checkpoint
        self._model = model
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "Predictor":
        """Load a checkpoint of `smartml train`, or the best one of a run folder. No pickled code is executed.

        Raises CheckpointError where there is none, or the folder of its run is not around it.
        """
        checkpoint = find_checkpoint(Path(path))
        model = load_run(checkpoint, device)
        return cls(model, model.description, checkpoint.name, checkpoint=checkpoint.absolute())

    def predict(self, samples: Sequence[Sample], *, batch_size: int = 64) -> list[dict[str, Any]]:
        """Answer samples in their order, at most `batch_size` of them in one forward pass.

        Raises SampleError that names the sample and the field that cannot be taken, PredictionError where the model
        fails on samples that could be.
        """
        if batch_size < 1:
            raise ArgumentValueError(f"batch_size must be a positive number, not {batch_size}")
        answers: list[dict[str, Any]] = []
        with self._lock:
            for start in range(0, len(samples), batch_size):
                try:
                    answers += self._predict(samples[start : start + batch_size])
                except SampleError as error:
                    raise _renumbered(error, start) from error
        return answers

    def _predict(self, samples: Sequence[Sample]) -> Sequence[dict[str, Any]]:
        try:
            if self._model.needs_generation:
                return self._model.generate(samples)
            return self._model.decode(self._model.forward(self._model.encode(samples)), samples)
        except SmartMLError:
            raise
        except Exception as error:
            raise PredictionError(f"{self.name} failed: {type(error).__name__}: {error}") from error

    def answer(self, requests: Sequence[Sequence[Sample]], *, batch_size: int = 64) -> list[Outcome]:
        """Answer several requests together; return for each its answers, or the error it gets alone.

        Where the samples of one cannot be answered, the others are answered by themselves.
        """
        try:
            answers = self.predict([sample for samples in requests for sample in samples], batch_size=batch_size)
        except SmartMLError as error:
            if len(requests) == 1:
                return [error]
            middle = len(requests) // 2
            halves = requests[:middle], requests[middle:]
            return [outcome for half in halves for outcome in self.answer(half, batch_size=batch_size)]
        ends = _ends(requests)
        return [answers[end - len(samples) : end] for samples, end in zip(requests, ends, strict=True)]


def _renumbered(error: SampleError, start: int) -> SampleError:
    """Name a sample of a batch that begins at `start` by its number among all."""
    if not start or error.sample is None:
        return error
    message = str(error).removeprefix(f"sample {error.sample}: ")
    number = start + error.sample
    return SampleError(f"sample {number}: {message}", number, error.field)


def _ends(requests: Sequence[Sequence[Any]]) -> list[int]:
    ends, end = [], 0
    for samples in requests:
        end += len(samples)
        ends.append(end)
    return ends
