"""Messages of the streaming protocol: read from JSON, rendered as such, and refused with the name of what is wrong."""

import json

import pytest

from smartml.errors import MessageError
from smartml.streaming import protocol
from smartml.streaming.protocol import Extension, Feature, Info, parse_reply, parse_request, render

INFO = Info(
    {"vitals": Feature("array", (10, 5)), "note": Feature("sequence")},
    {"dose": Feature("tabular"), "scan": Feature("image", mode="RGB")},
)

# As EIR's client sends them, and what they are.
REQUESTS = [
    ('{"type":"handshake","version":"1.0","worker_id":0}', protocol.Handshake("1.0", 0)),
    ('{"type":"getInfo"}', protocol.GetInfo()),
    ('{"type":"getData","payload":{"batch_size":64}}', protocol.GetData(64)),
    ('{"type":"getData"}', protocol.GetData(32)),
    ('{"type":"status","payload":{}}', protocol.GetStatus()),
    ('{"type":"reset"}', protocol.ResetRequest()),
    ('{"type":"reset","payload":{}}', protocol.ResetRequest()),
    ('{"type":"reset","payload":{"position":7}}', protocol.ResetRequest(7)),
    (
        '{"type":"setValidationIds","payload":{"validation_ids":["b","a",3]}}',
        protocol.SetValidationIds(frozenset({"a", "b", "3"})),
    ),
    ('{"type":"heartbeat"}', protocol.Heartbeat()),
    ('{"type":"heartbeat","payload":{"more":1},"and":2}', protocol.Heartbeat()),
]
REPLIES = [
    ('{"type":"handshake","version":"1.0"}', protocol.Handshake("1.0")),
    (json.dumps({"type": "info", "payload": INFO.to_json()}), protocol.InfoMessage(INFO)),
    ('{"type":"data","payload":[{"inputs":{}}]}', protocol.Data([{"inputs": {}}])),
    ('{"type":"data","payload":["terminate"]}', protocol.Data([], is_end=True)),
    ('{"type":"data","payload":[]}', protocol.Data([], is_end=True)),
    ('{"type":"data","payload":[{"inputs":{}},"terminate"]}', protocol.Data([{"inputs": {}}], is_end=True)),
    ('{"type":"data","payload":[],"position":3}', protocol.Data([], is_end=True, position=3)),
    ('{"type":"status","payload":{"current_position":4}}', protocol.Status({"current_position": 4})),
    ('{"type":"resetConfirmation","payload":{"message":"x"}}', protocol.ResetConfirmation("x")),
    ('{"type":"reset","payload":{"message":"x"}}', protocol.ResetNotice("x")),
    ('{"type":"reset"}', protocol.ResetNotice("")),
    (
        '{"type":"validationIdsConfirmation","payload":{"message":"Received 2"}}',
        protocol.ValidationIdsConfirmation("Received 2"),
    ),
    ('{"type":"heartbeat","payload":{}}', protocol.Heartbeat()),
    ('{"type":"error","payload":{"message":"no"}}', protocol.ErrorMessage("no")),
]


@pytest.mark.parametrize(("text", "message"), REQUESTS)
def test_requests_are_read_from_text_and_bytes(text, message):
    assert parse_request(text) == parse_request(text.encode()) == message


@pytest.mark.parametrize(("text", "message"), REPLIES)
def test_replies_are_read_from_text_and_bytes(text, message):
    assert parse_reply(text) == parse_reply(bytearray(text.encode())) == message


@pytest.mark.parametrize("message", [message for _, message in REQUESTS])
def test_a_request_that_is_rendered_reads_as_itself(message):
    assert parse_request(render(message)) == message


@pytest.mark.parametrize("message", [message for _, message in REPLIES])
def test_a_reply_that_is_rendered_reads_as_itself(message):
    assert parse_reply(render(message)) == message


