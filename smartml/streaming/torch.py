"""Samples of a streaming server for PyTorch, in batches.

It lives here and not beside the growing training sets: it holds none, and the rooms of feeds and streaming lie on one
floor, where the bridge needs the feeds already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from smartml.errors import MissingDependencyError, StreamingError
from smartml.extras import missing
from smartml.pipeline import Composable
from smartml.streaming.batches import batches_of
from smartml.streaming.websocket_source import WebSocketSource

try:
    import torch
    from torch.utils import data
except ImportError as error:
    raise MissingDependencyError(missing("torch", "smartml.streaming.torch", "torch")) from error

__all__ = ["StreamingDataset"]


class StreamingDataset(data.IterableDataset[Any]):
    """Batches of a `WebSocketSource`, or of its address: `(inputs, targets)`, mappings of stacked tensors by name.

    Texts, and what else cannot be stacked, stay lists. Batches are those of the source (`batch_size`), the last of a
    stream may be smaller. For a DataLoader with `batch_size=None`: each of its workers, and each rank of
    torch.distributed, gets samples of its own: what the server shares out, or else every so many-th of the stream.
    transform: called with inputs and targets of each batch, returns what is served.
    """

    def __init__(
        self, source: WebSocketSource | str, transform: Callable[[dict[str, Any], dict[str, Any]], Any] | None = None
    ) -> None:
        super().__init__()
        self.source = WebSocketSource(source) if isinstance(source, str) else source
        self._transform = transform

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass."""
        samples: Composable = self.source
        if not self.source.shared:
            samples = samples.split_by_rank_pytorch().split_by_worker_pytorch()
        for inputs, targets in batches_of(samples, self.source.batch_size):
            batch = _as_torch(inputs), _as_torch(targets)
            yield batch if self._transform is None else self._transform(*batch)


def _as_torch(features: dict[str, Any]) -> dict[str, Any]:
    return {name: _tensor(name, value) for name, value in features.items()}


def _tensor(name: str, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    try:
        return torch.from_numpy(value)
    except TypeError as error:
        raise StreamingError(f"feature {name!r} of {value.dtype.name} is nothing that torch knows") from error
