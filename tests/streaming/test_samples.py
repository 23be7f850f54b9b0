"""Samples on the wire: what EIR's client reads, byte by byte, and what comes back in Python."""

import base64
import contextlib
import io
import json

import numpy as np
import pytest

pytest.importorskip("msgspec", reason="pip install msgspec")
pytest.importorskip("pybase64", reason="pip install pybase64")

from smartml.errors import MessageError, SampleFormatError
from smartml.streaming.data import MAGIC, binary_parts, data_parts, parse_answer
from smartml.streaming.decoding import Decoder
from smartml.streaming.encoding import Encoder
from smartml.streaming.protocol import Data, Feature, Info
from smartml.streaming.samples import Sample, derive_info

GENOTYPE = np.zeros((4, 3), bool)
GENOTYPE[[0, 2, 3], [0, 1, 2]] = True
PIXELS = np.arange(4 * 5 * 3, dtype="uint8").reshape(4, 5, 3)
INFO = Info(
    {
        "vitals": Feature("array", (2, 2)),
        "counts": Feature("array", (3,), dtype="int64"),
        "genotype": Feature("omics", (4, 3)),
        "note": Feature("sequence"),
        "scan": Feature("image"),
        "raw": Feature("bytes"),
        "patient": Feature("tabular"),
    },
    {
        "dose": Feature("tabular"),
        "summary": Feature("sequence"),
        "after": Feature("array", (2,)),
        "later": Feature("image"),
        "death": Feature("survival"),
    },
)
SAMPLE = Sample(
    {
        "vitals": [[1, 2], [3, 4]],
        "counts": np.array([1, 2, 2**40]),
        "genotype": GENOTYPE,
        "note": 'a "quoted" \\ text\n\x01 with ünicode',
        "scan": PIXELS,
        "raw": b"\x00\xff{",
        "patient": {"age": np.int64(64), "sex": "f", "weight": None},
    },
    {
        "dose": np.float32(1.5),
        "summary": "well",
        "after": np.array([5.0, 6.0]),
        "later": PIXELS,
        "death": {"event": True, "time": 12.5},
    },
    "p-1",
)


def on_wire(sample=SAMPLE, info=INFO):
    return json.loads(Encoder(info).encode(sample).json)


def png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def text(content):
    return base64.b64encode(content).decode()


def test_a_sample_has_exactly_the_three_keys_that_eir_takes():
    assert on_wire().keys() == {"inputs", "target_labels", "sample_id"}
    assert on_wire()["sample_id"] == "p-1"


def test_inputs_are_as_eir_reads_them():
    found = on_wire()["inputs"]

    assert found["vitals"] == text(np.array([[1, 2], [3, 4]], "<f4").tobytes())
    assert found["counts"] == text(np.array([1, 2, 2**40], "<f4").tobytes())
    assert found["genotype"] == text(bytes([1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]))
    assert found["note"] == SAMPLE.inputs["note"]
    assert found["raw"] == text(b"\x00\xff{")
    assert found["patient"] == {"age": 64, "sex": "f", "weight": None}
    from PIL import Image

    assert (np.array(Image.open(io.BytesIO(base64.b64decode(found["scan"])))) == PIXELS).all()


def test_targets_are_as_eir_reads_them():
    found = on_wire()["target_labels"]

    assert found["dose"] == {"dose": 1.5}
    assert found["summary"] == {"summary": "well"}
    assert found["after"] == {"after": text(np.array([5, 6], "<f4").tobytes())}
    assert found["later"].keys() == {"later"}
    assert found["death"] == {"event": "1", "time": 12.5}


def test_a_sequence_target_stands_among_the_inputs_too():
    # EIR trains on that one; it fills in zeros where it is missing, and learns nothing.
    assert on_wire()["inputs"]["summary"] == "well"
    alone = on_wire(Sample({}, {"text": "out"}, "a"), Info({}, {"text": Feature("sequence")}))
    assert alone == {"inputs": {"text": "out"}, "target_labels": {"text": {"text": "out"}}, "sample_id": "a"}


@pytest.mark.parametrize("number", [1, 13, 16, 32, 64])
def test_long_texts_are_found_though_samples_lie_at_equal_distances(number):
    info = Info({"x": Feature("array", (3000,))}, {})
    encoded = [Encoder(info).encode(Sample({"x": np.arange(3000) + n}, {}, "s")) for n in range(number)]
    data = parse_answer(as_json(encoded))
    assert len(data.blobs) == number
    assert [sample.inputs["x"][0] for sample in Decoder(info).decode(data)] == list(range(number))


