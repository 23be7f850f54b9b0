"""Batches, and windows that slide."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from typing import Any

from smartml.errors import ArgumentValueError
from smartml.pipeline.stage import Anchors, Begin, Plain, Stage, State
from smartml.pipeline.steps import check_callable, check_count

# Where upstream stood is noted every so many items.
_SPACING = 256


class Batched(Plain):
    """Lists of a fixed length."""

    def __init__(
        self,
        begin: Begin,
        state: State,
        batchsize: int,
        collation_fn: Callable[[list[Any]], Any] | None,
        drop_last_if_not_full: bool,
    ) -> None:
        super().__init__(begin, state, _batched, batchsize, collation_fn, drop_last_if_not_full)

    @staticmethod
    def check(batchsize: Any, collation_fn: Any, drop_last_if_not_full: Any) -> None:
        """Refuse what is no length, or cannot be called."""
        check_count("batchsize", batchsize, least=1)
        if collation_fn is not None:
            check_callable("collation_fn", collation_fn)


def _batched(
    source: Iterator[Any], size: int, collate: Callable[[list[Any]], Any] | None, drop_last: bool
) -> Iterator[Any]:
    while len(batch := list(islice(source, size))) == size:
        yield batch if collate is None else collate(batch)
    if batch and not drop_last:
        yield batch if collate is None else collate(batch)


class Sliding(Stage):
    """Windows that share items with their neighbours."""

    def __init__(
        self,
        begin: Begin,
        state: State,
        window_size: int,
        deepcopy: bool,
        stride: int,
        drop_last_if_not_full: bool,
        min_window_size: int,
        fill_nan_on_partial: bool,
    ) -> None:
        saved, skip = state or (None, 0)
        self._skip: int = skip
        self.upstream: Stage = begin(None if saved is None else saved[1])
        self._anchors = Anchors(self.upstream, saved)
        # Where the next window starts.
        self._start = (0 if saved is None else saved[0]) + self._skip
        self._size, self._stride, self._deepcopy = window_size, stride, deepcopy
        self._drop_last, self._fill = drop_last_if_not_full, fill_nan_on_partial
        self._least = 1 if fill_nan_on_partial else min_window_size

    @staticmethod
    def check(
        window_size: Any,
        deepcopy: Any,
        stride: Any,
        drop_last_if_not_full: Any,
        min_window_size: Any,
        fill_nan_on_partial: Any,
    ) -> None:
        """Refuse windows that do not slide."""
        check_count("window_size", window_size, least=2)
        check_count("min_window_size", min_window_size, least=1)
        check_count("stride", stride, least=1)
        if min_window_size >= window_size:
            raise ArgumentValueError(f"min_window_size {min_window_size} must be below window_size {window_size}")
        if stride > window_size:
            raise ArgumentValueError(f"stride {stride} must not exceed window_size {window_size}: items would be lost")

    def open(self) -> Iterator[Any]:
        """Give the windows; at the end those that are left in part, where they are wanted."""
        self._anchors.begin()
        source = self.upstream.items(repeat(False, self._skip) if self._skip else None)
        size, stride, noted = self._size, self._stride, self._start
        window = list(islice(source, size))
        while len(window) == size:
            self._start += stride
            yield self._given(window)
            pulled = self._start - stride + size
            if pulled - noted >= _SPACING:
                self._anchors.note(pulled, self._start)
                noted = pulled
            del window[:stride]
            window.extend(islice(source, stride))
        while not self._drop_last and len(window) >= self._least:
            self._start += stride
            missing = size - len(window) if self._fill else 0
            yield self._given(window + [None] * missing)
            del window[:stride]

    def _given(self, window: list[Any]) -> list[Any]:
        return copy.deepcopy(window) if self._deepcopy else list(window)

    def state(self) -> State:
        """Tell where upstream stood before the next window, or earlier, and how much to leave out."""
        saved = self._anchors.before(self._start)
        return [saved, self._start - saved[0]]
