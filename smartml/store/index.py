"""The index of a stem: tells who follows a row of tensors what was put, without asking for every key.

The key of a tensor, prefix of its entity included, is read as `<stem>_<a>_<b>` or `<stem>_<b>`: up to two numbers at
its end, as Python writes them and below 2^32 - 1. Nobody has to know which of them counts ranks. The index of the stem
is one string, under `.smartml.index.<stem>`; integers are little endian:

| where | bytes | field |
|---|---|---|
| from 0 | 4 | magic `SMI1` (the digit is the version) |
| 4 | 4 | chosen at random by who made it: another one than before tells that it was begun anew |
| then, for each put | 4 | a; 0xFFFFFFFF where the name ends in one number |
| | 4 | b |

Who follows makes it, and lets it expire when nobody follows any more; who puts appends to it where it is there: clients
of this package, and the tensor module (module/names.c reads names as `split_key` does) for those of SmartRedis. It is a
hint, which may be lost, or tell of something twice, or of what is gone by now: what counts are the keys. In a cluster
there is none, since it would mostly live on another server than the tensors.
"""

import contextlib
import itertools
import secrets
import struct
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from smartml.errors import StoreError
from smartml.store.database import Database
from smartml.store.keys import index_key
from smartml.store.transport import encode_command

# Stands for the number that a name does not have; all others are below it.
NO_NUMBER = 0xFFFFFFFF
MAGIC = b"SMI1"
HEADER_SIZE = 8
RECORD_SIZE = 8

_RECORD = struct.Struct("<II")
_LONGEST_NUMBER = len(str(NO_NUMBER))
_ZERO = ord("0")
# Taken off the end of a key, they leave its stem, or what is shorter.
_NUMBERS = b"_0123456789"
# So often it is asked whether a stem is followed.
_ASK_INTERVAL_S = 1.0
# Where nobody follows, names are looked at so often, and at every so many puts; the number is prime, so that all stems
# that a program puts in turn have theirs.
_LOOK_INTERVAL_S = 1.0
_LOOK_STRIDE = 17
# Stems of which that is remembered; a program may well use a new one for each tensor.
_MOST_STEMS = 1024


def split_key(key: bytes) -> tuple[bytes, int, int] | None:
    """Return the stem of a tensor's key and the two numbers behind it; None for a key that ends in no number."""
    # Digits alone are looked at below: int() would take signs, spaces and underscores as well.
    rest, _, last = key.rpartition(b"_")
    if not rest or not last.isdigit():
        return None
    if len(last) > _LONGEST_NUMBER or (last[0] == _ZERO and len(last) > 1):
        return None
    b = int(last)
    if b >= NO_NUMBER:
        return None
    stem, _, number = rest.rpartition(b"_")
    if stem and number.isdigit() and len(number) <= _LONGEST_NUMBER and (number[0] != _ZERO or len(number) == 1):
        a = int(number)
        if a < NO_NUMBER:
            return stem, a, b
    return rest, NO_NUMBER, b


def make_header() -> bytes:
    """Return the beginning of a new index."""
    return MAGIC + secrets.token_bytes(HEADER_SIZE - len(MAGIC))


class Announcement(NamedTuple):
    """Commands that travel behind a put, as they are sent, and what their replies will tell of.

    That is, for each, a stem and the bytes that are appended to its index; none where it is asked who follows.
    """

    request: bytes
    stems: Sequence[tuple[bytes, int]]


