"""The streaming protocol spoken byte by byte on plain sockets, in both roles: nothing here comes from smartml.

Frames as in RFC 6455, section 5.
"""

import base64
import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

DEADLINE_S = 20
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Frames:
    """Frames on a socket. Clients mask what they send."""

    def __init__(self, connection, rest=b"", is_client=True):
        self.socket, self._buffer, self._is_client = connection, rest, is_client
        # Control frames that came in between.
        self.pings = self.closes = 0

    def send_frame(self, payload, opcode=TEXT, is_final=True):
        first = (0x80 if is_final else 0) | opcode
        mask = 0x80 if self._is_client else 0
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", first, mask | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", first, mask | 126, size)
        else:
            head = struct.pack("!BBQ", first, mask | 127, size)
        if self._is_client:
            key = os.urandom(4)
            repeated = key * (size // 4 + 1)
            masked = int.from_bytes(payload, "little") ^ int.from_bytes(repeated[:size], "little")
            payload = key + masked.to_bytes(size, "little")
        self.socket.sendall(head + payload)

    def send(self, message, opcode=TEXT):
        self.send_frame(message if isinstance(message, bytes) else json.dumps(message).encode(), opcode)

    def _read(self, number):
        while len(self._buffer) < number:
            part = self.socket.recv(1 << 20)
            if not part:
                raise ConnectionError("the other side is gone")
            self._buffer += part
        found, self._buffer = self._buffer[:number], self._buffer[number:]
        return found

    def receive_frame(self):
        first, second = self._read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._read(8))
        key = self._read(4) if second & 0x80 else b""
        payload = self._read(size)
        if key:
            payload = bytes(octet ^ key[number % 4] for number, octet in enumerate(payload))
        return first & 0x0F, payload

    def receive_bytes(self, timeout_s=DEADLINE_S):
        """Return the next message; answers pings. ConnectionError at a close frame, TimeoutError in silence."""
        self.socket.settimeout(timeout_s)
        while True:
            opcode, payload = self.receive_frame()
            if opcode in (TEXT, BINARY):
                return payload
            if opcode == PING:
                self.pings += 1
                self.send_frame(payload, PONG)
            if opcode == CLOSE:
                self.closes += 1
                self.send_frame(payload[:2], CLOSE)
                code = struct.unpack("!H", payload[:2])[0] if payload else None
                raise ConnectionError(f"closed with {code} {payload[2:].decode()}")

    def receive(self, timeout_s=DEADLINE_S):
        return json.loads(self.receive_bytes(timeout_s))

    def is_silent(self, for_s=0.2):
        try:
            self.receive_bytes(for_s)
        except TimeoutError:
            return True
        return False

    def close(self):
        with contextlib.suppress(OSError):
            self.send_frame(struct.pack("!H", 1000), CLOSE)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def upgrade(url, headers=()):
    """Send the request that opens a connection; return the socket, and status line and rest of what comes back."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), DEADLINE_S)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(4096)
        if not part:
            break
        answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    return connection, head.decode(), rest


def connect(url, is_greeted=True, headers=None):
    """Connect as EIR's client does, which sends its own origin, and make the handshake."""
    origin = f"Origin: http://{urlsplit(url).netloc}"
    connection, head, rest = upgrade(url, [origin] if headers is None else headers)
    assert " 101 " in head.splitlines()[0], head
    frames = Frames(connection, rest)
    if is_greeted:
        frames.send({"type": "handshake", "version": "1.0", "worker_id": 0})
        assert frames.receive() == {"type": "handshake", "version": "1.0"}
    return frames


