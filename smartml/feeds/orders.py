"""The orders of serving that have a name."""

from typing import Any

import numpy as np

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.feeds.keeping import AnySet
from smartml.feeds.priorities import Prioritised
from smartml.feeds.samplers import InOrder, Sampler, Shuffled, TakesPriorities, Uniform

SAMPLERS: dict[str, type[Sampler]] = {"shuffled": Shuffled, "uniform": Uniform, "prioritised": Prioritised}


def read_sampler(given: "str | Sampler | None", batches_per_epoch: int | None) -> Sampler | None:
    """Return the sampler of this name, or the sampler itself; None where nothing was given."""
    if batches_per_epoch is not None and (not isinstance(batches_per_epoch, int) or batches_per_epoch < 1):
        raise ArgumentValueError(f"batches_per_epoch must be a positive number or None, not {batches_per_epoch!r}")
    if batches_per_epoch is not None and given in (None, "shuffled"):
        raise ArgumentValueError(
            "a pass that serves each sample once has as many batches as they make: "
            "batches_per_epoch is for sampler='uniform', 'prioritised' or one of your own"
        )
    if given is None:
        return None
    if isinstance(given, str):
        if given not in SAMPLERS:
            raise ArgumentValueError(f"there is no sampler {given!r}; known are: {', '.join(SAMPLERS)}")
        return SAMPLERS[given]()
    if isinstance(given, type) or not isinstance(given, Sampler):
        raise ArgumentTypeError(
            f"sampler must be one of {', '.join(SAMPLERS)}, or have the method begin_pass "
            f"(smartml.feeds.samplers.Sampler), not {given!r:.80}"
        )
    return given


def default_sampler(shuffle: bool) -> Sampler:
    """Return what serves where no sampler was chosen."""
    return Shuffled() if shuffle else InOrder()


def update_priorities(sampler: Sampler | None, training_set: AnySet, ids: Any, priorities: Any) -> None:
    """Tell a sampler the priorities of samples by their identifiers; those that left the set are passed over."""
    if not isinstance(sampler, TakesPriorities):
        raise ArgumentValueError("this feed's sampler knows no priorities: build it with sampler='prioritised'")
    identifiers, values = np.asarray(ids), np.asarray(priorities, np.float64)
    if identifiers.ndim != 1 or identifiers.shape != values.shape or identifiers.dtype.kind not in "iu":
        raise ArgumentValueError(
            "one priority per identifier is needed, ids of integers and both of shape (n,), not "
            f"{identifiers.dtype.name} of shape {identifiers.shape} and values of shape {values.shape}"
        )
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ArgumentValueError("priorities must be finite and at least 0: absolute errors, say")
    rows = training_set.find(identifiers.astype(np.int64))
    is_held = rows >= 0
    sampler.update_priorities(rows[is_held], values[is_held])
