"""Who may connect, what a server lets clients ask of it, and that no client can slow or swell it."""

import base64
import json
import ssl
import subprocess
import threading

import numpy as np
import psutil
import pytest

pytest.importorskip("websockets", reason="pip install websockets")
pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from servers import wait_until

from smartml.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MessageError,
    StreamingError,
    StreamingRefusedError,
)
from smartml.feeds import DataDownloader
from smartml.pipeline import IterableSource
from smartml.streaming import Access, ClientOptions, Feature, Info, Limits, Sample, WebSocketSource, serve

from .by_hand import BINARY, PING, PONG, TEXT, connect, upgrade

IMPATIENT = ClientOptions(reconnect_timeout_s=0)
LARGE = np.arange(40 * 30_000, dtype="float32").reshape(40, 30_000)


def status_line(url, *headers):
    connection, head, _ = upgrade(url, headers)
    connection.close()
    return head.splitlines()[0]


def test_it_listens_on_loopback_unless_told_otherwise(serving):
    server = serving([1])
    assert server.host == "127.0.0.1"
    assert server.url == f"ws://127.0.0.1:{server.port}/ws"


def test_any_path_will_do(serving):
    server = serving([1])
    for path in ("/", "/ws", "/anything/at?all=1"):
        with connect(f"ws://127.0.0.1:{server.port}{path}"):
            pass


@pytest.mark.parametrize(("item", "opcode"), [("a text", TEXT), (3, TEXT), (np.zeros(3), BINARY), (b"raw", BINARY)])
def test_only_what_would_be_base64_is_binary(serving, item, opcode):
    with connect(serving([item]).url, is_greeted=False) as frames:
        frames.send({"type": "handshake", "version": "1.0", "smartml": {"binary": True}})
        assert frames.receive()["smartml"]["binary"]
        frames.send({"type": "getData", "payload": {"batch_size": 1}})
        assert frames.receive_frame()[0] == opcode


def test_a_token_is_asked_for_in_a_header_or_behind_the_address(serving):
    url = serving([1], access=Access(token="se cret")).url
    assert "401" in status_line(url)
    assert "401" in status_line(url, "Authorization: Bearer wrong")
    assert "401" in status_line(f"{url}?token=wrong")
    assert "101" in status_line(url, "Authorization: Bearer se cret")
    assert "101" in status_line(f"{url}?token=se%20cret")
    assert len(WebSocketSource(url, options=ClientOptions(token="se cret")).collect()) == 1
    with pytest.raises(StreamingRefusedError, match="HTTP status 401 a valid token is needed") as error:
        WebSocketSource(f"{url}?token=hidden", options=IMPATIENT).collect()
    assert "hidden" not in str(error.value)
    assert "se cret" not in repr(Access(token="se cret")) + repr(ClientOptions(token="se cret"))


def test_pages_of_other_origins_are_refused_and_eirs_client_is_not(serving):
    server = serving([1], access=Access(origins=["https://dash.example"]))
    own = f"127.0.0.1:{server.port}"
    assert "101" in status_line(server.url)
    assert "101" in status_line(server.url, f"Origin: http://{own}")
    assert "101" in status_line(server.url, "Origin: https://dash.example")
    assert "403" in status_line(server.url, "Origin: https://evil.example")
    assert "403" in status_line(server.url, "Origin: null")
    assert "101" in status_line(serving([1], access=Access(origins=["*"])).url, "Origin: https://evil.example")


def test_tls_is_spoken_where_it_is_asked_for(serving, tmp_path):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("the program 'openssl' is not installed")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server = serving(list(LARGE), access=Access(tls=tls))
    assert server.url.startswith("wss://")
    options = ClientOptions(ca_file=str(tmp_path / "certificate"))
    found = WebSocketSource(server.url, options=options).collect()
    assert all(np.array_equal(sample.inputs["samples"], row) for sample, row in zip(found, LARGE, strict=True))
    with pytest.raises(StreamingRefusedError, match="ca_file names the certificate to trust"):
        WebSocketSource(server.url, options=IMPATIENT).collect()


