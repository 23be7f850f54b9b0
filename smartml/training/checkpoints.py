"""Weights on disk: plain tensors, read without executing anything that a file says."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smartml.errors import CheckpointError
from smartml.training.run_folder import RunFolder, write_whole


def save_checkpoint(run: RunFolder, model: nn.Module, iteration: int, performance: float, keep: int) -> Path:
    """Write a model's weights, and delete the checkpoints that are not among the best `keep` any more."""
    path = run.checkpoint(iteration, performance)
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    write_whole(path, lambda file: torch.save(weights, file))
    for *_, old in run.checkpoints()[:-keep]:
        old.unlink(missing_ok=True)
    return path


def read_plain(path: Path) -> Any:
    """Read tensors and plain values from a file. Raises CheckpointError for a file that holds anything else."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is no checkpoint of plain tensors, or is damaged: {reason}") from error


def load_weights(model: nn.Module, path: Path, *, is_strict: bool = True) -> list[str]:
    """Put the weights of a checkpoint into a model; return the names that were left as they are, if not strict.

    Raises CheckpointError where they do not fit.
    """
    weights = read_plain(path)
    if not isinstance(weights, dict) or not all(isinstance(it, Tensor) for it in weights.values()):
        raise CheckpointError(f"{path} holds no weights of a model")
    own = model.state_dict()
    fitting = {name: it for name, it in weights.items() if name in own and own[name].shape == it.shape}
    different = sorted((own.keys() | weights.keys()) - fitting.keys())
    if different and is_strict:
        raise CheckpointError(
            f"{path} is of another model: {', '.join(different[:5])}{' …' if len(different) > 5 else ''} "
            "are missing on one side or have other shapes"
        )
    model.load_state_dict(fitting, strict=False)
    return different
