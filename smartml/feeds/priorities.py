"""Samples served the more often, the more there is to learn from them.

T. Schaul et al., "Prioritized experience replay", ICLR 2016 (arXiv:1511.05952).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ArgumentValueError
from smartml.feeds.locks import Guard
from smartml.feeds.packing import pack, unpack
from smartml.feeds.samplers import Batching, Draw, Indices, Pass, SampleSet


class SumTree:
    """Numbers, at least 0, that can be drawn in proportion to their size, each in logarithmic time.

    A binary tree whose leaves are the numbers and whose nodes hold the sums of their children (section 3.3 and appendix
    B.2.1 of the paper).
    """

    def __init__(self) -> None:
        # Node 1 is the root, 2 i and 2 i + 1 are the children of i; the leaves fill the second half.
        self._nodes = np.zeros(2)

    @property
    def total(self) -> float:
        """Sum of all numbers."""
        return float(self._nodes[1])

    def __getitem__(self, indices: Indices) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self._nodes[len(self._nodes) // 2 + indices]
        return values

    def set(self, indices: Indices, values: NDArray[np.float64]) -> None:
        """Replace numbers; where an index comes more than once, the last counts. Those never set are 0."""
        if not len(indices):
            return
        self._make_room(int(indices.max()) + 1)
        nodes = len(self._nodes) // 2 + np.asarray(indices, np.intp)
        self._nodes[nodes] = values
        while nodes[0] > 1:
            nodes = np.unique(nodes >> 1)
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def _make_room(self, count: int) -> None:
        leaves = len(self._nodes) // 2
        if count <= leaves:
            return
        # A tree of twice the leaves has the old one as its left half: each level moves one down.
        size = 1 << (count - 1).bit_length()
        nodes = np.zeros(2 * size)
        nodes[size : size + leaves] = self._nodes[leaves:]
        level = size // 2
        while level:
            nodes[level : 2 * level] = nodes[2 * level : 4 * level : 2] + nodes[2 * level + 1 : 4 * level : 2]
            level //= 2
        self._nodes = nodes

    def find(self, points: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return for each point in [0, total) the index of the number in which it falls, all laid end to end."""
        nodes = np.ones(len(points), np.intp)
        points = points.copy()
        for _ in range((len(self._nodes) // 2).bit_length() - 1):
            left = self._nodes[2 * nodes]
            # Where rounding has led a point beyond all, the right child may be empty.
            goes_right = (points >= left) & (self._nodes[2 * nodes + 1] > 0)
            points -= np.where(goes_right, left, 0)
            nodes = 2 * nodes + goes_right
        return nodes - len(self._nodes) // 2


class Prioritised:
    """Draw samples with replacement, in proportion to their priorities.

    Sample i is drawn with probability P(i) = p_i^alpha / sum_k p_k^alpha (equation 1 of the paper), p_i being its
    priority plus `epsilon`; a batch draws once from each of `batch_size` equal parts of the sum (appendix B.2.1). Its
    weights w_i = (1 / (N P(i)))^beta, N being the number of samples held, divided by the largest of the batch, make up
    for the bias (section 3.4). `beta` grows evenly to 1 over `annealing_passes` passes; with None it stays. New samples
    get the highest priority so far (1 at first), so that each is soon seen.
    """

    def __init__(
        self, alpha: float = 0.6, beta: float = 0.4, epsilon: float = 1e-6, annealing_passes: int | None = None
    ) -> None:
        if not alpha >= 0:
            raise ArgumentValueError(f"alpha must be at least 0 (0: all alike), not {alpha!r}")
        if not 0 <= beta <= 1:
            raise ArgumentValueError(f"beta must be in [0, 1] (0: no weights, 1: full correction), not {beta!r}")
        if not epsilon >= 0:
            raise ArgumentValueError(f"epsilon must be at least 0, not {epsilon!r}")
        if annealing_passes is not None and annealing_passes < 1:
            raise ArgumentValueError(f"annealing_passes must be a positive number or None, not {annealing_passes!r}")
        self.alpha, self.beta, self.epsilon, self.annealing_passes = alpha, beta, epsilon, annealing_passes
        self._tree = SumTree()
        self._highest = 1.0
        # Per index, which sample the tree knows there.
        self._ids = np.empty(0, np.int64)
        self._passes = 0
        self._guard = Guard()

    def begin_pass(self, held: SampleSet, batching: Batching, random: np.random.Generator) -> Pass:
        """Begin a pass: `batches_per_epoch` batches, or as many as what is held makes."""
        with self._guard:
            ids = held.ids(np.arange(len(held)))
            is_new = np.ones(len(ids), np.bool_)
            is_new[: len(self._ids)] = ids[: len(self._ids)] != self._ids
            new = np.flatnonzero(is_new)
            self._tree.set(new, np.full(len(new), self._raised(self._highest)))
            self._ids = ids
            share = min(1.0, self._passes / self.annealing_passes) if self.annealing_passes else 0.0
            self._passes += 1
        return _PrioritisedPass(self, len(ids), batching, random, self.beta + share * (1 - self.beta))

    def _raised(self, priority: float) -> float:
        return float((priority + self.epsilon) ** self.alpha)

    def state_dict(self) -> dict[str, Any]:
        """Return the priorities and how many passes have begun."""
        with self._guard:
            return {
                "raised": pack(self._tree[np.arange(len(self._ids))]),
                "ids": pack(self._ids),
                "highest": self._highest,
                "passes": self._passes,
            }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the priorities of another one."""
        with self._guard:
            self._tree, self._ids = SumTree(), unpack(state_dict["ids"])
            self._tree.set(np.arange(len(self._ids)), unpack(state_dict["raised"]))
            self._highest, self._passes = state_dict["highest"], state_dict["passes"]

    def update_priorities(self, indices: Indices, priorities: NDArray[np.float64]) -> None:
        """Take note of new priorities, each at least 0: absolute errors, say."""
        with self._guard:
            self._tree.set(indices, (priorities + self.epsilon) ** self.alpha)
            if len(priorities):
                self._highest = max(self._highest, float(priorities.max()))

    def draw(self, count: int, samples: int, beta: float, random: np.random.Generator) -> Draw:
        """Draw so many of the first `samples` samples."""
        with self._guard:
            total = self._tree.total
            if total <= 0:
                # With alpha above 0 and no epsilon, all that is held may be worth nothing.
                return Draw(random.integers(0, samples, count), np.ones(count, np.float32))
            parts = (np.arange(count) + random.random(count)) * (total / count)
            indices = self._tree.find(parts)
            chances = self._tree[indices] / total
        weights = (samples * chances) ** -beta
        return Draw(indices, (weights / weights.max()).astype(np.float32))


class _PrioritisedPass:
    """Batches drawn when they are asked for, by the priorities of that moment."""

    def __init__(
        self, sampler: Prioritised, samples: int, batching: Batching, random: np.random.Generator, beta: float
    ) -> None:
        self._sampler, self._samples, self._batching = sampler, samples, batching
        self._random, self._beta = random, beta

    def __len__(self) -> int:
        wanted = self._batching.batches_per_epoch
        return self._batching.count(self._samples) if wanted is None or not self._samples else wanted

    def state_dict(self) -> dict[str, Any]:
        """Return the random numbers to come."""
        return {"random": self._random.bit_generator.state, "beta": self._beta}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the same random numbers."""
        self._random.bit_generator.state = state_dict["random"]
        self._beta = state_dict["beta"]

    def draw(self, number: int) -> Draw:
        size = self._batching.batch_size
        if self._batching.batches_per_epoch is None:
            size = min(size, self._samples - number * size)
        return self._sampler.draw(size, self._samples, self._beta, self._random)
