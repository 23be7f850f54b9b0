"""Several processes that train one model: what torchrun started, and what they tell each other."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

from smartml.errors import ArgumentValueError, ConfigError
from smartml.training.config import Accelerator


@dataclass(frozen=True)
class Processes:
    """This process among those that train together: one alone, or those that torchrun started."""

    rank: int
    number: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this one writes files, and judges."""
        return self.rank == 0

    def first_says(self, value: Any) -> Any:
        """Return what the first process has said, in all of them."""
        if self.number == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def any_says(self, value: bool) -> bool:
        """Return whether one of them says yes."""
        if self.number == 1:
            return value
        flag = torch.tensor(int(value), device=self.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def all_say(self, value: Any) -> list[Any]:
        """Return what each has said, by rank."""
        if self.number == 1:
            return [value]
        said: list[Any] = [None] * self.number
        distributed.all_gather_object(said, value)
        return said


@contextlib.contextmanager
def joined_processes(settings: Accelerator) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did, and leave them in the end."""
    number = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if settings.devices not in ("auto", local) or settings.num_nodes * local != max(number, local):
        raise ConfigError(
            f"accelerator: devices={settings.devices}, num_nodes={settings.num_nodes}, but there are {local} processes "
            f"here, {number} in all: start with torchrun --nnodes … --nproc-per-node …, or leave both out"
        )
    device = find_device(settings.hardware, int(os.environ.get("LOCAL_RANK", "0")))
    if number == 1:
        yield Processes(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), number, device)
    finally:
        distributed.destroy_process_group()


def find_device(hardware: str, local_rank: int = 0) -> torch.device:
    """Return the device that a name stands for; auto is the best that is there."""
    is_there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if hardware == "auto":
        hardware = next(kind for kind in ("cuda", "mps", "cpu") if is_there[kind])
    if not is_there.get(hardware):
        raise ArgumentValueError(f"accelerator.hardware: torch finds no {hardware!r} here: take auto or cpu")
    return torch.device(hardware, local_rank) if hardware == "cuda" else torch.device(hardware)
