"""The task: what flows are simulated, and what the surrogate is asked about them.

A sample is a flow at one moment, the target the same flow `HORIZON` steps later. Channels for training and channels for
judging are drawn from the same distribution, but never from the same random numbers.
"""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
from simulation import Channel, Obstacle, Simulation

# Steps until a flow has filled its channel, and from a sample to its target.
WARM_UP = 1500
HORIZON = 200


def random_channel(random: np.random.Generator) -> Channel:
    """Draw one to three bodies that do not touch, and a viscosity (Reynolds numbers of a body from 50 to 200)."""
    wanted = random.integers(1, 4)
    obstacles: list[Obstacle] = []
    while len(obstacles) < wanted:
        radius = random.uniform(4.5, 9)
        new = Obstacle(
            x=random.uniform(26, 86),
            y=random.uniform(15, 49),
            half_length=radius,
            half_width=radius * random.uniform(0.6, 1),
            exponent=random.choice([1.2, 2, 8]),
            angle=random.uniform(0, np.pi),
        )
        if all(np.hypot(new.x - old.x, new.y - old.y) > 1.7 * (radius + old.half_length) for old in obstacles):
            obstacles.append(new)
    return Channel(tuple(obstacles), viscosity=random.uniform(0.006, 0.012))


def pairs(channel: Channel) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Simulate a channel and yield, without end, a sample and its target every `HORIZON` steps.

    Sample: (width, length, 3), the velocity in units of the inflow's, then 1 where the channel is solid.
    Target: (width, length, 2), the velocity `HORIZON` steps later. Both float32.
    """
    simulation = Simulation(channel)
    simulation.step(WARM_UP)
    velocity = np.moveaxis(simulation.velocity, 0, -1) / channel.inflow_speed
    while True:
        sample = np.concatenate([velocity, simulation.solid[..., None]], axis=-1, dtype=np.float32)
        simulation.step(HORIZON)
        velocity = np.moveaxis(simulation.velocity, 0, -1) / channel.inflow_speed
        yield sample, velocity


def training_channels(seed: int, producer: int) -> Iterator[Channel]:
    """Yield channels without end, other ones for every producer (numbered from 0)."""
    return (random_channel(np.random.default_rng([seed, 1 + producer, run])) for run in count())


def unseen_pairs(seed: int, channels: int, moments: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate channels that no producer draws; return so many pairs of each: (channels * moments, ...)."""
    found = []
    for run in range(channels):
        channel = random_channel(np.random.default_rng([seed, 0, run]))
        found += islice(pairs(channel), moments)
    samples, targets = zip(*found, strict=True)
    return np.stack(samples), np.stack(targets)


def error(predicted: np.ndarray, targets: np.ndarray, samples: np.ndarray) -> float:
    """Return the root mean square of |predicted - true velocity| over all fluid cells, in units of the inflow's."""
    square = ((predicted - targets) ** 2).sum(axis=-1)
    return float(np.sqrt(square[samples[..., 2] == 0].mean()))


def persistence(samples: np.ndarray) -> np.ndarray:
    """Return the prediction that a surrogate must beat: nothing changes."""
    return samples[..., :2]
