"""The bytes of a model or script in the database: the model first, its description behind it.

A value is one string of bytes, integers little endian:

    from 0           the model's bytes, or the script's source text
    then             texts, each with its size before it, unsigned 32 bit: backend, device, tag; the inputs, of a script
                     its entry points; the outputs
    last 48 bytes    8 version | 8 batch size | 8 min batch size | 8 min batch timeout in ms | 4 size of all texts |
                     2 number of inputs | 2 of outputs | 4 kind (1 model, 2 script) | 4 magic "SMM1"

The tensor module writes it (smartml/store/module/models.h). The version is a hash of all of it: what is stored anew
unchanged has the same.
"""

import struct
from dataclasses import dataclass

from smartml.errors import ModelFormatError

MAGIC = b"SMM1"
# Version, batch size, min batch size, min batch timeout, size of all texts, inputs, outputs, kind, magic.
_FOOTER = struct.Struct("<QQQQIHHI4s")
_TEXT = struct.Struct("<I")
_MODEL, _SCRIPT = 1, 2


@dataclass(frozen=True)
class StoredModel:
    """A model, or a script, as it was stored."""

    # The model's bytes, or the source of a script.
    content: memoryview
    version: int
    # Empty for a script.
    backend: str
    device: str
    tag: str = ""
    # Names, of TensorFlow's models alone; of a script the functions that may be called by AI.SCRIPTEXECUTE.
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    # Samples that may run together, and that a run waits for; 0 for one call at a time.
    batch_size: int = 0
    min_batch_size: int = 0

    @property
    def is_script(self) -> bool:
        """True for a script."""
        return not self.backend


def read_model(value: bytes | bytearray | memoryview, key: str) -> StoredModel:
    """Read and check a stored value. Raises ModelFormatError, which names the key, when it is none or is damaged."""
    whole = memoryview(value)
    if len(whole) < _FOOTER.size or whole[-len(MAGIC) :] != MAGIC:
        raise ModelFormatError(f"key {key!r} holds neither a model nor a script")
    numbers = _FOOTER.unpack(whole[-_FOOTER.size :])
    version, batch_size, min_batch_size, _, texts_size, input_count, output_count, kind, _ = numbers
    end = len(whole) - _FOOTER.size
    if texts_size > end or kind not in (_MODEL, _SCRIPT):
        raise ModelFormatError(f"the model under key {key!r} is damaged: store it again")
    texts = _read_texts(whole[end - texts_size : end], 3 + input_count + output_count, key)
    backend, device, tag = texts[:3]
    if (kind == _SCRIPT) != (not backend):
        raise ModelFormatError(f"the model under key {key!r} is damaged: store it again")
    return StoredModel(
        whole[: end - texts_size],
        version,
        backend,
        device,
        tag,
        texts[3 : 3 + input_count],
        texts[3 + input_count :],
        batch_size,
        min_batch_size,
    )


def _read_texts(packed: memoryview, count: int, key: str) -> tuple[str, ...]:
    texts = []
    start = 0
    for _ in range(count):
        if start + _TEXT.size > len(packed):
            break
        (size,) = _TEXT.unpack_from(packed, start)
        start += _TEXT.size + size
        if start > len(packed):
            break
        texts.append(bytes(packed[start - size : start]).decode(errors="replace"))
    if len(texts) < count or start != len(packed):
        raise ModelFormatError(f"the model under key {key!r} is damaged: store it again")
    return tuple(texts)
