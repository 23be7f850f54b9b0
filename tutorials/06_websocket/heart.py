"""The simulated heart: its rate, second by second, as breathing, blood pressure and exertion move it.

A sketch of what is known of heart rate variability (Task Force of the European Society of Cardiology, 1996, section on
frequency components), not a model of any heart.
"""

import itertools
import time
from collections.abc import Iterator

import numpy as np

# Seconds that are seen, and that are to be foretold.
SEEN, FORETOLD = 64, 16


def heart_rate(rng: np.random.Generator, seconds: int) -> np.ndarray:
    """Return beats per minute in each second: (seconds,), float32."""
    t = np.arange(seconds)
    # High frequency: the rate rises and falls with breathing. Low frequency: with waves of blood pressure, near 0.1 Hz.
    breathing = rng.uniform(2, 6) * np.sin(2 * np.pi * rng.uniform(0.18, 0.32) * t + rng.uniform(0, 2 * np.pi))
    pressure = rng.uniform(1, 4) * np.sin(2 * np.pi * rng.uniform(0.08, 0.12) * t + rng.uniform(0, 2 * np.pi))
    # Exertion begins or ends at some moment; the heart follows within half a minute.
    before, after = rng.uniform(55, 80), rng.uniform(55, 120)
    moment, follows_s = rng.uniform(0, seconds), rng.uniform(10, 30)
    rest = np.where(t < moment, before, after + (before - after) * np.exp(-np.clip(t - moment, 0, None) / follows_s))
    noise = rng.normal(0, 0.5, seconds)
    return (rest + breathing + pressure + noise).astype("float32")


def patients(seed: int, per_second: float, seconds: float) -> Iterator[dict]:
    """Simulate one patient after the other, as many per second as told, for so long."""
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    for number in itertools.count():
        due_s = number / per_second
        if due_s >= seconds:
            return
        time.sleep(max(0.0, began + due_s - time.monotonic()))
        rate = heart_rate(rng, SEEN + FORETOLD)
        yield {
            "inputs": {"heart_rate": rate[:SEEN]},
            "target_labels": {"next": rate[SEEN:]},
            "sample_id": f"patient_{number}",
        }
