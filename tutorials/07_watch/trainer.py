"""The trainer of the first tutorial, telling what it does: its errors, and what it makes of one unseen flow.

usage: python trainer.py --framework torch|keras --seconds S --seed N
"""

import argparse
import importlib
import math
import time

import numpy as np
from cases import error, persistence, unseen_pairs

from smartml.monitor import DataLogger

BATCH_SIZE = 16
LEARNING_RATE = 2e-3
# Channels to judge the surrogate by; the first one is shown.
UNSEEN = 3


def learning_rate(done: float) -> float:
    """Return the learning rate when this share of the time is over."""
    return LEARNING_RATE * (0.505 + 0.495 * math.cos(math.pi * min(max(0.0, 2 * done - 1), 1)))


def vorticity(velocity: np.ndarray) -> np.ndarray:
    """Return how fast a field (width, length, 2) turns: (width, length), in inflow speeds per cell."""
    return np.gradient(velocity[..., 1], axis=1) - np.gradient(velocity[..., 0], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=("torch", "keras"), required=True)
    parser.add_argument("--seconds", type=float, required=True, help="how long to learn, from the first samples on")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    samples, targets = unseen_pairs(options.seed, UNSEEN, moments=1)
    surrogate = importlib.import_module(f"surrogate_{options.framework}").Surrogate(
        sample_prefix="fields",
        target_prefix="targets",
        batch_size=BATCH_SIZE,
        cluster=False,
        seed=options.seed,
        wait_timeout_s=60,
        # What comes and is used is recorded by the feed itself.
        monitor=True,
    )
    surrogate.feed.init_samples()
    started = time.monotonic()
    epoch = 0
    # Where to log, the experiment has told this process.
    with DataLogger() as log:
        log.write("error/persistence", x=[0], y=[error(persistence(samples), targets, samples)])
        while time.monotonic() - started < options.seconds:
            loss = surrogate.train_epoch(lambda: learning_rate((time.monotonic() - started) / options.seconds))
            predicted = surrogate.predict(samples)
            epoch += 1
            log.write("error/training", x=epoch, y=math.sqrt(2 * loss))
            log.write("error/unseen", x=epoch, y=error(predicted, targets, samples))
            log.write("error/persistence", x=epoch, y=error(persistence(samples), targets, samples))
            # A matrix: a row for each index, and the epoch with each cell.
            log.write("field/simulated", step=epoch, value=vorticity(targets[0]))
            log.write("field/predicted", step=epoch, value=vorticity(predicted[0]))


if __name__ == "__main__":
    main()