def test_a_port_that_is_taken_and_what_cannot_be_served_are_named(serving):
    server = serving([1])
    with pytest.raises(StreamingError, match=f"cannot serve at 127.0.0.1:{server.port}: "):
        serve([1], port=server.port)
    with pytest.raises(ArgumentTypeError, match="can be served, not int"):
        serve(3)
    with pytest.raises(ArgumentValueError, match="heartbeat must be one of auto, echo, coalesce, not 'never'"):
        serve([1], heartbeat="never")
    with pytest.raises(MessageError, match=r"'payload\.inputs\.x\.type' must be one of"):
        serve([1], {"inputs": {"x": {"type": "unknown"}}, "outputs": {}})


def test_more_connections_than_allowed_are_refused(serving):
    url = serving([1], limits=Limits(connections=2)).url
    with connect(url), connect(url):
        assert "503" in status_line(url)
    wait_until(lambda: "101" in status_line(url))


def test_compression_is_spoken_with_those_who_offer_it_where_it_is_switched_on(serving):
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    for is_on in (True, False):
        connection, head, _ = upgrade(serving([1], compression=is_on).url, [offer])
        connection.close()
        assert ("permessage-deflate" in head) is is_on


def test_pings_of_the_server_are_not_for_the_first_minute(serving):
    with connect(serving([1]).url) as frames:
        assert frames.is_silent()
        assert frames.pings == 0


def test_messages_stay_below_a_size_that_the_client_may_raise(serving):
    items = [np.zeros(1000, "float32")] * 50
    url = serving(items, limits=Limits(message_bytes=20_000, most_message_bytes=60_000)).url

    def sizes(extension):
        with connect(url, is_greeted=False) as frames:
            frames.send({"type": "handshake", "version": "1.0", "smartml": extension})
            frames.receive()
            frames.send({"type": "getData", "payload": {"batch_size": 50}})
            return len(frames.receive()["payload"])

    assert sizes(None) == 3
    assert sizes({"max_message_bytes": 40_000}) == 7
    assert sizes({"max_message_bytes": 10**9}) == 11


def test_a_message_that_is_too_large_ends_its_own_connection_only(serving):
    url = serving([1], limits=Limits(incoming_bytes=10_000)).url
    with connect(url) as other, connect(url) as frames:
        frames.send(b'{"type":"heartbeat", "x": "' + b"x" * 20_000 + b'"}')
        with pytest.raises(ConnectionError):
            frames.receive()
        other.send({"type": "heartbeat"})
        assert other.receive() == {"type": "heartbeat"}


def test_status_tells_how_the_stream_is_doing(serving):
    server = serving([1, 2, 3])
    with connect(server.url) as frames:
        frames.send({"type": "getData", "payload": {"batch_size": 2}})
        frames.receive()
        frames.send({"type": "setValidationIds", "payload": {"validation_ids": ["s9"]}})
        frames.receive()
        frames.send({"type": "status", "payload": {}})
        payload = frames.receive()["payload"]
    assert payload.pop("held_bytes") > 0
    assert payload == {
        "active_connections": 1,
        "batches_sent": 1,
        "current_position": 2,
        "first_held_position": 0,
        "has_ended": True,
        "is_shared": False,
        "missed_samples": 0,
        "samples_read": 3,
        "validation_ids_count": 1,
    }
    wait_until(lambda: server.status()["active_connections"] == 0)


def test_what_is_told_of_a_stream_is_what_it_is_made_of(serving):
    info = Info({"x": Feature("array", (2,))}, {"y": Feature("survival")})
    server = serving([([1, 2], {"event": "0", "time": 3.0})], info)
    [sample] = WebSocketSource(server.url)
    assert sample.inputs["x"].tolist() == [1, 2]
    assert sample.target_labels == {"y": {"event": "0", "time": 3.0}}
    bad = serving([([1, 2, 3], {"event": "0", "time": 3.0})], info)
    with pytest.raises(StreamingError, match=r"sample 's0': input 'x' has shape \(3,\), the stream announces \(2,\)"):
        WebSocketSource(bad.url).collect()
    with pytest.raises(StreamingError, match="input 'x' has shape"):
        bad.check()


