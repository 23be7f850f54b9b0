"""Samples of a streaming server for Keras 3, in batches, on any of its backends.

It needs nothing of Keras itself: `fit` takes generators. It lives beside `smartml.streaming.torch` for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from smartml.streaming.batches import batches_of
from smartml.streaming.websocket_source import WebSocketSource

__all__ = ["StreamingDataset"]


class StreamingDataset:
    """Batches of a `WebSocketSource`, or of its address: `(inputs, targets)`, mappings of stacked arrays by name.

    One feature alone is no mapping but its array. Batches are those of the source (`batch_size`), the last of a stream
    may be smaller. transform: called with inputs and targets of each batch, both mappings, returns what `fit` takes;
    needed where features are texts.

    `fit` takes a pass, which it may leave early: `fit(iter(dataset))`; and for a stream without an end
    `fit(iter(dataset), steps_per_epoch=100, epochs=5)`, whose epochs go on where the ones before ended.
    """

    def __init__(
        self, source: WebSocketSource | str, transform: Callable[[dict[str, Any], dict[str, Any]], Any] | None = None
    ) -> None:
        self.source = WebSocketSource(source) if isinstance(source, str) else source
        self._transform = transform or _plain

    def __iter__(self) -> Generator[Any, None, None]:
        """Begin a pass; Keras takes generators, and no other iterators."""
        for inputs, targets in batches_of(self.source, self.source.batch_size):
            yield self._transform(inputs, targets)


def _plain(inputs: dict[str, Any], targets: dict[str, Any]) -> Any:
    return tuple(next(iter(side.values())) if len(side) == 1 else side for side in (inputs, targets) if side)
