"""How far the batches of many sources were announced, and which of them can be relied on to be (pure)."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

# Stands for no iteration.
_NONE = -1


class Announced:
    """What indices have told of the sources of a feed, for each prefix that its keys have.

    A source is covered while all that is known of it was announced, one iteration after the other. The others are
    asked for, and `settle` tells what was found.
    """

    def __init__(self, prefixes: int, sources: int) -> None:
        # By prefix and source: the iteration to be announced next, where the source is covered.
        self.expected = np.full((prefixes, sources), _NONE, np.int64)
        # Where it is not: one past the last that was announced, and, by source, one past the last that was found.
        self._announced = np.full((prefixes, sources), _NONE, np.int64)
        self._found = np.zeros(sources, np.int64)
        # The sources that are not covered, in order; None: to be looked up.
        self._asked: Numbers | None = None

    @property
    def asked(self) -> Numbers:
        """The sources that are not covered, in ascending order."""
        if self._asked is None:
            self._asked = np.flatnonzero(self.expected[0] == _NONE)
        return self._asked

    @property
    def is_any_covered(self) -> bool:
        """Whether there are others."""
        return len(self.asked) < len(self._found)

    def ends(self) -> Numbers:
        """Return for each source which iteration is awaited behind those known to be there, of all prefixes."""
        ends: Numbers = self.expected[0] if len(self.expected) == 1 else self.expected.min(axis=0)
        if len(self.asked):
            ends = ends.copy()
            ends[self.asked] = self._found[self.asked]
        return ends

    def note(self, prefix: int, sources: Numbers, iterations: Numbers) -> None:
        """Take note of announcements, in any order, some of them twice."""
        expected = self.expected[prefix]
        # The usual case: each is the next one of a source that is covered.
        if (expected[sources] == iterations).all():
            expected[sources] = iterations + 1
            return
        order = np.lexsort((iterations, sources))
        sources, iterations = sources[order], iterations[order]
        is_new = iterations >= expected[sources]
        is_new[1:] &= (sources[1:] != sources[:-1]) | (iterations[1:] != iterations[:-1])
        sources, iterations = sources[is_new], iterations[is_new]
        last = np.flatnonzero(np.diff(sources, append=_NONE))
        counts = np.diff(last, prepend=_NONE)
        sources, ends = sources[last], iterations[last] + 1
        # All different, and none below what is expected: so many are in a row.
        in_row = expected[sources] + counts == ends
        expected[sources[in_row]] = ends[in_row]
        others = sources[~in_row]
        if len(others):
            self.uncover(others)
            self._announced[prefix, others] = np.maximum(self._announced[prefix, others], ends[~in_row])
            self._cover(others)

    def uncover(self, sources: Numbers) -> None:
        """Rely no more on announcements of these sources, until they and what was found agree."""
        covered = sources[self.expected[0, sources] != _NONE]
        if len(covered):
            self._announced[:, covered] = self.expected[:, covered]
            self._found[covered] = self.expected[:, covered].min(axis=0)
            self.expected[:, covered] = _NONE
            self._asked = None

    def forget(self, prefix: int, sources: Numbers) -> None:
        """Forget what was announced of these sources: the index that told it is no more."""
        self.uncover(sources)
        self._announced[prefix, sources] = _NONE

    def settle(self, sources: Numbers, ends: Numbers) -> None:
        """Note, of sources that are not covered, up to where they were found in a row, or are done with."""
        self._found[sources] = ends
        self._cover(sources)

    def _cover(self, sources: Numbers) -> None:
        """Rely on the announcements of sources whose last batch was announced."""
        covered = sources[(self._announced[:, sources] == self._found[sources]).all(axis=0)]
        if len(covered):
            self.expected[:, covered] = self._announced[:, covered]
            self._asked = None
