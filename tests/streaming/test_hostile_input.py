"""Thousands of messages that are none, and clients that come, go and are killed: the server serves on."""

import contextlib
import json
import multiprocessing
import random
import socket
import struct
import threading
import time

import numpy as np
import psutil
import pytest
from servers import wait_until

pytest.importorskip("websockets", reason="pip install websockets")
pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml.pipeline import IterableSource
from smartml.streaming import Limits, WebSocketSource

from .by_hand import BINARY, CLOSE, PING, TEXT, connect

VALID = [
    {"type": "handshake", "version": "1.0", "worker_id": 0},
    {"type": "getInfo"},
    {"type": "getData", "payload": {"batch_size": 3}},
    {"type": "status", "payload": {}},
    {"type": "reset"},
    {"type": "setValidationIds", "payload": {"validation_ids": ["none", "of", "these"]}},
    {"type": "heartbeat"},
]
WRONG = [None, True, -1, 0, 1.5, 10**30, "", "x", [], {}, [[]], {"a": 1}, "\x00", "\ud800", float("nan"), [None] * 50]


def malformed(rng):
    """Return one message that is malformed, oversized, truncated or ill-typed, now and then a valid one."""
    message = json.loads(json.dumps(rng.choice(VALID)))
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        text = json.dumps(message).encode()
        return text[: rng.randrange(len(text))]
    if kind == 2:
        message[rng.choice(["type", "payload", "version", "worker_id", "smartml"])] = rng.choice(WRONG)
    elif kind == 3:
        message["payload"] = {rng.choice(["batch_size", "validation_ids", "position", "x"]): rng.choice(WRONG)}
    elif kind == 4:
        return json.dumps(rng.choice(WRONG)).encode()
    elif kind == 5:
        return b"[" * rng.randrange(20_000) + b"]" * rng.randrange(20_000)
    elif kind == 6:
        text = bytearray(json.dumps(message).encode())
        text[rng.randrange(len(text))] = rng.randrange(256)
        return bytes(text)
    elif rng.random() < 0.02:
        message["more"] = "x" * 150_000
    return json.dumps(message).encode()


def damaged_frame(frames, rng):
    """Send what is no frame of WebSocket, which ends a connection."""
    kind = rng.randrange(4)
    if kind == 0:
        frames.socket.sendall(rng.randbytes(50))
    elif kind == 1:
        # Without the mask that clients have to use.
        frames.socket.sendall(struct.pack("!BB", 0x81, 5) + b"hello")
    elif kind == 2:
        frames.send_frame(b"x" * 200, PING)
    else:
        frames.socket.sendall(struct.pack("!BBQ", 0x82, 0xFF, 2**62) + rng.randbytes(4))


def test_ten_thousand_messages_that_are_none_leave_the_server_serving(serving):
    items = [np.full(10, n, "float32") for n in range(30)]
    server = serving(items, limits=Limits(incoming_bytes=100_000))
    rng = random.Random(7)
    sent = connections = 0
    while sent < 10_000:
        connections += 1
        with connect(server.url, is_greeted=rng.random() < 0.9) as frames:
            reading = threading.Thread(target=read_until_closed, args=(frames,))
            reading.start()
            with contextlib.suppress(OSError):
                for _ in range(rng.randrange(400)):
                    frames.send_frame(malformed(rng), rng.choice([TEXT, BINARY]))
                    sent += 1
                if rng.random() < 0.5:
                    damaged_frame(frames, rng)
                    sent += 1
            with contextlib.suppress(OSError):
                frames.send_frame(b"", CLOSE)
                frames.socket.shutdown(socket.SHUT_WR)
            reading.join(20)
            assert not reading.is_alive()
    assert connections > 20
    assert len(WebSocketSource(server.url).collect()) == 30
    wait_until(lambda: server.status()["active_connections"] == 0)


def read_until_closed(frames):
    with contextlib.suppress(ConnectionError, OSError):
        while True:
            frames.receive_bytes()


def test_connections_that_never_become_one_are_let_go(serving):
    server = serving([1])
    rng = random.Random(3)
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection, contextlib.suppress(OSError):
            connection.sendall(
                rng.choice([b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", rng.randbytes(100)]) + b"\r\n\r\n"
            )
    assert len(WebSocketSource(server.url).collect()) == 1


def endless():
    def samples():
        number = 0
        while True:
            yield np.full((3, 32, 32), number % 1000, "float32")
            number += 1

    return IterableSource(samples)


def read_on(url, is_slow):
    for _ in WebSocketSource(url, batch_size=8):
        time.sleep(0.05 if is_slow else 0.005)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_fifty_clients_one_of_which_is_killed_each_second_leave_memory_flat(server_process):
    from smartml.streaming import Extent

    server = server_process(endless, extent=Extent(window_bytes=32 << 20))
    context = multiprocessing.get_context("fork")
    process = psutil.Process(server._process.pid)

    def start(number):
        client = context.Process(target=read_on, args=(server.url, number % 5 == 0), daemon=True)
        client.start()
        return client

    clients = [start(number) for number in range(50)]
    memory = []
    try:
        for second in range(120):
            time.sleep(1)
            number = second % len(clients)
            clients[number].kill()
            clients[number].join()
            clients[number] = start(number)
            memory.append(process.memory_info().rss / 1e6)
        assert all(client.is_alive() for client in clients)
        status = WebSocketSource(server.url).status()
    finally:
        for client in clients:
            client.kill()
            client.join()
    assert status["active_connections"] > 40
    assert max(memory[60:]) < 1.15 * max(memory[20:60]), [round(megabytes) for megabytes in memory[::10]]
