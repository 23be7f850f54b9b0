"""Samples of a streaming server as a chain: of ours, of EIR's example, and of servers by hand with their quirks."""

import base64
import contextlib
import itertools
import pickle
import socket
import struct
import threading
import time

import numpy as np
import pytest
from servers import find_free_port, wait_until

pytest.importorskip("websockets", reason="pip install websockets")
pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml.errors import (
    ArgumentValueError,
    MessageError,
    SampleFormatError,
    StateError,
    StreamingConnectionError,
    StreamingError,
    StreamingRefusedError,
    StreamingTimeoutError,
)
from smartml.pipeline import IterableSource
from smartml.streaming import ClientOptions, Sample, StreamingClient, WebSocketSource

from .by_hand import HandServer, connect

PATIENT = ClientOptions(reconnect_timeout_s=20, wait_timeout_s=20)


def numbers(count):
    return [(np.full((2, 2), n, "float64"), n) for n in range(count)]


def ids(samples):
    return [sample.sample_id for sample in samples]


def source_of(server, **options):
    return WebSocketSource(getattr(server, "url", server), options=PATIENT, **options)


# Our server


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [True, False])
def test_a_stream_comes_as_it_was_served(serving, binary, compression):
    server = serving(numbers(70), compression=compression)
    source = WebSocketSource(server.url, options=ClientOptions(binary=binary, compression=compression))
    for _ in range(2):
        found = source.collect()
        assert ids(found) == [f"s{n}" for n in range(70)]
        for n, sample in enumerate(found):
            assert sample.inputs["samples"].dtype == np.float64
            assert sample.inputs["samples"].tolist() == [[n, n], [n, n]]
            assert sample.target_labels == {"targets": {"targets": n}}


def test_a_chain_on_it_is_resumed_at_the_exact_item_and_can_be_pickled(serving):
    def chain():
        return source_of(serving_url, batch_size=8).map(lambda sample: sample.sample_id).batched(5)

    serving_url = serving(numbers(101)).url
    whole = chain().collect()
    for taken in (0, 1, 7, 20):
        reading = iter(chain())
        begun = list(itertools.islice(reading, taken))
        state = pickle.loads(pickle.dumps(reading.state_dict()))
        reading.close()
        other = chain()
        other.load_state_dict(state)
        assert begun + other.collect() == whole
    assert ids(pickle.loads(pickle.dumps(source_of(serving_url))).take(3).collect()) == ["s0", "s1", "s2"]


def test_a_state_of_another_stream_is_refused(serving):
    one, other = serving(numbers(5)), serving(numbers(5)[::-1])
    reading = iter(source_of(one))
    next(reading)
    source = source_of(other)
    source.load_state_dict(reading.state_dict())
    with pytest.raises(StateError, match="serves another stream"):
        source.collect()
    reading.close()


def test_what_is_set_up_is_not_trained_on(serving):
    server = serving(numbers(200))
    source = source_of(server, batch_size=16)

    ready = source.set_up(100, validation=0.2)

    assert ids(ready.samples) == [f"s{n}" for n in range(100)]
    assert len(ready.validation) == 20
    assert set(ids(ready.validation)) < set(ids(ready.samples))
    assert ids(ready.training.collect()) == [f"s{n}" for n in range(200) if f"s{n}" not in ids(ready.validation)]
    assert ids(ready.validation) == ids(source.set_up(100, validation=20).validation)
    assert ids(source.set_up(10, validation=0).training.collect()) == [f"s{n}" for n in range(200)]


def test_fewer_samples_are_set_up_where_the_stream_is_shorter(serving):
    ready = source_of(serving(numbers(7))).set_up(100, validation=2)
    assert (len(ready.samples), len(ready.validation)) == (7, 2)
    with pytest.raises(ArgumentValueError, match="or a number up to 7"):
        source_of(serving(numbers(7))).set_up(100, validation=8)


