"""Where a run is, saved so that it can go on as if nothing had happened."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from smartml.errors import CheckpointError
from smartml.training.checkpoints import read_plain
from smartml.training.run_folder import RunFolder, write_whole

# Changes when states of before can no longer be understood.
_VERSION = 1


@dataclass
class Position:
    """Where a run is."""

    # Batches that were learned from.
    iteration: int = 0
    # The pass, and batches of it that were learned from.
    epoch: int = 0
    batch: int = 0
    # The best perf-average of any validation, and of those that a checkpoint was written for.
    best: float = -math.inf
    best_saved: float = -math.inf
    # Validations since the best one.
    waited: int = 0
    # Smoothed losses, by output/target.
    smoothed: dict[str, float] = field(default_factory=dict)


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of torch's random numbers in this process."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random(states: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def save_state(run: RunFolder, position: Position, parts: dict[str, Any]) -> None:
    """Write all that `read_state` returns: tensors and plain values."""
    state = {"version": _VERSION, "position": asdict(position), **parts}
    write_whole(run.state, lambda file: torch.save(state, file))


def read_state(run: RunFolder) -> dict[str, Any]:
    """Read where a run was. Raises CheckpointError."""
    if not run.state.is_file():
        raise CheckpointError(f"{run.path}: holds no run that can be resumed: {run.state} is missing")
    state = read_plain(run.state)
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise CheckpointError(f"{run.state}: is no state of a run of this version of smartml")
    return state
