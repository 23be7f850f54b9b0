"""A producer: strikes one thing after the other, and puts the recordings with what they should tell into the store.

usage: python producer.py --batches N --batch-size N --seconds S --seed N --number N
"""

import argparse
import time

import numpy as np
from vibration import campaign

from smartml.feeds import TrainingDataUploader


def main() -> None:
    parser = argparse.ArgumentParser(description="Record vibrations and put them with their targets into the store.")
    parser.add_argument("--batches", type=int, required=True, help="how many to put")
    parser.add_argument("--batch-size", type=int, required=True, help="samples of each")
    parser.add_argument("--seconds", type=float, required=True, help="how long the run shall take")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--number", type=int, required=True, help="which of the producers it is, from 0")
    options = parser.parse_args()

    random = np.random.default_rng((options.seed, options.number))
    started = time.monotonic()
    with TrainingDataUploader("recordings") as uploader:
        uploader.publish_info()
        for done, (samples, targets) in enumerate(campaign(random, options.batches, options.batch_size), 1):
            uploader.put_batch(samples, targets)
            # A real test bench takes its time; this one waits.
            time.sleep(max(0.0, started + done * options.seconds / options.batches - time.monotonic()))
    print(f"{options.batches} batches of {options.batch_size} samples in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
