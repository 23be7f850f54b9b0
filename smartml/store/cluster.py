"""A Redis Cluster: every key's node found and followed, all nodes talked to at once.

What a node did not carry out it says, and it is sent again: MOVED to the new owner of the slot, ASK to the node that
the slot is on its way to, TRYAGAIN and CLUSTERDOWN a little later. Of an operation on many keys only those that were
not answered are repeated. When a node is lost, the others are asked for the map until one of them has its place, for
as long as `settings.timeout_s` goes by without any progress (the default of 60 s outlasts a failover at the default
node timeout, 15 to 20 s). What must not be done twice is repeated only where it is certain that it was not done.
"""

import contextlib
import random
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeAlias

from smartml.errors import (
    StoreConnectionError,
    StoreError,
    StoreProtocolError,
    StoreReplyError,
    StoreTimeoutError,
)
from smartml.store.address import ConnectionSettings, ServerAddress
from smartml.store.exchanges import Exchange, Turns, ask, receive_values, run_all
from smartml.store.pool import ConnectionPool, cannot_pass
from smartml.store.rounds import PENDING, Patience, Round
from smartml.store.slots import SlotMap, announced, key_slot, read_slot_map, was_not_done, without_announcements
from smartml.store.transport import Command, Connection, Outcome, Place

# Given a connection, the indices of the keys to ask for there, and whether their slots are on their way to that node:
# what is said. Notes the outcome of each index as soon as it is there.
Begin: TypeAlias = Callable[[Connection, Sequence[int], bool], Turns]

# A node that does not tell the map within this time is passed over.
_MAP_TIMEOUT_S = 2.0


