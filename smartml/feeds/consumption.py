"""Who has acknowledged which batches of one source, and what may be deleted (pure).

A source is one numbered row of batches: the iterations of one producer and rank, or the entries of one list. Its record
goes through these states for each position:

    pending ──► acknowledged by all groups = condemned ──► deleted
       └──────► dropped by a producer      = condemned ──► deleted

A position is condemned before anything of it is deleted, and noted as deleted afterwards: whoever finds it condemned
may delete it (again), nobody waits for it any more.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from smartml.errors import MetadataError
from smartml.feeds.intervals import NOTHING, Intervals


@dataclass(frozen=True)
class Group:
    """One group of consumers: what it has acknowledged, and the prefixes of the tensors it reads."""

    acknowledged: Intervals = NOTHING
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Consumption:
    """The record of one source. Methods return a changed copy."""

    groups: Mapping[str, Group] = field(default_factory=dict)
    condemned: Intervals = NOTHING
    deleted: Intervals = NOTHING
    # How many of the condemned and deleted ones a producer has dropped, acknowledged or not.
    dropped: int = 0

    @classmethod
    def parse(cls, text: bytes, key: str) -> "Consumption":
        """Read a record; empty text is the record of a source that nobody has spoken of. Raises MetadataError."""
        if not text:
            return cls()
        try:
            stored = json.loads(text)
            groups = {
                name: Group(Intervals.joined(group["acknowledged"]), tuple(group["prefixes"]))
                for name, group in stored["groups"].items()
            }
            condemned, deleted = Intervals.joined(stored["condemned"]), Intervals.joined(stored["deleted"])
            return cls(groups, condemned, deleted, int(stored["dropped"]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MetadataError(f"the record {key!r} is damaged: {error!r} in {text[:80]!r}; delete it") from error

    def format(self) -> bytes:
        """Write the record; the same one always as the same text."""
        groups = {
            name: {"acknowledged": group.acknowledged.parts, "prefixes": group.prefixes}
            for name, group in sorted(self.groups.items())
        }
        lists = {"condemned": self.condemned.parts, "deleted": self.deleted.parts}
        return json.dumps({"groups": groups, **lists, "dropped": self.dropped}).encode()

    @property
    def gone(self) -> Intervals:
        """What nobody shall wait for or read any more."""
        return self.condemned | self.deleted

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes of all tensors that any group reads."""
        return tuple(sorted({prefix for group in self.groups.values() for prefix in group.prefixes}))

    def registered(self, name: str, prefixes: Iterable[str] = ()) -> "Consumption":
        """Take a group in: from now on nothing is deleted that it has not acknowledged."""
        group = self.groups.get(name, Group())
        known = tuple(sorted({*group.prefixes, *prefixes}))
        return replace(self, groups={**self.groups, name: replace(group, prefixes=known)})

    def without(self, name: str) -> "Consumption":
        """Let a group go: what only it has not acknowledged is condemned."""
        groups = {other: group for other, group in self.groups.items() if other != name}
        return replace(self, groups=groups)._judged()

    def acknowledged(self, name: str, positions: Intervals) -> "Consumption":
        """Note that a group needs these no more; what no group needs is condemned."""
        group = self.registered(name).groups[name]
        group = replace(group, acknowledged=group.acknowledged | (positions - self.gone))
        return replace(self, groups={**self.groups, name: group})._judged()

    def condemning(self, positions: Intervals) -> "Consumption":
        """Note that nothing stands, or shall stand, at these positions, whoever may need it."""
        return replace(self, condemned=self.condemned | (positions - self.deleted))._judged()

    def dropping(self, positions: Intervals) -> "Consumption":
        """Condemn, on behalf of a producer, what is there of these; count it."""
        dropped = positions - self.gone
        return replace(self.condemning(dropped), dropped=self.dropped + len(dropped))

    def without_condemned(self, positions: Intervals) -> "Consumption":
        """Note that these, condemned before, are deleted now."""
        condemned = self.condemned & positions
        return replace(self, condemned=self.condemned - condemned, deleted=self.deleted | condemned)

    def _judged(self) -> "Consumption":
        """Condemn what all groups have acknowledged; forget who had acknowledged what is gone."""
        condemned = self.condemned
        if self.groups:
            first, *others = (group.acknowledged for group in self.groups.values())
            for other in others:
                first = first & other
            condemned = condemned | (first - self.deleted)
        gone = condemned | self.deleted
        groups = {name: replace(group, acknowledged=group.acknowledged - gone) for name, group in self.groups.items()}
        return replace(self, groups=groups, condemned=condemned)
