"""Recordings of something that was struck and rings out, and the spectrum in which its damping shows.

The free vibration of a damped oscillator of one degree of freedom, x'' + 2 D w x' + w^2 x = 0 (ISO 2041:2018,
"Mechanical vibration, shock and condition monitoring: Vocabulary").
"""

from collections.abc import Iterator

import numpy as np

# Hertz; and the damping ratio D. Both are drawn such that each order of magnitude is as likely.
FREQUENCIES, DAMPINGS = (2.0, 20.0), (0.005, 0.05)
# A recording: so many values, so many per second, with noise of this standard deviation; it begins with amplitude 1.
LENGTH, RATE_HZ, NOISE = 256, 100.0, 0.05


def ring(frequencies: np.ndarray, dampings: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Record vibrations of these frequencies and dampings (n,): (n, LENGTH), float32."""
    seconds = np.arange(LENGTH) / RATE_HZ
    angular, ratio = 2 * np.pi * frequencies[:, None], dampings[:, None]
    phases = random.uniform(0, 2 * np.pi, (len(frequencies), 1))
    swing = np.cos(angular * np.sqrt(1 - ratio**2) * seconds + phases)
    recorded = np.exp(-ratio * angular * seconds) * swing + random.normal(0, NOISE, (len(frequencies), LENGTH))
    return recorded.astype("float32")


def strike(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return recordings (n, LENGTH) with their targets (n, 2): frequency and damping, each scaled to [-1, 1]."""
    targets = random.uniform(-1, 1, (count, 2))
    return ring(*unscaled(targets), random), targets.astype("float32")


def unscaled(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies in hertz and damping ratios of targets (n, 2)."""
    low, high = np.log([FREQUENCIES, DAMPINGS]).T
    frequencies, dampings = np.exp(low + (targets + 1) / 2 * (high - low)).T
    return frequencies, dampings


def spectrum(sample: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Turn the recording of one sample into its spectrum, in powers of ten: (LENGTH // 2 + 1,), float32."""
    recording, target = sample
    size = np.abs(np.fft.rfft(recording))
    return np.log10(size + 1e-3).astype("float32"), target


def campaign(random: np.random.Generator, batches: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches of a run."""
    for _ in range(batches):
        yield strike(random, batch_size)
