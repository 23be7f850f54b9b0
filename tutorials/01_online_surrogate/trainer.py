"""The trainer: learns a surrogate from what producers have put so far, epoch after epoch, until its time is over.

usage: python trainer.py --framework torch|keras --seconds S --unseen N --seed N

Beside it, it leaves progress.jsonl (one line per epoch), unseen.npz (what it was judged on) and the weights.
"""

import argparse
import importlib
import json
import math
import time
from pathlib import Path

import numpy as np
from cases import error, persistence, unseen_pairs

BATCH_SIZE = 16
LEARNING_RATE = 2e-3


def learning_rate(done: float) -> float:
    """Return the learning rate when this share of the time is over: constant, in the second half a falling cosine."""
    return LEARNING_RATE * (0.505 + 0.495 * math.cos(math.pi * min(max(0.0, 2 * done - 1), 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a surrogate from what producers put into the store.")
    parser.add_argument("--framework", choices=("torch", "keras"), required=True)
    parser.add_argument("--seconds", type=float, required=True, help="how long to learn, from the first samples on")
    parser.add_argument("--unseen", type=int, required=True, help="how many other channels to judge the surrogate by")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    samples, targets = unseen_pairs(options.seed, options.unseen, moments=2)
    baseline = error(persistence(samples), targets, samples)

    # Which producers there are, the experiment has told this process.
    surrogate = importlib.import_module(f"surrogate_{options.framework}").Surrogate(
        sample_prefix="fields",
        target_prefix="targets",
        batch_size=BATCH_SIZE,
        cluster=False,
        seed=options.seed,
        wait_timeout_s=60,
    )
    surrogate.feed.init_samples()
    started = time.monotonic()
    epoch, epoch_s = 0, 0.0
    with open("progress.jsonl", "w", encoding="utf-8", buffering=1) as progress:
        while (passed := time.monotonic() - started) + epoch_s < options.seconds or epoch == 0:
            loss = surrogate.train_epoch(lambda: learning_rate((time.monotonic() - started) / options.seconds))
            epoch_s = time.monotonic() - started - passed
            epoch += 1
            record = {
                "epoch": epoch,
                "samples": surrogate.feed.num_samples,
                "loss": loss,
                "error": error(surrogate.predict(samples), targets, samples),
                "baseline": baseline,
                "seconds": time.monotonic() - started,
            }
            print(json.dumps(record), file=progress)

    np.savez_compressed("unseen.npz", samples=samples, targets=targets, predicted=surrogate.predict(samples))
    surrogate.save(Path())


if __name__ == "__main__":
    main()
