"""Names that look like a name nobody knows: for the message that says what there is instead."""

import difflib
from collections.abc import Iterable

# difflib is thorough and slow: it judges the best of a quick choice only.
_JUDGED = 50
# How alike two names must be, 1 being equal.
_CUTOFF = 0.5


def nearest_names(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """List the names that come nearest to one, nearest first."""
    mirrored = name[::-1]

    def shared_ends(other: str) -> float:
        return (_common_length(name, other) + _common_length(mirrored, other[::-1])) / (len(name) + len(other))

    candidates = sorted(set(names), key=shared_ends, reverse=True)[:_JUDGED]
    return difflib.get_close_matches(name, candidates, n=limit, cutoff=_CUTOFF)


def _common_length(first: str, second: str) -> int:
    """Count the characters with which both begin."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(first), len(second)))