def test_what_is_missing_is_left_out():
    assert on_wire(Sample({"note": "x", "raw": None}, {"dose": None}, "a")) == {
        "inputs": {"note": "x"},
        "target_labels": {},
        "sample_id": "a",
    }


def as_json(encoded):
    return b"".join(data_parts([sample.json for sample in encoded], 9))


def as_binary(encoded):
    return b"".join(binary_parts(encoded, 9))


@pytest.mark.parametrize("render", [as_json, as_binary])
def test_samples_come_back_as_they_were_sent(render):
    encoder = Encoder(INFO)
    message = render([encoder.encode(SAMPLE._replace(sample_id=name)) for name in ("a", "b")])

    data = parse_answer(message)
    first, second = Decoder(INFO).decode(data)

    assert (data.position, first.sample_id, second.sample_id) == (9, "a", "b")
    for found in (first, second):
        assert found.inputs.keys() == SAMPLE.inputs.keys()
        assert found.inputs["vitals"].dtype == np.float32
        assert found.inputs["vitals"].tolist() == [[1, 2], [3, 4]]
        assert found.inputs["counts"].dtype == np.int64
        assert found.inputs["counts"].tolist() == [1, 2, 2**40]
        assert found.inputs["genotype"].dtype == bool
        assert (found.inputs["genotype"] == GENOTYPE).all()
        assert found.inputs["note"] == SAMPLE.inputs["note"]
        assert (found.inputs["scan"] == PIXELS).all()
        assert found.inputs["raw"].tobytes() == b"\x00\xff{"
        assert found.inputs["patient"] == {"age": 64, "sex": "f", "weight": None}
        assert found.target_labels["dose"] == {"dose": 1.5}
        assert found.target_labels["summary"] == "well"
        assert found.target_labels["after"].tolist() == [5, 6]
        assert (found.target_labels["later"] == PIXELS).all()
        assert found.target_labels["death"] == {"event": "1", "time": 12.5}


@pytest.mark.parametrize("render", [as_json, as_binary])
def test_arrays_that_come_back_may_be_written_to(render):
    data = parse_answer(render([Encoder(INFO).encode(SAMPLE)]))
    [found] = Decoder(INFO).decode(data)
    found.inputs["vitals"] += 1
    assert found.inputs["vitals"].tolist() == [[2, 3], [4, 5]]


@pytest.mark.parametrize("render", [as_json, as_binary])
@pytest.mark.parametrize(
    "note",
    ["x" * 5000, 'x"' * 3000, "x" * 5000 + "\\", "\\" * 4000, "\x01" + "0" * 5000, "ü" * 3000, "\x010", "plain"],
)
def test_long_arrays_and_texts_of_any_kind_stand_beside_each_other(render, note):
    info = Info({"x": Feature("array", (64, 64)), "note": Feature("sequence"), "t": Feature("tabular")}, {})
    x = np.random.default_rng(1).random((64, 64), dtype="float32")
    samples = [Sample({"x": x + n, "note": note, "t": {"column": note}}, {}, str(n)) for n in range(3)]
    encoder = Encoder(info)

    found = Decoder(info).decode(parse_answer(render([encoder.encode(sample) for sample in samples])))

    for sample, back in zip(samples, found, strict=True):
        assert (back.inputs["x"] == sample.inputs["x"]).all()
        assert back.inputs["note"] == note
        assert back.inputs["t"] == {"column": note}


def test_the_source_may_change_an_array_that_was_encoded():
    x = np.ones((2, 2), "float32")
    encoded = Encoder(INFO).encode(Sample({"vitals": x}, {}, "a"))
    x[:] = 7
    assert json.loads(encoded.json)["inputs"]["vitals"] == text(np.ones(4, "<f4").tobytes())


@pytest.mark.parametrize(
    ("value", "feature"),
    [
        ("text", Feature("sequence")),
        (b"raw", Feature("bytes")),
        (3, Feature("tabular")),
        (np.float32(3), Feature("tabular")),
        (np.array(3), Feature("tabular")),
        (True, Feature("tabular")),
        ({"a": 1}, Feature("tabular")),
        ([1.0, 2.0], Feature("array", (2,), dtype="float64")),
        (np.zeros((3, 8, 8), "float32"), Feature("array", (3, 8, 8), dtype="float32")),
        (GENOTYPE, Feature("omics", (4, 3))),
        (np.zeros((5, 3), bool), Feature("array", (5, 3), dtype="bool")),
    ],
)
def test_info_is_derived_from_a_sample(value, feature):
    assert derive_info(Sample({"x": value}, {}, "a")).inputs == {"x": feature}