class Announcer:
    """Tells the indices of one database what a client puts. Thread-safe; no error of its own ever reaches a put."""

    def __init__(self) -> None:
        # By stem: when to ask again whether it is followed, or, of one that is, whether it still is.
        self._ask_at: dict[bytes, float] = {}
        # By stem that is followed: how the command begins that appends to its index.
        self._followed: dict[bytes, bytes] = {}
        # While nobody follows: puts since the names of one were looked at, and when those of the next are in any case.
        self._unseen, self._look_at = 0, 0.0
        # Whether this server lets us tell it that no replies are wanted.
        self._may_be_silent = True

    def tell(self, key: bytes) -> bytes | None:
        """Return what to send ahead of a put of this key, which has no reply: nothing, mostly, where nobody follows.

        It costs the least, and may tell of a tensor just before that is there. None when it is time for an
        announcement with replies.
        """
        now = time.monotonic()
        # The way of every put, and nearly nothing, where nobody follows.
        if not self._followed and self._rests(now):
            return b""
        # Mostly the stem, at less than it takes to split the key.
        root = key.rstrip(_NUMBERS)
        if root not in self._ask_at:
            # Of more than two numbers the first belong to the stem.
            head = key.rsplit(b"_", 2)[0]
            root = head if len(head) > len(root) else root
        if self._ask_at.get(root, now) <= now:
            return b"" if split_key(key) is None else None
        start = self._followed.get(root)
        if start is None:
            return b""
        parts = split_key(key)
        if parts is None or parts[0] != root or not self._may_be_silent:
            return None
        return start + _RECORD.pack(parts[1], parts[2]) + b"\r\n"

    def announce(self, keys: Collection[bytes], *, is_due: bool = False) -> Announcement | None:
        """Return what to send behind a put of these keys; None, mostly, where nobody follows, unless it is due."""
        now = time.monotonic()
        if self._followed or is_due:
            return self._announce(keys, now)
        if self._rests(now):
            return None
        if len(keys) <= _LOOK_STRIDE:
            return self._announce(keys, now)
        # Some of many, others each time, are enough to learn who follows.
        return self._announce(itertools.islice(keys, secrets.randbelow(_LOOK_STRIDE), None, _LOOK_STRIDE), now)

    def _rests(self, now: float) -> bool:
        """Tell whether the names of a put need not be looked at, where nobody follows."""
        self._unseen += 1
        if self._unseen < _LOOK_STRIDE and now < self._look_at:
            return True
        self._unseen, self._look_at = 0, now + _LOOK_INTERVAL_S
        return False

    def _announce(self, keys: Iterable[bytes], now: float) -> Announcement | None:
        """Return commands whose replies tell who follows."""
        records: dict[bytes, list[bytes]] = {}
        asked: list[bytes] = []
        for key in keys:
            parts = split_key(key)
            if parts is None:
                continue
            stem, a, b = parts
            if stem in self._followed:
                records.setdefault(stem, []).append(_RECORD.pack(a, b))
            elif self._ask_at.get(stem, now) <= now:
                self._ask_later(stem, now)
                asked.append(stem)
        if not records and not asked:
            return None
        commands: list[Sequence[bytes]] = [
            (b"APPEND", index_key(stem), b"".join(some)) for stem, some in records.items()
        ]
        commands += [(b"EXISTS", index_key(stem)) for stem in asked]
        sizes = [(stem, RECORD_SIZE * len(some)) for stem, some in records.items()]
        return Announcement(b"".join(map(encode_command, commands)), [*sizes, *((stem, 0) for stem in asked)])

    def learn(self, database: Database, announcement: Announcement, replies: Sequence[Any]) -> None:
        """Take note of the replies: who is followed from now on, and who no more."""
        now = time.monotonic()
        for (stem, size), reply in zip(announcement.stems, replies, strict=True):
            self._ask_later(stem, now)
            if reply == size and size:
                # It was not there any more, and without its header nobody reads what was made just now.
                with contextlib.suppress(StoreError):
                    database.each([(b"UNLINK", index_key(stem))])
            if isinstance(reply, int) and reply > size:
                self._followed[stem] = _start_of_append(stem)
            else:
                self._followed.pop(stem, None)

    def speak_up(self) -> None:
        """Send nothing ahead any more: it was refused."""
        self._may_be_silent = False

    def _ask_later(self, stem: bytes, now: float) -> None:
        if len(self._ask_at) >= _MOST_STEMS:
            self._ask_at.clear()
        self._ask_at[stem] = now + _ASK_INTERVAL_S


def _start_of_append(stem: bytes) -> bytes:
    key = index_key(stem)
    skip = encode_command((b"CLIENT", b"REPLY", b"SKIP"))
    return skip + b"*3\r\n$6\r\nAPPEND\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key, RECORD_SIZE)
