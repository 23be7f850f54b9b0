"""The task of the first tutorial: which flows are drawn, and what is asked about them."""

from itertools import islice

import numpy as np
import pytest
from cases import HORIZON, WARM_UP, error, pairs, persistence, training_channels, unseen_pairs
from simulation import Channel, Obstacle, Simulation


def test_same_seed_draws_the_same_channels_and_another_one_others():
    first = list(islice(training_channels(seed=1, producer=0), 3))
    assert first == list(islice(training_channels(seed=1, producer=0), 3))
    assert first != list(islice(training_channels(seed=2, producer=0), 3))


def test_no_two_producers_draw_the_same_channel():
    drawn = [channel for number in (0, 1, 2) for channel in islice(training_channels(0, number), 20)]
    assert len(set(drawn)) == 60


def test_drawn_bodies_stand_free_and_within_the_channel():
    for channel in islice(training_channels(seed=0, producer=0), 100):
        assert 1 <= len(channel.obstacles) <= 3
        inside = channel.solid()[1:-1]
        assert not inside[:, :10].any() and not inside[:, 110:].any()
        assert not inside[[0, -1]].any()


def test_target_is_the_velocity_of_the_sample_after_it():
    channel = Channel((Obstacle(30, 15, 4, 4),), 64, 32)
    (sample, target), (after, _) = islice(pairs(channel), 2)

    assert sample.shape == (32, 64, 3) and target.shape == (32, 64, 2)
    assert sample.dtype == target.dtype == np.float32
    np.testing.assert_array_equal(target, after[..., :2])
    np.testing.assert_array_equal(sample[..., 2], channel.solid())


def test_velocities_are_in_units_of_the_inflow():
    channel = Channel((Obstacle(30, 15, 4, 4),), 64, 32, inflow_speed=0.05)
    _, target = next(pairs(channel))
    simulation = Simulation(channel)
    simulation.step(WARM_UP + HORIZON)
    np.testing.assert_allclose(target, np.moveaxis(simulation.velocity, 0, -1) / 0.05, rtol=1e-6)


def test_unseen_pairs_are_finite_and_change_enough_to_be_worth_predicting():
    samples, targets = unseen_pairs(seed=7, channels=2, moments=2)
    assert samples.shape == (4, 64, 192, 3) and targets.shape == (4, 64, 192, 2)
    assert np.isfinite(samples).all() and np.isfinite(targets).all()
    assert 0.1 < error(persistence(samples), targets, samples) < 1


def test_error_is_the_root_mean_square_distance_over_fluid_cells():
    samples = np.zeros((1, 1, 3, 3), np.float32)
    samples[0, 0, 2, 2] = 1
    targets = np.zeros((1, 1, 3, 2), np.float32)
    predicted = targets.copy()
    predicted[0, 0, 0] = 3, 4
    predicted[0, 0, 2] = 100, 100

    assert error(predicted, targets, samples) == pytest.approx(np.sqrt(25 / 2))
