"""How weights change, and how fast: the optimizer and its learning rate from step to step."""

import math
from typing import Any

import torch
from torch import nn

from smartml.training.config import LearningRateSchedule, Optimization

# Part of a cycle in which the rate rises, and what its first and last rates are beside the highest (Smith and Topin,
# arXiv 1708.07120, with the numbers of torch's OneCycleLR).
_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 250_000
# A warm-up of "auto" takes this part of a run at most.
_LONGEST_WARMUP = 0.1


def make_optimizer(model: nn.Module, settings: Optimization) -> torch.optim.Optimizer:
    """Make an optimizer; weight decay acts on matrices alone."""
    matrices = [it for it in model.parameters() if it.requires_grad and it.ndim >= 2]
    vectors = [it for it in model.parameters() if it.requires_grad and it.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.wd}, {"params": vectors, "weight_decay": 0.0}]
    kinds: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
    }
    if settings.optimizer in kinds:
        made: torch.optim.Optimizer = kinds[settings.optimizer](
            groups, lr=settings.lr, betas=(settings.b1, settings.b2)
        )
        return made
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=settings.lr, alpha=settings.b2, momentum=settings.b1)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.b1)


class LearningRate:
    """Sets the learning rate of an optimizer, step by step.

    steps: of the whole run; None: not known.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: LearningRateSchedule,
        settings: Optimization,
        steps: int | None,
    ) -> None:
        self._optimizer, self._schedule, self._settings, self._steps = optimizer, schedule, settings, steps
        self.warmup = _warmup_steps(schedule, settings, steps)
        # Steps that were taken.
        self.step = 0
        # Of plateau: falls so far, validations without a better performance, and the best one.
        self._falls, self._waited, self._best = 0, 0, -math.inf
        self._set()

    @property
    def rate(self) -> float:
        """The rate of the next step."""
        low, high = self._settings.lr_lb, self._settings.lr
        if self.step < self.warmup:
            # The first step changes something already.
            return low + (high - low) * (self.step + 1) / self.warmup
        return max(low, self._after_warmup(low, high))

    def _after_warmup(self, low: float, high: float) -> float:
        kind = self._schedule.lr_schedule
        if kind == "plateau":
            return high * self._schedule.lr_plateau_factor**self._falls
        if kind == "same":
            return high
        assert self._steps is not None
        done = min(1.0, (self.step - self.warmup) / max(1, self._steps - self.warmup))
        if kind == "cosine":
            return _between(high, low, done)
        if done < _RISE:
            return _between(high * _FIRST, high, done / _RISE)
        return _between(high, high * _LAST, (done - _RISE) / (1 - _RISE))

    def after_step(self) -> None:
        self.step += 1
        self._set()

    def after_validation(self, performance: float) -> None:
        """Let the rate fall where performance, the higher the better, has not risen for long."""
        if performance > self._best:
            self._best, self._waited = performance, 0
        else:
            self._waited += 1
        if self._waited > self._schedule.lr_plateau_patience:
            self._falls, self._waited = self._falls + 1, 0
        self._set()

    def _set(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate

    def state_dict(self) -> dict[str, float]:
        return {"step": self.step, "falls": self._falls, "waited": self._waited, "best": self._best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self._falls = state["step"], state["falls"]
        self._waited, self._best = state["waited"], state["best"]
        self._set()


def _between(first: float, last: float, done: float) -> float:
    """Go from one rate to another along half a cosine."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))


def _warmup_steps(schedule: LearningRateSchedule, settings: Optimization, steps: int | None) -> int:
    if schedule.lr_schedule == "cycle":
        return 0
    if schedule.warmup_steps != "auto":
        return schedule.warmup_steps
    # Ma and Yarats, arXiv 1910.04209: until the average of squared gradients is one.
    untuned = round(2 / (1 - settings.b2))
    return untuned if steps is None else min(untuned, int(_LONGEST_WARMUP * steps))