def test_what_the_extension_says_in_a_handshake_is_read_as_far_as_it_makes_sense():
    extension = Extension(binary=True, positions=True, stream="abc", max_message_bytes=5)
    said = protocol.Handshake(extension=extension)

    assert parse_reply(render(said)) == said
    for nonsense in ('"yes"', "[]", '{"binary":1,"stream":4,"max_message_bytes":-1}'):
        reply = parse_reply(f'{{"type":"handshake","version":"1.0","smartml":{nonsense}}}')
        assert reply.extension in (None, Extension())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a message is one JSON object"),
        ("[1]", "a message is one JSON object, not list"),
        ('"getInfo"', "a message is one JSON object, not 'getInfo'"),
        ('{"type":"getInfo"', "a message is one JSON object"),
        (b"\xff\xfe\xff", "a message is one JSON object"),
        ("[" * 100_000, "a message is one JSON object"),
        ("9" * 10_000, "a message is one JSON object"),
        ("{}", "unknown message type None; known are handshake, getInfo"),
        ('{"type":["getInfo"]}', "unknown message type list"),
        ('{"type":"getinfo"}', "unknown message type 'getinfo'"),
        ('{"type":"info","payload":{}}', "unknown message type 'info'"),
        ('{"type":"handshake"}', "handshake: 'version' must be a text, not None"),
        ('{"type":"handshake","version":1.0}', "handshake: 'version' must be a text, not 1.0"),
        ('{"type":"handshake","version":"1.0","worker_id":"a"}', "handshake: 'worker_id' must be a number"),
        ('{"type":"getData","payload":[]}', "getData: 'payload' must be an object, not list"),
        *(
            (f'{{"type":"getData","payload":{{"batch_size":{size}}}}}', "getData: 'payload.batch_size' must be a pos")
            for size in ("0", "-1", "1.5", "true", '"3"', "null", "1e400", "NaN", str(2**70))
        ),
        ('{"type":"reset","payload":{"position":-1}}', "reset: 'payload.position' must be a number from 0 on, not -1"),
        ('{"type":"setValidationIds"}', "setValidationIds: 'payload' must be an object"),
        ('{"type":"setValidationIds","payload":{}}', "'payload.validation_ids' must be a list, not None"),
        (
            '{"type":"setValidationIds","payload":{"validation_ids":["a",{}]}}',
            "'payload.validation_ids[1]' must be a text, not dict",
        ),
    ],
)
def test_what_is_no_request_is_refused_with_message_and_field(text, complaint):
    with pytest.raises(MessageError) as error:
        parse_request(text)
    assert complaint in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"type":"getInfo"}', "unknown message type 'getInfo'; known are handshake, info"),
        ('{"type":"data"}', "data: 'payload' must be a list of samples, not None"),
        ('{"type":"data","payload":{"samples":[]}}', "data: 'payload' must be a list of samples, not dict"),
        ('{"type":"status","payload":3}', "status: 'payload' must be an object, not 3"),
        ('{"type":"info"}', "info: 'payload' must be an object"),
        ('{"type":"info","payload":{"inputs":{}}}', "info: 'payload.outputs' must be an object"),
        (
            '{"type":"info","payload":{"inputs":{"x":{"type":"survival"}},"outputs":{}}}',
            "'payload.inputs.x.type' must be one of sequence, bytes, tabular, omics, array, image, not 'survival'",
        ),
        (
            '{"type":"info","payload":{"inputs":{"x":{"type":"array"}},"outputs":{}}}',
            "'payload.inputs.x.shape' must be a list of positive numbers, not None",
        ),
        (
            '{"type":"info","payload":{"inputs":{"x":{"type":"array","shape":[3,0]}},"outputs":{}}}',
            "'payload.inputs.x.shape' must be a list of positive numbers, not list",
        ),
        (
            '{"type":"info","payload":{"inputs":{},"outputs":{"x":{"type":"image","mode":"CMYK"}}}}',
            "'payload.outputs.x.mode' must be one of L, RGB, RGBA",
        ),
    ],
)
def test_what_is_no_reply_is_refused_with_message_and_field(text, complaint):
    with pytest.raises(MessageError) as error:
        parse_reply(text)
    assert complaint in str(error.value)
