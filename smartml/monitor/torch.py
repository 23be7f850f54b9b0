"""PyTorch: tensors that stay on their device until the flush, and a loop that logs itself."""

import threading
from collections.abc import Hashable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from smartml.errors import MissingDependencyError
from smartml.extras import missing
from smartml.monitor.columns import Array, Dtype, Shape

try:
    import torch
except ImportError as error:
    raise MissingDependencyError(missing("torch", "smartml.monitor.torch", "torch")) from error

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
