"""What a store holds, as its outlines tell it: scopes, names, sessions, configs, and where the blocks are."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from smartml.errors import ArgumentValueError, RecordsNotFoundError
from smartml.monitor.records import Removal
from smartml.monitor.records_pb2 import Block, Deletion, Outline


@dataclass
class Scope:
    """One live or deleted scope."""

    id: int
    scope: str
    # The live names by their strings, in the order in which they came.
    names: dict[str, "Name"] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    is_live: bool = True


@dataclass
class Name:
    """One live or deleted name of a scope."""

    id: int
    scope: Scope
    name: str
    fields: tuple[str, ...]
    points: int = 0
    is_live: bool = True


@dataclass
class Session:
    """One start of a logger."""

    scope: Scope
    # The last of its requests that is stored.
    sequence: int = 0
    deleted_names: set[str] = field(default_factory=set)


class Placed(NamedTuple):
    """A block, and where its bytes are: it was stored, and may have been deleted since."""

    name: Name
    number: int
    body: int
    block: Block


class Part(NamedTuple):
    """A block as it lies in the store: what a server sends on without decoding it."""

    name: Name
    block: Block
    data: bytes


class Catalogue:
    """All that is known of a store without its numbers, built up record by record."""

    def __init__(self) -> None:
        # In the order in which they came. What readers have seen of it is a number of entries.
        self.entries: list[Placed | Removal] = []
        self.scopes: dict[str, Scope] = {}
        self.sessions: dict[str, Session] = {}
        self._scopes: dict[int, Scope] = {}
        self._names: dict[int, Name] = {}
        self.last_id = 0

    def apply(self, outline: Outline, number: int, body: int) -> None:
        """Take in one record of the segment with this number."""
        for deletion in outline.deletions:
            self._delete(deletion)
        for scope in outline.scopes:
            known = self._scopes[scope.id] = self.scopes[scope.scope] = Scope(scope.id, scope.scope)
            self._note(known.id)
        for name in outline.names:
            owner = self._scopes[name.scope_id]
            self._names[name.id] = owner.names[name.name] = Name(name.id, owner, name.name, tuple(name.fields))
            self._note(name.id)
        for session in outline.sessions:
            kept = self.sessions.get(session.id)
            if kept is None:
                self.sessions[session.id] = kept = Session(self._scopes[session.scope_id])
            kept.sequence = max(kept.sequence, session.sequence)
            kept.deleted_names.update(session.deleted_names)
        for config in outline.configs:
            self._scopes[config.scope_id].configs.append(config.json)
        for block in outline.blocks:
            named = self._names[block.name_id]
            named.points += block.points
            self.entries.append(Placed(named, number, body, block))
        self._note(outline.last_id)

    def _note(self, given: int) -> None:
        self.last_id = max(self.last_id, given)

    def _delete(self, deletion: Deletion) -> None:
        scope = self._scopes[deletion.scope_id]
        if not deletion.HasField("name_id"):
            scope.is_live = False
            names = list(scope.names.values())
            if self.scopes.get(scope.scope) is scope:
                del self.scopes[scope.scope]
            self.entries.append(Removal(scope.scope))
        else:
            names = [self._names[deletion.name_id]]
            for session in self.sessions.values():
                if session.scope is scope:
                    session.deleted_names.add(names[0].name)
            self.entries.append(Removal(scope.scope, names[0].name))
        for name in names:
            name.is_live = False
            scope.names.pop(name.name, None)

    def all_scopes(self) -> list[Scope]:
        """Return the scopes, deleted ones too, in the order in which they came."""
        return list(self._scopes.values())

    def scope(self, scope: str) -> Scope:
        """Return a live scope. Raises RecordsNotFoundError."""
        try:
            return self.scopes[scope]
        except KeyError as error:
            raise RecordsNotFoundError(_not_found("scope", scope, self.scopes)) from error

    def name(self, scope: str, name: str) -> Name:
        """Return a live name. Raises RecordsNotFoundError."""
        names = self.scope(scope).names
        try:
            return names[name]
        except KeyError as error:
            raise RecordsNotFoundError(_not_found(f"name in scope {scope!r}", name, names)) from error

    def news(self, position: int, scopes: str, names: str) -> tuple[list[Removal], list[Placed]]:
        """Return what was deleted and what is live of the entries from a position on, where the patterns match.

        Raises ArgumentValueError for what is no pattern.
        """
        in_scope, in_names = matcher("scopes", scopes), matcher("names", names)
        # Asked once per name, not once per block of it.
        chosen: dict[int, bool] = {}
        removed: dict[Removal, None] = {}
        placed = []
        for entry in self._from(position):
            if isinstance(entry, Removal):
                if in_scope(entry.scope) and (entry.name is None or in_names(entry.name)):
                    removed[entry] = None
                continue
            name = entry.name
            if name.is_live:
                is_chosen = chosen.get(name.id)
                if is_chosen is None:
                    is_chosen = chosen[name.id] = in_scope(name.scope.scope) and in_names(name.name)
                if is_chosen:
                    placed.append(entry)
        return list(removed) if position else [], placed

    def _from(self, position: int) -> Iterator[Placed | Removal]:
        for at in range(position, len(self.entries)):
            yield self.entries[at]


def matcher(argument: str, pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a pattern is found in a text. Raises ArgumentValueError."""
    if pattern in ("", ".*"):
        return lambda text: True
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ArgumentValueError(f"{argument}={pattern!r} is no regular expression: {error}") from error
    return lambda text: compiled.search(text) is not None


def exactly(text: str | None) -> str:
    """Return the pattern that this text alone matches, or any text for None."""
    return ".*" if text is None else rf"\A{re.escape(text)}\Z"


def _not_found(what: str, wanted: str, there: dict[str, Scope] | dict[str, Name]) -> str:
    listed = ", ".join(repr(name) for name in list(there)[:20]) or "none"
    return f"there is no {what} called {wanted!r}; there is: {listed}{', ...' if len(there) > 20 else ''}"