class Cluster:
    """All nodes of a cluster as one. Thread-safe; survives fork.

    Raises StoreConnectionError when `first` is no node of a cluster. Every operation raises it when a key could not be
    reached for `settings.timeout_s`, StoreTimeoutError when a node that keeps its place says nothing for as long.
    """

    def __init__(
        self, settings: ConnectionSettings, first: ServerAddress, pool: Callable[[ServerAddress], ConnectionPool]
    ) -> None:
        self._settings = settings
        self._pool = pool
        reply = pool(first).execute([(b"CLUSTER", b"SLOTS")], idempotent=True)[0]
        if isinstance(reply, StoreReplyError):
            raise StoreConnectionError(
                f"{first} cannot be used as a cluster: {reply}. If it is a single server, use "
                "Client(cluster=False) or set SR_DB_TYPE=Standalone"
            ) from reply
        self._map = read_slot_map(reply, first)

    @property
    def primaries(self) -> list[ServerAddress]:
        """The nodes that hold keys, as far as is known."""
        return list(self._map.primaries)

    @property
    def first_slots(self) -> list[int]:
        """The first slot of every row of slots that lie on one node, as far as is known."""
        return self._map.first_slots

    def owner(self, key: bytes) -> ServerAddress | None:
        """Return the node that holds a key, as far as is known."""
        return self._map.owners[key_slot(key)]

    # Operations

    def each(
        self, keys: Sequence[bytes], requests: Sequence[Sequence[Command]], *, idempotent: bool = True
    ) -> list[list[Any]]:
        """Run one or more commands for each key on its node; return lists of their replies, errors among them.

        All commands of a key are repeated when one of them was refused because the slot is elsewhere.
        """
        outcomes: list[Any] = [PENDING] * len(keys)

        def begin(connection: Connection, indices: Sequence[int], on_its_way: bool) -> Turns:
            said = [announced(requests[index]) if on_its_way else requests[index] for index in indices]

            def take(number: int) -> int:
                replies = [connection.read_reply() for _ in said[number]]
                if on_its_way:
                    replies = without_announcements(replies, len(requests[indices[number]]))
                outcomes[indices[number]] = next(filter(was_not_done, replies), replies)
                return 0

            return ask(connection, said, take)

        return self.follow(keys, outcomes, begin, idempotent=idempotent)

    def receive(self, keys: Sequence[bytes], place: Place) -> list[Outcome]:
        """Read the values of many keys, each straight into the memory that `place(index, size)` returns."""
        outcomes: list[Any] = [PENDING] * len(keys)

        def begin(connection: Connection, indices: Sequence[int], on_its_way: bool) -> Turns:
            return receive_values(connection, keys, indices, place, outcomes, on_its_way=on_its_way)

        return self.follow(keys, outcomes, begin)

    def ask_node(self, address: ServerAddress, command: Command) -> Any:
        """Run an idempotent command that is about a node, not a key; None when another one has taken its place."""
        patience = Patience(self._settings.timeout_s)
        while True:
            try:
                return self._pool(address).execute([command], idempotent=True)[0]
            except (StoreTimeoutError, StoreProtocolError):
                raise
            except StoreConnectionError:
                if self._was_replaced(address):
                    return None
                if patience.is_over:
                    raise
                patience.pause()

    # Following

    def follow(self, keys: Sequence[bytes], outcomes: list[Any], begin: Begin, *, idempotent: bool = True) -> list[Any]:
        """Ask the nodes of all keys at once, and those that were pointed out instead, until all outcomes are there.

        `outcomes` is PENDING for each key, and is returned.
        """
        slots = [key_slot(key) for key in keys]
        pending: Sequence[int] = range(len(keys))
        patience = Patience(self._settings.timeout_s)
        # By index: where to ask next, once.
        asked: dict[int, ServerAddress] = {}
        while pending:
            round_ = Round(idempotent)
            for index in pending:
                round_.add(index, asked.get(index), self._map.owners[slots[index]])
            self._run(round_, begin)
            round_.read_outcomes(outcomes)
            self._learn(round_, slots)
            if len(round_.unanswered) < len(pending):
                patience.renew()
            elif patience.is_over:
                raise self._lost(keys[round_.unanswered[0]], round_.reason)
            elif not round_.asked:
                # What ASK says holds for this moment.
                patience.pause()
            pending, asked = round_.unanswered, round_.asked
        return outcomes

    def _run(self, round_: Round, begin: Begin) -> None:
        exchanges: list[Exchange] = []
        try:
            for (address, on_its_way), indices in round_.groups.items():
                connection = self._open(address, round_)
                if connection is not None:
                    exchanges.append(Exchange(address, connection, begin(connection, indices, on_its_way)))
        except BaseException:
            for exchange in exchanges:
                exchange.connection.close()
            raise
        run_all(exchanges, self._settings.timeout_s, self._was_replaced)
        for exchange in exchanges:
            if exchange.error is None:
                self._pool(exchange.address).keep(exchange.connection)
        for exchange in exchanges:
            if exchange.error is not None:
                # The node may have restarted since connections were last used: others will be stale, too.
                self._pool(exchange.address).close()
                round_.note_broken(exchange.address, exchange.error)

    def _open(self, address: ServerAddress, round_: Round) -> Connection | None:
        """Take a connection to a node; None when it cannot be reached, which is noted."""
        pool = self._pool(address)
        # One attempt: other nodes may know who has its place.
        try:
            idle = pool.take_idle(checked=not round_.idempotent)
            return pool.open(self._settings.connect_timeout_s) if idle is None else idle
        except (OSError, UnicodeError, StoreReplyError) as error:
            # The name of a node may go with the node.
            if cannot_pass(error) and not isinstance(error, socket.gaierror):
                kind = type(error) if isinstance(error, StoreError) else StoreConnectionError
                raise kind(f"the database at {address}, a node of a cluster, lets nobody in: {error}") from error
            round_.note_unreachable(address, error)
            return None

    def _learn(self, round_: Round, slots: Sequence[int]) -> None:
        """Bring the map up to date after a round in which something was elsewhere, or lost."""
        if round_.moves or round_.lost or round_.is_homeless:
            # Who sends elsewhere knows; who was lost may be the only one, and back.
            informed = [address for address, _ in round_.moves]
            self._read_map([*informed, *self._known(without=round_.lost), *round_.lost])
        if round_.moves:
            self._map = self._map.with_moved(move for _, move in round_.moves)
        for address, error in round_.silent.items():
            # Who is slow is not asked again, which would not make it faster.
            if any(self._map.owners[slots[index]] == address for index in round_.unanswered):
                raise error

    # The map

    def refresh(self) -> None:
        """Ask anew which node holds which slots."""
        self._read_map(self._known())

    def _known(self, without: Collection[ServerAddress] = ()) -> list[ServerAddress]:
        """List all nodes ever heard of, in random order: one that is cut off from the others may know no better."""
        addresses = {*self._map.primaries, *self._map.replicas, *self._settings.addresses}
        known = [one for one in addresses if one.unix_socket is None and one not in without]
        random.shuffle(known)
        return known

    def _read_map(self, addresses: Iterable[ServerAddress]) -> bool:
        """Take the map of the first node that answers; tell whether one did."""
        for address in dict.fromkeys(addresses):
            if found := self._ask_for_map(address):
                self._map = found
                return True
        return False

    def _ask_for_map(self, address: ServerAddress) -> SlotMap | None:
        pool = self._pool(address)
        with contextlib.suppress(OSError, UnicodeError, StoreReplyError):
            timeout_s = min(_MAP_TIMEOUT_S, self._settings.connect_timeout_s)
            connection = pool.take_idle(checked=True) or pool.open(timeout_s)
            replies: list[Any] = []

            def take(_: int) -> int:
                replies.append(connection.read_reply())
                return 0

            exchange = Exchange(address, connection, ask(connection, [[(b"CLUSTER", b"SLOTS")]], take))
            run_all([exchange], timeout_s, lambda _: False)
            if exchange.error is None:
                pool.keep(connection)
                # One that knows of nobody, since it was started anew, knows nothing.
                return read_slot_map(replies[0], address) if isinstance(replies[0], list) and replies[0] else None
        return None

    def _was_replaced(self, address: ServerAddress) -> bool:
        """Ask the others whether a node that says nothing still holds keys."""
        return self._read_map(self._known(without=[address])) and address not in self._map.primaries

    def _lost(self, key: bytes, reason: str) -> StoreConnectionError:
        nodes = ", ".join(map(str, self._map.primaries)) or "no nodes"
        return StoreConnectionError(
            f"key {key.decode(errors='replace')!r} cannot be reached in the cluster of {nodes}: gave up after "
            f"{self._settings.timeout_s:g} s (timeout_s) without progress; the last reason: {reason}"
        )
