"""From the columns of a batch to what the trainer gets: targets encoded, transforms applied, information added."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError, SampleMismatchError
from smartml.feeds.stepwise import Stepwise
from smartml.pipeline import Composable


class BatchInfo(NamedTuple):
    """What is known of the samples of a batch, row by row."""

    # Identifiers, the number of each sample among all that arrived at this feed: (batch,), int64.
    ids: Any
    # Importance weights, 1 unless the sampler says otherwise: (batch,), float32.
    weights: Any


@dataclass(frozen=True)
class Finish:
    """What is done to a batch `x` or `(x, y)` before it is handed over."""

    # Takes the batch and returns another: a function, or steps of a pipeline without a source.
    transform: Callable[[Any], Any] | Composable | None = None
    # Takes a sample, `x` or `(x, y)`, and returns another; before `transform`.
    sample_transform: Callable[[Any], Any] | Composable | None = None
    # True: a BatchInfo comes last; "weights": only the weights, which Keras takes for its sample weights.
    return_info: bool | Literal["weights"] = False

    def __post_init__(self) -> None:
        for name in ("transform", "sample_transform"):
            if isinstance(getattr(self, name), Composable):
                object.__setattr__(self, name, Stepwise(getattr(self, name)))
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ArgumentTypeError(f"{name} must be a function of one argument, not {getattr(self, name)!r:.80}")
        if self.return_info not in (True, False, "weights"):
            raise ArgumentValueError(f'return_info must be True, False or "weights", not {self.return_info!r:.80}')

    @property
    def is_nothing(self) -> bool:
        """Whether batches are handed over as they are."""
        return self.sample_transform is None and self.transform is None and self.return_info is False

    def apply(self, batch: Any, describe: Callable[[], BatchInfo]) -> Any:
        """Return the batch as the trainer gets it; `describe` says what is known of its samples."""
        if callable(self.sample_transform):
            batch = _map_samples(self.sample_transform, batch)
        if callable(self.transform):
            batch = self.transform(batch)
        if self.return_info is False:
            return batch
        info = describe()
        last = info.weights if self.return_info == "weights" else info
        return (*batch, last) if isinstance(batch, tuple) else (batch, last)


def _map_samples(function: Callable[[Any], Any], batch: Any) -> Any:
    if not isinstance(batch, tuple):
        return np.stack([function(sample) for sample in batch])
    return tuple(np.stack(part) for part in zip(*map(function, zip(*batch, strict=True)), strict=True))


def one_hot(labels: NDArray[Any], num_classes: int) -> NDArray[np.float32]:
    """Encode integer labels of shape (batch,) or (batch, 1) as float32 of shape (batch, num_classes)."""
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise SampleMismatchError(
            f"labels of {num_classes} classes must be integers of shape (batch,), "
            f"not {labels.dtype.name} of shape {labels.shape}"
        )
    if flat.size and not 0 <= flat.min() <= flat.max() < num_classes:
        raise SampleMismatchError(f"labels lie in [{flat.min()}, {flat.max()}], num_classes={num_classes} allows less")
    encoded: NDArray[np.float32] = np.eye(num_classes, dtype=np.float32)[flat[:, 0]]
    return encoded
