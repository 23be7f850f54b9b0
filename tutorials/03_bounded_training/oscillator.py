"""An oscillator whose stiffness drifts while the simulation runs, as parameters do when a campaign moves on.

The oscillator of G. Duffing, "Erzwungene Schwingungen bei veränderlicher Eigenfrequenz und ihre technische Bedeutung"
(1918), damped and without a force: x'' = -d x' - a x - b x^3. In the course of the run `a` goes from soft to stiff.
Samples are states with their stiffness, targets the states some time later.
"""

import itertools
from collections.abc import Iterator

import numpy as np

DAMPING, CUBIC = 0.1, 1.0
# The stiffness at the beginning and at the end of the run.
STIFFNESS = (-2.0, 6.0)
# Largest displacement and velocity of a state.
LARGEST = 1.5
# Time from a sample to its target, and the steps that are taken to it.
HORIZON, STEPS = 1.2, 60


def advance(states: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    """Return states (n, 2), displacement and velocity, HORIZON later: the classical method of Runge and Kutta."""
    step = HORIZON / STEPS
    for _ in range(STEPS):
        first = slope(states, stiffness)
        second = slope(states + step / 2 * first, stiffness)
        third = slope(states + step / 2 * second, stiffness)
        fourth = slope(states + step * third, stiffness)
        states = states + step / 6 * (first + 2 * second + 2 * third + fourth)
    return states


def slope(states: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    """Return how fast states (n, 2) change."""
    x, velocity = states.T
    return np.stack([velocity, -DAMPING * velocity - stiffness * x - CUBIC * x**3], 1)


def pairs(random: np.random.Generator, stiffness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (n, 3), displacement, velocity and scaled stiffness, with their targets (n, 2), float32."""
    states = random.uniform(-LARGEST, LARGEST, (len(stiffness), 2))
    scaled = 2 * (stiffness - STIFFNESS[0]) / np.ptp(STIFFNESS) - 1
    samples = np.column_stack([states, scaled])
    return samples.astype("float32"), advance(states, stiffness).astype("float32")


def campaign(random: np.random.Generator, batches: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches of a run in which the stiffness drifts from one end to the other."""
    for low, high in itertools.pairwise(np.linspace(*STIFFNESS, batches + 1)):
        yield pairs(random, random.uniform(low, high, batch_size))


def unseen(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of all stiffnesses alike, in rising order, and their targets."""
    return pairs(np.random.default_rng((seed, 1)), np.linspace(*STIFFNESS, count))
