"""How a program is looked after while it runs: restarts, time limit, grace time, and whether it outlives its script."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.guardian import GRACE_S

# Delays between restarts double up to this one.
_LONGEST_DELAY_S = 60.0


@dataclasses.dataclass(frozen=True)
class Policy:
    """How one program is looked after.

    restarts: how often it is started again after it failed (not after a stop). The first time after `restart_delay_s`,
        each further time after twice as long, up to a minute. A try that has run for `restart_reset_s` begins the count
        and the delays anew.
    time_limit_s: each try that takes longer is ended, and has failed.
    grace_s: the time between SIGTERM and SIGKILL, whoever ends it, and why.
    detach: it outlives the script that starts it (see `Experiment.attach`).
    """

    restarts: int = 0
    restart_delay_s: float = 1.0
    restart_reset_s: float = 300.0
    time_limit_s: float | None = None
    grace_s: float = GRACE_S
    detach: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.restarts, int) or isinstance(self.restarts, bool) or self.restarts < 0:
            raise ArgumentValueError(f"restarts must be a whole number from 0 on, got {self.restarts!r}")
        if not isinstance(self.detach, bool):
            raise ArgumentTypeError(f"detach must be True or False, got {self.detach!r}")
        for name in ("restart_delay_s", "restart_reset_s", "grace_s"):
            _check_seconds(name, getattr(self, name), least=0)
        if self.time_limit_s is not None:
            _check_seconds("time_limit_s", self.time_limit_s, least=1e-3)

    def delay_s(self, restart: int) -> float:
        """Return how long to wait before a restart, counted from 1."""
        # Beyond some doublings the number is without meaning, and in the end without a float.
        return min(self.restart_delay_s * 2.0 ** min(restart - 1, 60), max(_LONGEST_DELAY_S, self.restart_delay_s))


def policy_of(options: Mapping[str, Any], of: str) -> Policy:
    """Return the policy that keyword arguments describe. Raises ArgumentTypeError for one that there is not."""
    known = [field.name for field in dataclasses.fields(Policy)]
    if unknown := [name for name in options if name not in known]:
        raise ArgumentTypeError(f"{of} takes no {', '.join(unknown)}; further ones are: {', '.join(known)}")
    return Policy(**options)


def _check_seconds(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(f"{name} must be a number of seconds, got {value!r}")
    if not math.isfinite(value) or value < least:
        raise ArgumentValueError(f"{name} must be {least:g} or more, and finite, got {value!r}")