def test_bytes_of_an_image_file_are_an_image():
    info = derive_info(Sample({"x": png(PIXELS)}, {"y": png(PIXELS)}, "a"))
    assert info == Info({"x": Feature("image")}, {"y": Feature("image")})


@pytest.mark.parametrize("value", [np.zeros((1, 2, 3, 4)), object(), np.array(["a"]), np.zeros((0, 3)), 1j])
def test_what_has_no_type_is_named_when_info_is_derived(value):
    with pytest.raises(SampleFormatError, match="input 'x' has"):
        derive_info(Sample({"x": value}, {}, "a"))


@pytest.mark.parametrize(
    ("sample", "complaint"),
    [
        (Sample({"vitals": np.zeros((2, 3))}, {}, "a"), r"sample 'a': input 'vitals' has shape \(2, 3\)"),
        (Sample({"weight": 3}, {}, "a"), "announces no input 'weight'; announced are 'vitals', "),
        (Sample({}, {"weight": 3}, "a"), "announces no target 'weight'; announced are 'dose', "),
        (Sample({"note": 3}, {}, "a"), "input 'note' is announced as sequence: a text, not int"),
        (Sample({"genotype": np.full((4, 3), 2)}, {}, "a"), "every element is 0 or 1"),
        (Sample({"scan": np.zeros((4, 5))}, {}, "a"), "input 'scan' is announced as image"),
        (Sample({"raw": np.zeros(3)}, {}, "a"), "is announced as bytes, and is float64"),
        (Sample({"patient": {"age": [3]}}, {}, "a"), "column 'age' of input 'patient' is a text, a number or None"),
        (Sample({}, {"death": {"event": 1, "time": 2.0}}, "a"), "an event as text and a time as number"),
        (Sample({}, {}, ""), "a sample_id is a text of 1 to 200 characters"),
        (Sample({}, {}, "x" * 201), "a sample_id is a text of 1 to 200 characters"),
        (Sample({}, {}, None), "a sample_id is a text"),
        (Sample({}, {}, "../evil"), "cannot be the name of a file"),
        (Sample({}, {}, ".."), "cannot be the name of a file"),
        (Sample({}, {}, "a\0b"), "cannot be the name of a file"),
    ],
)
def test_a_sample_that_is_not_as_announced_is_refused(sample, complaint):
    with pytest.raises(SampleFormatError, match=complaint):
        Encoder(INFO).encode(sample)


def received(inputs, targets=None, sample_id="a"):
    return Data([{"inputs": inputs, "target_labels": targets or {}, "sample_id": sample_id}])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (Data([3]), "a sample is an object with inputs"),
        (Data([{"inputs": {}}]), "a sample is an object with inputs"),
        (Data([{"inputs": {}, "sample_id": "a"}]), "are an object, not None"),
        (received({"vitals": text(b"123")}), r"has 3 bytes; float32 of the announced shape \(2, 2\) has 16"),
        (received({"vitals": "***"}), "input 'vitals' is no base64"),
        (received({"vitals": [1, 2]}), "input 'vitals' is base64, not list"),
        (received({"vitals": "\x01999"}), "is in no blob"),
        (received({"note": 3}), "a text, not int"),
        (received({"patient": "x"}), "announced as tabular: columns"),
        (received({"genotype": text(bytes([2] * 12))}), "every element is 0 or 1"),
        (received({"scan": text(b"no image")}), "input 'scan' is no image"),
    ],
)
def test_what_a_server_sends_wrong_is_named(data, complaint):
    with pytest.raises(SampleFormatError, match=complaint):
        Decoder(INFO).decode(data)


PLAIN = Info(
    {"note": Feature("sequence"), "patient": Feature("tabular")},
    {"dose": Feature("tabular"), "death": Feature("survival")},
)


