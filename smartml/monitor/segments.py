"""The format of the files of a store: records one after the other, each whole or not there at all.

One record, integers little endian:

    +0   4  magic `SMR1`, the digit being the version
    +4   4  length of the outline
    +8   8  length of the body
    +16  4  CRC-32 of the outline
    +20  4  CRC-32 of the 20 bytes before
    +24     the outline, a message `Outline` of records.proto, then the body: the bytes of its blocks

The lengths have a checksum of their own: what is damaged behind them can be stepped over. Each block has one, too, so
that the outlines of a large store can be read without its numbers.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from smartml.monitor.records_pb2 import Block, Outline

MAGIC = b"SMR1"
_HEADER = struct.Struct("<4sIQII")
# Read at once where a record begins: most outlines are shorter.
_READ_AHEAD = 1 << 14
# Searched at once for the next record behind a damaged one.
_SEARCHED = 1 << 22

# Reads so many bytes from an offset on; fewer where the file ends.
Read = Callable[[int, int], bytes]


class Record(NamedTuple):
    """A record with a whole outline, and where it lies in its file."""

    outline: Outline
    # Where its body begins, and where the next record does.
    body: int
    end: int


def pack(outline: Outline, body_length: int) -> bytes:
    """Return the beginning of a record, which its body follows."""
    packed = outline.SerializeToString()
    header = struct.pack("<4sIQI", MAGIC, len(packed), body_length, zlib.crc32(packed))
    return header + struct.pack("<I", zlib.crc32(header)) + packed


def scan(read: Read, start: int, size: int) -> Iterator[Record | None]:
    """Yield the records from `start` on, and None wherever something damaged is passed over; stop at a torn end."""
    while start < size:
        record = _record_at(read, start, size)
        if record is not None:
            yield record
            start = record.end
            continue
        following = _following(read, start + 1, size)
        if following is None:
            return
        yield None
        start = following


def _lengths_at(head: bytes, start: int, size: int) -> tuple[int, int, int] | None:
    """Return the lengths of outline and body and the checksum of the outline, None when no record fits here."""
    if len(head) < _HEADER.size:
        return None
    magic, outline, body, checksum, own = _HEADER.unpack_from(head)
    if magic != MAGIC or own != zlib.crc32(head[: _HEADER.size - 4]) or start + _HEADER.size + outline + body > size:
        return None
    return outline, body, checksum


def _record_at(read: Read, start: int, size: int) -> Record | None:
    head = read(start, _READ_AHEAD)
    lengths = _lengths_at(head, start, size)
    if lengths is None:
        return None
    length, body_length, checksum = lengths
    begin = start + _HEADER.size
    packed = head[_HEADER.size : _HEADER.size + length]
    if len(packed) < length:
        packed = read(begin, length)
    if zlib.crc32(packed) != checksum:
        return None
    try:
        return Record(Outline.FromString(packed), begin + length, begin + length + body_length)
    except DecodeError:
        return None


def _following(read: Read, start: int, size: int) -> int | None:
    """Return where the next whole record begins, None when there is none."""
    while start < size:
        searched = read(start, _SEARCHED)
        at = searched.find(MAGIC)
        while at >= 0:
            if _record_at(read, start + at, size) is not None:
                return start + at
            at = searched.find(MAGIC, at + 1)
        if len(searched) < _SEARCHED:
            return None
        # The magic may lie across two of these.
        start += len(searched) - len(MAGIC) + 1
    return None


def is_whole(record: Record, read: Read) -> bool:
    """Tell whether the bytes of all blocks of a record are what was written."""
    return all(is_intact(block, read(record.body + block.offset, block.length)) for block in record.outline.blocks)


def is_intact(block: Block, data: bytes) -> bool:
    """Tell whether these are the bytes of a block, as they were written."""
    return len(data) == block.length and zlib.crc32(data) == block.checksum
