"""In which order a feed serves what it holds: which samples make up each batch of a pass.

A pass draws from its own generator, so that what one pass leaves unread changes nothing in the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from smartml.errors import FeedError
from smartml.feeds.locks import Guard
from smartml.feeds.packing import pack, unpack

Indices: TypeAlias = "NDArray[np.integer[Any]]"

# So many places of a shuffled pass are drawn at once: a few batches, in one go.
_DRAWN_AT_ONCE = 512


@dataclass(frozen=True)
class Batching:
    """How samples are cut into batches."""

    batch_size: int
    drop_last: bool = True
    # Batches of a pass, for samplers that may draw any number; None: as many as the held samples make.
    batches_per_epoch: int | None = None

    def count(self, samples: int) -> int:
        """Return how many batches so many samples make."""
        whole, rest = divmod(samples, self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)


class Draw(NamedTuple):
    """The samples of one batch, by their index in the set, and how much each counts."""

    indices: Indices
    # Importance weights: (batch,), float32; None: all count 1.
    weights: NDArray[np.float32] | None = None


class SampleSet(Protocol):
    """What a sampler sees of what is held."""

    def __len__(self) -> int:
        """Number of samples: their indices lie below it, and it never falls."""

    def ids(self, indices: Indices) -> NDArray[np.int64]:
        """Return the identifiers of samples: their numbers among all that arrived. Another one: another sample."""

    def order(self) -> Sequence[int] | NDArray[np.intp]:
        """Return all indices in the order in which their samples arrived."""


class Pass(Protocol):
    """The batches of one epoch."""

    def __len__(self) -> int:
        """Number of batches."""

    def draw(self, number: int) -> Draw:
        """Choose the samples of batch `number`, from 0. Batches are asked for in any order, by several threads."""


@runtime_checkable
class Stateful(Protocol):
    """A sampler or a pass that can be resumed; as in torchdata's protocol of this name."""

    def state_dict(self) -> dict[str, Any]:
        """Return where it is, in plain Python types."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another one was."""


class FirstOf:
    """The first so many of the samples held: what a pass saw that began before others came."""

    def __init__(self, held: SampleSet, count: int) -> None:
        self._held, self._count = held, count

    def __len__(self) -> int:
        return self._count

    def ids(self, indices: Indices) -> NDArray[np.int64]:
        """Return the identifiers of samples."""
        return self._held.ids(indices)

    def order(self) -> NDArray[np.intp]:
        """Return all indices in the order in which their samples arrived."""
        order: NDArray[np.intp] = np.asarray(self._held.order(), np.intp)
        return order[order < self._count]


class InStep:
    """A pass of as many batches as those of other replicas have: the last ones left out, or the first ones repeated."""

    def __init__(self, own: Pass | None, batches: int) -> None:
        self._own, self._batches = own, batches

    def __len__(self) -> int:
        return self._batches

    def state_dict(self) -> dict[str, Any]:
        """Return where the own pass is."""
        return self._own.state_dict() if isinstance(self._own, Stateful) else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the own pass."""
        if isinstance(self._own, Stateful):
            self._own.load_state_dict(state_dict)

    def draw(self, number: int) -> Draw:
        if self._own is None or not len(self._own):
            raise FeedError(
                f"this replica should serve {self._batches} batches, as the others do, but has not enough samples for "
                "one: those of its share did not fit, or were deleted before it could read them, as happens to a "
                "replica that begins anew"
            )
        return self._own.draw(number % len(self._own))


@runtime_checkable
class Sampler(Protocol):
    """What `sampler=` takes. A feed works on a copy of its own."""

    def begin_pass(self, held: SampleSet, batching: Batching, random: np.random.Generator) -> Pass:
        """Begin a pass over what is held now. The generator is this pass's own."""


@runtime_checkable
class TakesPriorities(Protocol):
    """A sampler that trainers tell how much samples are worth."""

    def update_priorities(self, indices: Indices, priorities: NDArray[np.float64]) -> None:
        """Take note of new priorities, each at least 0; all indices are held."""


class InOrder:
    """Each sample once, in the order in which they arrived."""

    def begin_pass(self, held: SampleSet, batching: Batching, random: np.random.Generator) -> Pass:
        """Begin a pass over what is held now."""
        return _Slices(held.order(), batching)


class _Slices:
    """Batches one behind the other in an order that is known."""

    def __init__(self, order: "Sequence[int] | Indices", batching: Batching) -> None:
        self._order, self._batching = order, batching

    def __len__(self) -> int:
        return self._batching.count(len(self._order))

    def state_dict(self) -> dict[str, Any]:
        """Return the order, unless it is that of a set that only grows."""
        return {} if isinstance(self._order, range) else {"order": pack(np.asarray(self._order))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over an order."""
        if "order" in state_dict:
            self._order = unpack(state_dict["order"])

    def draw(self, number: int) -> Draw:
        size = self._batching.batch_size
        # A set that only grows has a range for its order: no pass needs to write it down.
        indices: Indices = np.array(self._order[number * size : (number + 1) * size])
        return Draw(indices)


class Shuffled:
    """Each sample once, in random order."""

    def begin_pass(self, held: SampleSet, batching: Batching, random: np.random.Generator) -> Pass:
        """Begin a pass over what is held now."""
        return _ShuffledPass(len(held), batching, random)


class _ShuffledPass:
    """A random permutation of which only as much is drawn as was asked for.

    The shuffle of R. A. Fisher and F. Yates in its forward form (D. E. Knuth, The Art of Computer Programming 2, 3.4.2,
    algorithm P), many places at a time: those who stand in the next places change with as many, drawn without
    replacement from all that are left.
    """

    def __init__(self, samples: int, batching: Batching, random: np.random.Generator) -> None:
        self._batching, self._random = batching, random
        # Half the memory, and half the time, of what numpy would choose.
        self._order: Indices = np.arange(samples, dtype=np.int32 if samples < 1 << 31 else np.int64)
        self._drawn = 0
        self._guard = Guard()

    def __len__(self) -> int:
        return self._batching.count(len(self._order))

    def draw(self, number: int) -> Draw:
        end = min((number + 1) * self._batching.batch_size, len(self._order))
        if self._drawn < end:
            with self._guard:
                while self._drawn < end:
                    self._draw_more()
        return Draw(self._order[number * self._batching.batch_size : end])

    def _draw_more(self) -> None:
        rest = self._order[self._drawn :]
        count = min(_DRAWN_AT_ONCE, len(rest))
        places = self._random.choice(len(rest), count, replace=False)
        chosen = rest[places]
        stays = np.ones(count, np.bool_)
        stays[places[places < count]] = False
        # Who stood in front and was not drawn goes where one who was drawn came from.
        rest[places[places >= count]] = rest[:count][stays]
        rest[:count] = chosen
        self._drawn += count


class Uniform:
    """Any sample at any time, with replacement."""

    def begin_pass(self, held: SampleSet, batching: Batching, random: np.random.Generator) -> Pass:
        """Begin a pass: `batches_per_epoch` batches, or as many as what is held makes."""
        batches = batching.batches_per_epoch
        drawn = len(held) if batches is None else batches * batching.batch_size
        kind = np.int32 if len(held) < 1 << 31 else np.int64
        return _Slices(random.integers(0, max(1, len(held)), drawn if len(held) else 0, dtype=kind), batching)
