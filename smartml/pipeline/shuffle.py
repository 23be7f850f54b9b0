"""Shuffling in a buffer: uniform over what it holds, the same for the same seed, resumed without keeping an item.

The order depends on nothing but the seed, so that a second run of the same generator over the numbers 0, 1, 2, ...
tells which items the first one holds. Nobody runs it before a state is asked for.
"""

from __future__ import annotations

import operator
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from secrets import randbits
from typing import TYPE_CHECKING, Any, TypeAlias

from smartml.errors import ArgumentTypeError
from smartml.pipeline.stage import Anchors, Begin, Stage, State, Tally
from smartml.pipeline.steps import check_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Seed: TypeAlias = "int | float | str | bytes | bytearray"

# Numbers drawn at once: their cost is small beside that of the call.
BLOCK = 1024
_PASS_SEED_BITS = 64


def seed_of_pass(seed: Seed | None, rng: Any) -> int:
    """Return the seed of one pass: of the seed if there is one, else drawn.

    A given generator is never seeded: one number is drawn from it for each pass, so that passes differ, and are the
    same ones whenever the generator began the same.
    """
    if seed is not None:
        # random.Random takes no integers of numpy's, and in Python 3.10 no bytearray.
        plain = operator.index(seed) if hasattr(seed, "__index__") else seed
        return random.Random(bytes(plain) if isinstance(plain, bytearray) else plain).getrandbits(_PASS_SEED_BITS)
    if rng is None:
        return randbits(_PASS_SEED_BITS)
    return int(rng.getrandbits(_PASS_SEED_BITS))


def differs_by_process(seed: Seed | None, rng: Any) -> bool:
    """Tell whether passes in other processes have another seed; a generator of the caller's begins alike in all."""
    # That of the module `random` is another one everywhere, and torch seeds it differently in each worker.
    return seed is None and (rng is None or rng is random)


def check_random(rng: Any, seed: Any) -> None:
    """Refuse what no number can be drawn from, and what is no seed."""
    if rng is not None and not hasattr(rng, "getrandbits"):
        raise ArgumentTypeError(f"rng must be a random.Random, or have its method getrandbits, not {rng!r:.80}")
    is_seed = isinstance(seed, (float, str, bytes, bytearray)) or hasattr(seed, "__index__")
    if seed is not None and not is_seed:
        raise ArgumentTypeError(f"a seed is an int, float, str, bytes or bytearray, not {seed!r:.80}")


