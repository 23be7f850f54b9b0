"""A feed as a member of a group of consumers: what it has read or served is acknowledged, then deleted.

No crash loses a batch: it is acknowledged after it was received (or served), condemned in the same act in which the
last group acknowledges it, deleted after that, and noted as deleted at the very end. Whoever dies in between leaves a
batch that stays, or one that is condemned, which the next member to register or to acknowledge deletes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.feeds.consumption import Consumption
from smartml.feeds.discovery import Places
from smartml.feeds.intervals import Intervals
from smartml.feeds.ledger import Change, Ledger
from smartml.feeds.sources import Source
from smartml.store import Database

DeleteAfter = Literal["epoch", "read", "checkpoint", "never"]

# All replicas of one trainer, where nobody names their group.
DEFAULT_GROUP = "trainer"


class Consumer:
    """One feed's part in its group. A replica acknowledges what it took; together they acknowledge everything."""

    def __init__(
        self,
        database: Database,
        sources: Sequence[Source],
        delete_after: DeleteAfter,
        group: str,
        others: Sequence[str],
    ) -> None:
        self._ledger = Ledger(database, sources)
        self._sources = sources
        self._group, self._others = group, others
        self._delete_after = delete_after
        # Places on their way, in this order: not part of any pass (or checkpoint) yet, part of the running pass (or the
        # last checkpoint), to be acknowledged.
        self._joined: list[tuple[int, int]] = []
        self._running: list[tuple[int, int]] = []
        self._ready: list[tuple[int, int]] = []
        # The order that the running pass serves, and which of its batches were served.
        self._order: Any = None
        self._served: set[int] = set()

    def register(self) -> None:
        """Make the group, and those expected beside it, known; delete what members that died have left condemned."""
        self._change(dict.fromkeys(range(len(self._sources)), self._registered))

    def _registered(self, record: Consumption) -> Consumption:
        for name in self._others:
            record = record.registered(name)
        return record.registered(self._group, self._sources[0].prefixes)

    def pass_over(self, places: Places) -> None:
        """Note places at which nothing of their own stands."""
        self._change({s: _condemn(positions) for s, positions in _by_source(places.tolist()).items()}, delete=False)

    def receive(self, places: Sequence[tuple[int, int]]) -> None:
        """Take note of what is part of the training set now, or can never be."""
        if self._delete_after == "read":
            self._ready += places
            self.acknowledge()
        else:
            self._joined += places

    def begin_pass(self, order: Any) -> None:
        """A pass begins, over all that has joined. Acknowledges what a pass that was served to its end has covered."""
        if self._delete_after == "epoch":
            self._running += self._joined
            self._joined = []
        self._order, self._served = order, set()

    def resume_pass(self, order: Any, served: int) -> None:
        """A pass goes on of which so many batches were served before."""
        self._order, self._served = order, set(range(served))

    def serve(self, order: Any, number: int, count: int) -> None:
        """Take note that batch `number`, of `count`, of a pass was served."""
        if order is self._order and self._delete_after == "epoch":
            self._served.add(number)
            if len(self._served) == count:
                self._ready += self._running
                self._running = []

    def acknowledge(self) -> None:
        """Acknowledge what is ready for it; after an error, the next call does."""
        by_source = _by_source(self._ready)
        self._change({source: self._acknowledged(positions) for source, positions in by_source.items()})
        self._ready = []

    def checkpoint(self) -> None:
        """A checkpoint is made: whoever makes another one has the last one safe, and needs no more what is in it."""
        if self._delete_after == "checkpoint":
            self._ready += self._running
            self._running, self._joined = self._joined, []
            self.acknowledge()

    def state_dict(self) -> dict[str, Any]:
        """Return what is on its way."""
        return {"joined": self._joined[:], "running": self._running[:], "ready": self._ready[:]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with what was on its way; the pass that was running is to be begun again."""
        self._joined, self._running, self._ready = (
            [(source, position) for source, position in state[name]] for name in ("joined", "running", "ready")
        )

    def _acknowledged(self, positions: Intervals) -> Change:
        return lambda record: self._registered(record).acknowledged(self._group, positions)

    def _change(self, changes: dict[int, Change], delete: bool = True) -> None:
        if changes:
            records = self._ledger.change(changes)
            if delete:
                self._ledger.delete_condemned(records)


def leave(database: Database, sources: Sequence[Source], group: str) -> None:
    """Take a group out, and delete what waited for it alone."""
    ledger = Ledger(database, sources)
    ledger.delete_condemned(ledger.change({s: lambda record: record.without(group) for s in range(len(sources))}))


def _by_source(places: Sequence[tuple[int, int]]) -> dict[int, Intervals]:
    positions: dict[int, list[int]] = {}
    for source, position in places:
        positions.setdefault(source, []).append(position)
    return {source: Intervals.of(some) for source, some in positions.items()}


def _condemn(positions: Intervals) -> Change:
    return lambda record: record.condemning(positions).without_condemned(positions)


def checked_delete_after(delete_after: DeleteAfter | None) -> DeleteAfter | None:
    """Return when to delete, None for never; raise ArgumentValueError for anything else."""
    if delete_after is not None and delete_after not in get_args(DeleteAfter):
        raise ArgumentValueError(f"delete_after must be one of {get_args(DeleteAfter)} or None, not {delete_after!r}")
    return None if delete_after == "never" else delete_after


def checked_groups(group: str | None, groups: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the own group and the others that are expected, or say what is wrong with them."""
    names = (groups,) if isinstance(groups, str) else tuple(groups)
    own = DEFAULT_GROUP if group is None else group
    for name in (own, *names):
        if not isinstance(name, str):
            raise ArgumentTypeError(f"a consumer group is named by str, not {type(name).__name__}: {name!r:.80}")
        if not name:
            raise ArgumentValueError("the name of a consumer group must not be empty")
    if names and own not in names:
        raise ArgumentValueError(f"consumer_group {own!r} is not one of the consumer_groups {', '.join(names)}")
    return own, tuple(name for name in names if name != own)
