"""Streams that several read, each its part: which items are whose, and what must not stand upstream of that."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Literal, TypeAlias, get_args

from smartml.errors import ArgumentValueError, PyTorchSplittingException, StateError
from smartml.pipeline.stage import Begin, Keep, Stage, State, Tally
from smartml.pipeline.stream import Composable

Remainder: TypeAlias = Literal["keep", "drop", "repeat"]


def skip_k(rank: int, world_size: int) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return a function for `to` that keeps item `rank` and every `world_size`-th one behind it."""
    return lambda items: islice(items, rank, None, world_size)


class Split(Stage):
    """One item of each round of `parts`: the part of one of so many that read the same stream."""

    def __init__(self, begin: Begin, state: State, part: int, parts: int, remainder: Remainder = "keep") -> None:
        given, whose, upstream = state or (0, [part, parts], None)
        if list(whose) != [part, parts]:
            raise StateError(
                f"the state is that of part {whose[0]} of {whose[1]}, this is part {part} of {parts}: go on with as "
                "many ranks and workers as before, each with its own state"
            )
        self.upstream: Stage = begin(upstream)
        self._part, self._parts, self._remainder = part, parts, remainder
        self._has_given = given > 0
        self._tally = Tally(given)

    @staticmethod
    def check(part: int, parts: int, remainder: Any = "keep") -> None:
        """Refuse an unknown way to treat what is left at the end."""
        check_remainder(remainder)

    def open(self) -> Iterator[Any]:
        """Give one item per round."""
        own = _OWN[self._remainder](self.upstream.items(), self._part, self._parts, self._has_given)
        return self._tally.watch(own)

    def state(self) -> State:
        """Tell how many were given, and to whom, beside where upstream stands."""
        return [self._tally(), [self._part, self._parts], self.upstream.state()]


# Where items were given before, upstream stands behind the one given last, unless only whole rounds are read.


def _own_items(items: Iterator[Any], part: int, parts: int, has_given: bool) -> Iterator[Any]:
    return islice(items, parts - 1 if has_given else part, None, parts)


def _of_whole_rounds(items: Iterator[Any], part: int, parts: int, has_given: bool) -> Iterator[Any]:
    while len(one_round := list(islice(items, parts))) == parts:
        yield one_round[part]


def _of_filled_rounds(items: Iterator[Any], part: int, parts: int, has_given: bool) -> Iterator[Any]:
    if has_given:
        _pass_over(items, parts - 1 - part)
    while one_round := list(islice(items, part + 1)):
        # Of the last round, as many come as are there, and then the same again.
        yield one_round[part % len(one_round)]
        _pass_over(items, parts - 1 - part)


def _pass_over(items: Iterator[Any], count: int) -> None:
    deque(islice(items, count), maxlen=0)


_OWN: dict[str, Callable[[Iterator[Any], int, int, bool], Iterator[Any]]] = {
    "keep": _own_items,
    "drop": _of_whole_rounds,
    "repeat": _of_filled_rounds,
}


def check_remainder(remainder: Any) -> None:
    """Refuse what is no way to treat the items that make no whole round."""
    if remainder not in get_args(Remainder):
        raise ArgumentValueError(f'remainder must be "keep", "drop" or "repeat", not {remainder!r:.80}')


class Checked(Stage):
    """Upstream as it is, once a check at the first item has raised nothing."""

    def __init__(self, begin: Begin, state: State, check: Callable[[], object]) -> None:
        self.upstream: Stage = begin(state)
        self._check = check

    def items(self, keep: Keep = None) -> Iterator[Any]:
        """Check, and give upstream's items."""
        self._check()
        # Upstream looks to what to keep.
        return self.watched(self.upstream.items(keep))


# What stands upstream


def upstream_of(step: Composable) -> list[Any]:
    """Return what a step reads from: its source, or the members of a mixture."""
    members = getattr(step, "members", None)
    return [step.source] if members is None else list(members)


def is_split(stream: Any, by: str) -> bool:
    """Tell whether all that a chain reads is split upstream: by "rank" or by "worker"."""
    if not isinstance(stream, Composable):
        return False
    return by in stream.splits or all(is_split(source, by) for source in upstream_of(stream))


def check_order(step: Composable, by: str, parts: int) -> None:
    """Raise PyTorchSplittingException where those who split a stream would not see it in the same order."""
    culprit = next((found for source in upstream_of(step) for found in _disordered(source)), None)
    if culprit is not None:
        name = getattr(culprit, "name", type(culprit).__name__)
        raise PyTorchSplittingException(
            f"upstream of a split by {by}, '{name}' gives another order in each of the {parts} processes: items would "
            "be lost and others come twice. Split first, or give it a seed (async_map: ordered=True; a live source: "
            "take a feed with num_replicas, which shares out by itself)"
        )


def _disordered(stream: Any) -> Iterator[Composable]:
    if isinstance(stream, Composable):
        if stream.has_own_order:
            yield stream
        for source in upstream_of(stream):
            yield from _disordered(source)
