"""A Redis Cluster on paper: its shape, its slots, and the `nodes` file in which each node keeps who holds them.

A cluster is formed by writing these files before its nodes start, not by commands afterwards: each node then knows all
others and its slots from its first moment, on every version of Redis, and a cluster that has kept its data finds itself
again at other ports. (`CLUSTER MEET` and `ADDSLOTS` need the nodes to be up one after the other, and replicas to wait
for the gossip about their primaries.) A node's line, as documented at https://redis.io/docs/latest/commands/cluster-nodes/:

    <id> <host>:<port>@<bus port>[,<more>] <flags> <id of its primary or -> <ping> <pong> <epoch> <link> [<slots> ...]
"""

import itertools
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from smartml.errors import ArgumentTypeError, ArgumentValueError

SLOTS = 16384

# Nodes talk to each other on a port of their own, so far above the one for clients.
BUS_OFFSET = 10_000

# What a node notes of another's condition: true when it was written, and to be found out anew at a start.
_PASSING_FLAGS = {"fail", "fail?", "noaddr", "handshake"}

# Where a node listens: host and port.
Address = tuple[str, int]


@dataclass(frozen=True)
class Shape:
    """How many primaries share the slots, and how many replicas each of them has."""

    primaries: int = 1
    replicas: int = 0

    def __post_init__(self) -> None:
        for name, number in (("db_nodes", self.primaries), ("replicas", self.replicas)):
            if not isinstance(number, int) or isinstance(number, bool):
                raise ArgumentTypeError(f"{name} must be an int, got {type(number).__name__}: {number!r}")
        if self.primaries < 1 or self.primaries > SLOTS:
            raise ArgumentValueError(f"db_nodes must be 1, or 3 to {SLOTS}, got {self.primaries}")
        if self.primaries == 2:
            raise ArgumentValueError("db_nodes=2: a Redis Cluster needs at least three nodes: use 1 or 3")
        if self.replicas < 0:
            raise ArgumentValueError(f"replicas must be 0 or more for each of the db_nodes, got {self.replicas}")
        if self.replicas and not self.is_cluster:
            raise ArgumentValueError(
                f"replicas={self.replicas}: only a cluster puts a replica in the place of a node that died: "
                "use db_nodes=3, or no replicas"
            )

    @property
    def is_cluster(self) -> bool:
        """True when there is more than one server."""
        return self.primaries > 1

    @property
    def size(self) -> int:
        """The number of servers, replicas included."""
        return self.primaries * (1 + self.replicas)

    def names(self, identifier: str) -> list[str]:
        """Return the names of the nodes, the primaries first; one server has the name of the database."""
        return [f"{identifier}_{index}" for index in range(self.size)] if self.is_cluster else [identifier]

    def __str__(self) -> str:
        if not self.is_cluster:
            return "a single server"
        return f"a cluster with db_nodes={self.primaries}, replicas={self.replicas}"


def slot_ranges(primaries: int) -> list[tuple[int, int]]:
    """Return the first and last slot of each primary: all slots, in shares that differ by at most one."""
    edges = [SLOTS * index // primaries for index in range(primaries + 1)]
    return [(first, after - 1) for first, after in itertools.pairwise(edges)]


def new_nodes_files(shape: Shape, addresses: Sequence[Address]) -> list[str]:
    """Return the file of each node of an empty cluster, primaries first; their first replicas follow in their order."""
    ids = [secrets.token_hex(20) for _ in addresses]
    ranges = slot_ranges(shape.primaries)

    def line(index: int, reader: int) -> str:
        primary = index % shape.primaries
        is_replica = index != primary
        flags = ("myself," if index == reader else "") + ("slave" if is_replica else "master")
        follows, slots = (ids[primary], "") if is_replica else ("-", " {}-{}".format(*ranges[index]))
        # Epochs that differ from the beginning need no agreement later.
        return f"{ids[index]} {_endpoint(addresses[index])} {flags} {follows} 0 0 {primary + 1} connected{slots}"

    everyone = range(len(addresses))
    ending = f"vars currentEpoch {shape.primaries} lastVoteEpoch 0\n"
    return ["\n".join([*(line(index, reader) for index in everyone), ending]) for reader in everyone]


def moved_nodes_files(texts: Sequence[str], addresses: Sequence[Address]) -> list[str]:
    """Return the files of an earlier run with the nodes at other addresses; roles and slots stay as they are."""
    moved = {_own_id(text): address for text, address in zip(texts, addresses, strict=True)}
    return ["".join(f"{line}\n" for line in _moved_lines(text, moved)) for text in texts]


def read_shape(texts: Iterable[str]) -> Shape:
    """Return the shape of the cluster whose nodes have these files. Raises ValueError when they are damaged."""
    texts = list(texts)
    # After a replica has taken over, the latest epoch knows; the node that died still has the slots in its file.
    latest = max(texts, key=_current_epoch)
    primaries = sum(len(words) > 8 for words in _node_lines(latest))
    known = {words[0] for words in _node_lines(latest)}
    if known != {_own_id(text) for text in texts} or not primaries or len(texts) % primaries:
        raise ValueError("they do not belong together")
    return Shape(primaries, len(texts) // primaries - 1)


def covers_all_slots(owners: Iterable[tuple[int, int, int]], ports: Collection[int]) -> bool:
    """Tell whether every slot (first slot, last slot, port of its primary) is served on one of these ports."""
    return sum(last - first + 1 for first, last, port in owners if port in ports) == SLOTS


def _endpoint(address: Address) -> str:
    host, port = address
    return f"{host}:{port}@{port + BUS_OFFSET}"


def _node_lines(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("vars ")]
    if not lines or any(len(words) < 8 for words in lines):
        raise ValueError("it is not what a node of a cluster writes")
    return lines


def _own_id(text: str) -> str:
    return next((words[0] for words in _node_lines(text) if "myself" in words[2].split(",")), "")


def _current_epoch(text: str) -> int:
    found = re.search(r"^vars currentEpoch (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _moved_lines(text: str, moved: Mapping[str, Address]) -> Iterable[str]:
    for node, old, flags, *rest in _node_lines(text):
        # Who is none of ours has been added by hand, and is gone.
        if node in moved:
            # Later versions add a host name and more.
            more = "".join(old.partition(",")[1:])
            lasting = ",".join(flag for flag in flags.split(",") if flag not in _PASSING_FLAGS)
            yield " ".join([node, _endpoint(moved[node]) + more, lasting, *rest])
    yield from (line for line in text.splitlines() if line.startswith("vars "))
