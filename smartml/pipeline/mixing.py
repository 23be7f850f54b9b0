"""Several streams made into one: drawn at random until all are used up, or in turn, or begun again as they end."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, TypeAlias

from smartml.errors import ArgumentValueError
from smartml.pipeline import explain
from smartml.pipeline.shuffle import BLOCK, Seed, Uniforms, check_random, differs_by_process, seed_of_pass
from smartml.pipeline.stage import Stage, State, Tally
from smartml.pipeline.steps import check_count
from smartml.pipeline.stream import Composable, begin

if TYPE_CHECKING:
    import numpy as np

Weights: TypeAlias = "Sequence[float]"


class Schedule:
    """Weights that change on the way: from so many items on, other ones.

    weights: for numbers of items drawn (from 0 on), the weights from there. With `interpolate` they go straight from
    one to the next. Give it, or any function of the number of items drawn, as `probs`.
    """

    def __init__(self, weights: Mapping[int, Weights], *, interpolate: bool = False) -> None:
        if 0 not in weights:
            raise ArgumentValueError(f"a Schedule says what holds from item 0 on, and not only at {sorted(weights)}")
        self._numbers = sorted(weights)
        self._weights = [list(weights[number]) for number in self._numbers]
        self._interpolate = interpolate
        if len({len(given) for given in self._weights}) > 1:
            raise ArgumentValueError("a Schedule needs as many weights at each number")

    def __call__(self, drawn: int) -> Weights:
        """Return the weights after so many items."""
        at = bisect_right(self._numbers, drawn) - 1
        if not self._interpolate or at + 1 == len(self._numbers):
            return self._weights[at]
        start, end = self._numbers[at : at + 2]
        share = (drawn - start) / (end - start)
        return [(1 - share) * a + share * b for a, b in zip(*self._weights[at : at + 2], strict=True)]


class IterableSamplerSource(Composable):
    """Draw the next item from one of several iterables at random, until all are used up; each keeps its own order.

    iterables: chains, or any iterables. probs: a weight for each, which sum to 1; those of the ones left are scaled up
    when one is used up. Or a function of the number of items drawn so far that returns weights, of any sum, zero
    allowed: see `Schedule`. seed, rng: as for `shuffle`: all passes are alike with a seed.
    """

    def __init__(
        self,
        iterables: Iterable[Any],
        probs: Weights | Callable[[int], Weights] | None = None,
        rng: Any = None,
        seed: Seed | None = None,
    ) -> None:
        super().__init__()
        self.members = list(iterables)
        if probs is not None and not callable(probs):
            probs = list(probs)
            _check_number(len(probs), len(self.members))
            if any(weight <= 0 for weight in probs) or not math.isclose(sum(probs), 1):
                raise ArgumentValueError(f"probs must be above 0 and sum to 1, not {probs}, which sum to {sum(probs)}")
        check_random(rng, seed)
        self._probs, self._rng, self._seed = probs, rng, seed

    @property
    def has_own_order(self) -> bool:
        """Whether members are drawn by chance alone."""
        return differs_by_process(self._seed, self._rng)

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin a part of the pass in each member."""
        seed, given, used_up, states = state or (None, 0, [False] * len(self.members), [None] * len(self.members))
        stages = [begin(member, at, meters) for member, at in zip(self.members, states, strict=True)]
        sampled = Sampled(stages, self._probs, given, used_up)
        sampled.draw_seed = lambda: seed_of_pass(self._seed, self._rng) if seed is None else seed
        self._last = explain.met(sampled, self, meters)
        return self._last


