"""EIR's client, by hand, against our server: its whole run, and each thing that was seen to break the real one."""

import base64
import itertools
import struct
import threading

import numpy as np
import pytest
from servers import wait_until

pytest.importorskip("websockets", reason="pip install websockets")
pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml.streaming import Patience, serve

from .by_hand import BINARY, EirClient, connect


def pairs(number):
    return [(f"text {n}", np.full((2, 3), n, "float32")) for n in range(number)]


@pytest.fixture
def serving():
    servers = []

    def start(source, *args, **options):
        servers.append(serve(source, *args, port=0, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ids(samples):
    return [sample["sample_id"] for sample in samples]


def test_a_whole_run_of_eir_sees_every_sample_once_and_none_of_its_validation(serving):
    eir = EirClient(serving(pairs(400)).url)

    assert eir.status()["active_connections"] == 1
    gathered = eir.gather(50, 16)
    assert ids(gathered) == [f"s{n}" for n in range(50)]
    assert eir.info == {
        "inputs": {"samples": {"type": "sequence"}},
        "outputs": {"targets": {"type": "array", "shape": [2, 3], "dtype": "float32"}},
    }
    assert gathered[7]["inputs"] == {"samples": "text 7"}
    raw = base64.b64decode(gathered[7]["target_labels"]["targets"]["targets"])
    assert raw == struct.pack("<6f", *[7.0] * 6)
    assert eir.status()["current_position"] == 0
    eir.set_validation_ids(["s3", "s49", "s120"])
    trained = ids(itertools.chain.from_iterable(eir.train(16)))
    assert trained == [f"s{n}" for n in range(400) if n not in (3, 49, 120)]
    # Even a second run of the trainer, whose reset forgets no validation.
    assert ids(itertools.chain.from_iterable(eir.train(16))) == trained


@pytest.mark.parametrize(("heartbeat", "lag"), [("auto", 3), ("coalesce", 1)])
def test_heartbeats_do_not_pile_up_batches_that_nobody_reads(serving, heartbeat, lag):
    server = serving(pairs(3200), heartbeat=heartbeat)
    eir = EirClient(server.url)
    batches = 0
    for _ in eir.train(32):
        batches += 1
        # Training takes a moment, in which the server answers all that was asked.
        assert eir.get_data_sent <= batches + lag
    assert batches == 100


def test_echo_answers_every_heartbeat_at_once_as_eirs_own_servers_do(serving):
    server = serving(pairs(320), heartbeat="echo")
    eir = EirClient(server.url)
    assert len(list(eir.train(32))) == 10
    assert eir.get_data_sent > 20


def test_the_end_is_told_alone_and_again_and_the_connection_stays(serving):
    with connect(serving(pairs(3)).url) as frames:
        for expected in (["s0", "s1", "s2"], None, None, None):
            frames.send({"type": "getData", "payload": {"batch_size": 32}})
            reply = frames.receive()
            if expected is None:
                assert reply == {"type": "data", "payload": ["terminate"]}
            else:
                assert ids(reply["payload"]) == expected
        frames.send({"type": "heartbeat"})
        assert frames.receive() == {"type": "heartbeat"}


def test_a_trainer_that_lags_behind_gets_all_that_was_sent_before_the_end(serving):
    # With every heartbeat echoed, the client reads what it asked for long ago: nothing may be lost at the end.
    eir = EirClient(serving(pairs(1600), heartbeat="echo").url)
    assert len(ids(itertools.chain.from_iterable(eir.train(16)))) == 1600


def test_a_reset_is_answered_twice_and_to_its_sender_only(serving):
    url = serving(pairs(10)).url
    with connect(url) as other, connect(url) as frames:
        other.send({"type": "getData", "payload": {"batch_size": 4}})
        assert ids(other.receive()["payload"]) == ["s0", "s1", "s2", "s3"]
        frames.send({"type": "reset"})
        assert [frames.receive()["type"], frames.receive()["type"]] == ["resetConfirmation", "reset"]
        assert frames.is_silent()
        assert other.is_silent()
        other.send({"type": "getData", "payload": {"batch_size": 2}})
        assert ids(other.receive()["payload"]) == ["s4", "s5"]


def test_messages_with_a_text_have_one_where_eir_looks_for_it(serving):
    with connect(serving(pairs(1)).url) as frames:
        for message, number in (({"type": "reset", "payload": {}}, 2), ({"type": "what"}, 1)):
            frames.send(message)
            for _ in range(number):
                assert isinstance(frames.receive()["payload"]["message"], str)


def test_validation_ids_replace_earlier_ones_and_hold_for_all_clients(serving):
    url = serving(pairs(4)).url
    eir = EirClient(url)
    eir.set_validation_ids(["s0"])
    eir.set_validation_ids(["s1", "s2"])
    with connect(url) as frames:
        frames.send({"type": "getData"})
        assert ids(frames.receive()["payload"]) == ["s0", "s3"]


def test_a_hundred_thousand_validation_ids_are_taken(serving):
    url = serving(pairs(4)).url
    EirClient(url).set_validation_ids([f"{n:036d}" for n in range(100_000)] + ["s1"])
    with connect(url) as frames:
        frames.send({"type": "getData"})
        assert ids(frames.receive()["payload"]) == ["s0", "s2", "s3"]


def test_messages_in_frames_of_bytes_are_read_as_well(serving):
    with connect(serving(pairs(1)).url) as frames:
        frames.send(b'{"type":"heartbeat"}', BINARY)
        assert frames.receive() == {"type": "heartbeat"}


def test_a_message_in_fragments_is_one_message(serving):
    with connect(serving(pairs(1)).url) as frames:
        frames.send_frame(b'{"type":', is_final=False)
        frames.send_frame(b'"heartbeat"}', opcode=0)
        assert frames.receive() == {"type": "heartbeat"}


@pytest.mark.parametrize("first", [{"type": "handshake", "version": "2.0"}, {"type": "getInfo"}, b"nonsense"])
def test_another_handshake_is_refused_with_an_error_and_a_close(serving, first):
    with connect(serving(pairs(1)).url, is_greeted=False) as frames:
        frames.send(first)
        reply = frames.receive()
        assert reply["type"] == "error"
        assert isinstance(reply["payload"]["message"], str)
        with pytest.raises(ConnectionError, match="closed with 1008"):
            frames.receive()


class Live:
    """A source whose samples come when the test lets them."""

    def __init__(self):
        self._items, self._ready = [], threading.Condition()
        self._is_ended = False

    def put(self, *items):
        with self._ready:
            self._items += items
            self._ready.notify()

    def end(self):
        with self._ready:
            self._is_ended = True
            self._ready.notify()

    def __iter__(self):
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._items or self._is_ended)
                if not self._items:
                    return
                item = self._items.pop(0)
            yield item


@pytest.fixture
def live():
    source = Live()
    yield source
    source.end()


def test_a_handshake_waits_for_the_first_sample_so_that_a_run_may_begin_before_the_simulation(serving, live):
    server = serving(live)
    with connect(server.url, is_greeted=False) as frames:
        frames.send({"type": "handshake", "version": "1.0", "worker_id": 0})
        assert frames.is_silent()
        live.put("first")
        assert frames.receive()["type"] == "handshake"
        EirClient(server.url).validate(frames)


def test_where_no_sample_comes_the_handshake_is_refused(serving, live):
    with connect(serving(live, patience=Patience(handshake_s=0.2)).url, is_greeted=False) as frames:
        frames.send({"type": "handshake", "version": "1.0", "worker_id": 0})
        reply = frames.receive()
        assert reply["type"] == "error"
        assert "no sample has come yet" in reply["payload"]["message"]


def test_a_trainer_is_kept_alive_while_it_waits_and_then_gets_what_came(serving, live):
    live.put("a", "b")
    server = serving(live, patience=Patience(heartbeat_s=0.2))
    eir = EirClient(server.url)
    batches = eir.train(2)
    assert ids(next(batches)) == ["s0", "s1"]
    came = []
    reading = threading.Thread(target=lambda: came.extend(batches))
    reading.start()
    # Each heartbeat makes the client ask again; it gets one answer nevertheless.
    wait_until(lambda: eir.get_data_sent >= 6)
    live.put("c", "d")
    wait_until(lambda: came)
    live.put("e", "f")
    live.end()
    reading.join(20)
    assert ids(itertools.chain.from_iterable(came)) == ["s2", "s3", "s4", "s5"]


def test_trying_the_server_out_is_answered_even_if_all_samples_are_held_back(serving, live):
    live.put("a")
    server = serving(live, patience=Patience(probe_s=0.3))
    EirClient(server.url).set_validation_ids(["s0"])
    with connect(server.url) as frames:
        EirClient(server.url).validate(frames)


def test_a_source_that_fails_ends_the_run_of_its_clients(serving):
    def source():
        yield "a"
        raise ZeroDivisionError("out of luck")

    server = serving(source)
    with connect(server.url) as frames:
        frames.send({"type": "getData"})
        assert ids(frames.receive()["payload"]) == ["s0"]
        frames.send({"type": "getData"})
        with pytest.raises(ConnectionError, match="closed with 1011 the source of the stream failed: out of luck"):
            frames.receive()


def test_a_source_that_fails_at_once_is_told_in_the_handshake(serving):
    def source():
        raise ZeroDivisionError("out of luck")

    with connect(serving(source).url, is_greeted=False) as frames:
        frames.send({"type": "handshake", "version": "1.0", "worker_id": 0})
        reply = frames.receive()
        assert reply["type"] == "error"
        assert "out of luck" in reply["payload"]["message"]