class Uniforms:
    """Numbers in [0, 1), each found again by its position.

    PCG64 takes one step for each float64 that is drawn, and leaps over any number of steps at once: M. O'Neill, "PCG:
    a family of simple fast space-efficient statistically good algorithms for random number generation" (2014), 4.3.1.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generator: np.random.Generator | None = None
        # The position of the number that the generator gives next.
        self._next = 0

    def block(self, position: int, size: int = BLOCK) -> NDArray[np.float64]:
        """Give numbers from a position on: (size,), float64."""
        if self._generator is None or position != self._next:
            # Imported here, so that `import smartml.pipeline` does not wait for it.
            import numpy as np

            bits = np.random.PCG64(self._seed)
            bits.advance(position)
            self._generator = np.random.Generator(bits)
        self._next = position + size
        return self._generator.random(size)

    def singly(self, position: int) -> Iterator[float]:
        """Give numbers one by one."""
        while True:
            yield from self.block(position).tolist()
            position += BLOCK


# Told how many items were pulled.
Told: TypeAlias = Callable[[int], object]


def _shuffled(
    source: Iterator[Any],
    size: int,
    initial: int,
    uniforms: Uniforms,
    buffer: list[Any],
    place: int | None,
    given: int,
    note: Told,
    end: Told,
) -> Iterator[Any]:
    """Shuffle, from the beginning or from where buffer, place and given say.

    buffer: what is held. place: where in it the item lies that was given last, once the buffer is full; else that item
    is no longer in it, and the place is None. given: how many items were given. One uniform number belongs to each.
    """
    if place is None:
        wanted = min(2, size - len(buffer)) if given else initial
        for number in uniforms.singly(given):
            before = len(buffer)
            buffer.extend(islice(source, wanted))
            if len(buffer) - before < wanted:
                break
            given += 1
            if len(buffer) == size:
                place = int(number * size)
                yield buffer[place]
                break
            yield _taken(buffer, number)
            wanted = min(2, size - len(buffer))
    if place is not None:
        is_full = True
        while is_full:
            places = iter((uniforms.block(given) * size).astype(int).tolist())
            # `islice` comes first, so that no item is taken for which the block has no number.
            for item, following in zip(islice(source, BLOCK), places, strict=False):
                buffer[place] = item
                place = following
                yield buffer[place]
            left = operator.length_hint(places)
            given += BLOCK - left
            is_full = not left
            if is_full:
                note(given + size - 1)
        last = buffer.pop()
        if place < len(buffer):
            buffer[place] = last
    end(given + len(buffer))
    for number in uniforms.singly(given):
        if not buffer:
            break
        yield _taken(buffer, number)


def _taken(buffer: list[Any], number: float) -> Any:
    chosen = int(number * len(buffer))
    buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
    return buffer.pop()


class _Order:
    """The order of a shuffle, found by shuffling numbers."""

    def __init__(self, seed: int, size: int, initial: int) -> None:
        # The number at which upstream ended, once it has.
        self.length: int | None = None
        # Numbers of the items that are held.
        self.held: list[int] = []
        self.given = 0
        self._last: int | None = None
        self._numbers = _shuffled(
            self._count(), size, initial, Uniforms(seed), self.held, None, 0, _tell_nobody, _tell_nobody
        )

    def _count(self) -> Iterator[int]:
        number = 0
        while self.length is None or number < self.length:
            yield number
            number += 1

    def advance(self, given: int) -> None:
        """Go to where so many were given."""
        last = deque(islice(self._numbers, given - self.given), maxlen=1)
        if last:
            self._last = last.pop()
        self.given = given

    @property
    def place(self) -> int | None:
        """Where the item lies that was given last, if the buffer still has it."""
        # All numbers differ.
        return self.held.index(self._last) if self._last in self.held else None

    def needed(self) -> list[int]:
        """Give the numbers of the items that are held, and not given, in the order of the buffer."""
        return [number for number in self.held if number != self._last]


class Shuffled(Stage):
    """Items in random order."""

    def __init__(self, begin: Begin, state: State, size: int, initial: int, rng: Any, seed: Seed | None) -> None:
        self._size, self._initial = size, max(1, min(initial, size))
        self._rng, self._seed_given = rng, seed
        saved = None
        if state is None:
            # Drawn at the first item, or when a state is asked for.
            self._seed: int | None = None
            self._given, self._length = 0, None
        else:
            self._seed, self._given, self._length, saved = (state[name] for name in ("seed", "given", "length", "from"))
        self.upstream: Stage = begin(None if saved is None else saved[1])
        self._anchors = Anchors(self.upstream, saved)
        self._tally = Tally(self._given)
        self._order: _Order | None = None

    @staticmethod
    def check(size: Any, initial: Any, rng: Any, seed: Any) -> None:
        """Refuse what is no size, no generator and no seed."""
        check_count("size", size, least=0)
        check_count("initial", initial, least=0)
        check_random(rng, seed)

    @staticmethod
    def has_own_order(size: int, initial: int, rng: Any, seed: Seed | None) -> bool:
        """Tell whether the order is left to chance."""
        return differs_by_process(seed, rng)

    def open(self) -> Iterator[Any]:
        """Shuffle; after a saved state, read again what was held."""
        return self._tally.watch(self._shuffle())

    def _shuffle(self) -> Iterator[Any]:
        buffer: list[Any] = []
        place = None
        start = self._anchors.begin()
        if self._given:
            order = self._ordered(self._given)
            needed = sorted(order.needed())
            pulled = self._given + len(needed)
            keep = bytearray(pulled - start)
            for number in needed:
                keep[number - start] = 1
            source = self.upstream.items(keep)
            items = dict(zip(needed, islice(source, len(needed)), strict=False))
            # In the place of what was given last stands nothing.
            buffer, place = [items.get(number) for number in order.held], order.place
        else:
            source = self.upstream.items()
        uniforms = Uniforms(self._pass_seed())
        yield from _shuffled(
            source, self._size, self._initial, uniforms, buffer, place, self._given, self._note, self._end
        )

    def _note(self, pulled: int) -> None:
        # An item stays in the buffer for `size` others on average, and hardly ever for 30 times as many.
        if pulled - self._anchors.last >= self._size:
            self._anchors.note(pulled)

    def _end(self, pulled: int) -> None:
        self._length = pulled

    def _pass_seed(self) -> int:
        if self._seed is None:
            self._seed = seed_of_pass(self._seed_given, self._rng)
        return self._seed

    def _ordered(self, given: int) -> _Order:
        if self._order is None:
            self._order = _Order(self._pass_seed(), self._size, self._initial)
        self._order.length = self._length
        self._order.advance(given)
        return self._order

    def state(self) -> State:
        """Tell the seed and how many were given, and where upstream stood before the oldest item held."""
        given = self._tally()
        needed = self._ordered(given).needed() if given else []
        oldest = min(needed, default=given) if given else 0
        return {
            "seed": self._pass_seed(),
            "given": given,
            "length": self._length,
            "from": self._anchors.before(oldest),
        }


def _tell_nobody(pulled: int) -> None:
    pass
