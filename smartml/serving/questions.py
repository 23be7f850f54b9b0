"""Which questions wait in the store: tensors `<prefix>_<iteration>` or `<prefix>_<rank>_<iteration>`, of any ranks."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from smartml.store import Database

# All keys are looked through so often at least, and for such a share of the time at most.
_SCAN_INTERVAL_S = 0.1
_SCAN_SHARE = 0.02
# What would have another meaning in the pattern of a scan.
_SPECIAL = re.compile(rb"([*?\[\]^\\-])")


@dataclass(frozen=True, order=True)
class Question:
    """One question: where its name ends, and the entity whose prefix its keys have, if any."""

    iteration: int
    # All behind the prefix: `_<rank>_<iteration>`, or `_<iteration>`.
    suffix: bytes
    entity: bytes

    def key(self, prefix: bytes) -> bytes:
        """Return the key of what belongs to the question under a prefix."""
        return self.entity + prefix + self.suffix


@dataclass
class _Row:
    """The questions of one rank, or of all where they have no rank."""

    # The last one that was answered.
    iteration: int
    # Between the last two.
    step: int = 1

    def expected(self, *, is_reused: bool) -> list[int]:
        """Return the iterations that may well come next."""
        following = {self.iteration + 1, self.iteration + self.step}
        return sorted(following | {self.iteration} if is_reused else following)


class QuestionFinder:
    """Finds questions of all ranks that ask under a prefix, by any of some entities.

    Most ranks count on: what should come next is asked for by name, all ranks in one command. Whatever comes otherwise
    (a new rank, a gap, a number below the last one) is found when all keys are looked through: ten times a second or,
    in a database of many keys, less often.
    """

    def __init__(self, database: Database, prefix: bytes, entities: Sequence[bytes], *, are_kept: bool = False) -> None:
        self._database = database
        self._prefix = prefix
        # Beginnings of keys: with a dot behind the name, or empty.
        self._entities = [entity + b"." if entity else b"" for entity in entities]
        self._suffix = re.compile(rb"(?:_\d+)?_(\d+)")
        # By entity, and suffix without the iteration.
        self._rows: dict[tuple[bytes, bytes], _Row] = {}
        # What was found last.
        self._waiting: set[Question] = set()
        # Whether questions stay when they are answered; then, which were.
        self._are_kept = are_kept
        self._kept: set[Question] = set()
        self._scan_at = 0.0

    def find(self) -> list[Question]:
        """Return what waits, in the order of iterations."""
        found = set(self._look())
        if time.monotonic() >= self._scan_at:
            found |= set(self._scan())
        self._waiting = found - self._kept
        return sorted(self._waiting)

    def settle(self, question: Question) -> None:
        """Take note that a question was answered."""
        row_key = question.entity, question.suffix.rpartition(b"_")[0]
        row = self._rows.setdefault(row_key, _Row(question.iteration))
        if question.iteration > row.iteration:
            row.step = question.iteration - row.iteration
        row.iteration = question.iteration
        if self._are_kept:
            self._kept.add(question)

    def _look(self) -> list[Question]:
        """Ask for what should come next: the following iterations, or the last one again, where names are reused.

        And for what was found, and not answered yet.
        """
        expected = [
            *self._waiting,
            *(
                Question(iteration, b"%b_%d" % (rank, iteration), entity)
                for (entity, rank), row in self._rows.items()
                for iteration in row.expected(is_reused=not self._are_kept)
            ),
        ]
        keys = [question.key(self._prefix) for question in expected]
        if not keys or not self._database.count_existing(keys):
            return []
        return [one for one, is_there in zip(expected, self._database.exist(keys), strict=True) if is_there]

    def _scan(self) -> list[Question]:
        began = time.monotonic()
        found = [
            question
            for entity in self._entities
            for name in self._database.scan(_SPECIAL.sub(rb"\\\1", entity + self._prefix) + b"_*")
            if (question := self._parse(entity, name.encode(errors="surrogateescape"))) is not None
        ]
        took_s = time.monotonic() - began
        self._scan_at = began + max(_SCAN_INTERVAL_S, took_s / _SCAN_SHARE)
        return found

    def _parse(self, entity: bytes, key: bytes) -> Question | None:
        suffix = key[len(entity) + len(self._prefix) :]
        match = self._suffix.fullmatch(suffix)
        return Question(int(match[1]), suffix, entity) if match else None