def test_readers_of_a_shared_server_get_each_sample_once(serving):
    server = serving(numbers(500), shared=True)
    readers = [iter(source_of(server, shared=True, batch_size=7)) for _ in range(3)]
    found = []
    threads = [threading.Thread(target=lambda it=it: found.extend(it)) for it in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(ids(found)) == sorted(f"s{n}" for n in range(500))
    with pytest.raises(StreamingError, match="serve them with shared=True"):
        source_of(serving(numbers(3)), shared=True).collect()


def fifty():
    return numbers(50)


def forever():
    return IterableSource(lambda: (np.full((64, 64), n, "float32") for n in itertools.count()))


def test_a_server_that_was_killed_and_comes_back_is_gone_on_with_at_the_next_sample(server_process):
    server = server_process(fifty)
    reading = iter(source_of(server, batch_size=4, prefetch=0))
    found = list(itertools.islice(reading, 10))
    server.kill()
    again = threading.Thread(target=server.start)
    again.start()
    found += reading
    again.join()
    assert ids(found) == [f"s{n}" for n in range(50)]


def test_connections_that_are_cut_lose_and_double_nothing(serving):
    server = serving(numbers(3000))
    cuts = Cuts(server.port)
    with cuts:
        reading = iter(WebSocketSource(cuts.url, batch_size=8, options=PATIENT))
        found = []
        for number, sample in enumerate(reading):
            found.append(sample.sample_id)
            if number % 300 == 150:
                cuts.cut()
    assert cuts.count > 5
    assert found == [f"s{n}" for n in range(3000)]


class Cuts:
    """A proxy in front of a port, whose connections can be cut."""

    def __init__(self, port):
        self._port, self._pairs, self.count = port, [], 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/ws"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            self._pairs.append((client, server))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one, other):
        try:
            while part := one.recv(4096):
                other.sendall(part)
        except OSError:
            pass
        finally:
            for each in (one, other):
                each.close()

    def cut(self):
        self.count += 1
        for pair in self._pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


def test_a_server_that_is_not_there_is_waited_for(serving):
    port = find_free_port()
    reading = iter(WebSocketSource(f"ws://127.0.0.1:{port}/ws", options=PATIENT))
    found = []
    thread = threading.Thread(target=lambda: found.extend(reading))
    thread.start()
    serving(numbers(5), port=port)
    thread.join(20)
    assert len(found) == 5


def test_a_server_that_does_not_come_is_named():
    url = f"ws://127.0.0.1:{find_free_port()}/ws"
    with pytest.raises(StreamingConnectionError, match=rf"cannot connect to {url}: .*\(tried for 0.3 s\)"):
        WebSocketSource(url, options=ClientOptions(reconnect_timeout_s=0.3)).collect()


def test_samples_that_do_not_come_are_waited_for_no_longer_than_told(serving):
    came = threading.Event()

    def source():
        yield 1
        came.wait(20)

    server = serving(source)
    reading = iter(WebSocketSource(server.url, options=ClientOptions(wait_timeout_s=0.5, heartbeat_s=0.1)))
    next(reading)
    with pytest.raises(StreamingTimeoutError, match=r"has sent no sample for 0\.5 s"):
        next(reading)
    came.set()


def test_a_reader_that_is_closed_from_another_thread_ends(serving):
    came = threading.Event()

    def source():
        yield 1
        came.wait(20)

    source = source_of(serving(source))
    stage = source.begin()
    items = stage.items()
    next(items)
    threading.Timer(0.2, stage.stop).start()
    assert list(items) == []
    came.set()


def test_a_source_that_fails_is_told_to_its_readers(serving):
    def source():
        yield 1
        raise ZeroDivisionError("out of luck")

    server = serving(source)
    with pytest.raises(StreamingError, match="the source of the stream failed: out of luck"):
        source_of(server).collect()


def test_a_message_that_is_too_large_names_the_setting(serving):
    server = serving([np.zeros((100, 100), "float32")] * 3)
    with pytest.raises(MessageError, match="more than max_message_bytes=1000: allow more"):
        WebSocketSource(server.url, options=ClientOptions(max_message_bytes=1000)).collect()
    # A client that takes less gets smaller batches.
    assert len(WebSocketSource(server.url, options=ClientOptions(max_message_bytes=60_000)).collect()) == 3


def test_a_reader_asks_only_a_little_ahead(server_process):
    with source_of(server_process(forever)).open() as client:
        reading = iter(WebSocketSource(client.name, batch_size=4, prefetch=2))
        next(reading)
        wait_until(lambda: client.status()["samples_read"] > 0)
        assert client.status()["samples_read"] <= 4 * 3 + 256
        reading.close()


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"prefetch": -1}])
def test_arguments_that_cannot_work_are_refused(arguments):
    with pytest.raises(ArgumentValueError):
        WebSocketSource("ws://127.0.0.1:1/ws", **arguments)
    with pytest.raises(ArgumentValueError, match="is ws://host:port/path, not 'http"):
        WebSocketSource("http://127.0.0.1:1/ws")


