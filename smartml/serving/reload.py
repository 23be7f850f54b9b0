"""A better checkpoint is taken into use while requests are answered: a model that improves as it is served."""

import logging
from collections.abc import Callable
from pathlib import Path

from smartml.errors import ArgumentValueError, SmartMLError
from smartml.serving.predictor import Predictor
from smartml.serving.runs import list_checkpoints, score

logger = logging.getLogger(__name__)


class CheckpointWatch:
    """Looks for checkpoints that a trainer writes beside the one in use, and that are better.

    Those that are there from the beginning are left alone: whoever named one of them had the choice. One that cannot be
    loaded, for it is half written or of another model, is left alone until it changes.
    """

    def __init__(self, predictor: Predictor, load: Callable[[Path], Predictor] = Predictor.load) -> None:
        if predictor.checkpoint is None:
            raise ArgumentValueError(f"{predictor.name} was not loaded from a file: no better one can be looked for")
        self._run = predictor.checkpoint.parent.parent
        self._load = load
        self._used, self._path = predictor, predictor.checkpoint
        self._known = frozenset(list_checkpoints(self._run))
        # What could not be loaded: its path, size, and time of change.
        self._refused: tuple[Path, int, int] | None = None
        # How often something could not be taken into use.
        self.failures = 0

    def look(self) -> Predictor | None:
        """Return a predictor of a better checkpoint; None where there is none. Reads files, so blocks."""
        path = self._find_better()
        if path is None:
            return None
        try:
            facts = path.stat()
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
        self._used, self._path = found, path
        logger.info("%s is in use", found.name)
        return found

    def _find_better(self) -> Path | None:
        fresh = [path for path in list_checkpoints(self._run) if path not in self._known]
        # By name: the file in use may be gone, for trainers keep the best only.
        return fresh[-1] if fresh and score(fresh[-1]) > score(self._path) else None

    def _refuse(self, state: tuple[Path, int, int], reason: str) -> None:
        self._refused = state
        self.failures += 1
        logger.warning("%s stays in use: %s %s", self._used.name, state[0].name, reason)
