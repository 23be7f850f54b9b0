"""A trainer of bounded memory: learns from what its policy keeps of the stream, as long as there is something new.

usage: python trainer.py POLICY --capacity N --seconds S --seed N

Beside it, it leaves progress.jsonl (a line per second or so) and errors.npz (its error by stiffness).
"""

import argparse
import json
import time

import numpy as np
import torch
from oscillator import STIFFNESS, unseen
from torch import nn

from smartml.feeds.torch import DynamicDataGenerator

WIDTH = 96
LEARNING_RATE = 2e-3
UNSEEN = 2048


def surrogate() -> nn.Module:
    """Return a network that predicts how much a state changes: (B, 3) to (B, 2)."""
    return nn.Sequential(nn.Linear(3, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn from a stream that is longer than the memory.")
    parser.add_argument("policy", help="fifo, reservoir or firo")
    parser.add_argument("--capacity", required=True, help='memory for the training set, such as "40kb"')
    parser.add_argument("--seconds", type=float, required=True, help="how long to learn, from the first samples on")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    network = surrogate()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    samples, targets = map(torch.from_numpy, unseen(options.seed, UNSEEN))
    feed = DynamicDataGenerator(
        sample_prefix="states",
        target_prefix="later",
        batch_size=64,
        seed=options.seed,
        capacity=options.capacity,
        policy=options.policy,
        wait_timeout_s=60,
        log_stats_every_s=10,
    )
    feed.init_samples()

    def error() -> torch.Tensor:
        with torch.no_grad():
            return ((samples[:, :2] + network(samples) - targets) ** 2).sum(1).sqrt()

    started, next_look = time.monotonic(), 0.0
    with open("progress.jsonl", "w", encoding="utf-8", buffering=1) as progress:
        while (passed := time.monotonic() - started) < options.seconds:
            # Constant at first; in the second half it falls to a tenth.
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 1.9 - 1.8 * passed / options.seconds)
            for states, later in feed:
                loss = nn.functional.mse_loss(states[:, :2] + network(states), later)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if passed >= next_look:
                stats = feed.stats
                record = {
                    "seconds": passed,
                    "error": float(error().mean()),
                    "arrived": stats.arrived,
                    "held": stats.held,
                    "bytes": stats.bytes_held,
                    "reuse": stats.mean_reuse,
                }
                print(json.dumps(record), file=progress)
                next_look = passed + options.seconds / 60
    print(feed.stats)
    held = feed.samples
    assert held is not None
    stiffness = np.interp(held[:, 2], (-1, 1), STIFFNESS)
    np.savez("errors.npz", error=error().numpy(), held=stiffness)


if __name__ == "__main__":
    main()
