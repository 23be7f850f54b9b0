"""The physics of the first tutorial: known flows come out of the simulation."""

import numpy as np
import pytest
from simulation import Channel, Obstacle, Simulation


@pytest.fixture(scope="module")
def developed():
    """A channel without bodies, started at rest, when nothing changes any more."""
    simulation = Simulation(Channel(length=60, width=34, viscosity=0.05, inflow_speed=0.05))
    simulation.velocity[:] = 0
    simulation.step(12_000)
    return simulation


def test_flow_between_walls_takes_the_parabolic_profile_of_poiseuille(developed):
    profile = developed.velocity[0, :, 30]
    assert profile == pytest.approx(developed.channel.inflow(), abs=0.005 * 0.05)
    assert np.abs(developed.velocity[1]).max() < 0.005 * 0.05


def test_pressure_falls_as_poiseuille_says(developed):
    pressure = developed.density[17] / 3
    gap = developed.channel.width - 2
    expected = -8 * developed.channel.viscosity * developed.channel.inflow_speed / gap**2
    assert (pressure[45] - pressure[15]) / 30 == pytest.approx(expected, rel=0.05)


def test_mass_that_enters_passes_every_cross_section(developed):
    flux = (developed.density * developed.velocity[0]).sum(axis=0)
    assert flux == pytest.approx(flux.mean(), rel=0.001)
    assert flux.mean() == pytest.approx(developed.channel.inflow().sum(), rel=0.005)


def test_mass_is_kept_while_vortices_shed():
    simulation = Simulation(Channel((Obstacle(30, 20, 6, 5), Obstacle(52, 34, 5, 5, exponent=8)), 120, 56))
    for _ in range(5):
        simulation.step(800)
        assert simulation.density[~simulation.solid].mean() == pytest.approx(1, abs=0.01)


def test_cylinder_sheds_vortices_at_the_strouhal_number_of_the_benchmark():
    # Schaefer and Turek 1996, case 2D-2: Reynolds number 100, Strouhal number 0.295 to 0.305, both of the mean speed.
    diameter, mean_speed = 15.0, 0.1 * 2 / 3
    cylinder = Obstacle(x=2 * diameter, y=0.5 + 62 * 0.2 / 0.41, half_length=diameter / 2, half_width=diameter / 2)
    simulation = Simulation(Channel((cylinder,), viscosity=mean_speed * diameter / 100))
    simulation.step(4000)

    across = []
    for _ in range(4000):
        simulation.step()
        across.append(simulation.velocity[1, 32, 70])

    signs = np.sign(across)
    rising = np.flatnonzero((signs[:-1] < 0) & (signs[1:] >= 0))
    period = np.diff(rising).mean()
    assert np.std(across) > 0.02
    assert diameter / (mean_speed * period) == pytest.approx(0.30, abs=0.02)


def test_fluid_rests_at_solid_cells():
    simulation = Simulation(Channel((Obstacle(20, 16, 5, 3, angle=0.5),), 60, 32))
    simulation.step(200)
    assert not simulation.velocity[:, simulation.solid].any()
    assert simulation.solid[[0, -1]].all()


@pytest.mark.parametrize(
    ("exponent", "area"), [(1, 2 * 10 * 6), (2, np.pi * 10 * 6), (50, 4 * 10 * 6)], ids=["rhombus", "ellipse", "box"]
)
@pytest.mark.parametrize("angle", [0, 0.7])
def test_obstacle_covers_the_area_of_its_shape(exponent, area, angle):
    y, x = np.mgrid[:64, :64]
    covered = Obstacle(31.5, 31.5, 10, 6, exponent, angle).covers(x, y)
    assert covered.sum() == pytest.approx(area, rel=0.06)
