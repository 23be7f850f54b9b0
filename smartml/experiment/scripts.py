"""Launch scripts run by the command: which experiments they start, and what became of those."""

import contextlib
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from smartml.experiment.states import Status


class Started(Protocol):
    """An experiment, as far as it matters here."""

    name: str
    exp_path: str

    def rows(self) -> list[dict[str, Any]]:
        """Return what has been started, as data."""


# Those who hear of an experiment that begins to start things; from any thread, so no context variable.
_listeners: list[Callable[[Started], object]] = []


def note_experiment(experiment: Started) -> None:
    """Tell who listens that an experiment begins to start things."""
    for hears in list(_listeners):
        hears(experiment)


@contextlib.contextmanager
def noting_experiments() -> Iterator[list[Started]]:
    """Give a list that grows by each experiment of this process that begins to start things."""
    found: list[Started] = []
    _listeners.append(found.append)
    try:
        yield found
    finally:
        _listeners.remove(found.append)


def run_script(script: str, options: Sequence[str]) -> int | str:
    """Run a Python script in this process as Python itself would; return its exit code, 130 after an interrupt.

    In place of a code it may leave with words. What it does not catch, an interrupt apart, is raised.
    """
    sys.argv = [script, *options]
    sys.path.insert(0, str(Path(script).resolve().parent))
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ending:
        return ending.code or 0
    except KeyboardInterrupt:
        # As the interpreter notes one that nobody catches: what is to outlive an interrupt goes by that.
        sys.last_type = KeyboardInterrupt
        return 130
    return 0


def latest_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each entity the latest run alone: those before it were tried again."""
    return list({row["name"]: row for row in rows}.values())


def failed_rows(experiments: Sequence[Started]) -> list[dict[str, Any]]:
    """Return what has failed for good: latest runs that did."""
    latest = (row for experiment in experiments for row in latest_rows(experiment.rows()))
    return [row for row in latest if row["status"] == Status.STATUS_FAILED]
