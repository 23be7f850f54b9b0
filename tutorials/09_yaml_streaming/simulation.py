"""A heart that follows what its owner does, minute by minute.

The rate goes to what an activity asks for as a first-order system does, faster up than down: after T minutes the part
exp(-T / tau) of the distance is left. Time constants are of the size that A. Zakynthinaki, "Modelling heart rate
kinetics", PLoS ONE 10 (2015) e0118263, finds for moderate exercise.
"""

import math
import random
from collections.abc import Iterator

# Beats per minute above the resting rate that an activity asks for.
ABOVE_REST = {"rest": 0, "walk": 35, "run": 90}
TAU_UP_MIN, TAU_DOWN_MIN = 1.2, 2.0
MINUTES = 10


def rates(resting: int, activities: list[str]) -> list[int]:
    """Return the heart rate after each minute, in beats per minute."""
    rate, found = float(resting), []
    for activity in activities:
        goal = resting + ABOVE_REST[activity]
        tau = TAU_UP_MIN if goal > rate else TAU_DOWN_MIN
        rate = goal + (rate - goal) * math.exp(-1 / tau)
        found.append(round(rate))
    return found


def draw(random_numbers: random.Random) -> tuple[str, str]:
    """Draw a person and ten minutes; return both as text, and the heart rates as text."""
    resting, activities = random_numbers.randint(50, 80), []
    while len(activities) < MINUTES:
        activities += [random_numbers.choice(list(ABOVE_REST))] * random_numbers.randint(1, 5)
    activities = activities[:MINUTES]
    return f"{resting}: {' '.join(activities)}", " ".join(map(str, rates(resting, activities)))


def samples(number: int, seed: int) -> Iterator[tuple[dict[str, str], dict[str, str], str]]:
    """Simulate so many samples: inputs, targets, and an id."""
    random_numbers = random.Random(seed)
    for place in range(number):
        minutes, heart = draw(random_numbers)
        yield {"minutes": minutes}, {"heart": heart}, f"{seed}_{place}"