# EIR's example server


def test_the_example_server_of_eirs_guide_is_read(eir_server):
    url = eir_server("--samples", "300")
    source = WebSocketSource(url, batch_size=16, options=PATIENT)

    ready = source.set_up(50, validation=10)

    assert set(ready.info.inputs) == {"text"}
    assert ids(ready.samples) == [f"sim_{n}" for n in range(50)]
    trained = ready.training.collect()
    assert ids(trained) == [f"sim_{n}" for n in range(300) if f"sim_{n}" not in ids(ready.validation)]
    assert trained[-1] == Sample({"text": "begin at 299"}, {"reply": "count down from 299 to 149"}, "sim_299")
    assert source.status()["current_position"] == 300


def test_arrays_of_the_example_server_are_read_and_a_chain_is_resumed_by_count(eir_server):
    url = eir_server("--samples", "40", "--array")
    expected = np.random.default_rng(1).random((64, 3, 64, 64), dtype="float32")
    source = WebSocketSource(url, batch_size=8, options=PATIENT)
    reading = iter(source)
    begun = list(itertools.islice(reading, 13))
    state = reading.state_dict()
    reading.close()
    source.load_state_dict(state)
    rest = source.collect()
    assert ids(begun + rest) == [f"sim_{n}" for n in range(40)]
    assert all((sample.inputs["x"] == expected[n]).all() for n, sample in enumerate(begun + rest))


# Servers by hand


INFO = {"inputs": {"x": {"type": "array", "shape": [2]}}, "outputs": {"y": {"type": "tabular"}}}


def wire(number):
    raw = base64.b64encode(struct.pack("<2f", number, -number)).decode()
    return {"inputs": {"x": raw}, "target_labels": {"y": {"y": number}}, "sample_id": f"n{number}"}


def data(*samples):
    return {"type": "data", "payload": list(samples)}


class Behaviour:
    """A server with quirks: each is a method that a test replaces."""

    def __init__(self, count=20, **quirks):
        self.count, self.position = count, 0
        self.asked = []
        for name, quirk in quirks.items():
            setattr(self, name, quirk)

    def __call__(self, frames, connection):
        self.greet(frames, frames.receive())
        while True:
            message = frames.receive()
            self.asked.append(message)
            kind = message["type"]
            if kind == "getInfo":
                frames.send({"type": "info", "payload": INFO})
            elif kind == "getData":
                self.give(self, frames, message["payload"]["batch_size"])
            elif kind == "heartbeat":
                frames.send({"type": "heartbeat", "payload": {}})
            elif kind == "status":
                frames.send({"type": "status", "payload": {"current_position": self.position}})
            elif kind == "reset":
                self.position = 0
                self.confirm(frames)
            elif kind == "setValidationIds":
                frames.send({"type": "validationIdsConfirmation", "payload": {"message": "fine"}})

    @staticmethod
    def greet(frames, message):
        assert message.items() >= {"type": "handshake", "version": "1.0", "worker_id": 0}.items()
        frames.send({"type": "handshake", "version": "1.0", "server": "by hand"})

    @staticmethod
    def confirm(frames):
        frames.send({"type": "resetConfirmation", "payload": {"message": "done"}})
        frames.send({"type": "reset", "payload": {"message": "done"}})

    @staticmethod
    def give(self, frames, size):
        frames.send(data(*(self.next_samples(size) or ["terminate"])))

    def next_samples(self, size):
        first, self.position = self.position, min(self.count, self.position + size)
        return [wire(number) for number in range(first, self.position)]


def read(behaviour, options=PATIENT, **arguments):
    with HandServer(behaviour) as server:
        return ids(WebSocketSource(server.url, batch_size=6, options=options, **arguments))


ALL = [f"n{number}" for number in range(20)]


def end_with_nothing(self, frames, size):
    frames.send(data(*self.next_samples(size)))


