"""Sets of whole numbers that mostly follow one another, kept as intervals (pure)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Intervals:
    """A set of numbers from 0 on: sorted half-open intervals (start, end) that neither touch nor overlap."""

    parts: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, numbers: Iterable[int]) -> "Intervals":
        """Build the set of these numbers."""
        return cls.joined((number, number + 1) for number in numbers)

    @classmethod
    def joined(cls, parts: Iterable[Sequence[int]]) -> "Intervals":
        """Build the set of all numbers in these intervals, which may come in any order, touch and overlap."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted((start, end) for start, end in parts if start < end):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return cls(tuple(merged))

    def __len__(self) -> int:
        return sum(end - start for start, end in self.parts)

    def __iter__(self) -> Iterator[int]:
        for start, end in self.parts:
            yield from range(start, end)

    def __contains__(self, number: int) -> bool:
        return any(start <= number < end for start, end in self.parts)

    def __or__(self, other: "Intervals") -> "Intervals":
        return Intervals.joined((*self.parts, *other.parts))

    def __and__(self, other: "Intervals") -> "Intervals":
        common: list[tuple[int, int]] = []
        i = j = 0
        while i < len(self.parts) and j < len(other.parts):
            (start, end), (low, high) = self.parts[i], other.parts[j]
            common.append((max(start, low), min(end, high)))
            if end < high:
                i += 1
            else:
                j += 1
        return Intervals.joined(common)

    def __sub__(self, other: "Intervals") -> "Intervals":
        if not self.parts:
            return self
        # What is not in the other set, up to the end of this one.
        edges = [0, *(edge for part in other.parts for edge in part), self.parts[-1][1]]
        return self & Intervals.joined(zip(edges[::2], edges[1::2], strict=True))

    def first(self, count: int) -> "Intervals":
        """Return the `count` lowest numbers, or all where there are fewer."""
        taken = []
        for start, end in self.parts:
            taken.append((start, min(end, start + count)))
            count -= taken[-1][1] - start
        return Intervals.joined(taken)

    @property
    def floor(self) -> int:
        """The first number from which on any is missing: all below are in the set."""
        return self.parts[0][1] if self.parts and self.parts[0][0] == 0 else 0

    def next_outside(self, number: int, stride: int = 1) -> int:
        """Return the first of `number`, `number + stride`, … that is not in the set."""
        for start, end in self.parts:
            if start <= number < end:
                number += -(-(end - number) // stride) * stride
        return number


NOTHING = Intervals()
