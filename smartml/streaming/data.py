"""Data messages as bytes: JSON, whose long texts are read where they lie, and the binary extension.

A message of the binary extension, integers little endian:

    4 bytes      magic `SMB1` (the digit is the version; JSON begins otherwise)
    4 bytes      length of the head
    the head     JSON, filled up with spaces: a data message with `sizes` beside the rest, and in the place of each
                 array the mark "\\u0001N": tensor N of this message
    N tensors    values of `smartml.tensors`, of these sizes, each filled up to a multiple of 8

Head and tensors begin at multiples of 8.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from smartml.errors import MessageError
from smartml.streaming.decoding import Decoder
from smartml.streaming.encoding import EncodedSample
from smartml.streaming.protocol import Data, Reply, parse_reply, read_reply

MAGIC = b"SMB1"
_HEAD = struct.Struct("<4sI")
_ALIGNMENT = 8
_PADDING = [bytes(number) for number in range(_ALIGNMENT)]
# Texts longer than this are not copied out of JSON, unless so many times as many are shorter.
_LONG_TEXT = 1024
_MANY_SHORT_TEXTS = 50
_LOOKS = 16
_GOLDEN_RATIO = 0.6180339887498949
# Samples that are smaller on average are put together.
_SMALL_BYTES = 4096
# The mark of `samples.py` in JSON, where control characters are always escaped.
_ESCAPED_MARK = b"\\u0001"
_BACKSLASH = ord("\\")


def data_parts(samples: Sequence[bytes], position: int | None = None) -> list[bytes]:
    """Return a data message of samples that are JSON already, in parts: copies of it would cost more than the rest.

    Small ones are put together: as parts, each would cost more than its copy.
    """
    end = b"]}" if position is None else b'], "position": %d}' % position
    if sum(map(len, samples)) < _SMALL_BYTES * len(samples):
        return [b'{"type": "data", "payload": [%b%b' % (b", ".join(samples), end)]
    parts = [part for sample in samples for part in (b", ", sample)]
    return [b'{"type": "data", "payload": [', *parts[1:], end]


def binary_parts(samples: Sequence[EncodedSample], position: int | None) -> list[Any]:
    """Return a data message of the binary extension, in parts: bytes and arrays, as they lie in memory."""
    payload: list[bytes] = []
    sizes: list[int] = []
    parts: list[Any] = []
    for sample in samples:
        payload.append(sample.marked(len(sizes)))
        for array, end, size in sample.tensors:
            sizes.append(size)
            parts += (array, end + _PADDING[-size % _ALIGNMENT])
    told = b"" if position is None else b', "position": %d' % position
    head = b'{"type": "data", "sizes": %b%b, "payload": [%b]}' % (
        json.dumps(sizes).encode(),
        told,
        b", ".join(payload),
    )
    head += b" " * (-len(head) % _ALIGNMENT)
    return [_HEAD.pack(MAGIC, len(head)), head, *parts]


def parse_answer(raw: bytes | memoryview, decoder: Decoder | None = None) -> Reply:
    """Read what a server sent, in JSON or binary; raises MessageError that names message and field.

    Long values of a data message are views on `raw`. The decoder, if it is known, reads data that need not be changed.
    """
    if raw[: len(MAGIC)] == MAGIC:
        return _parse_binary(raw)
    plain = None if decoder is None else decoder.read_plainly(raw)
    if plain is not None:
        return plain
    small, blobs = _lifted(raw) or (bytes(raw), [])
    reply = parse_reply(small)
    if isinstance(reply, Data):
        return Data(reply.samples, reply.is_end, reply.position, blobs, size=len(raw))
    # Nothing else has long texts of which anything depends, but some are shown.
    return parse_reply(bytes(raw))


def _lifted(raw: bytes | memoryview) -> tuple[bytes, list[memoryview]] | None:
    """Put a mark in the place of each long text; None where that is of no use, or not possible."""
    if not _has_long_texts(raw):
        return None
    view, find = memoryview(raw), _finder(raw)
    # What is left between the long texts.
    parts: list[bytes] = []
    blobs: list[memoryview] = []
    done = begin = short = 0
    while (begin := find(b'"', begin)) >= 0:
        end = _end_of_text(view, find, begin)
        if end < 0:
            # No JSON: the reader of it says so.
            return None
        if end - begin > _LONG_TEXT and find(b"\\", begin, end) < 0:
            parts.append(bytes(view[done:begin]))
            blobs.append(view[begin + 1 : end])
            done = end + 1
        else:
            short += 1
            if short > _MANY_SHORT_TEXTS * (len(blobs) + 1):
                # JSON's own reader makes shorter work of them.
                return None
        begin = end + 1
    rest = bytes(view[done:])
    if any(_ESCAPED_MARK in part for part in (*parts, rest)):
        return None
    marks = [b'"%b%d"' % (_ESCAPED_MARK, number) for number in range(len(blobs))]
    return b"".join((*itertools.chain.from_iterable(zip(parts, marks, strict=True)), rest)), blobs


def _finder(raw: bytes | memoryview) -> Callable[..., int]:
    """Return what finds bytes from one place to another; a view is one on a bytearray, from its beginning."""
    if isinstance(raw, bytes):
        return raw.find
    memory, size = raw.obj, len(raw)
    if not isinstance(memory, bytearray):
        # Others are searched byte by byte.
        return bytes(raw).find
    return lambda wanted, begin, end=size: memory.find(wanted, begin, min(end, size))


def _has_long_texts(raw: bytes | memoryview) -> bool:
    """Look in some places whether they lie within long texts: where no such place is found, there is little to gain.

    The places follow no measure that samples could have, all of which would lie between two of them.
    """
    most = len(raw) - _LONG_TEXT
    places = (int(most * (look * _GOLDEN_RATIO % 1)) for look in range(1, _LOOKS + 1))
    return most > 0 and any(b'"' not in bytes(raw[place : place + _LONG_TEXT]) for place in places)


def _end_of_text(view: memoryview, find: Callable[..., int], begin: int) -> int:
    end = find(b'"', begin + 1)
    while end >= 0 and view[end - 1] == _BACKSLASH:
        backslashes = end - begin - 1 - len(bytes(view[begin + 1 : end]).rstrip(b"\\"))
        if backslashes % 2 == 0:
            break
        end = find(b'"', end + 1)
    return end


def _parse_binary(raw: bytes | memoryview) -> Data:
    try:
        _, length = _HEAD.unpack_from(raw)
        begin = _HEAD.size + length
        content = json.loads(bytes(raw[_HEAD.size : begin]))
        sizes = content["sizes"]
        ends = list(itertools.accumulate((size + -size % _ALIGNMENT for size in _checked(sizes)), initial=begin))
        reply = read_reply(content)
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise MessageError(f"a message of the binary extension is damaged: {error}") from error
    if ends[-1] != len(raw) or begin > len(raw):
        raise MessageError(
            f"a message of the binary extension is cut off: its head tells {ends[-1]} bytes, there are {len(raw)}"
        )
    if not isinstance(reply, Data):
        raise MessageError(f"a message of the binary extension holds data, not {type(reply).__name__}")
    view = memoryview(raw)
    blobs = [view[first : first + size] for first, size in zip(ends, sizes, strict=False)]
    return Data(reply.samples, reply.is_end, reply.position, blobs, is_binary=True, size=len(raw))


def _checked(sizes: Sequence[Any]) -> Sequence[int]:
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("its sizes are not numbers from 0 on")
    return sizes