def end_behind_samples(self, frames, size):
    samples = self.next_samples(size)
    frames.send(data(*samples, *(["terminate"] if self.position == self.count else [])))


def give_heartbeats_first(self, frames, size):
    frames.send({"type": "heartbeat"})
    frames.send({"type": "reset", "payload": {"message": "somebody else has reset"}})
    Behaviour.give(self, frames, size)


def fail_now_and_then(self, frames, size):
    self.failures = getattr(self, "failures", 0) + 1
    if self.failures % 3:
        frames.send({"type": "error", "payload": {"message": "busy"}})
    else:
        Behaviour.give(self, frames, size)


def give_more(self, frames, size):
    Behaviour.give(self, frames, size + 5)


@pytest.mark.parametrize(
    "give", [Behaviour.give, end_with_nothing, end_behind_samples, give_heartbeats_first, fail_now_and_then, give_more]
)
def test_servers_end_and_answer_in_many_ways(give):
    assert read(Behaviour(give=give)) == ALL


def asked_for(extension, give=Behaviour.give, count=1000, pause_s=0.0, **arguments):
    """Read so many samples in batches of 6, and take a while for each; return the numbers that were asked for."""

    def greet(frames, message):
        frames.send({"type": "handshake", "version": "1.0", **extension})

    behaviour = Behaviour(count, greet=greet, give=give)
    found = []
    with HandServer(behaviour) as server:
        for sample in WebSocketSource(server.url, batch_size=6, options=PATIENT, **arguments):
            found.append(sample.sample_id)
            time.sleep(pause_s)
    assert found == [f"n{number}" for number in range(count)]
    return [message["payload"]["batch_size"] for message in behaviour.asked if message["type"] == "getData"]


