"""One connection as a server sees it: requests and times in, replies out; no socket, and no samples.

    GREETED   the handshake waits until the stream has something to tell     advance() -> Handshake
    OPEN      requests wait in a row, and are answered in order              advance() -> replies
    CLOSED    something was wrong with the handshake                         `refusal` says what

Whoever owns the connection calls `receive` for each message, `advance` when something changed or `wake_at` has come,
and sends what it returns. While the first request in the row asks for data, `wanted` says how much; the owner fetches
it, sends it, and calls `delivered`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from smartml.streaming.protocol import (
    VERSION,
    Data,
    ErrorMessage,
    Extension,
    GetData,
    GetInfo,
    GetStatus,
    Handshake,
    Heartbeat,
    Info,
    InfoMessage,
    Reply,
    Request,
    ResetConfirmation,
    ResetNotice,
    ResetRequest,
    SetValidationIds,
    Status,
    ValidationIdsConfirmation,
)


class HeartbeatRule(Enum):
    """When a heartbeat is answered.

    EIR's trainer sends one before each getData and reads one message: with every answer at once it falls behind, by one
    batch per step, until the buffers of the sockets are full.
    """

    AUTO = "auto"
    """At once, until heartbeat, heartbeat, getData come in a row, which only EIR's trainer sends; from then on as
    COALESCE does."""
    ECHO = "echo"
    """At once, always."""
    COALESCE = "coalesce"
    """A moment later, and not at all if getData has come by then."""


@dataclass(frozen=True)
class Patience:
    """How long a server lets its clients wait, in seconds. The defaults are what EIR's client lives with."""

    # For the first sample, before the handshake is answered; the client waits for 30.
    handshake_s: float = 25.0
    # For the one sample with which a client tries the server out; the client waits for 5.
    probe_s: float = 4.0
    # Until a client that waits for data is sent a heartbeat, again and again; it gives up after 30.
    heartbeat_s: float = 10.0
    # Until a heartbeat is answered after all, where that may be unnecessary.
    coalesce_s: float = 0.075


class Desk(Protocol):
    """Who answers the questions of one connection."""

    @property
    def is_ready(self) -> bool:
        """Whether something can be told about the stream yet."""

    @property
    def extension(self) -> Extension:
        """What this server can do beyond the protocol."""

    def info(self) -> Info:
        """Tell what the stream is made of."""

    def status(self) -> Mapping[str, Any]:
        """Tell how the stream is doing."""

    def reset(self, position: int | None) -> int | None:
        """Go back to the beginning, or to a position; return where that is, if positions are told."""

    def set_validation_ids(self, ids: frozenset[str]) -> None:
        """Serve these samples no more, to anyone; earlier ones are served again."""


class _State(Enum):
    NEW = "no handshake yet"
    GREETED = "the handshake waits for its answer"
    OPEN = "requests are answered"
    CLOSED = "the handshake was refused"


@dataclass
class _Asked:
    """A request that waits for its answer."""

    request: Request
    # When it came to the front of the row.
    since: float | None = None
    # When a heartbeat was sent in the place of the data that is not there yet.
    soothed_at: float | None = None


# What has come in a row of late, by which EIR's trainer is known.
_EIR_TRAINER = (Heartbeat, Heartbeat, GetData)


