"""One step's part in one pass: what gives its items, and what knows where they stand.

A chain describes; a pass over it is a row of stages, each begun with the one upstream of it. Items travel through plain
generators and C iterators, which count for nothing else. Where a stage stands is worked out when it is asked for:

- `Tally` counts in C what passes through it;
- a stage that gives out all it took has no state of its own, so that it answers with its upstream's;
- a stage that holds items back (a window, a buffer, work in flight) tells where its upstream stood at an item no
  younger than the oldest that it holds, and how far behind that its own output is. `Anchors` keeps such places. The
  items are then read again, so that no state holds any of them.

A state is made of None, numbers, texts, lists and dicts, unless a source's own is not. No stage refers to its
iterator: stages outlive the pass, which ends threads and files as soon as nobody reads it any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress, count, islice, repeat
from typing import Any, Protocol, TypeAlias, runtime_checkable

from smartml.errors import StateError

State: TypeAlias = Any
# For the first items whether they are wanted; all behind them are.
Keep: TypeAlias = "Iterable[object] | None"


@runtime_checkable
class Stateful(Protocol):
    """What tells where it stands, and goes there: the protocol of torchdata's loaders."""

    def state_dict(self) -> Any:
        """Tell where it stands; later items must not change what was returned."""

    def load_state_dict(self, state_dict: Any) -> None:
        """Go where it stood."""


class Watch(Protocol):
    """What looks on while items pass."""

    def watch(self, items: Iterator[Any], stage: Stage) -> Iterator[Any]:
        """Pass on the items that the stage gives."""


class Tally:
    """Count what passes, from a start."""

    def __init__(self, start: int = 0) -> None:
        # An item is let through for a number that is not zero; each item takes one number.
        self._numbers = count(start + 1)
        # Looking takes a number, too.
        self._looks = 0

    def watch(self, items: Iterable[Any]) -> Iterator[Any]:
        """Pass on the items, counted."""
        return compress(items, self._numbers)

    def __call__(self) -> int:
        """Tell the start and what passed since."""
        self._looks += 1
        return next(self._numbers) - self._looks


class Stage:
    """A step in one pass; `items` is called once, at the first item that is asked for."""

    upstream: Stage | None = None
    # Set for a measured pass.
    meter: Watch | None = None

    def items(self, keep: Keep = None) -> Iterator[Any]:
        """Give the items, of the first ones those to keep.

        Whoever sets `keep` asks for no state until all that it speaks of has passed.
        """
        items = self.open()
        return self.watched(items if keep is None else compress(items, chain(keep, repeat(True))))

    def open(self) -> Iterator[Any]:
        """Give all items from where the stage was begun."""
        raise NotImplementedError

    def watched(self, items: Iterator[Any]) -> Iterator[Any]:
        """Pass on the items, under the eyes of the meter if there is one."""
        return items if self.meter is None else self.meter.watch(items, self)

    def state(self) -> State:
        """Tell where the stage stands, between two items."""
        return self.upstream.state() if self.upstream is not None else None

    def parts(self) -> Iterable[Stage]:
        """Give the stages that this one reads from."""
        return () if self.upstream is None else (self.upstream,)

    def stop(self) -> None:
        """Wake what waits within: nobody will ask for another item."""
        for part in self.parts():
            part.stop()

    def is_spent(self) -> bool:
        """Tell whether a source gave all it had and can give nothing a second time."""
        return any(part.is_spent() for part in self.parts())


# Begins upstream's part of a pass, from the beginning (None) or where its state says.
Begin: TypeAlias = Callable[[State], Stage]


class Plain(Stage):
    """A generator function that gives out all it took before it takes more: where it stands, upstream stands."""

    def __init__(self, begin: Begin, state: State, function: Callable[..., Iterator[Any]], *args: Any) -> None:
        self.upstream: Stage = begin(state)
        self._function, self._args = function, args

    def open(self) -> Iterator[Any]:
        """Run the generator function."""
        return self._function(self.upstream.items(), *self._args)