def test_chains_arrays_and_samples_are_served(serving):
    chain = IterableSource(range(10)).filter(lambda x: x % 2).map(lambda x: np.full(3, x, "int64"))
    for source, expected in ((chain, [1, 3, 5, 7, 9]), (np.arange(6).reshape(2, 3), [0, 3])):
        found = WebSocketSource(serving(source).url).collect()
        assert [int(sample.inputs["samples"][0]) for sample in found] == expected
    given = Sample({"a": "x"}, {"b": 1.0}, "own")
    [found] = WebSocketSource(serving([given]).url)
    assert found == Sample({"a": "x"}, {"b": {"b": 1.0}}, "own")


def test_a_stream_without_a_sample_ends_or_cannot_be_told(serving):
    info = {"inputs": {"x": {"type": "sequence"}}, "outputs": {}}
    assert WebSocketSource(serving([], info).url).collect() == []
    with pytest.raises(StreamingError, match="the stream ended before its first sample"):
        WebSocketSource(serving([]).url, options=IMPATIENT).collect()


def test_closing_the_server_ends_its_threads_though_clients_are_there():
    before = set(threading.enumerate())
    server = serve([np.zeros((1000, 100), "float32")] * 100, port=0)
    with connect(server.url) as silent:
        # Never read: the server is in the midst of sending.
        for _ in range(10):
            silent.send({"type": "getData", "payload": {"batch_size": 10}})
        reading = iter(WebSocketSource(server.url, batch_size=1, options=IMPATIENT))
        next(reading)
        server.close()
        reading.close()
    assert server.wait(0)
    wait_until(lambda: set(threading.enumerate()) <= before)


def large():
    return [np.full((64, 1024), n, "float32") for n in range(64)]


def memory_of(server):
    return psutil.Process(server._process.pid).memory_info().rss


def test_pings_are_answered_between_messages_and_not_within_them(serving):
    with connect(serving(list(LARGE)).url) as frames:
        for _ in range(5):
            frames.send({"type": "getData", "payload": {"batch_size": 8}})
            # More than the buffers of sockets hold waits to be read, so that answers meet messages half sent.
            for _ in range(50):
                frames.send_frame(b"there?", PING)
        kinds, found = [], []
        while len(found) < 40 or kinds.count(PONG) < 250:
            kind, payload = frames.receive_frame()
            kinds.append(kind)
            if kind == PONG:
                assert payload == b"there?"
            else:
                found += json.loads(payload)["payload"]
        for sample, row in zip(found, LARGE, strict=True):
            assert base64.b64decode(sample["inputs"]["samples"]) == row.tobytes()
    assert kinds.count(TEXT) == 5


def test_clients_that_do_not_read_slow_nobody_and_take_no_memory(server_process):
    server = server_process(large)
    list(WebSocketSource(server.url))
    silent = [connect(server.url) for _ in range(20)]
    for frames in silent:
        # A gigabyte, if it were to be sent.
        for _ in range(64):
            frames.send({"type": "getData", "payload": {"batch_size": 4}})
            frames.send({"type": "reset"})
    before = memory_of(server)
    for _ in range(3):
        assert len(WebSocketSource(server.url).collect()) == 64
    # One message each, and what is in the buffers of sockets.
    assert memory_of(server) - before < 100e6
    for frames in silent:
        frames.socket.close()
    assert len(WebSocketSource(server.url).collect()) == 64


def test_a_feed_is_served_sample_by_sample(serving, tmp_path):
    from servers import Server

    from smartml.feeds import TrainingDataUploader

    database = Server(tmp_path).start()
    try:
        with TrainingDataUploader(address=database.address) as uploader:
            uploader.publish_info()
            uploader.put_batch(np.arange(12, dtype="float32").reshape(6, 2), np.arange(6))
        with DataDownloader("training_data", address=database.address, batch_size=3, wait_timeout_s=20) as feed:
            server = serving(feed.stream(samples=True, max_epochs=2))
            found = WebSocketSource(server.url).collect()
    finally:
        database.kill()
    targets = [sample.target_labels["targets"]["targets"] for sample in found]
    assert sorted(targets) == sorted([*range(6), *range(6)])
    assert all(sample.inputs["samples"][1] == 2 * target + 1 for sample, target in zip(found, targets, strict=True))
