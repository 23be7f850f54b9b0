"""Flow around a cylinder in a channel that closes on itself, by the lattice Boltzmann method.

Nine velocities in two dimensions (D2Q9), relaxed towards equilibrium at one rate (Bhatnagar, Gross and Krook, Physical
Review 94, 1954); the wall of the cylinder sends back what arrives.
"""

import sys

import numpy as np

# Each velocity, its weight, and the place of the opposite one.
VELOCITIES = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, 1], [-1, -1], [1, -1]])
WEIGHTS = np.array([4 / 9, *[1 / 9] * 4, *[1 / 36] * 4])
OPPOSITE = np.array([0, 3, 4, 1, 2, 7, 8, 5, 6])
RELAXATION_TIME = 0.6


def cylinder(height, width):
    """Return where the cylinder is: (height, width), bool."""
    y, x = np.mgrid[:height, :width]
    return (x - width // 4) ** 2 + (y - height // 2) ** 2 < (height // 6) ** 2


def equilibrium(density, ux, uy):
    """Return the populations that a density and a velocity settle to: (9, height, width)."""
    along = np.tensordot(VELOCITIES, np.stack([ux, uy]), axes=1)
    speed = ux**2 + uy**2
    return WEIGHTS[:, None, None] * density * (1 + 3 * along + 4.5 * along**2 - 1.5 * speed)


def simulate(height=24, width=64, steps=100, every=20):
    """Yield the step, the velocities and the density, every so many steps."""
    solid = cylinder(height, width)
    populations = equilibrium(np.ones((height, width)), np.full((height, width), 0.1), np.zeros((height, width)))
    for step in range(1, steps + 1):
        for number, (x, y) in enumerate(VELOCITIES):
            populations[number] = np.roll(populations[number], (y, x), axis=(0, 1))
        returned = populations[OPPOSITE][:, solid]
        density = populations.sum(axis=0)
        ux, uy = np.tensordot(VELOCITIES.T, populations, axes=1) / density
        populations += (equilibrium(density, ux, uy) - populations) / RELAXATION_TIME
        populations[:, solid] = returned
        ux[solid] = uy[solid] = 0
        if step % every == 0:
            yield step, ux, uy, density


def main(steps, every):
    from smartredis import Client, Dataset

    client = Client(cluster=False)
    client.put_tensor("cylinder", cylinder(24, 64).astype(np.int8))
    for number, (step, ux, uy, density) in enumerate(simulate(steps=steps, every=every)):
        fields = Dataset(f"fields_{number}")
        fields.add_tensor("ux", ux)
        fields.add_tensor("uy", uy)
        fields.add_meta_scalar("step", step)
        fields.add_meta_scalar("mass", density.sum())
        client.put_dataset(fields)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