@dataclass
class Session:
    """The state of one connection."""

    desk: Desk
    rule: HeartbeatRule = HeartbeatRule.AUTO
    patience: Patience = field(default_factory=Patience)
    # Why the connection is to be closed, once what `advance` returned was sent.
    refusal: str | None = field(default=None, init=False)
    # What both sides of this connection know beyond the protocol; None for every other client.
    extension: Extension | None = field(default=None, init=False)
    # Since the connection began.
    batches_sent: int = field(default=0, init=False)
    _state: _State = field(default=_State.NEW, init=False)
    _row: deque[_Asked] = field(default_factory=deque, init=False)
    _lately: deque[type] = field(default_factory=lambda: deque(maxlen=3), init=False)
    _is_coalescing: bool = field(default=False, init=False)
    # Whether the getData in front may be the one with which EIR's client tries a server out.
    _is_tried_out: bool = field(default=False, init=False)
    # When `advance` is to be called again although nothing came.
    wake_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._is_coalescing = self.rule is HeartbeatRule.COALESCE

    def __len__(self) -> int:
        """Number of requests that wait for their answers."""
        return len(self._row)

    @property
    def wanted(self) -> int | None:
        """Number of samples that the request in front asks for; None if it asks for something else."""
        if self._state is _State.OPEN and self._row and isinstance(self._row[0].request, GetData):
            return self._row[0].request.batch_size
        return None

    def receive(self, request: Request, now: float) -> list[Reply]:
        """Take a request; return what is to be sent."""
        if self._state is _State.NEW:
            self._greet(request)
        else:
            self._note(request)
        self._row.append(_Asked(request))
        return self.advance(now)

    def reject(self, problem: str) -> list[Reply]:
        """Take what is no request; return what is to be sent."""
        if self._state is not _State.NEW:
            return [ErrorMessage(problem)]
        self._refuse(problem)
        return [ErrorMessage(problem)]

    def _greet(self, request: Request) -> None:
        if not isinstance(request, Handshake):
            self._refuse("the first message is a handshake")
        elif request.version != VERSION:
            # The words that EIR's own servers use.
            self._refuse("Incompatible protocol version")
        else:
            self._state = _State.GREETED
            own = self.desk.extension
            if request.extension is not None:
                self.extension = Extension(
                    binary=own.binary and request.extension.binary,
                    positions=own.positions and request.extension.positions,
                    is_shared=own.is_shared,
                    stream=own.stream,
                    max_message_bytes=request.extension.max_message_bytes,
                )

    def _refuse(self, why: str) -> None:
        self._state, self.refusal = _State.CLOSED, why

    def _note(self, request: Request) -> None:
        self._lately.append(type(request))
        if self.rule is HeartbeatRule.AUTO and tuple(self._lately) == _EIR_TRAINER:
            self._is_coalescing = True

    def advance(self, now: float) -> list[Reply]:
        """Answer what can be answered by now; return what is to be sent."""
        replies: list[Reply] = []
        self.wake_at = None
        while self._row and self._state is not _State.CLOSED:
            answer = self._answer_front(now)
            if answer is None:
                break
            replies += answer
        if self._state is _State.CLOSED and self._row:
            self._row.clear()
            replies.append(ErrorMessage(self.refusal or ""))
        return replies

    def _answer_front(self, now: float) -> list[Reply] | None:
        """Answer the request in front and take it from the row; None if it has to wait."""
        asked = self._row[0]
        if asked.since is None:
            asked.since = now
        request = asked.request
        if isinstance(request, Handshake):
            return self._answer_handshake(asked.since, now)
        if isinstance(request, GetData):
            return self._soothe(asked, request, now)
        if isinstance(request, Heartbeat) and self._is_coalescing:
            return self._answer_heartbeat(asked.since, now)
        self._row.popleft()
        return self._answer(request)

    def _answer_handshake(self, since: float, now: float) -> list[Reply] | None:
        if self._state is not _State.GREETED:
            self._row.popleft()
            return [ErrorMessage("the handshake was made already")]
        if self.desk.is_ready:
            self._row.popleft()
            self._state = _State.OPEN
            return [Handshake(extension=self.extension)]
        if now >= since + self.patience.handshake_s:
            self._refuse("no sample has come yet from which to tell what the stream is made of: try again later")
            return []
        self.wake_at = since + self.patience.handshake_s
        return None

    def _soothe(self, asked: _Asked, request: GetData, now: float) -> list[Reply] | None:
        """Do something about a client that waits for data; None if it can go on waiting."""
        assert asked.since is not None
        if asked.soothed_at is not None and self.extension is None and self._is_asked_again():
            # Clients take the heartbeat for the answer, and have asked again. Both answers would come one too late.
            self._row.popleft()
            return []
        if self._is_tried_out and request.batch_size == 1 and self.extension is None:
            # No heartbeat: EIR's client wants data now, and does not look at it.
            self.wake_at = asked.since + self.patience.probe_s
            if now < self.wake_at:
                return None
            self._row.popleft()
            self._is_tried_out = False
            return [Data([])]
        self.wake_at = (asked.soothed_at or asked.since) + self.patience.heartbeat_s
        if now < self.wake_at:
            return None
        asked.soothed_at = now
        # It stays in front.
        self.wake_at = now + self.patience.heartbeat_s
        replies: list[Reply] = [Heartbeat()]
        return replies

    def _is_asked_again(self) -> bool:
        return any(isinstance(asked.request, GetData) for asked in list(self._row)[1:])

    def _answer_heartbeat(self, since: float, now: float) -> list[Reply] | None:
        is_last = len(self._row) == 1
        if is_last and now < since + self.patience.coalesce_s:
            self.wake_at = since + self.patience.coalesce_s
            return None
        is_unnecessary = not is_last and isinstance(self._row[1].request, GetData)
        self._row.popleft()
        return [] if is_unnecessary else [Heartbeat()]

    def _answer(self, request: Request) -> list[Reply]:
        if isinstance(request, GetInfo):
            self._is_tried_out = self.batches_sent == 0
            return [InfoMessage(self.desk.info())]
        if isinstance(request, GetStatus):
            return [Status(self.desk.status())]
        if isinstance(request, ResetRequest):
            position = self.desk.reset(request.position)
            return [ResetConfirmation(position=position), ResetNotice()]
        if isinstance(request, SetValidationIds):
            self.desk.set_validation_ids(request.validation_ids)
            return [ValidationIdsConfirmation(f"Received {len(request.validation_ids)} validation IDs")]
        return [Heartbeat()]

    def delivered(self, now: float) -> list[Reply]:
        """Note that the data in front was sent; answer what waits behind it."""
        self._row.popleft()
        self.batches_sent += 1
        self._is_tried_out = False
        return self.advance(now)
