"""Which node of a cluster holds which key: slots, the map of them, and the replies that point elsewhere (pure).

The rules are the server's: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from smartml.errors import StoreReplyError
from smartml.store.address import ServerAddress
from smartml.store.transport import Command

SLOTS = 16384
# Comes before a command to a node that the slot is still on its way to.
ASKING: Command = (b"ASKING",)
# With these words a node refuses a command that it did not carry out, and that may be sent again: elsewhere, or later.
_MOVED, _ASK = "MOVED ", "ASK "
_LATER = ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN")
# The polynomial of the server's CRC16, x^16 + x^12 + x^5 + 1.
_POLYNOMIAL = 0x11021


def key_slot(key: bytes) -> int:
    """Return the slot of a key: that of what stands between the first `{` and the next `}`, if there is anything."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    # CRC16 of the polynomial 0x1021 from 0, as the server computes it.
    return binascii.crc_hqx(key, 0) % SLOTS


def slot_tag(slot: int) -> bytes:
    """Return what hashes to a slot and has no brace in it: the bytes that SmartRedis's client makes, mostly two."""
    # A multiple of the polynomial that ends like the slot, taken off: what stands before the last 16 bits then has
    # these for a remainder. Each further bit gives another such number.
    product = slot
    for bit in range(24):
        if product >> bit & 1:
            product ^= _POLYNOMIAL << bit
        number = product >> 16
        tag = number.to_bytes(3 if number > 0xFFFF else 2, "big")
        if bit >= 15 and b"{" not in tag and b"}" not in tag:
            break
    return tag


@dataclass(frozen=True)
class SlotMap:
    """A cluster as one of its nodes described it."""

    # By slot: the node that holds it, None where nobody does.
    owners: tuple[ServerAddress | None, ...]
    # Those nodes, and their replicas behind them.
    primaries: tuple[ServerAddress, ...]
    replicas: tuple[ServerAddress, ...]

    @cached_property
    def first_slots(self) -> list[int]:
        """List the first slot of every row of slots that lie on one node; a node may hold several rows."""
        changes = (slot for slot in range(SLOTS) if slot == 0 or self.owners[slot] != self.owners[slot - 1])
        return [slot for slot in changes if self.owners[slot] is not None]

    def with_moved(self, moves: Iterable["Redirection"]) -> "SlotMap":
        """Return the map with what MOVED replies said about it."""
        owners = list(self.owners)
        for move in moves:
            owners[move.slot] = move.address
        primaries = tuple(dict.fromkeys(owner for owner in owners if owner is not None))
        return SlotMap(tuple(owners), primaries, self.replicas)


def read_slot_map(reply: Sequence[Any], asked: ServerAddress) -> SlotMap:
    """Read the reply of a node to CLUSTER SLOTS."""
    owners: list[ServerAddress | None] = [None] * SLOTS
    primaries: dict[ServerAddress, None] = {}
    replicas: dict[ServerAddress, None] = {}
    for first, last, primary, *others in reply:
        owner = _read_node(primary, asked)
        owners[first : last + 1] = [owner] * (last + 1 - first)
        primaries[owner] = None
        replicas.update(dict.fromkeys(_read_node(other, asked) for other in others))
    return SlotMap(tuple(owners), tuple(primaries), tuple(replicas))


def _read_node(node: Sequence[Any], asked: ServerAddress) -> ServerAddress:
    host, port = node[:2]
    # A node that knows no name of its own leaves it to us which one we used; it gives its IP address further on.
    if host in (None, b"", b"?"):
        details = node[3] if len(node) > 3 else []
        names = dict(zip(details[::2], details[1::2], strict=False))
        return ServerAddress(names[b"ip"].decode() if b"ip" in names else asked.host, port)
    return ServerAddress(host.decode(), port)


@dataclass(frozen=True)
class Redirection:
    """Where the owner of a slot is, or, for `is_once`, where to ask this one time while the slot is being moved."""

    slot: int
    address: ServerAddress
    is_once: bool


def read_redirection(reply: StoreReplyError, asked: ServerAddress) -> Redirection | None:
    """Read a reply such as `MOVED 3999 127.0.0.1:6381`; None for another one."""
    text = str(reply)
    if not text.startswith((_MOVED, _ASK)):
        return None
    slot, where = text.split()[1:3]
    host, _, port = where.rpartition(":")
    # Without a host: the one that was asked, on another port.
    return Redirection(int(slot), ServerAddress(host or asked.host, int(port)), text.startswith(_ASK))


def was_not_done(reply: Any) -> bool:
    """Tell whether a reply says that the command was not carried out and may be sent again, elsewhere or later."""
    return isinstance(reply, StoreReplyError) and str(reply).startswith((_MOVED, _ASK, *_LATER))


def is_once(reply: Any) -> bool:
    """Tell whether a reply sends to another node this one time."""
    return isinstance(reply, StoreReplyError) and str(reply).startswith(_ASK)


def announced(commands: Sequence[Command]) -> list[Command]:
    """Put ASKING before each command; once before a transaction, throughout which it holds."""
    if commands[0][0] == b"MULTI":
        return [ASKING, *commands]
    return [part for command in commands for part in (ASKING, command)]


def without_announcements(replies: Sequence[Any], count: int) -> list[Any]:
    """Return the replies to what was announced, `count` commands, without those to ASKING."""
    return list(replies[1:] if len(replies) == count + 1 else replies[1::2])
