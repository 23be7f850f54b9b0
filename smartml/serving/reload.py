"""A better checkpoint is taken into use while requests are answered: a model that improves as it is served."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from smartml.errors import SmartMLError
from smartml.serving.predictor import Predictor

logger = logging.getLogger(__name__)

# <folder>_checkpoint_<iteration>_perf-average=<x>.pt, as `smartml train` names them.
_NAME = re.compile(r".+_checkpoint_(\d+)_perf-average=(-?\d+(?:\.\d+)?)\.pt")


class Score(NamedTuple):
    """How good a checkpoint is, by its name; of equals, later training wins."""

    performance: float
    iteration: int


def score_of(name: str) -> Score | None:
    """Read the score in the name of a checkpoint; None where it has none."""
    found = _NAME.fullmatch(name)
    return Score(float(found[2]), int(found[1])) if found else None


def best_checkpoint(folder: Path) -> Path | None:
    """Return the best checkpoint in a folder; None where there is none, or no such folder."""
    scores = {path: score for path in folder.glob("*.pt") if (score := score_of(path.name)) is not None}
    return max(scores, key=lambda path: scores[path]) if scores else None


class CheckpointWatch:
    """Looks for checkpoints that are better than the one in use, beside that.

    One that cannot be loaded, for it is half written or of another model, is left alone until it changes.
    """

    def __init__(self, path: Path, predictor: Predictor, load: Callable[[Path], Predictor]) -> None:
        self._folder = path.parent
        self._load = load
        self._used = predictor
        self._score = score_of(path.name)
        # What could not be loaded: its path, size, and time of change.
        self._refused: tuple[Path, int, int] | None = None
        # How often something could not be taken into use.
        self.failures = 0

    def look(self) -> Predictor | None:
        """Return a predictor of a better checkpoint; None where there is none. Reads files, so blocks."""
        path = best_checkpoint(self._folder)
        score = None if path is None else score_of(path.name)
        if path is None or score is None or (self._score is not None and score <= self._score):
            return None
        try:
            facts = os.stat(path)
        except FileNotFoundError:
            # An even better one has replaced it.
            return None
        state = path, facts.st_size, facts.st_mtime_ns
        if state == self._refused:
            return None
        try:
            found = self._load(path)
        except (SmartMLError, OSError) as error:
            self._refuse(state, f"cannot be loaded (yet): {error}")
            return None
        if found.description != self._used.description:
            self._refuse(state, "has other inputs or outputs")
            return None
        self._used, self._score = found, score
        logger.info("%s is in use", found.name)
        return found

    def _refuse(self, state: tuple[Path, int, int], reason: str) -> None:
        self._refused = state
        self.failures += 1
        logger.warning("%s stays in use: %s %s", self._used.name, state[0].name, reason)
