"""Arrays in checkpoints: as bytes, so that whatever reads a checkpoint needs no more than plain Python types.

`torch.load` refuses numpy arrays by default, and bytes that are empty: a packed array never is.
"""

from typing import Any

from numpy.typing import NDArray

from smartml import tensors


def pack(array: NDArray[Any]) -> bytes:
    """Return an array as the value under which it would be stored in the database."""
    payload, description = tensors.encode(array)
    return payload.tobytes() + description


def unpack(packed: bytes) -> NDArray[Any]:
    """Return the array; raises TensorFormatError for damaged bytes."""
    return tensors.decode(packed, "an array of a checkpoint")
