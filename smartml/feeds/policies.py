"""Which samples a feed of bounded memory keeps.

A policy is asked twice. Before anything is transferred: which samples of each arrival to take in at all. And when these
have come and the memory is full: which rows they replace. It answers from what it is shown and holds no state of its
own, so that one policy may serve many feeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentTypeError, ArgumentValueError

# For each arrival which of its samples to take in: (rows,), bool; None: it stays in the database, to be found again.
Choices: TypeAlias = "list[NDArray[np.bool_] | None]"


@dataclass(frozen=True)
class Held:
    """What a policy is shown of a set: only to be read."""

    # Rows that there is room for.
    capacity: int
    # Samples that were offered, in all; each has its number among these as identifier.
    arrived: int
    # Samples that were taken in, in all.
    taken: int
    # Per row that is held, the identifier of its sample: (held,), int64.
    ids: NDArray[np.int64]
    # Per row that is held, how often its sample was served: (held,), uint32.
    uses: NDArray[np.uint32]
    random: np.random.Generator

    @property
    def free(self) -> int:
        """Rows that hold nothing yet; they are filled before any is replaced."""
        return self.capacity - len(self.ids)


@runtime_checkable
class Policy(Protocol):
    """What `policy=` takes."""

    def choose(self, sizes: Sequence[int], held: Held) -> Choices:
        """Choose samples of arrivals, of so many samples each, in the order in which they come."""

    def replace(self, count: int, held: Held) -> NDArray[np.intp]:
        """Choose the rows of a full set that so many new samples replace, in their order: (count,).

        Where a row comes more than once, the last sample stays.
        """


@dataclass(frozen=True)
class Fifo:
    """Keep the newest: first in, first out."""

    def choose(self, sizes: Sequence[int], held: Held) -> Choices:
        """Take in no more than there is room for: what later samples would push out at once is not transferred."""
        return _split(np.arange(sum(sizes)) >= sum(sizes) - held.capacity, sizes)

    def replace(self, count: int, held: Held) -> NDArray[np.intp]:
        """Replace the oldest. Rows are filled in turn, so that these come next in the ring."""
        return (held.taken + np.arange(count)) % held.capacity


@dataclass(frozen=True)
class Reservoir:
    """Keep a uniform sample of all that ever arrived.

    Algorithm R of J. S. Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical Software 11(1)
    (1985) 37-57, section 2: sample number n (from 1) enters with probability capacity / n, in the place of one that is
    drawn evenly. The draw that decides comes first, so that what does not enter need not be transferred.
    """

    def choose(self, sizes: Sequence[int], held: Held) -> Choices:
        """Draw which samples enter."""
        numbers = held.arrived + 1 + np.arange(sum(sizes))
        return _split(held.random.random(len(numbers)) * numbers < held.capacity, sizes)

    def replace(self, count: int, held: Held) -> NDArray[np.intp]:
        """Draw a row for each, out of all."""
        return held.random.integers(0, held.capacity, count)


@dataclass(frozen=True)
class Firo:
    """Keep each sample until it was used; then it leaves at random: first in, random out.

    No sample leaves unused: where all that is held still waits for its first use, new ones wait in the database.
    This is the training buffer of Melissa: L. Meyer et al., "High throughput training of deep surrogates from large
    ensemble runs", SC23 (arXiv:2309.16743), and "Training deep surrogate models with large scale online learning",
    ICML 2023 (arXiv:2306.16133). There it is called Reservoir, since used samples may be served again until they are
    replaced; what is called FIRO there drops a sample at its first use.
    """

    def choose(self, sizes: Sequence[int], held: Held) -> Choices:
        """Take in whole arrivals, as long as there is room or what is held was used; those behind them wait."""
        room = held.free + int(np.count_nonzero(held.uses))
        fits = np.cumsum(sizes) <= room
        return [np.ones(size, np.bool_) if fit else None for size, fit in zip(sizes, fits, strict=True)]

    def replace(self, count: int, held: Held) -> NDArray[np.intp]:
        """Draw among the samples that were used."""
        return held.random.choice(np.flatnonzero(held.uses), count, replace=False)


# `all` needs none: without a capacity nothing is ever dropped.
ALL = "all"
POLICIES: dict[str, Policy] = {"fifo": Fifo(), "reservoir": Reservoir(), "firo": Firo()}


def read_policy(given: Any) -> Policy | None:
    """Return the policy of this name, or the policy itself; None for `all`."""
    if isinstance(given, str):
        if given != ALL and given not in POLICIES:
            raise ArgumentValueError(f"there is no policy {given!r}; known are: {', '.join([ALL, *POLICIES])}")
        return POLICIES.get(given)
    if isinstance(given, type) or not isinstance(given, Policy):
        raise ArgumentTypeError(
            f"policy must be one of {', '.join([ALL, *POLICIES])}, or have the methods choose and replace "
            f"(smartml.feeds.policies.Policy), not {given!r:.80}"
        )
    return given


def _split(chosen: NDArray[np.bool_], sizes: Sequence[int]) -> Choices:
    return list(np.split(chosen, np.cumsum(sizes)[:-1])) if sizes else []
