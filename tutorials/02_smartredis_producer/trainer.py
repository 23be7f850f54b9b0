"""The trainer: learns from the datasets on the list "patterns", epoch after epoch, until its time is over.

usage: python trainer.py --seconds S --seed N

Beside it, it leaves progress.jsonl (one line per epoch), unseen.npz (what it was judged on) and weights.pt.
"""

import argparse
import json
import time

import numpy as np
import torch
from gray_scott import error, pairs, persistence
from torch import nn

from smartml.feeds import DataInfo
from smartml.feeds.torch import DataLoader, DynamicDataGenerator

CHANNELS = 32
BLOCKS = 4
# Patterns that no producer simulates, and samples of each.
UNSEEN, SAMPLES = 8, 4


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a convolution on a torus, as the simulation's neighbourhood is."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="circular")


class Surrogate(nn.Module):
    """Predicts both substances HORIZON later: (B, H, W, 4) to (B, H, W, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(4, CHANNELS, 2, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(CHANNELS, CHANNELS), nn.GELU(), convolution(CHANNELS, CHANNELS))
            for _ in range(BLOCKS)
        )
        self.head = nn.ConvTranspose2d(CHANNELS, 2, 2, 2)
        # The untrained network predicts that nothing changes.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        x = self.patches(samples.permute(0, 3, 1, 2))  # (B, C, H/2, W/2)
        for block in self.blocks:
            x = x + block(x)
        return samples[..., :2] + self.head(x).permute(0, 2, 3, 1)  # (B, H, W, 2)


def unseen(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate what the surrogate is judged by: samples (n, H, W, 4) and targets (n, H, W, 2)."""
    # The producers' generators begin with 0, 1, ...
    random = np.random.default_rng((seed, 1_000))
    found = [pair for _ in range(UNSEEN) for pair in pairs(random, SAMPLES)]
    samples, targets = map(np.stack, zip(*found, strict=True))
    return samples, targets


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a surrogate from what producers put into the database.")
    parser.add_argument("--seconds", type=float, required=True, help="how long to learn, from the first samples on")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    samples, targets = unseen(options.seed)
    surrogate = Surrogate()
    optimizer = torch.optim.AdamW(surrogate.parameters(), lr=3e-3)
    # What the list holds, since a program of SmartRedis does not say so.
    patterns = DataInfo("patterns", sample_name="now", target_name="later")
    feed = DynamicDataGenerator(data_info_or_list_name=patterns, batch_size=8, seed=options.seed, wait_timeout_s=60)
    feed.init_samples()

    def predict() -> np.ndarray:
        with torch.no_grad():
            return surrogate(torch.from_numpy(samples)).numpy()

    started, epoch, passed = time.monotonic(), 0, 0.0
    with open("progress.jsonl", "w", encoding="utf-8", buffering=1) as progress:
        while passed < options.seconds:
            for now, later in DataLoader(feed):
                # Falls to nothing in the time that is given.
                optimizer.param_groups[0]["lr"] = 3e-3 * max(0.0, 1 - (time.monotonic() - started) / options.seconds)
                loss = nn.functional.mse_loss(surrogate(now), later)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            epoch, passed = epoch + 1, time.monotonic() - started
            record = {
                "epoch": epoch,
                "samples": feed.num_samples,
                "error": error(predict(), targets),
                "baseline": error(persistence(samples), targets),
                "seconds": passed,
            }
            print(json.dumps(record), file=progress)
            print(f"epoch {epoch}: {feed.num_samples} samples, error {record['error']:.4f}")

    np.savez_compressed("unseen.npz", samples=samples, targets=targets, predicted=predict())
    torch.save(surrogate.state_dict(), "weights.pt")


if __name__ == "__main__":
    main()