class Sampled(Stage):
    """Members, of which one is drawn for each item."""

    # Gives the seed of the pass, once.
    draw_seed: Callable[[], int]

    def __init__(
        self,
        stages: list[Stage],
        probs: Weights | Callable[[int], Weights] | None,
        given: int,
        used_up: list[bool],
    ) -> None:
        self._stages, self._probs = stages, probs
        self._tally = Tally(given)
        self._used_up = list(used_up)
        self._seed: int | None = None

    def parts(self) -> Iterable[Stage]:
        """Give the members' stages."""
        return self._stages

    def open(self) -> Iterator[Any]:
        """Draw until all members are used up."""
        return self._tally.watch(self._vary() if callable(self._probs) else self._sample())

    # One number belongs to each item that is given, and one to each member's end.

    def _sample(self) -> Iterator[Any]:
        import numpy as np

        uniforms = Uniforms(self._pass_seed())
        left = [number for number, used_up in enumerate(self._used_up) if not used_up]
        weights = [1.0] * len(self._stages) if self._probs is None or callable(self._probs) else self._probs
        draws = {number: self._stages[number].items().__next__ for number in left}
        while left:
            shares = np.cumsum([weights[number] for number in left])
            members = [draws[number] for number in left]
            place = 0
            try:
                while True:
                    block = uniforms.block(self._tally() + sum(self._used_up)) * shares[-1]
                    for place in np.searchsorted(shares[:-1], block, side="right").tolist():
                        yield members[place]()
            except StopIteration:
                self._used_up[left.pop(place)] = True

    def _vary(self) -> Iterator[Any]:
        uniforms = Uniforms(self._pass_seed())
        left = [number for number, used_up in enumerate(self._used_up) if not used_up]
        draws = {number: self._stages[number].items().__next__ for number in left}
        for uniform in uniforms.singly(self._tally() + sum(self._used_up)):
            if not left:
                return
            weights = self._weights_now()
            shares = list(accumulate(weights[number] for number in left))
            # Where all that are left have weight zero, they are equal.
            if not shares[-1]:
                shares = list(range(1, len(left) + 1))
            place = min(bisect_right(shares, uniform * shares[-1]), len(left) - 1)
            try:
                item = draws[left[place]]()
            except StopIteration:
                self._used_up[left.pop(place)] = True
                continue
            yield item

    def _weights_now(self) -> Weights:
        assert callable(self._probs)
        weights = self._probs(self._tally())
        _check_number(len(weights), len(self._stages))
        if any(weight < 0 for weight in weights):
            raise ArgumentValueError(f"probs gave {list(weights)} after {self._tally()} items: none may be negative")
        return weights

    def _pass_seed(self) -> int:
        if self._seed is None:
            self._seed = self.draw_seed()
        return self._seed

    def state(self) -> State:
        """Tell the seed, how many were given, which members are used up, and where each stands."""
        return [self._pass_seed(), self._tally(), list(self._used_up), [stage.state() for stage in self._stages]]


class MultiplexingStrategy(Enum):
    """How a Multiplexer chooses the member that gives the next item."""

    ROUND_ROBIN = "RoundRobin"
    UNIFORM_WITH_REPLACEMENT = "uniform_with_replacement"
    SAMPLING = "sampling"


