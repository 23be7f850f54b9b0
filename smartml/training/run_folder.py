"""What lies where in the folder of a run."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from smartml.errors import CheckpointError

_CHECKPOINT = re.compile(r".*_checkpoint_(\d+)_perf-average=(-?(?:\d+\.\d+|inf))\.pt")


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, with EIR's names."""

    path: Path

    @property
    def configs(self) -> Path:
        return self.path / "configs"

    @property
    def serializations(self) -> Path:
        return self.path / "serializations"

    @property
    def stripped_configs(self) -> Path:
        return self.serializations / "configs_stripped"

    @property
    def saved_models(self) -> Path:
        return self.path / "saved_models"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def log(self) -> Path:
        return self.path / "logging_history.log"

    @property
    def state(self) -> Path:
        """What a run is resumed from."""
        return self.path / "resume" / "state.pt"

    def history(self, split: str) -> Path:
        """Return the CSV file of averages; split: train or validation."""
        return self.path / f"{split}_average_history.log"

    def target(self, output: str, target: str) -> Path:
        return self.results / output / target

    def target_history(self, split: str, output: str, target: str) -> Path:
        return self.target(output, target) / f"{split}_{target}_history.log"

    def samples(self, output: str, target: str, iteration: int) -> Path:
        return self.target(output, target) / "samples" / str(iteration)

    def checkpoint(self, iteration: int, performance: float) -> Path:
        name = f"{self.path.name}_checkpoint_{iteration}_perf-average={performance:.4f}.pt"
        return self.saved_models / name

    def checkpoints(self) -> list[tuple[float, int, Path]]:
        """List checkpoints, each with its perf-average and iteration, best last."""
        scores = ((score_of(path), path) for path in self.saved_models.glob("*.pt"))
        return sorted((*score, path) for score, path in scores if score is not None)


def score_of(checkpoint: Path) -> tuple[float, int] | None:
    """Return perf-average and iteration, which the name of a checkpoint tells; None for any other file."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    return (float(match[2]), int(match[1])) if match else None


def run_of(checkpoint: Path) -> RunFolder:
    """Return the run folder that a checkpoint lies in, or raise CheckpointError."""
    if not checkpoint.is_file():
        near = ", ".join(str(path) for path in sorted(checkpoint.parent.glob("*.pt"))[-3:])
        raise CheckpointError(f"there is no checkpoint {checkpoint}" + (f"; there is {near}" if near else ""))
    run = RunFolder(checkpoint.absolute().parent.parent)
    if not run.stripped_configs.is_dir():
        raise CheckpointError(
            f"{checkpoint}: its run has to be two folders up, with all of 'serializations', which {run.path} lacks"
        )
    return run


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that nobody takes it for a checkpoint.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