class Sourced(Stage):
    """The user's iterable: asked where it stands if it can tell, else counted and read forward."""

    def __init__(self, source: Any, state: State) -> None:
        self._source = source
        self._begun_at = state
        self._is_started = False
        self._is_one_shot = False
        self._tally = Tally(state if isinstance(state, int) else 0)
        # What is asked for its state while the pass reads it, and what it said last.
        self._stateful: Stateful | None = None
        self._said: State = None

    def items(self, keep: Keep = None) -> Iterator[Any]:
        """Read the source."""
        self._is_started = True
        iterable = self._source() if callable(self._source) else self._source
        start = self._begun_at
        if isinstance(start, dict) and _is_stateful(iterable):
            iterable.load_state_dict(start["source"])
        iterator = iter(iterable)
        self._is_one_shot = iterator is iterable
        if _is_stateful(iterator) or _is_stateful(iterable):
            if isinstance(start, dict) and not _is_stateful(iterable):
                iterator.load_state_dict(start["source"])
            self._stateful = iterator if _is_stateful(iterator) else iterable
            items = self._asked(iterator)
        elif isinstance(start, dict):
            raise StateError("the state holds what a source said of itself, but this chain's source cannot go there")
        else:
            items = self._tally.watch(islice(iterator, start, None) if start else iterator)
        return self.watched(items if keep is None else compress(items, chain(keep, repeat(True))))

    def _asked(self, iterator: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from iterator
        finally:
            # The pass may end before anybody asks; the source is let go nevertheless.
            if self._stateful is not None:
                self._said, self._stateful = {"source": self._stateful.state_dict()}, None

    def state(self) -> State:
        """Tell how many items were read, or what the source says."""
        if not self._is_started:
            return self._begun_at
        if self._stateful is not None:
            return {"source": self._stateful.state_dict()}
        return self._tally() if self._said is None else self._said

    def is_spent(self) -> bool:
        """Tell whether the source is an iterator, which cannot be read again."""
        return self._is_one_shot


class Replayed(Stage):
    """A function whose inner state nobody knows: it is run again from where the pass began, and read forward."""

    def __init__(self, begin: Begin, state: State, function: Callable[..., Any], *args: Any) -> None:
        start = None if state is None else state["start"]
        self._skip: int = 0 if state is None else state["given"]
        self.upstream: Stage = begin(start)
        self._function, self._args = function, args
        self._tally = Tally(self._skip)
        # Where upstream stood, once it is read.
        self._start: State = None
        self._is_started = False

    def open(self) -> Iterator[Any]:
        """Run the function, and leave out what was given before."""
        self._start, self._is_started = self.upstream.state(), True
        items = iter(self._function(self.upstream.items(), *self._args))
        return self._tally.watch(islice(items, self._skip, None) if self._skip else items)

    def state(self) -> State:
        """Tell where upstream stood at the start, and how much was given since."""
        start = self._start if self._is_started else self.upstream.state()
        return {"start": start, "given": self._tally()}


class Anchors:
    """Where upstream stood after so many items, at chosen moments.

    Only the thread that reads upstream notes; any may look.
    """

    # Of anchors that may be needed again, so many of the youngest are kept, and the first.
    MOST = 32

    def __init__(self, upstream: Stage, saved: State) -> None:
        """Begin at the place that was saved, a position and upstream's state, or at the beginning."""
        self._upstream = upstream
        self._start: int = 0 if saved is None else saved[0]
        self._first: tuple[int, State] | None = None
        self._kept: deque[tuple[int, State]] = deque()

    def begin(self) -> int:
        """Note where upstream stands before anything is read; return that position."""
        self._first = (self._start, self._upstream.state())
        return self._start

    def note(self, position: int, oldest: int | None = None) -> None:
        """Note where upstream stands after so many items. Nothing before the oldest, if it is told, will be needed."""
        kept = self._kept
        kept.append((position, self._upstream.state()))
        if oldest is not None:
            while len(kept) > 1 and kept[1][0] <= oldest:
                kept.popleft()
            if kept[0][0] <= oldest:
                self._first = kept.popleft()
        elif len(kept) > self.MOST:
            kept.popleft()

    @property
    def last(self) -> int:
        """The position that was noted last."""
        return self._kept[-1][0] if self._kept else self._start if self._first is None else self._first[0]

    def before(self, position: int) -> State:
        """Give the youngest place at or before a position: the position noted, and upstream's state."""
        for noted in reversed(tuple(self._kept)):
            if noted[0] <= position:
                return list(noted)
        return [self._start, self._upstream.state()] if self._first is None else list(self._first)


def _is_stateful(thing: Any) -> bool:
    # A class has the methods, too, but stands nowhere.
    return isinstance(thing, Stateful) and not isinstance(thing, type)
