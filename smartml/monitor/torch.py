"""PyTorch: tensors that stay on their device until the flush, and a loop that logs itself."""

import threading
from collections.abc import Hashable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from smartml.errors import ArgumentValueError, MissingDependencyError
from smartml.extras import missing
from smartml.monitor.columns import Array, Dtype, Shape
from smartml.monitor.logger import DataLogger

try:
    import torch
except ImportError as error:
    raise MissingDependencyError(missing("torch", "smartml.monitor.torch", "torch")) from error

__all__ = ["TorchDevice", "log_training"]

# The types that numpy does not have, and what they are widened to before they are fetched.
_WIDENED = {torch.bfloat16: torch.float32}


class _Copy(NamedTuple):
    """A copy on a device, and what tells when it is complete there; None on the CPU, where it is at once."""

    values: torch.Tensor
    written: "torch.cuda.Event | None"


class TorchDevice:
    """Tensors of PyTorch, on any device."""

    def __init__(self) -> None:
        # One per GPU: what is fetched there does not wait for what the program has asked the GPU to do since.
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._lock = threading.Lock()

    def shape(self, value: torch.Tensor) -> Shape:
        return tuple(value.shape)

    def dtype(self, value: torch.Tensor) -> Dtype | None:
        if value.layout is not torch.strided or value.is_complex() or value.is_quantized or value.is_meta:
            return None
        return _dtype(value.dtype)

    def place(self, value: torch.Tensor) -> Hashable:
        return value.dtype, value.device

    def keep(self, value: torch.Tensor) -> _Copy:
        # Without the graph that led to it, which would be kept alive.
        copy = value.detach().clone()
        if not copy.is_cuda:
            return _Copy(copy, None)
        written = torch.cuda.Event()  # type: ignore[no-untyped-call]
        written.record(torch.cuda.current_stream(copy.device))
        return _Copy(copy, written)

    def fetch(self, kept: Sequence[_Copy]) -> Array:
        if kept[0].values.is_cuda:
            return self._fetch_from_gpu(kept)
        with torch.no_grad():
            joined = _joined(kept)
        # This thread may wait for other devices, which no one else does then.
        array: Array = joined.cpu().numpy()
        return array

    def _fetch_from_gpu(self, kept: Sequence[_Copy]) -> Array:
        device = kept[0].values.device
        with self._lock:
            if device not in self._streams:
                self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream = self._streams[device]
        with torch.no_grad(), torch.cuda.stream(stream):
            for copy in kept:
                if copy.written is not None:
                    stream.wait_event(copy.written)
            joined = _joined(kept)
            here = torch.empty(joined.shape, dtype=joined.dtype, pin_memory=True)
            here.copy_(joined, non_blocking=True)
            # It sleeps, and does not spin, while it waits.
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(stream)
        # Not the whole device: that works on.
        done.synchronize()
        return np.array(here.numpy())


@cache
def _dtype(dtype: torch.dtype) -> Dtype | None:
    try:
        return np.dtype(str(_WIDENED.get(dtype, dtype)).removeprefix("torch."))
    except TypeError:
        return None


def _joined(kept: Sequence[_Copy]) -> torch.Tensor:
    flat = torch.cat([copy.values.reshape(-1) for copy in kept])
    widened = _WIDENED.get(flat.dtype)
    return flat if widened is None else flat.to(widened)


class TrainingHooks:
    """The hooks of `log_training`; `remove` takes them away."""

    def __init__(self, log: DataLogger, name: str, every: int) -> None:
        self._log, self._name, self._every = log, name, every
        # Steps of the optimizer so far.
        self.step = 0
        self.handles: list[torch.utils.hooks.RemovableHandle] = []

    @property
    def _is_due(self) -> bool:
        return self.step % self._every == 0

    def note_loss(self, module: torch.nn.Module, inputs: object, loss: object) -> None:
        """Log what a loss module returned."""
        if self._is_due and isinstance(loss, torch.Tensor) and module.training:
            self._log.write(f"{self._name}/loss", x=self.step, y=loss.detach().mean())

    def note_step(self, optimizer: torch.optim.Optimizer, arguments: object, keywords: object) -> None:
        """Log what one step of the optimizer was made with."""
        if self._is_due:
            for number, group in enumerate(optimizer.param_groups):
                self._log.write(f"{self._name}/learning_rate", start_index=number, x=self.step, y=group["lr"])
            norms = [
                torch.linalg.vector_norm(weight.grad.detach().float())
                for group in optimizer.param_groups
                for weight in group["params"]
                if weight.grad is not None and not weight.grad.is_sparse
            ]
            if norms:
                # They may lie on several devices.
                norm = torch.linalg.vector_norm(torch.stack([each.to(norms[0].device) for each in norms]))
                self._log.write(f"{self._name}/gradient_norm", x=self.step, y=norm)
        self.step += 1

    def remove(self) -> None:
        """Log nothing any more."""
        for handle in self.handles:
            handle.remove()


def log_training(
    log: DataLogger,
    optimizer: torch.optim.Optimizer,
    loss: torch.nn.Module | None = None,
    name: str = "train",
    every: int = 1,
) -> TrainingHooks:
    """Log each step of a training loop that stays as it is, without waiting for the device.

        hooks = log_training(log, optimizer, loss=criterion)

    By the number of the step, fields x and y: `<name>/loss`, the mean of what the module `loss` returns in training
    mode (a function is no module: write what it returns); `<name>/learning_rate`, by group of parameters;
    `<name>/gradient_norm`. every: only each so-many-th step.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ArgumentValueError(f"every must be a positive number, not {every!r}")
    hooks = TrainingHooks(log, name, every)
    hooks.handles.append(optimizer.register_step_post_hook(hooks.note_step))
    if loss is not None:
        hooks.handles.append(loss.register_forward_hook(hooks.note_loss))
    return hooks
