"""One round of questions to the nodes of a cluster: who is asked for what, and what their answers mean (pure)."""

import time
from dataclasses import dataclass, field
from typing import Any

from smartml.errors import StoreConnectionError, StoreError, StoreProtocolError, StoreTimeoutError
from smartml.store.address import ServerAddress
from smartml.store.slots import Redirection, read_redirection, was_not_done

# Stands for an outcome that is not there yet.
PENDING: Any = object()

# Pauses between fruitless rounds grow from the first to the second; the first one to follow comes at once.
_SHORTEST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.5


@dataclass
class Round:
    """The questions of one round by the node they go to, then what is known after it."""

    # Whether what was asked may be asked again although it may have been carried out.
    idempotent: bool
    # By node, and whether the slots are still on their way to it: the indices of keys.
    groups: dict[tuple[ServerAddress, bool], list[int]] = field(default_factory=dict)
    # Those that are to be asked again, for this reason among others, and where to ask, where that was said.
    unanswered: list[int] = field(default_factory=list)
    reason: str = "no node holds its slot"
    asked: dict[int, ServerAddress] = field(default_factory=dict)
    # Who said that a slot is held by another one.
    moves: list[tuple[ServerAddress, Redirection]] = field(default_factory=list)
    # Nodes that could not be reached, or broke off; those that were silent for too long, with the error that says so.
    lost: list[ServerAddress] = field(default_factory=list)
    silent: dict[ServerAddress, StoreTimeoutError] = field(default_factory=dict)
    # Whether there is a key whose slot nobody holds.
    is_homeless: bool = False

    def add(self, index: int, asked: ServerAddress | None, owner: ServerAddress | None) -> None:
        """Ask for a key where an ASK said, else at its owner."""
        address = asked or owner
        if address is None:
            self.is_homeless = True
            self.unanswered.append(index)
        else:
            self.groups.setdefault((address, asked is not None), []).append(index)

    def note_unreachable(self, address: ServerAddress, error: Exception) -> None:
        """Note that a node was not asked."""
        self.lost.append(address)
        self.reason = f"no connection to {address}: {error}"

    def note_broken(self, address: ServerAddress, error: StoreError) -> None:
        """Note that the answers of a node did not all come. Raises the error where nothing can be done about it."""
        if not isinstance(error, StoreConnectionError) or isinstance(error, StoreProtocolError):
            raise error
        if not self.idempotent:
            raise type(error)(f"{error}. Whether the command was carried out is not known") from error
        self.lost.append(address)
        self.reason = str(error)
        if isinstance(error, StoreTimeoutError):
            self.silent[address] = error

    def read_outcomes(self, outcomes: list[Any]) -> None:
        """Sort out what was answered; what was not is PENDING again."""
        for (address, _), indices in self.groups.items():
            for index in indices:
                outcome = outcomes[index]
                if outcome is PENDING:
                    self.unanswered.append(index)
                elif was_not_done(outcome):
                    self._read_refusal(index, outcome, address)
                    outcomes[index] = PENDING

    def _read_refusal(self, index: int, outcome: Any, address: ServerAddress) -> None:
        self.unanswered.append(index)
        self.reason = f"{address} answers {str(outcome)!r}"
        redirection = read_redirection(outcome, address)
        if redirection is None:
            return
        if redirection.is_once:
            self.asked[index] = redirection.address
        else:
            self.moves.append((address, redirection))


class Patience:
    """How long to go on without progress."""

    def __init__(self, allowed_s: float) -> None:
        self._allowed_s = allowed_s
        self.renew()

    def renew(self) -> None:
        """Begin anew, since there was progress."""
        self._end = time.monotonic() + self._allowed_s
        self._pause_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether there was no progress for the time allowed."""
        return time.monotonic() >= self._end

    def pause(self) -> None:
        """Wait, each time longer."""
        time.sleep(min(self._pause_s, max(0.0, self._end - time.monotonic())))
        self._pause_s = min(max(_SHORTEST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
