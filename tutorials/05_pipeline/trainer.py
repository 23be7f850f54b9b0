"""The trainer: a live feed through a chain of the pipeline into PyTorch, until producers have ended.

usage: python trainer.py --seed N --looks N --seconds S

Beside it, it leaves progress.jsonl: a line whenever it looked at its error, with the rates of the chain.
"""

import argparse
import json
import time

import numpy as np
import torch
from torch import nn
from vibration import LENGTH, RATE_HZ, spectrum, strike, unscaled

from smartml.feeds import DataDownloader

WIDTH, BATCH_SIZE, LEARNING_RATE = 128, 64, 2e-3
UNSEEN = 1024


def network() -> nn.Module:
    """Return a network from a spectrum to scaled frequency and damping: (B, LENGTH // 2 + 1) to (B, 2)."""
    bins = LENGTH // 2 + 1
    return nn.Sequential(nn.Linear(bins, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 2))


def collate(samples: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack samples: (B, LENGTH // 2 + 1) and (B, 2)."""
    spectra, targets = map(np.stack, zip(*samples, strict=True))
    return torch.from_numpy(spectra), torch.from_numpy(targets)


def errors(predicted: np.ndarray, targets: np.ndarray) -> list[float]:
    """Return the median relative errors of frequency and damping, in percent."""
    pairs = zip(unscaled(predicted), unscaled(targets), strict=True)
    return [float(np.median(np.abs(found / true - 1))) * 100 for found, true in pairs]


def peak_error(recordings: np.ndarray, targets: np.ndarray) -> float:
    """Return the error of the frequency, in percent, of who reads off the highest value of the spectrum."""
    peaks = np.abs(np.fft.rfft(recordings)).argmax(1) * RATE_HZ / LENGTH
    return float(np.median(np.abs(peaks / unscaled(targets)[0] - 1))) * 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn frequency and damping from recordings, while they are made.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--looks", type=int, required=True, help="how often to look at the error")
    parser.add_argument("--seconds", type=float, required=True, help="how long the run is expected to take")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)

    rates: dict[str, float] = {}
    feed = DataDownloader("recordings", batch_size=BATCH_SIZE, seed=options.seed, wait_timeout_s=60)
    batches = (
        feed.stream(samples=True, until="producers_done")
        .shuffle(2000, seed=options.seed)
        .monitor(rates.update, prefix="before async_map: ", window_size=2000)
        .async_map(spectrum, buffer=256, max_workers=2, chunk_size=32)
        .monitor(rates.update, prefix="after async_map: ", window_size=2000)
        .batched(BATCH_SIZE, collate)
    )

    model = network()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    recordings, targets = strike(np.random.default_rng((options.seed, 1000)), UNSEEN)
    spectra, _ = collate([spectrum(sample) for sample in zip(recordings, targets, strict=True)])
    started, next_look = time.monotonic(), 0.0
    with open("progress.jsonl", "w", encoding="utf-8", buffering=1) as progress:

        def look(step: int) -> None:
            with torch.no_grad():
                frequency, damping = errors(model(spectra).numpy(), targets)
            record = {
                "seconds": time.monotonic() - started,
                "step": step,
                "arrived": feed.stats.arrived,
                "frequency": frequency,
                "damping": damping,
                "peak": peak_error(recordings, targets),
                "rates": dict(rates),
            }
            print(json.dumps(record), file=progress)

        step = 0
        for step, (x, y) in enumerate(batches, 1):
            # It falls to a fiftieth until the producers end.
            passed = (time.monotonic() - started) / options.seconds
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * max(0.02, 1 - passed)
            loss = nn.functional.smooth_l1_loss(model(x), y, beta=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if time.monotonic() - started >= next_look:
                look(step)
                next_look += options.seconds / options.looks
        look(step)
    print(feed.stats)


if __name__ == "__main__":
    main()
