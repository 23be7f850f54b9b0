"""Learns what the heat simulation computes while that runs, in PyTorch."""

import json
import sys
from pathlib import Path

import torch
from smartsim.ml.torch import DataLoader, DynamicDataGenerator
from torch import nn


def main(expected, workers):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    feed = DynamicDataGenerator(
        data_info_or_list_name="plates", cluster=False, batch_size=16, shuffle=True, init_samples=False, verbose=True
    )
    if not workers:
        feed.init_samples(init_trials=60, wait_interval=0.5)
    loader = DataLoader(feed, batch_size=None, num_workers=workers) if workers else feed
    network = nn.Sequential(nn.Conv2d(1, 8, 7, padding=3), nn.Tanh(), nn.Conv2d(8, 1, 7, padding=3))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses, seen = [], []
    # Until an epoch has seen all that the simulation makes, and some more.
    while len(losses) < 40 and seen.count(expected) < 6:
        total = samples = 0
        for batch, target in loader:
            loss = nn.functional.mse_loss(network(batch), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, samples = total + loss.item() * len(batch), samples + len(batch)
        losses.append(total / samples)
        seen.append(samples)
    torch.save(network.state_dict(), "surrogate.pt")
    Path("losses.json").write_text(json.dumps({"losses": losses, "samples": seen, "dtype": str(batch.dtype)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
