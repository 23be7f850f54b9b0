"""One connection as the server sees it: what it answers to what, in which order, and when."""

import pytest

pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml.streaming.protocol import (
    Data,
    ErrorMessage,
    Extension,
    Feature,
    GetData,
    GetInfo,
    GetStatus,
    Handshake,
    Heartbeat,
    Info,
    InfoMessage,
    ResetConfirmation,
    ResetNotice,
    ResetRequest,
    SetValidationIds,
    Status,
    ValidationIdsConfirmation,
)
from smartml.streaming.session import HeartbeatRule, Patience, Session

INFO = Info({"x": Feature("sequence")}, {})
PATIENCE = Patience(handshake_s=25, probe_s=4, heartbeat_s=10, coalesce_s=0.075)
OURS = Handshake(worker_id=0, extension=Extension(binary=True, positions=True))


class Office:
    """Answers the questions of a session, and remembers what it was asked."""

    def __init__(self, is_ready=True):
        self.is_ready = is_ready
        self.extension = Extension(binary=True, positions=True, stream="s")
        self.resets, self.ids = [], None

    def info(self):
        return INFO

    def status(self):
        return {"current_position": 3}

    def reset(self, position):
        self.resets.append(position)
        return position or 0

    def set_validation_ids(self, ids):
        self.ids = ids


@pytest.fixture
def office():
    return Office()


def opened(office, rule="auto", handshake=None):
    session = Session(office, HeartbeatRule(rule), PATIENCE)
    session.receive(handshake or Handshake(worker_id=0), 0.0)
    return session


def test_a_handshake_is_answered_with_the_version_alone(office):
    session = Session(office)
    assert session.receive(Handshake(worker_id=0), 0.0) == [Handshake()]


def test_who_says_what_it_can_is_told_what_is_done(office):
    [reply] = Session(office).receive(OURS, 0.0)
    assert reply.extension == Extension(binary=True, positions=True, stream="s")


@pytest.mark.parametrize(
    ("first", "why"),
    [(Handshake("2.0"), "Incompatible protocol version"), (GetInfo(), "the first message is a handshake")],
)
def test_another_beginning_is_refused_with_an_error(office, first, why):
    session = Session(office)
    assert session.receive(first, 0.0) == [ErrorMessage(why)]
    assert session.refusal == why
    assert session.advance(1.0) == []


def test_what_is_no_message_is_refused_at_first_and_answered_later(office):
    session = Session(office)
    assert session.reject("no message") == [ErrorMessage("no message")]
    assert session.refusal == "no message"
    session = opened(office)
    assert session.reject("no message") == [ErrorMessage("no message")]
    assert session.refusal is None


def test_a_handshake_waits_for_the_first_sample_and_then_gives_up():
    office = Office(is_ready=False)
    session = Session(office, patience=PATIENCE)
    assert session.receive(Handshake(), 0.0) == []
    assert session.wake_at == 25
    assert session.receive(GetInfo(), 1.0) == []
    office.is_ready = True
    assert session.advance(2.0) == [Handshake(), InfoMessage(INFO)]

    late = Session(Office(is_ready=False), patience=PATIENCE)
    late.receive(Handshake(), 0.0)
    [error] = late.advance(25.0)
    assert "no sample has come yet" in error.message
    assert late.refusal == error.message


def test_questions_are_answered(office):
    session = opened(office)
    assert session.receive(GetInfo(), 0.0) == [InfoMessage(INFO)]
    assert session.receive(GetStatus(), 0.0) == [Status({"current_position": 3})]
    assert session.receive(SetValidationIds(frozenset("ab")), 0.0) == [
        ValidationIdsConfirmation("Received 2 validation IDs")
    ]
    assert office.ids == {"a", "b"}
    assert session.receive(Heartbeat(), 0.0) == [Heartbeat()]
    assert session.receive(Handshake(), 0.0) == [ErrorMessage("the handshake was made already")]


def test_a_reset_is_answered_twice(office):
    replies = opened(office).receive(ResetRequest(), 0.0)
    assert [type(reply) for reply in replies] == [ResetConfirmation, ResetNotice]
    assert office.resets == [None]


def test_answers_come_in_the_order_of_the_questions(office):
    session = opened(office)
    assert session.receive(GetData(8), 0.0) == []
    assert session.receive(GetStatus(), 0.0) == []
    assert session.receive(GetData(4), 0.0) == []
    assert session.receive(Heartbeat(), 0.0) == []
    assert session.wanted == 8
    assert session.delivered(0.1) == [Status({"current_position": 3})]
    assert session.wanted == 4
    assert session.delivered(0.2) == [Heartbeat()]
    assert session.wanted is None


