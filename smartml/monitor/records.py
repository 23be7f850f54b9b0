"""What every reader of records gets: blocks of points, news since a cursor, and where to ask for them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

# A pattern that any scope and any name matches.
ANY = ".*"


@dataclass(frozen=True)
class Cursor:
    """How far a reader has come. Nobody but the store that gave it can tell what its numbers mean."""

    store: str
    lineage: int
    position: int


class Removal(NamedTuple):
    """What was deleted: a scope with all its names, or, with a name, that one alone."""

    scope: str
    name: str | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """Points of one group, which is all that has this scope, name and index; blocks of a group follow each other.

    fields: arrays of one length, in the order declared by the first write; int64, float32 or float64. The type of a
    field may differ from one block to the next: whoever joins them widens, as `np.concatenate` does.
    """

    scope: str
    name: str
    index: int
    fields: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))


@dataclass(frozen=True, eq=False)
class Update:
    """What is new since a cursor: forget everything if `reset`, then take `removed` away, then join `added`.

    `reset` is set when the cursor is none of this store's, or the store has been compacted since.
    """

    cursor: Cursor
    added: list[Block] = field(default_factory=list)
    removed: list[Removal] = field(default_factory=list)
    reset: bool = False

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return self.reset or bool(self.added) or bool(self.removed)


class Records(Protocol):
    """A source of records: a store that is read in its folder, or a record server. Usable from several threads.

    scopes, names: regular expressions, found anywhere in the scope and in the name. One cursor goes with one pair of
    them. Whatever talks to a server raises RecordsConnectionError when it does not answer; ask again later with the
    same cursor.
    """

    def query(self, cursor: Cursor | None, scopes: str = ANY, names: str = ANY) -> Update:
        """Return what is new since the cursor, or, for None, everything. It costs what is new, not what is stored."""
        ...

    def subscribe(
        self, cursor: Cursor | None, scopes: str = ANY, names: str = ANY, min_interval_s: float = 0.0
    ) -> Iterator[Update]:
        """Yield what is new since the cursor, even if that is nothing, and then whatever comes, when it comes.

        min_interval_s: what comes within this time of an update is put into one. Ends when the source is closed.
        """
        ...

    def scopes(self) -> list[str]:
        """Return the scopes in the order in which they were first seen."""
        ...

    def names(self, scope: str) -> list[str]:
        """Return the names of a scope, which is no pattern here, in the order in which they were first seen."""
        ...

    def configs(self, scope: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return what `DataLogger.write_config` was given, in order, by scope."""
        ...

    def close(self) -> None:
        """Let go of files and connections, and end what `subscribe` returned, also in other threads."""
        ...
