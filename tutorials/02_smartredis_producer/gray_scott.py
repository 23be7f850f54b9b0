"""Two substances that react and diffuse, and the patterns that they form.

The model of Gray and Scott on a torus, with the constants of J. E. Pearson, "Complex patterns in a simple system",
Science 261 (1993) 189: du/dt = Du lap(u) - u v^2 + F (1 - u), dv/dt = Dv lap(v) + u v^2 - (F + k) v. Lengths are in
cells; times are in the unit in which Du = 0.16 and Dv = 0.08. Forward Euler, five-point Laplacian.
"""

from collections.abc import Iterator

import numpy as np

CELLS = 48
DIFFUSION_U, DIFFUSION_V = 0.16, 0.08
# Between these, spots split, stripes grow and waves run; beyond them, little happens.
FEED_RATES = (0.022, 0.055)
KILL_RATES = (0.057, 0.064)
TIME_STEP = 0.25
# Time from a sample to its target, and from one sample of a pattern to the next.
HORIZON = 80
# Patterns begin to form in that time.
WARM_UP = 400


def step(u: np.ndarray, v: np.ndarray, feed: float, kill: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both substances, each (CELLS, CELLS), one time step later."""
    reaction = u * v * v
    change_u = DIFFUSION_U * laplacian(u) - reaction + feed * (1 - u)
    change_v = DIFFUSION_V * laplacian(v) + reaction - (feed + kill) * v
    return u + TIME_STEP * change_u, v + TIME_STEP * change_v


def advance(u: np.ndarray, v: np.ndarray, feed: float, kill: float, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both substances some time later."""
    for _ in range(round(time / TIME_STEP)):
        u, v = step(u, v, feed, kill)
    return u, v


def laplacian(field: np.ndarray) -> np.ndarray:
    """Return the sum of the four neighbours less four times the cell, on a torus."""
    neighbours = np.roll(field, 1, 0) + np.roll(field, -1, 0) + np.roll(field, 1, 1) + np.roll(field, -1, 1)
    return neighbours - 4 * field


def pairs(random: np.random.Generator, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Simulate one pattern and yield so many samples of it, each with its target.

    Sample: (CELLS, CELLS, 4), both substances and both rates, the rates scaled to 0..1; target: (CELLS, CELLS, 2), both
    substances HORIZON later; float32.
    """
    feed, kill = random.uniform(*FEED_RATES), random.uniform(*KILL_RATES)
    u, v = np.ones((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for _ in range(random.integers(3, 9)):
        row, column = random.integers(0, CELLS, 2)
        spot = np.ix_(np.arange(row, row + 6) % CELLS, np.arange(column, column + 6) % CELLS)
        u[spot], v[spot] = 0.5, 0.25
    u += 0.02 * random.standard_normal(u.shape)
    u, v = advance(u, v, feed, kill, WARM_UP)
    rates = [(feed - FEED_RATES[0]) / np.ptp(FEED_RATES), (kill - KILL_RATES[0]) / np.ptp(KILL_RATES)]
    for _ in range(count):
        sample = np.stack([u, v, *(np.full_like(u, rate) for rate in rates)], -1).astype("float32")
        u, v = advance(u, v, feed, kill, HORIZON)
        yield sample, np.stack([u, v], -1).astype("float32")


def error(predicted: np.ndarray, target: np.ndarray) -> float:
    """Return the root mean square error of the second substance, whose pattern one sees."""
    return float(np.sqrt(np.mean((predicted[..., 1] - target[..., 1]) ** 2)))


def persistence(samples: np.ndarray) -> np.ndarray:
    """Predict that nothing changes."""
    return samples[..., :2]