# Heartbeats


def eir_round(session, now):
    """What EIR's trainer sends for each batch: a heartbeat and a question; return the heartbeats that come back."""
    replies = session.receive(Heartbeat(), now)
    replies += session.receive(GetData(32), now + 0.001)
    while session.wanted is not None:
        replies += ["data", *session.delivered(now + 0.002)]
    return replies


def test_auto_echoes_until_eirs_trainer_is_recognised_and_coalesces_from_then_on(office):
    session = opened(office)
    session.receive(GetInfo(), 0.0)
    session.receive(GetData(1), 0.0)
    session.delivered(0.0)
    assert session.receive(Heartbeat(), 0.0) == [Heartbeat()]
    session.receive(ResetRequest(), 0.0)
    # The one whose answer is not read, then the rounds.
    assert session.receive(Heartbeat(), 1.0) == [Heartbeat()]
    assert eir_round(session, 1.1) == [Heartbeat(), "data"]
    for number in range(10):
        assert eir_round(session, 2.0 + number) == ["data"]


def test_auto_echoes_to_everyone_else(office):
    session = opened(office)
    for number in range(5):
        assert session.receive(Heartbeat(), number) == [Heartbeat()]
        assert session.receive(GetStatus(), number) != []
    for number in range(5):
        assert eir_round(session, 9.0 + number) == [Heartbeat(), "data"]


def test_echo_always_echoes(office):
    session = opened(office, "echo")
    session.receive(Heartbeat(), 0.0)
    assert [eir_round(session, 1.0 + number) for number in range(3)] == [[Heartbeat(), "data"]] * 3


def test_coalesce_answers_a_heartbeat_a_moment_later_unless_data_is_asked_for(office):
    session = opened(office, "coalesce")
    assert session.receive(Heartbeat(), 1.0) == []
    assert session.wake_at == pytest.approx(1.075)
    assert session.advance(1.05) == []
    assert session.advance(1.08) == [Heartbeat()]
    assert eir_round(session, 2.0) == ["data"]
    assert session.receive(Heartbeat(), 3.0) == []
    assert session.receive(GetInfo(), 3.01) == [Heartbeat(), InfoMessage(INFO)]


# Waiting for data


def test_a_client_that_tries_the_server_out_is_answered_within_five_seconds_whatever_happens(office):
    session = opened(office)
    session.receive(GetInfo(), 0.0)
    assert session.receive(GetData(1), 0.0) == []
    assert session.wake_at == 4
    assert session.advance(3.9) == []
    assert session.advance(4.0) == [Data([])]
    assert session.wanted is None


def test_a_waiting_client_is_sent_heartbeats_and_never_an_empty_batch(office):
    session = opened(office)
    session.receive(GetInfo(), 0.0)
    session.receive(GetData(32), 0.0)
    assert session.advance(9.9) == []
    assert session.advance(10.0) == [Heartbeat()]
    assert session.advance(10.1) == []
    assert session.wake_at == 20
    assert session.advance(20.0) == [Heartbeat()]
    assert session.wanted == 32


def test_a_question_that_was_asked_again_after_a_heartbeat_is_answered_once(office):
    session = opened(office)
    session.receive(GetData(32), 0.0)
    session.advance(10.0)
    # EIR's trainer takes the heartbeat for the answer and begins another round.
    assert session.receive(Heartbeat(), 10.1) == []
    assert session.receive(GetData(16), 10.1) == [Heartbeat()]
    assert session.wanted == 16
    assert session.delivered(10.2) == []
    assert len(session) == 0


def test_questions_that_smartmls_client_asks_ahead_are_all_answered(office):
    session = opened(office, handshake=OURS)
    session.receive(GetData(32), 0.0)
    session.receive(GetData(32), 0.0)
    assert session.advance(10.0) == [Heartbeat()]
    assert len(session) == 2


def test_the_answer_to_one_sample_later_on_is_waited_for(office):
    session = opened(office)
    session.receive(GetInfo(), 0.0)
    session.receive(GetData(1), 0.0)
    session.delivered(0.1)
    session.receive(GetData(1), 0.2)
    assert session.advance(5.0) == []
    assert session.advance(10.2) == [Heartbeat()]
