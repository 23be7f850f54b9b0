"""The plain steps: each a generator function, and a stage where it must know how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice, repeat
from time import perf_counter
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError, SpentSourceError
from smartml.extras import require
from smartml.pipeline.policies import ErrorPolicy, Guard, Skipped, at_item, check_policy
from smartml.pipeline.stage import Anchors, Begin, Keep, Replayed, Stage, State, Tally

# Told apart from every item.
_NOTHING: Any = object()
# A state points to an item of a flattened stream by a place at most so many items, or so many pulls, behind.
_SPACING = 256


class Mapped(Stage):
    """A function of each item. Neighbours run in one generator: each further one would cost as much as a function."""

    # The most functions that one generator calls.
    MOST = 4

    def __init__(self, begin: Begin, state: State, callback: Callable[..., Any], keywords: dict[str, Any]) -> None:
        self.upstream: Stage = begin(state)
        self.callback = partial(callback, **keywords) if keywords else callback

    @staticmethod
    def check(callback: Any, keywords: dict[str, Any]) -> None:
        """Refuse what cannot be called."""
        check_callable("map", callback)

    def items(self, keep: Keep = None) -> Iterator[Any]:
        """Call the function for the items to keep, and no others."""
        callbacks, upstream = [self.callback], self.upstream
        while isinstance(upstream, Mapped) and len(callbacks) < self.MOST and self.meter is None:
            callbacks.insert(0, upstream.callback)
            upstream = upstream.upstream
        return self.watched(_MAPPED[len(callbacks)](upstream.items(keep), *callbacks))


# A callback that lets StopIteration escape must not end the stream in silence, as it would with the built-in `map`.


def _mapped(source: Iterable[Any], first: Callable[[Any], Any]) -> Iterator[Any]:
    for item in source:
        yield first(item)


def _mapped_twice(source: Iterable[Any], first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Iterator[Any]:
    for item in source:
        yield second(first(item))


def _mapped_thrice(
    source: Iterable[Any], first: Callable[[Any], Any], second: Callable[[Any], Any], third: Callable[[Any], Any]
) -> Iterator[Any]:
    for item in source:
        yield third(second(first(item)))


def _mapped_four_times(
    source: Iterable[Any],
    first: Callable[[Any], Any],
    second: Callable[[Any], Any],
    third: Callable[[Any], Any],
    fourth: Callable[[Any], Any],
) -> Iterator[Any]:
    for item in source:
        yield fourth(third(second(first(item))))


_MAPPED: dict[int, Callable[..., Iterator[Any]]] = {
    1: _mapped,
    2: _mapped_twice,
    3: _mapped_thrice,
    4: _mapped_four_times,
}


class GuardedMapped(Stage):
    """A function of each item, whose errors a policy answers."""

    def __init__(
        self,
        begin: Begin,
        state: State,
        callback: Callable[..., Any],
        keywords: dict[str, Any],
        policy: ErrorPolicy,
    ) -> None:
        number, upstream = (0, None) if state is None else state
        self.upstream: Stage = begin(upstream)
        self._guard = Guard(partial(callback, **keywords) if keywords else callback, policy)
        self._tally = Tally(number)
        self._number = number

    @staticmethod
    def check(callback: Any, keywords: dict[str, Any], policy: Any) -> None:
        """Refuse what cannot be called, and what is no policy."""
        check_callable("map", callback)
        check_policy(policy)

    def open(self) -> Iterator[Any]:
        """Call the function, and ask the policy where it fails."""
        guard, note = self._guard, self._guard.policy.begin_pass("map")
        for number, item in enumerate(self._tally.watch(self.upstream.items()), self._number):
            try:
                outcome = guard(item)
            except Exception as error:
                at_item(error, "map", number)
                raise
            if type(outcome) is Skipped:
                note(outcome.error, number)
            else:
                yield outcome

    def state(self) -> State:
        """Tell the number of the next item beside where upstream stands."""
        return [self._tally(), self.upstream.state()]


def filtered(source: Iterable[Any], predicate: Callable[[Any], object]) -> Iterator[Any]:
    """Keep the items of which the predicate is true."""
    for item in source:
        if predicate(item):
            yield item


class Flattened(Stage):
    """The items of the items."""

    def __init__(self, begin: Begin, state: State) -> None:
        saved, skip, inside = state or (None, 0, 0)
        self.upstream: Stage = begin(None if saved is None else saved[1])
        self._anchors = Anchors(self.upstream, saved)
        # Items to leave out, and items of the one behind them.
        self._skip: int = skip
        self._inside: int = inside
        # How many items were pulled, and what counts the items of the last one.
        self._pulled: int = 0 if saved is None else saved[0] + skip
        self._inner = Tally(inside)

    def open(self) -> Iterator[Any]:
        """Take items apart; the first one may have been given in part."""
        self._anchors.begin()
        since = 0
        for item in self.upstream.items(repeat(False, self._skip) if self._skip else None):
            self._pulled += 1
            inner = self._inner if self._inside else Tally()
            self._inner, start, self._inside = inner, self._inside, 0
            yield from inner.watch(islice(item, start, None) if start else item)
            since += inner()
            if since >= _SPACING or self._pulled - self._anchors.last >= _SPACING:
                self._anchors.note(self._pulled, self._pulled)
                since = 0

    def state(self) -> State:
        """Tell where upstream stood before the item that is taken apart, and how much of that was given."""
        # A saved place inside an item that is not pulled again yet.
        inside = self._inside or self._inner()
        first = self._pulled - 1 if inside and not self._inside else self._pulled
        saved = self._anchors.before(first)
        return [saved, first - saved[0], inside]


class Taken(Stage):
    """The first items; none behind them is pulled."""

    def __init__(self, begin: Begin, state: State, n: int) -> None:
        given, upstream = state or (0, None)
        self.upstream: Stage = begin(upstream)
        self._left = n - given
        self._tally = Tally(given)

    @staticmethod
    def check(n: Any) -> None:
        """Refuse what is no number of items."""
        check_count("n", n, least=0)

    def open(self) -> Iterator[Any]:
        """Stop without asking for another item."""
        return self._tally.watch(islice(self.upstream.items(), self._left))

    def state(self) -> State:
        """Tell how many were given beside where upstream stands."""
        return [self._tally(), self.upstream.state()]


class Indexed(Stage):
    """Items with their numbers."""

    def __init__(self, begin: Begin, state: State, pad_length: int | None) -> None:
        number, upstream = state or (0, None)
        self.upstream: Stage = begin(upstream)
        self._number, self._pad_length = number, pad_length
        self._tally = Tally(number)

    @staticmethod
    def check(pad_length: Any) -> None:
        """Refuse what is no number of digits."""
        if pad_length is not None:
            check_count("pad_length", pad_length, least=0)

    def open(self) -> Iterator[Any]:
        """Pair numbers and items."""
        numbers: Iterator[Any] = count(self._number)
        if self._pad_length is not None:
            numbers = (str(number).zfill(self._pad_length) for number in numbers)
        return zip(numbers, self._tally.watch(self.upstream.items()), strict=False)

    def state(self) -> State:
        """Tell the next number beside where upstream stands."""
        return [self._tally(), self.upstream.state()]


class Looped(Stage):
    """Passes over upstream, one behind the other."""

    def __init__(self, begin: Begin, state: State, n: int | None) -> None:
        rounds, upstream = state or (0, None)
        # Rounds that are done.
        self.counter: int = rounds
        self.upstream: Stage = begin(upstream)
        self._begin, self._n = begin, n
        self._is_resumed = state is not None

    @staticmethod
    def check(n: Any) -> None:
        """Refuse what is no number of rounds."""
        if n is not None and not isinstance(n, int):
            raise ArgumentTypeError(f"loop takes a number of rounds, or None for ever, not {n!r:.80}")

    def open(self) -> Iterator[Any]:
        """Begin upstream anew in each round, until one gives nothing."""
        while self._n is None or self.counter < self._n:
            items = self.upstream.items()
            first = next(items, _NOTHING)
            if first is not _NOTHING:
                yield first
                yield from items
            elif not self._is_resumed:
                if self.counter and self.upstream.is_spent():
                    raise SpentSourceError(
                        f"round {self.counter + 1} of a loop found nothing left: its source is an iterator, which can "
                        "be read once. Give a list, or a function that returns a new iterator"
                    )
                return
            self.counter, self._is_resumed = self.counter + 1, False
            self.upstream = self._begin(None)

    def state(self) -> State:
        """Tell the round beside where it stands."""
        return [self.counter, self.upstream.state()]


class Applied(Replayed):
    """What a function makes of the iterator."""

    def __init__(
        self, begin: Begin, state: State, function: Callable[..., Iterable[Any]], args: Any, keywords: Any
    ) -> None:
        super().__init__(begin, state, _apply, function, args, keywords)

    @staticmethod
    def check(function: Any, args: Any, keywords: Any) -> None:
        """Refuse what cannot be called."""
        check_callable("to", function)


def _apply(source: Iterator[Any], function: Callable[..., Iterable[Any]], args: Any, keywords: Any) -> Iterable[Any]:
    return function(source, *args, **keywords)


def barred(source: Iterable[Any], keywords: dict[str, Any]) -> Iterator[Any]:
    """Show a bar of tqdm."""
    bar = require("tqdm", "a progress bar", "pipeline").tqdm
    with bar(source, **keywords) as items:
        yield from items


def rate_meter(window_size: int, conf: Any) -> Any:
    """Return a meter for one pass; `conf` None stands for the defaults."""
    # Imported where it is used: it needs numpy, which takes longer to import than this package.
    from smartml.pipeline import metrics

    return metrics.RateMeter(window_size, metrics.MetricsConf if conf is None else conf)


def monitored(
    source: Iterable[Any], callback: Callable[..., object], prefix: str, conf: Any, window_size: int, keywords: Any
) -> Iterator[Any]:
    """Tell the rates to a callback before each item is handed on."""
    measure = rate_meter(window_size, conf).measure
    for item in source:
        rates = measure(item, perf_counter())
        if rates is not None:
            callback({prefix + name: rate for name, rate in rates.items()} if prefix else rates, **keywords)
        yield item


def check_callable(step: str, given: Any) -> None:
    """Refuse what cannot be called."""
    if not callable(given):
        raise ArgumentTypeError(f"{step} takes something to call, not {given!r:.80}")


def check_count(name: str, given: Any, *, least: int) -> None:
    """Refuse what is no whole number, or too small a one."""
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        raise ArgumentTypeError(f"{name} must be a whole number, not {given!r:.80}")
    if given < least:
        raise ArgumentValueError(f"{name} must be at least {least}, not {given}")
