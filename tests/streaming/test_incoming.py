"""Messages as they come to a client: whole or in fragments, in pieces of any size, into memory that is used again."""

import functools
import itertools
import operator
import struct

import pytest

pytest.importorskip("websockets", reason="pip install websockets")

from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import connect

from smartml.streaming.incoming import IncomingConnection

from .by_hand import BINARY, CLOSE, PING, PONG, TEXT, HandServer

CONTINUATION = 0
DEADLINE_S = 20
LARGE = bytes(range(256)) * 300


def frame(payload, opcode, is_final=True):
    first = (0x80 if is_final else 0) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def sending(octets, piece=1 << 20, is_closed=True):
    """Serve these bytes, in pieces, and wait for the client to leave; what it sends is kept."""
    heard = []

    def behave(frames, number):
        for first in range(0, len(octets), piece):
            frames.socket.sendall(octets[first : first + piece])
        if is_closed:
            frames.socket.settimeout(DEADLINE_S)
            while not heard or heard[-1][0] != CLOSE:
                heard.append(frames.receive_frame())

    server = HandServer(behave)
    server.heard = heard
    return server


def opened(server, max_size=1 << 20):
    create = functools.partial(IncomingConnection, max_message_bytes=max_size)
    settings = {"compression": None, "proxy": None, "ping_interval": None}
    return connect(server.url, create_connection=create, max_size=max_size, **settings)


@pytest.mark.parametrize("piece", [3, 1000, 1 << 20])
def test_messages_come_whole_and_in_order_however_the_bytes_are_cut(piece):
    closing = frame(struct.pack("!H", 1000), CLOSE)
    octets = b"".join(
        [
            frame(b"first", TEXT) + frame(b"p1", PING) + frame(LARGE, BINARY),
            frame(b"", TEXT) + frame(b"x" * 126, TEXT) + frame(b"y" * 125, BINARY),
            frame(b"in ", TEXT, False) + frame(b"p2", PING) + frame(b"three ", CONTINUATION, False),
            frame(b"p3", PING) + frame(b"fragments", CONTINUATION) + frame(b"behind", TEXT),
            frame(LARGE, BINARY, False) + frame(LARGE, CONTINUATION) + frame(LARGE[:70_000], TEXT) + closing,
        ]
    )
    with sending(octets, piece) as server, opened(server) as connection:
        found = []
        with pytest.raises(ConnectionClosed):
            while True:
                found.append(bytes(connection.receive(DEADLINE_S)))
        # The end is told as often as it is asked for.
        with pytest.raises(ConnectionClosed):
            connection.receive(DEADLINE_S)
    small = [b"", b"x" * 126, b"y" * 125, b"in three fragments", b"behind"]
    assert found == [b"first", LARGE, *small, LARGE + LARGE, LARGE[:70_000]]
    assert [payload for opcode, payload in server.heard if opcode == PONG] == [b"p1", b"p2", b"p3"]


@pytest.mark.parametrize("size", [160_000, 1_000_000])
def test_memory_is_used_again_only_when_nobody_looks_at_it(size):
    messages = [struct.pack("!Q", number) * (size // 8) for number in range(40)]
    octets = b"".join(frame(message, BINARY) for message in messages)
    with sending(octets, is_closed=False) as server, opened(server) as connection:
        kept = [connection.receive(DEADLINE_S) for _ in range(20)]
        assert all(map(operator.eq, kept, messages))
        # What may be kept by parts is bounded.
        assert not kept[0].readonly and 1 <= sum(not message.readonly for message in kept) <= 8
        first = kept[0][8:16]
        kept.clear()
        rest = [(bytes(message), message.readonly) for message in itertools.islice(receiving(connection), 20)]
        assert [message for message, _ in rest] == messages[20:]
        assert bytes(first) == bytes(8)
        # What was on its way while much was kept is read-only, and what came then is not.
        assert not all(is_readonly for _, is_readonly in rest)


def receiving(connection):
    while True:
        yield connection.receive(DEADLINE_S)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        pytest.param(frame(LARGE, BINARY), 1009, id="one frame too large"),
        pytest.param(frame(LARGE[:900], BINARY, False) + frame(LARGE[:900], CONTINUATION), 1009, id="fragments"),
        pytest.param(bytes([0xC1, 1]) + b"x", 1002, id="reserved bit"),
        pytest.param(bytes([0x81, 0x81]) + b"key:x", 1002, id="masked"),
        pytest.param(bytes([0x83, 1]) + b"x", 1002, id="unknown kind"),
        pytest.param(frame(b"x", CONTINUATION), 1002, id="continues nothing"),
        pytest.param(frame(b"x", TEXT, False) + frame(b"y", TEXT), 1002, id="message within a message"),
    ],
)
def test_what_offends_ends_the_connection_behind_what_came_before(octets, code):
    with sending(frame(b"good", TEXT) + octets) as server, opened(server, max_size=1000) as connection:
        assert connection.receive(DEADLINE_S) == b"good"
        with pytest.raises(ConnectionClosedError) as caught:
            connection.receive(DEADLINE_S)
    assert caught.value.sent.code == code


def test_an_end_amid_a_message_is_no_message():
    octets = frame(b"good", TEXT) + frame(LARGE, BINARY)[:-1]
    with sending(octets, is_closed=False) as server, opened(server) as connection:
        assert connection.receive(DEADLINE_S) == b"good"
        with pytest.raises(ConnectionClosedError):
            connection.receive(DEADLINE_S)


def test_nothing_in_time_is_told_and_harms_nothing():
    with sending(frame(b"half ", TEXT, False)) as server, opened(server) as connection:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                connection.receive(0.05)
