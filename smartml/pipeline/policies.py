"""What becomes of an item whose callback fails: `on_error=` takes one of these, or an object of one's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias, runtime_checkable

from smartml.errors import ArgumentTypeError, ArgumentValueError

logger = logging.getLogger(__name__)


class Act(Enum):
    """What to do about an error."""

    RAISE = "raise"
    SKIP = "skip"
    RETRY = "retry"


@dataclass(frozen=True)
class Answer:
    """An act, and how long to wait before it."""

    act: Act
    delay_s: float = 0.0


# Told of an item that is left out: its error, and its number.
Note: TypeAlias = Callable[[Exception, int], None]


@runtime_checkable
class ErrorPolicy(Protocol):
    """What `on_error=` takes. It travels to worker processes, where `answer` is called."""

    def answer(self, error: Exception, attempt: int) -> Answer:
        """Tell what to do about the error of an attempt; the first attempt is number 1."""

    def begin_pass(self, step: str) -> Note:
        """Return what is to be told of each item that this pass of a step leaves out."""


@dataclass(frozen=True)
class Raise:
    """End the pass: the error comes out at its item."""

    def answer(self, error: Exception, attempt: int) -> Answer:
        """Raise."""
        return Answer(Act.RAISE)

    def begin_pass(self, step: str) -> Note:
        """Nothing is left out."""
        return _note_nothing


class Skip:
    """Leave the item out, and count; the first one of a pass is logged.

    kinds: the errors to skip for (default: any Exception); others are raised.
    at_most: how many items a pass may leave out, None for any number; the next error is raised.
    """

    def __init__(self, *kinds: type[Exception], at_most: int | None = None) -> None:
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
            raise ArgumentTypeError(f"Skip takes classes of exceptions, not {kinds!r:.80}")
        self._kinds, self._at_most = kinds or (Exception,), at_most
        # Items left out: by the pass begun last.
        self._counted = [0]

    @property
    def count(self) -> int:
        """How many items the pass begun last left out."""
        return self._counted[0]

    def answer(self, error: Exception, attempt: int) -> Answer:
        """Skip errors of these kinds."""
        return Answer(Act.SKIP if isinstance(error, self._kinds) else Act.RAISE)

    def begin_pass(self, step: str) -> Note:
        """Count from zero."""
        counted = self._counted = [0]

        def note(error: Exception, number: int) -> None:
            if self._at_most is not None and counted[0] >= self._at_most:
                at_item(error, step, number)
                raise error
            if not counted[0]:
                logger.warning("%s leaves out item %d, and others without a word: %r", step, number, error)
            counted[0] += 1

        return note

    def __repr__(self) -> str:
        names = [kind.__name__ for kind in self._kinds if kind is not Exception]
        return f"Skip({', '.join(names + ([] if self._at_most is None else [f'at_most={self._at_most}']))})"


@dataclass(frozen=True)
class Retry:
    """Call again, up to so many times, and wait before each; then do as another policy says."""

    times: int = 3
    delay_s: float = 0.0
    then: ErrorPolicy = Raise()
    # The errors that are worth another try.
    kinds: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if self.times < 1 or self.delay_s < 0:
            raise ArgumentValueError(f"Retry needs times >= 1 and delay_s >= 0, not {self.times} and {self.delay_s}")
        check_policy(self.then)

    def answer(self, error: Exception, attempt: int) -> Answer:
        """Retry while tries are left."""
        if attempt <= self.times and isinstance(error, self.kinds):
            return Answer(Act.RETRY, self.delay_s)
        return self.then.answer(error, attempt)

    def begin_pass(self, step: str) -> Note:
        """Let the policy that follows take note."""
        return self.then.begin_pass(step)


@dataclass(frozen=True)
class Skipped:
    """Stands for the result of an item that is left out."""

    error: Exception


@dataclass(frozen=True)
class Guard:
    """A callback under a policy: returns Skipped for what is to be left out."""

    callback: Callable[[Any], Any]
    policy: ErrorPolicy

    def __call__(self, item: Any) -> Any:
        attempt = 1
        while True:
            try:
                return self.callback(item)
            # What to do about any of them is the policy's to say.
            except Exception as error:
                answer = self.policy.answer(error, attempt)
                if answer.act is Act.RAISE:
                    raise
                if answer.act is Act.SKIP:
                    return Skipped(error)
            attempt += 1
            time.sleep(answer.delay_s)


def check_policy(given: Any) -> None:
    """Refuse what is no policy."""
    if isinstance(given, type) or not isinstance(given, ErrorPolicy):
        raise ArgumentTypeError(
            f"on_error must be Raise(), Skip(), Retry(), or have their methods answer and begin_pass, not {given!r:.80}"
        )


def at_item(error: BaseException, step: str, number: int) -> None:
    """Write on an error which item it comes from: as `error.item_index`, and as a note, which Python 3.11 prints."""
    if not hasattr(error, "item_index"):
        error.item_index = number  # type: ignore[attr-defined]
        # What `add_note` of Python 3.11 keeps, so that it is there in 3.10.
        error.__notes__ = [  # type: ignore[attr-defined]
            *getattr(error, "__notes__", ()),
            f"in {step}, at item {number} (from 0)",
        ]


def _note_nothing(error: Exception, number: int) -> None:
    pass
