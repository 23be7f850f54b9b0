"""What a feed asks of those who look for new batches (key_discovery.py, list_discovery.py)."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from smartml.errors import SmartMLError
from smartml.feeds.intervals import Intervals

# Where batches stand: (n, 2), int64, a row for each with the number of its source and its position there.
Places: TypeAlias = NDArray[np.int64]

NOWHERE: Places = np.empty((0, 2), np.int64)


class Arrival(NamedTuple):
    """The keys of one batch of samples that is there to be taken: samples, and targets if there are any."""

    keys: tuple[bytes, ...]
    # The number of its source, and its position there.
    place: tuple[int, int]
    # Arrivals of one line join in order, none before those ahead of it. None: it stands in no line.
    line: int | None = None
    # Why it cannot be taken, where that shows without looking at its tensors.
    problem: SmartMLError | None = None


class Discovery(Protocol):
    """Finds batches. What was found is found again until it is confirmed as dealt with."""

    def find(self) -> Places:
        """Tell what is there and was not dealt with yet, in a fixed order of producers, ranks and iterations."""

    def arrivals(self, places: Places) -> list[Arrival]:
        """Return what stands at these places, which were found before."""

    def confirm(self, places: Places) -> None:
        """Note places, in any order, as dealt with, found or not."""

    def find_gone(self, places: Places) -> NDArray[np.bool_]:
        """Tell for each place whether it was deleted because trainers had it, or dropped: (n,)."""

    def dealt_with(self) -> list[Intervals]:
        """Return for each source which positions need not be found any more."""

    def resume(self, dealt_with: Sequence[Intervals]) -> None:
        """Take what another one has dealt with as dealt with; to be called before anything else."""

    def describe_next(self) -> list[bytes]:
        """List the keys that the next batches are expected under."""

    def take_repeated(self) -> Places:
        """Return, once, the places found since the last call that name again what stands at another place."""


def places_of(arrivals: Sequence[Arrival]) -> Places:
    """Return where arrivals stand."""
    return np.array([arrival.place for arrival in arrivals], np.int64).reshape(-1, 2)