class EirClient:
    """EIR's trainer, from the fact sheet: what it sends and reads, in its order, with its timeouts."""

    def __init__(self, url):
        self.url = url
        self.get_data_sent = 0

    def _asked(self, frames, message, timeout_s):
        frames.send(message)
        return frames.receive(timeout_s)

    def status(self):
        with connect(self.url) as frames:
            reply = self._asked(frames, {"type": "status", "payload": {}}, 30)
        assert reply["type"] == "status"
        return reply["payload"]

    def validate(self, frames):
        """Try the server out: every message is read one by one, within 5 seconds."""
        assert self._asked(frames, {"type": "getInfo"}, 5)["type"] == "info"
        assert self._asked(frames, {"type": "getData", "payload": {"batch_size": 1}}, 5)["type"] == "data"
        assert self._asked(frames, {"type": "heartbeat"}, 5)["type"] == "heartbeat"
        first = self._asked(frames, {"type": "reset"}, 5)
        second = frames.receive(5)
        assert "resetConfirmation" in (first["type"], second["type"])

    def gather(self, number, batch_size):
        """Store the first samples, as before a training."""
        samples = []
        with connect(self.url) as frames:
            self.validate(frames)
            self.info = self._asked(frames, {"type": "getInfo"}, 30)["payload"]
            while len(samples) < number:
                reply = self._asked(frames, {"type": "getData", "payload": {"batch_size": batch_size}}, 30)
                if reply["type"] != "data":
                    continue
                if reply["payload"] == ["terminate"]:
                    break
                samples += reply["payload"]
        with connect(self.url) as frames:
            answers = [self._asked(frames, {"type": "reset", "payload": {}}, 30), frames.receive(30)]
            assert sorted(answer["type"] for answer in answers) == ["reset", "resetConfirmation"]
        return samples[:number]

    def set_validation_ids(self, ids):
        with connect(self.url) as frames:
            reply = self._asked(frames, {"type": "setValidationIds", "payload": {"validation_ids": ids}}, 30)
        assert reply["type"] == "validationIdsConfirmation"
        assert isinstance(reply["payload"]["message"], str)

    def train(self, batch_size):
        """Yield batches: a heartbeat and a question each round, of whose two answers one is read."""
        with connect(self.url) as frames:
            self.validate(frames)
            frames.send({"type": "heartbeat"})
            while True:
                frames.send({"type": "heartbeat"})
                frames.send({"type": "getData", "payload": {"batch_size": batch_size}})
                self.get_data_sent += 1
                reply = frames.receive(30)
                if reply["type"] != "data":
                    continue
                samples = reply["payload"]
                if not samples or samples == ["terminate"]:
                    return
                for sample in samples:
                    # An extra key, or "terminate" among samples, ends the real one here.
                    assert sample.keys() == {"inputs", "target_labels", "sample_id"}
                yield samples


def accept(listener):
    """Accept a client's connection and upgrade it; return its frames and the head of its request."""
    connection, _ = listener.accept()
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    head, _, rest = request.partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    accepted = {name.lower(): value for name, value in lines.items()}
    digest = hashlib.sha1((accepted["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    answer = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    answer.append(f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}")
    connection.sendall("\r\n".join([*answer, "", ""]).encode())
    return Frames(connection, rest, is_client=False), accepted


class HandServer:
    """A server whose behaviour is a function of each connection's frames, called in a thread of its own."""

    def __init__(self, behaviour):
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/anything"
        self.requests, self.errors = [], []
        self._open, self._threads = [], []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self):
        while True:
            try:
                frames, head = accept(self._listener)
            except (OSError, ConnectionError):
                return
            self.requests.append(head)
            self._open.append(frames)
            self._threads.append(threading.Thread(target=self._serve, args=(frames, len(self.requests)), daemon=True))
            self._threads[-1].start()

    def _serve(self, frames, number):
        try:
            with contextlib.suppress(ConnectionError, TimeoutError, OSError):
                self._behaviour(frames, number)
        except Exception as error:  # noqa: BLE001 - told by the test that sees it.
            self.errors.append(error)
        finally:
            frames.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        # Wakes the thread that waits for connections, which closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for frames in self._open:
            with contextlib.suppress(OSError):
                frames.socket.shutdown(socket.SHUT_RDWR)
            frames.socket.close()
        deadline = time.monotonic() + DEADLINE_S
        for thread in [self._accepting, *self._threads]:
            thread.join(max(0.1, deadline - time.monotonic()))
            assert not thread.is_alive()
        assert not self.errors, self.errors
