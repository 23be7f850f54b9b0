"""Learning rates from step to step."""

import pytest
import torch

from smartml.training.config import LearningRateSchedule, Optimization
from smartml.training.schedule import LearningRate, make_optimizer


def rates(steps=100, known=True, lr_lb=0.0, **schedule):
    optimization = Optimization(lr=1.0, lr_lb=lr_lb)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), optimization)
    rate = LearningRate(optimizer, LearningRateSchedule(**schedule), optimization, steps if known else None)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        rate.after_step()
    return found


def test_the_rate_rises_in_the_warm_up_and_then_stays():
    found = rates(lr_schedule="same", warmup_steps=4)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert set(found[4:]) == {1.0}


def test_an_automatic_warm_up_takes_a_tenth_of_a_run_at_most():
    assert rates(lr_schedule="same")[9:11] == [1.0, 1.0]
    assert rates(lr_schedule="same", known=False)[99] == pytest.approx(100 / 2000)


def test_cosine_falls_to_the_lowest_rate_at_the_end():
    found = rates(lr_schedule="cosine", warmup_steps=0, lr_lb=0.1)
    assert found[0] == 1.0 and found[50] == pytest.approx(0.55)
    assert found[99] == pytest.approx(0.1, abs=1e-3)
    assert found == sorted(found, reverse=True)


def test_a_cycle_rises_and_falls():
    found = rates(lr_schedule="cycle")
    assert found[0] == pytest.approx(1 / 25) and max(found) == pytest.approx(1.0) and found.index(max(found)) == 30
    assert found[99] < 0.01


def test_plateau_falls_when_performance_gets_no_better():
    optimization = Optimization(lr=1.0)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), optimization)
    settings = LearningRateSchedule(warmup_steps=0, lr_plateau_patience=1, lr_plateau_factor=0.5)
    rate = LearningRate(optimizer, settings, optimization, None)
    found = []
    for performance in (0.1, 0.2, 0.2, 0.1, 0.3, 0.3, 0.3):
        rate.after_validation(performance)
        found.append(rate.rate)

    assert found == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
    again = LearningRate(optimizer, settings, optimization, None)
    again.load_state_dict(rate.state_dict())
    assert again.rate == 0.25


def test_weight_decay_acts_on_matrices_alone():
    groups = make_optimizer(torch.nn.Linear(2, 2), Optimization(wd=0.3)).param_groups
    assert [(group["weight_decay"], [it.ndim for it in group["params"]]) for group in groups] == [
        (0.3, [2]),
        (0.0, [1]),
    ]


@pytest.mark.parametrize("kind", ["adam", "adamw", "nadam", "radam", "rmsprop", "sgd"])
def test_every_optimizer_takes_a_step(kind):
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1)
    before = layer.weight.detach().clone()
    optimizer = make_optimizer(layer, Optimization(optimizer=kind, lr=0.1))
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert (layer.weight != before).all()