def give_half(self, frames, size):
    frames.send(data(*(self.next_samples(size // 2) or ["terminate"])))


def give_large(self, frames, size):
    frames.send(data(*([{**sample, "more": "x" * 5000} for sample in self.next_samples(size)] or ["terminate"])))


def test_a_server_of_ours_that_is_faster_is_asked_for_more_at_once():
    sizes = asked_for({"smartml": {"stream": "a"}})
    assert sizes[:4] == [6, 6, 6, 12]
    assert max(sizes) > 48


def test_of_larger_samples_not_so_many_are_asked_for():
    assert max(asked_for({"smartml": {"stream": "a"}}, give_large)) == 48


def test_a_trainer_that_takes_its_time_is_not_sent_what_it_will_use_much_later():
    assert set(asked_for({"smartml": {"stream": "a"}}, count=30, pause_s=0.02)) == {6}


@pytest.mark.parametrize(
    ("extension", "arguments"),
    [
        pytest.param({}, {}, id="a server of another kind"),
        pytest.param({"smartml": {"stream": "a", "shared": True}}, {"shared": True}, id="others want samples, too"),
        pytest.param({"smartml": {"stream": "a"}}, {"give": give_half}, id="the server is the slower side"),
        pytest.param({"smartml": {"stream": "a"}}, {"prefetch": 0}, id="nothing is asked ahead"),
    ],
)
def test_otherwise_only_what_was_wanted_is_asked_for(extension, arguments):
    assert set(asked_for(extension, **arguments)) == {6}


def confirm_once(frames):
    frames.send({"type": "resetConfirmation", "payload": {"message": "done"}})


def confirm_in_the_other_order(frames):
    frames.send({"type": "reset", "payload": {"message": "done"}})
    frames.send({"type": "resetConfirmation", "payload": {"message": "done"}})


def confirm_by_the_notice_alone(frames):
    frames.send({"type": "reset"})


@pytest.mark.parametrize("confirm", [confirm_once, confirm_in_the_other_order, confirm_by_the_notice_alone])
def test_one_or_two_answers_to_a_reset_will_do(confirm):
    with HandServer(Behaviour(confirm=confirm)) as server:
        ready = source_of(server, batch_size=6).set_up(5, validation=1)
        assert ids(ready.samples) == ALL[:5]
        assert ids(ready.training) == [name for name in ALL if name not in ids(ready.validation)]


def test_the_client_never_sends_a_heartbeat_before_each_question():
    behaviour = Behaviour()
    read(behaviour)
    kinds = [message["type"] for message in behaviour.asked]
    assert kinds[:2] == ["getInfo", "reset"]
    assert "heartbeat" not in kinds
    # As many as were needed, and those that were on their way.
    assert kinds.count("getData") <= 5 + 2


def test_a_server_that_lets_a_heartbeat_stand_for_data_is_asked_again():
    def wait_once(self, frames, size):
        self.waits = getattr(self, "waits", 0) + 1
        if self.waits <= 3:
            frames.send({"type": "heartbeat"})
        else:
            Behaviour.give(self, frames, size)

    options = ClientOptions(timeout_s=0.3, heartbeat_s=0.1, wait_timeout_s=20)
    assert read(Behaviour(give=wait_once), options) == ALL


def test_a_lost_connection_to_a_server_without_positions_is_gone_on_with_and_not_reset(caplog):
    def cut_once(self, frames, size):
        if self.position >= 12 and not getattr(self, "was_cut", False):
            self.was_cut = True
            frames.socket.close()
            raise ConnectionError
        Behaviour.give(self, frames, size)

    behaviour = Behaviour(give=cut_once)
    with caplog.at_level("WARNING"):
        assert read(behaviour, prefetch=0) == ALL
    assert "tells no positions: samples may come twice, or not at all" in caplog.text
    assert [message["type"] for message in behaviour.asked].count("reset") == 1


@pytest.mark.parametrize(
    ("reply", "error", "complaint"),
    [
        ({"type": "handshake", "version": "2.0"}, StreamingRefusedError, "speaks version '2.0', smartml speaks 1.0"),
        ({"type": "error", "payload": {"message": "Incompatible"}}, StreamingRefusedError, "with an error: Incomp"),
        (b"nonsense", StreamingRefusedError, "sent what is no message"),
    ],
)
def test_a_handshake_that_fails_is_no_reason_to_try_again(reply, error, complaint):
    behaviour = Behaviour(greet=lambda frames, message: frames.send(reply))
    with HandServer(behaviour) as server, pytest.raises(error, match=complaint):
        source_of(server).collect()


@pytest.mark.parametrize(
    ("answer", "error", "complaint"),
    [
        ({"type": "error", "payload": {"message": "broken"}}, StreamingError, "error, again and again: broken"),
        ({"type": "error"}, StreamingError, "error, again and again"),
        ({"type": "data"}, MessageError, "data: 'payload' must be a list"),
        ({"type": "nonsense"}, MessageError, "unknown message type 'nonsense'"),
        (b"[" * 5000, MessageError, "sent what is no message"),
        (data({"inputs": {"x": "AAAA"}, "target_labels": {}, "sample_id": "a"}), SampleFormatError, "has 3 bytes"),
        (data({"inputs": {"x": "AAAA"}}), SampleFormatError, "a sample is an object"),
    ],
)
def test_errors_name_the_message_and_the_server(answer, error, complaint):
    behaviour = Behaviour(give=lambda self, frames, size: frames.send(answer))
    with HandServer(behaviour) as server, pytest.raises(error, match=complaint) as caught:
        source_of(server).collect()
    if error is not SampleFormatError:
        assert server.url in str(caught.value)


def test_a_server_that_never_answers_is_waited_for_no_longer_than_told():
    options = ClientOptions(timeout_s=0.3, reconnect_timeout_s=0.5)
    behaviour = Behaviour(greet=lambda frames, message: time.sleep(3))
    with HandServer(behaviour) as server, pytest.raises(StreamingConnectionError, match="not answered handshake"):
        WebSocketSource(server.url, options=options).collect()


def test_a_port_that_speaks_something_else_is_named(serving):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"220 mail.example ESMTP\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
        with pytest.raises(StreamingConnectionError, match=f"cannot connect to {url}"):
            StreamingClient(url)
        thread.join()


def test_an_eir_client_and_ours_are_served_side_by_side(serving):
    server = serving(numbers(10))
    reading = iter(source_of(server, batch_size=2))
    assert next(reading).sample_id == "s0"
    with connect(server.url) as frames:
        frames.send({"type": "getData", "payload": {"batch_size": 3}})
        reply = frames.receive()
        assert reply.keys() == {"type", "payload"}
        assert [sample["sample_id"] for sample in reply["payload"]] == ["s0", "s1", "s2"]
    assert len(list(reading)) == 9
