"""The trainer: learns the energy of an atom from its neighbourhood, epoch after epoch, until its time is over.

usage: python trainer.py --ranks N --seconds S --seed N

Beside it, it leaves progress.jsonl (one line per epoch), unseen.npz (what it was judged on) and weights.pt.
"""

import argparse
import json
import time

import numpy as np
import torch
from atoms import CENTRES, begin, look
from torch import nn

from smartml.feeds.torch import DataLoader, DynamicDataGenerator

# A liquid that no member of the ensemble simulates: its density and temperature, and how often it is looked at.
UNSEEN = {"density": 0.75, "temperature": 1.25}
LOOKS, ATOMS = 4, 256


class Potential(nn.Module):
    """Predicts the potential energy of atoms from their neighbourhoods: (B, 24) to (B, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(len(CENTRES), 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return self.layers(samples)


def unseen(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate what the network is judged by: samples (n, 24) and targets (n, 1)."""
    liquid = begin("liquid.lmp", seed=1_000 + seed, **UNSEEN)
    random = np.random.default_rng(seed)
    liquid.command("run 500")
    found = []
    for _ in range(LOOKS):
        liquid.command("run 50")
        found.append(look(liquid, random, ATOMS))
    samples, targets = map(np.concatenate, zip(*found, strict=True))
    return samples, targets


def error(predicted: np.ndarray, targets: np.ndarray) -> float:
    """Return the root mean square error."""
    return float(np.sqrt(((predicted - targets) ** 2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a potential from what the ranks put into the database.")
    parser.add_argument("--ranks", type=int, required=True, help="how many ranks each liquid has")
    parser.add_argument("--seconds", type=float, required=True, help="how long to learn, from the first samples on")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    samples, targets = unseen(options.seed)
    potential = Potential()
    optimizer = torch.optim.Adam(potential.parameters(), lr=2e-3)
    # Keys <liquid>.neighbourhoods_<rank>_<iteration>, of all liquids that SSKEYIN names.
    feed = DynamicDataGenerator(
        sample_prefix="neighbourhoods",
        target_prefix="energies",
        uploader_ranks=options.ranks,
        batch_size=256,
        seed=options.seed,
        wait_timeout_s=120,
    )
    feed.init_samples()

    def predict() -> np.ndarray:
        with torch.no_grad():
            return potential(torch.from_numpy(samples)).numpy()

    # Knows nothing of neighbourhoods: that every atom has the mean energy of this very liquid.
    baseline = error(np.broadcast_to(targets.mean(), targets.shape), targets)
    started, epoch, passed = time.monotonic(), 0, 0.0
    with open("progress.jsonl", "w", encoding="utf-8", buffering=1) as progress:
        while passed < options.seconds:
            for neighbourhoods, energies in DataLoader(feed):
                # Falls to nothing in the time that is given.
                optimizer.param_groups[0]["lr"] = 2e-3 * max(0.0, 1 - (time.monotonic() - started) / options.seconds)
                loss = nn.functional.mse_loss(potential(neighbourhoods), energies)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            epoch, passed = epoch + 1, time.monotonic() - started
            record = {
                "epoch": epoch,
                "samples": feed.num_samples,
                "error": error(predict(), targets),
                "baseline": baseline,
                "seconds": passed,
            }
            print(json.dumps(record), file=progress)
    print(f"epoch {epoch}: {feed.num_samples} samples, error {record['error']:.4f}")
    np.savez_compressed("unseen.npz", samples=samples, targets=targets, predicted=predict())
    torch.save(potential.state_dict(), "weights.pt")


if __name__ == "__main__":
    main()
