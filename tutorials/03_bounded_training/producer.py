"""The producer: simulates an oscillator whose stiffness drifts, and puts batch after batch into the store.

usage: python producer.py --batches N --batch-size N --seconds S --seed N
"""

import argparse
import time

import numpy as np
from oscillator import campaign

from smartml import Client


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate and put samples with their targets into the store.")
    parser.add_argument("--batches", type=int, required=True, help="how many to put")
    parser.add_argument("--batch-size", type=int, required=True, help="samples of each")
    parser.add_argument("--seconds", type=float, required=True, help="how long the run shall take")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    client = Client()
    random = np.random.default_rng((options.seed, 0))
    started = time.monotonic()
    for iteration, (samples, targets) in enumerate(campaign(random, options.batches, options.batch_size)):
        client.put_tensor(f"states_{iteration}", samples)
        client.put_tensor(f"later_{iteration}", targets)
        # A real simulation takes its time; this one waits.
        due = started + (iteration + 1) * options.seconds / options.batches
        time.sleep(max(0.0, due - time.monotonic()))
    print(f"{options.batches} batches of {options.batch_size} samples in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
