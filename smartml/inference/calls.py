"""What the server and a worker say to each other, and what of it runs together (pure: nothing is connected here).

The worker's command is `SMARTML.INFERENCE`, with what became of the calls before: of each its number, the microseconds
that it took, the number of outputs and each output as a tensor value; or -1 and why it failed. The reply is a list of
calls (smartml/store/module/inference.h).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml import tensors

COMMAND = b"SMARTML.INFERENCE"

Array = NDArray[Any]


class CallKind(IntEnum):
    """How the inputs reach what is called."""

    # One by one.
    MODEL = 0
    FUNCTION = 1
    # As one list; behind it a list of keys and one of words.
    ENTRY_POINT = 2
    # There are none: it is only to be loaded.
    LOAD = 3


@dataclass(frozen=True)
class Call:
    """One run that a client waits for."""

    id: int
    kind: CallKind
    # The key of the model or script, and the version that it had when the call was made.
    model: bytes
    version: int
    # Empty for a model.
    function: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]
    output_count: int
    inputs: tuple[Array, ...]

    @property
    def samples(self) -> int | None:
        """The length of axis 0, where all inputs share it; None where they do not."""
        lengths = {array.shape[0] if array.ndim else None for array in self.inputs}
        return lengths.pop() if len(lengths) == 1 else None


@dataclass(frozen=True)
class Result:
    """What became of a call: its outputs, or why there are none."""

    id: int
    outputs: tuple[Array, ...] = ()
    error: str = ""
    duration_us: int = 0

    def words(self) -> list[Any]:
        """Return it as the words of the command."""
        begin = [b"%d" % self.id, b"%d" % self.duration_us]
        if self.error:
            return [*begin, b"-1", self.error.encode(errors="replace")]
        return [*begin, b"%d" % len(self.outputs), *map(tensors.encode, self.outputs)]


def read_calls(reply: Any) -> list[Call]:
    """Read the server's reply."""
    return [_read_call(*fields) for fields in reply]


def _read_call(
    number: int,
    kind: int,
    model: bytes,
    version: int,
    function: bytes | None,
    keys: Sequence[bytes],
    arguments: Sequence[bytes],
    output_count: int,
    inputs: Sequence[bytes],
) -> Call:
    return Call(
        number,
        CallKind(kind),
        model,
        version,
        (function or b"").decode(errors="replace"),
        tuple(key.decode(errors="surrogateescape") for key in keys),
        tuple(word.decode(errors="replace") for word in arguments),
        output_count,
        tuple(tensors.decode(value, model) for value in inputs),
    )


def fit_together(calls: Sequence[Call]) -> bool:
    """Tell whether calls of one model can run as one: their inputs differ in nothing but the length of axis 0."""
    kinds = {tuple((array.dtype, array.shape[1:]) for array in call.inputs) for call in calls}
    return len(kinds) == 1 and all(call.inputs and call.samples is not None for call in calls)


def join(calls: Sequence[Call]) -> list[Array]:
    """Return the inputs of calls that fit together as those of one."""
    return [np.concatenate(arrays) for arrays in zip(*(call.inputs for call in calls), strict=True)]


def split(outputs: Sequence[Array], calls: Sequence[Call]) -> list[tuple[Array, ...]] | None:
    """Return the outputs of each of calls that ran as one; None when axis 0 of an output is not that of the inputs."""
    lengths = [call.samples or 0 for call in calls]
    if any(array.ndim == 0 or len(array) != sum(lengths) for array in outputs):
        return None
    ends = np.cumsum(lengths)
    return [tuple(array[end - size : end] for array in outputs) for end, size in zip(ends, lengths, strict=True)]
