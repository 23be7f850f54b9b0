"""A trainer that knows the address of a stream and nothing else: it learns to foretell heart rates while they come.

usage: python trainer.py URL --seed N

Beside it, it leaves progress.jsonl (a line per second or so) and forecasts.npz (what it foretells for unseen patients).
"""

import argparse
import json
import time

import numpy as np
import torch
from torch import nn

from smartml.streaming import WebSocketSource
from smartml.streaming.torch import StreamingDataset

BATCH, WIDTH = 32, 256
LEARNING_RATE = 1e-3
# Samples that are gathered before the training, for statistics; so many of them are kept to judge it.
GATHERED, KEPT = 1000, 256


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn from a stream of heart rates.")
    parser.add_argument("url", help="address of the streaming server")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    ready = WebSocketSource(options.url, batch_size=BATCH).set_up(GATHERED, validation=KEPT, seed=options.seed)
    (seen,), (foretold,) = ready.info.inputs["heart_rate"].shape, ready.info.outputs["next"].shape
    spread = float(np.std([sample.inputs["heart_rate"] for sample in ready.samples]))
    unseen = torch.from_numpy(np.stack([sample.inputs["heart_rate"] for sample in ready.validation]))
    truth = torch.from_numpy(np.stack([sample.target_labels["next"] for sample in ready.validation]))
    network = nn.Sequential(
        nn.Linear(seen, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, foretold)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)

    def forecast(rates: torch.Tensor) -> torch.Tensor:
        last = rates[:, -1:]  # (B, 1)
        return last + spread * network((rates - last) / spread)  # (B, foretold)

    def error() -> float:
        with torch.no_grad():
            return float((forecast(unseen) - truth).abs().mean())

    standstill = float((unseen[:, -1:] - truth).abs().mean())
    began, next_look, trained = time.monotonic(), 0.0, 0
    with open("progress.jsonl", "w", encoding="utf-8", buffering=1) as progress:

        def look(passed: float) -> None:
            record = {"seconds": passed, "trained": trained, "error": error(), "standstill": standstill}
            print(json.dumps(record), file=progress)

        for inputs, targets in StreamingDataset(ready.training):
            loss = nn.functional.smooth_l1_loss(forecast(inputs["heart_rate"]), targets["next"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trained += len(targets["next"])
            passed = time.monotonic() - began
            if passed >= next_look:
                look(passed)
                next_look = passed + 0.5
        look(time.monotonic() - began)
    with torch.no_grad():
        np.savez("forecasts.npz", seen=unseen, truth=truth, forecast=forecast(unseen))


if __name__ == "__main__":
    main()
