"""How far a recorder or a player has come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """How much of a stream was recorded, or replayed, so far."""

    batches: int = 0
    samples: int = 0
    bytes: int = 0
    # Batches that did not fit the ones before.
    left_out: int = 0

    def with_batch(self, arrays: Sequence[NDArray[Any]]) -> "Progress":
        """Count one batch more."""
        added = sum(array.nbytes for array in arrays)
        return replace(self, batches=self.batches + 1, samples=self.samples + len(arrays[0]), bytes=self.bytes + added)

    def __str__(self) -> str:
        text = f"{self.batches} batches, {self.samples} samples, {self.bytes / 1e6:.1f} MB"
        return f"{text}, {self.left_out} left out" if self.left_out else text


# Called with what was done so far.
Report = Callable[[Progress], object]