@pytest.mark.parametrize(
    "sample",
    [
        '{"inputs": {"note": "x", "patient": {"age": 6e1}}, "target_labels": {"dose": {"dose": 1}}, "sample_id": "a"}',
        '{"sample_id": "\\ud83d\\ude00", "target_labels": {"death": {"time": 2}}, "inputs": {"note": "ü"}}',
        '{"inputs": {}, "target_labels": {}, "sample_id": "a", "more": [3]}',
        '{"inputs": {"more": 3, "note": "x"}, "target_labels": {"more": null}, "sample_id": "a"}',
        '{"inputs": {"patient": {"age": 12345678901234567890123, "sex": null}}, "target_labels": {}, "sample_id": ""}',
        # What needs a closer look.
        '{"inputs": {"note": null}, "target_labels": {"dose": null}, "sample_id": "a"}',
        '{"inputs": {"patient": {"age": -Infinity}}, "target_labels": {}, "sample_id": "a"}',
        '{"inputs": {"note": "\\ud800"}, "target_labels": {}, "sample_id": "a"}',
        '{"inputs": {"note": "\\u00010"}, "target_labels": {}, "sample_id": 17}',
        '"terminate"',
        # What is wrong.
        '{"inputs": {"note": 3}, "target_labels": {}, "sample_id": "a"}',
        '{"inputs": {"patient": "x"}, "target_labels": {}, "sample_id": "a"}',
        '{"inputs": {}, "target_labels": {"death": [1]}, "sample_id": "a"}',
        '{"inputs": {}, "target_labels": null, "sample_id": "a"}',
        '{"inputs": {}, "target_labels": {}}',
        '{"inputs": {"not\udcff": "x"}, "target_labels": {}, "sample_id": "a"}',
        '{"inputs": {"note": "x"',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("end", ["]}", '], "position": 7}', '], "position": -7}', '], "position": 1e400}'])
def test_json_that_is_taken_as_it_stands_is_read_as_any_other(sample, end):
    decoder = Decoder(PLAIN)
    message = f'{{"type": "data", "payload": [{sample}{end}'.encode(errors="surrogateescape")
    outcomes = []
    for known in (None, decoder):
        try:
            data = parse_answer(message, known)
            outcomes.append((decoder.decode(data), data.is_end, data.position, data.size))
        except (MessageError, SampleFormatError) as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_a_stream_of_texts_is_taken_as_it_stands():
    decoder = Decoder(PLAIN)
    encoded = [Encoder(PLAIN).encode(Sample({"note": "x" * number}, {"dose": number}, "a")) for number in (0, 2000)]
    data = parse_answer(as_json(encoded), decoder)
    assert data.is_plain
    assert decoder.decode(data) == [
        Sample({"note": "x" * number}, {"dose": {"dose": number}}, "a") for number in (0, 2000)
    ]


@pytest.mark.parametrize("name", ["", "é", "\ud800", "日本", "x" * 1000, 'a "b"\\', "\0", "__total__", "type"])
def test_a_feature_may_have_any_name(name):
    info, sample = Info({name: Feature("sequence")}, {name: Feature("tabular")}), Sample({name: "x"}, {name: 3}, "a")
    message, decoder = as_json([Encoder(info).encode(sample)]), Decoder(info)
    assert decoder.decode(parse_answer(message, decoder)) == [Sample({name: "x"}, {name: {name: 3}}, "a")]


TEXTS = Info({"note": Feature("sequence"), '5 %s "of" it': Feature("sequence")}, {"dose": Feature("tabular")})


@pytest.mark.parametrize("texts", [("x", "y"), ("", '%d % "quoted" \\ \n\x00\x01 ünicode \ud800'), ("y" * 5000, "z")])
def test_texts_by_name_are_encoded_as_any_other_sample(texts):
    item = dict(zip(TEXTS.inputs, texts, strict=True))
    encoder = Encoder(TEXTS)
    [mine, other] = encoder.encode_texts(item, 12), encoder.encode(Sample(item, {}, "s12"))
    assert (mine.json, mine.sample_id, mine.size) == (other.json, other.sample_id, other.size)


@pytest.mark.parametrize(
    "item",
    [
        {"note": "x"},
        {'5 %s "of" it': "x", "note": "y"},
        {"note": "x", '5 %s "of" it': None},
        {"note": "x", '5 %s "of" it': 3},
        ("x", "y"),
        "note",
    ],
)
def test_other_items_are_no_texts_by_name(item):
    assert Encoder(TEXTS).encode_texts(item, 12) is None


def test_inputs_that_were_not_announced_are_passed_over_and_numbers_are_names():
    data = received({"note": "x", "summary": "y", "unknown": 3}, {"unknown": 4, "after": None}, 17)
    assert Decoder(INFO).decode(data) == [Sample({"note": "x"}, {}, "17")]


@pytest.mark.parametrize("cut", [0, 4, 7, 8, 20, 60, 200, -1, -9])
def test_a_binary_message_that_is_cut_off_is_refused(cut):
    message = as_binary([Encoder(INFO).encode(SAMPLE)])
    with pytest.raises(MessageError):
        parse_answer(message[:cut])


def test_every_damaged_byte_of_a_binary_message_is_noticed_or_harmless():
    message = as_binary([Encoder(INFO).encode(SAMPLE)])
    for place in range(len(MAGIC), len(message), 3):
        damaged = bytearray(message)
        damaged[place] ^= 0x55
        with contextlib.suppress(MessageError, SampleFormatError):
            Decoder(INFO).decode(parse_answer(bytes(damaged)))