class Multiplexer(Composable):
    """Mix chains in turn until all are used up, or at random, with those that end begun again.

    At random, it ends as soon as each has been begun again, or one `max_reinits` times (None and 0: no limit).
    sampling_probas: weights, of any sum, for SAMPLING; members below `proba_threshold` of it are left out. seed: of
    numpy's MT19937; all passes are alike. Other keywords are ignored.
    """

    def __init__(
        self,
        composables: Iterable[Any],
        mux_strategy: MultiplexingStrategy | str,
        sampling_probas: Weights | None = None,
        max_reinits: int | None = None,
        seed: int | None = None,
        proba_threshold: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.members = list(composables)
        try:
            self._strategy = MultiplexingStrategy(mux_strategy)
        except ValueError:
            known = ", ".join(repr(strategy.value) for strategy in MultiplexingStrategy)
            raise ArgumentValueError(f"there is no strategy {mux_strategy!r}; known are: {known}") from None
        if max_reinits is not None:
            check_count("max_reinits", max_reinits, least=0)
        self._max_reinits, self._seed = max_reinits, seed
        self._kept = list(range(len(self.members)))
        self._shares: list[float] | None = None
        if self._strategy is MultiplexingStrategy.SAMPLING:
            self._weigh(sampling_probas, proba_threshold)

    def _weigh(self, given: Weights | None, threshold: float) -> None:
        if given is None:
            raise ArgumentValueError("the strategy SAMPLING needs sampling_probas, a weight for each member")
        weights = [float(weight) for weight in given]
        _check_number(len(weights), len(self.members))
        if any(weight < 0 for weight in weights):
            raise ArgumentValueError(f"sampling_probas must not be negative: {weights}")
        self._kept = [number for number, weight in enumerate(weights) if weight > threshold]
        total = sum(weights[number] for number in self._kept)
        self._shares = [weights[number] / total for number in self._kept]

    @property
    def has_own_order(self) -> bool:
        """Whether members are drawn by chance alone."""
        return self._strategy is not MultiplexingStrategy.ROUND_ROBIN and self._seed is None

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin a part of the pass in each member."""

        def begun(number: int, at: State) -> Stage:
            return begin(self.members[number], at, meters)

        if self._strategy is MultiplexingStrategy.ROUND_ROBIN:
            stage: Stage = TakingTurns(begun, len(self.members), state)
        else:
            stage = Multiplexed(begun, self._kept, self._shares, self._max_reinits, self._seed, state)
        self._last = explain.met(stage, self, meters)
        return self._last

    @property
    def reinit_counts(self) -> list[int]:
        """How often each member that takes part was begun again, in the pass begun last; empty when they take turns."""
        return list(self._last.reinits) if isinstance(self._last, Multiplexed) else []

    @property
    def num_samples(self) -> list[int]:
        """How many items each member gave in the pass begun last."""
        return list(self._last.samples) if isinstance(self._last, (Multiplexed, TakingTurns)) else []


class TakingTurns(Stage):
    """Members in turn; where one is used up, the turn begins again at the first that is left."""

    def __init__(self, begun: Callable[[int, State], Stage], members: int, state: State) -> None:
        turn, used_up, samples, states = state or (0, [False] * members, [0] * members, [None] * members)
        self._stages = [begun(number, at) for number, at in enumerate(states)]
        self._turn: int = turn
        self._used_up, self.samples = list(used_up), list(samples)

    def parts(self) -> Iterable[Stage]:
        """Give the members' stages."""
        return self._stages

    def open(self) -> Iterator[Any]:
        """Take turns until all are used up."""
        left = [number for number, used_up in enumerate(self._used_up) if not used_up]
        items = {number: self._stages[number].items() for number in left}
        while left:
            number = left[self._turn]
            try:
                item = next(items[number])
            except StopIteration:
                self._used_up[number] = True
                left.remove(number)
                self._turn = 0
                continue
            self.samples[number] += 1
            self._turn = (self._turn + 1) % len(left)
            yield item

    def state(self) -> State:
        """Tell whose turn it is, what is used up, what each gave, and where each stands."""
        states = [stage.state() for stage in self._stages]
        return [self._turn, list(self._used_up), list(self.samples), states]


class Multiplexed(Stage):
    """Members drawn with replacement; one that ends is begun again."""

    def __init__(
        self,
        begun: Callable[[int, State], Stage],
        kept: list[int],
        shares: list[float] | None,
        max_reinits: int | None,
        seed: int | None,
        state: State,
    ) -> None:
        none = [0] * len(kept)
        pass_seed, reinits, samples, states = state or (seed, none, none, [None] * len(kept))
        self._pass_seed: int | None = pass_seed
        self._begun, self._kept, self._shares, self._max_reinits = begun, kept, shares, max_reinits
        self.reinits, self.samples = list(reinits), list(samples)
        self._stages = [begun(number, at) for number, at in zip(kept, states, strict=True)]

    def parts(self) -> Iterable[Stage]:
        """Give the members' stages."""
        return self._stages

    def open(self) -> Iterator[Any]:
        """Draw until each was begun again, or one often enough."""
        items = [stage.items() for stage in self._stages]
        for number in self._draws():
            if self._is_over():
                return
            try:
                item = next(items[number])
            except StopIteration:
                self.reinits[number] += 1
                if self._is_over():
                    return
                self._stages[number] = self._begun(self._kept[number], None)
                items[number] = self._stages[number].items()
                continue
            self.samples[number] += 1
            yield item

    def _is_over(self) -> bool:
        return all(self.reinits) or (bool(self._max_reinits) and max(self.reinits) >= (self._max_reinits or 0))

    def _draws(self) -> Iterator[int]:
        """Draw members, from the first draw that is not behind us; blocks give the same draws as single ones do."""
        from numpy.random import MT19937, RandomState

        if not self._kept:
            return
        random: RandomState = RandomState(MT19937(self._seed_now()))
        done = sum(self.samples) + sum(self.reinits)
        while True:
            block: np.ndarray[Any, Any] = random.choice(len(self._kept), BLOCK, replace=True, p=self._shares)
            yield from islice(block.tolist(), done, None)
            done = max(done - BLOCK, 0)

    def _seed_now(self) -> int:
        if self._pass_seed is None:
            self._pass_seed = seed_of_pass(None, None)
        return int(self._pass_seed)

    def state(self) -> State:
        """Tell the seed, what each was begun again and gave, and where each stands."""
        states = [stage.state() for stage in self._stages]
        return [self._seed_now(), list(self.reinits), list(self.samples), states]


def _check_number(given: int, wanted: int) -> None:
    if given != wanted:
        raise ArgumentValueError(f"{wanted} streams need {wanted} weights, not {given}")
