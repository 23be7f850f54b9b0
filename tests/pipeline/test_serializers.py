"""Samples as bytes, and shards as files that squirrel-core reads and writes, too."""

import base64
import gzip
import io
import json
import pickle
import sys
import zlib

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, MissingDependencyError, ShardFormatError
from smartml.pipeline.serializers import JsonSerializer, MessagepackSerializer, SquirrelSerializer

fsspec = pytest.importorskip("fsspec", reason="pip install fsspec")
msgpack = pytest.importorskip("msgpack", reason="pip install msgpack")

SERIALIZERS = [MessagepackSerializer(), JsonSerializer()]
SAMPLES = [
    {"id": "first", "image": np.arange(6, dtype=np.float32).reshape(2, 3), "label": 1, "meta": {"split": "train"}},
    {"id": "second", "image": np.zeros((0, 3), np.int8), "label": 0, "meta": {}},
]


@pytest.fixture(params=SERIALIZERS, ids=lambda one: type(one).__name__)
def serializer(request):
    return request.param


def same(one, other):
    """Compare samples with arrays in them, their dtypes and shapes included."""
    if isinstance(one, np.ndarray | np.generic):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def unpickled(*_):
    raise AssertionError("a pickle was read")


class Trap:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return unpickled, ()


# Samples


def test_a_sample_comes_back_as_it_was(serializer):
    for sample in [*SAMPLES, None, True, 7, -0.5, "täxt", [1, [2.5, "x"]], {"deep": [{"er": None}]}]:
        assert same(serializer.deserialize(serializer.serialize(sample)), sample)


@pytest.mark.parametrize("dtype", ["?", "i1", "<i4", ">i4", "<u8", "<f2", "<f4", ">f8", "<U5"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3)])
def test_arrays_keep_dtype_and_shape(serializer, dtype, shape):
    array = np.ones(shape, dtype)

    assert same(serializer.deserialize(serializer.serialize(array)), array)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1 + 2j]),
        np.array(["2020-01-01", "NaT"], "M8[s]"),
        np.array([b"ab", b"c"]),
        np.zeros(2, [("x", "<f4"), ("position", "<f8", (3,)), ("inner", [("a", "i1"), ("b", ">i2")])]),
        np.zeros(2, np.dtype([("x", "i1"), ("y", "f8")], align=True)),
        np.zeros(2, "V3"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_messagepack_holds_arrays_of_every_dtype_without_objects(array):
    back = MessagepackSerializer.deserialize(MessagepackSerializer.serialize(array))

    assert back.dtype == array.dtype and back.tobytes() == array.tobytes()


def test_arrays_may_lie_in_memory_in_any_way(serializer):
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))[::2, ::-1]

    assert same(serializer.deserialize(serializer.serialize(array)), np.ascontiguousarray(array))


def test_arrays_that_come_back_are_the_callers_own(serializer):
    packed = serializer.serialize(np.zeros(3))
    array, other = serializer.deserialize(packed), serializer.deserialize(packed)

    array[0] = 1

    assert array.tolist() == [1, 0, 0] and other.tolist() == [0, 0, 0]


@pytest.mark.parametrize("number", [np.float32(0.1), np.int16(-3), np.bool_(True), np.complex64(1j), np.uint64(2**63)])
def test_messagepack_keeps_numpys_numbers(number):
    assert same(MessagepackSerializer.deserialize(MessagepackSerializer.serialize(number)), number)


@pytest.mark.parametrize(("number", "plain"), [(np.float32(0.5), 0.5), (np.int16(-3), -3), (np.bool_(True), True)])
def test_json_makes_numpys_numbers_plain(number, plain):
    assert same(JsonSerializer().deserialize(JsonSerializer.serialize({"x": number})), {"x": plain})


def test_messagepack_holds_complex_numbers_bytes_and_keys_that_are_numbers():
    sample = {"z": 1 - 2j, "raw": b"\x00\xff", "names": {1: "one"}}

    assert MessagepackSerializer.deserialize(MessagepackSerializer.serialize(sample)) == sample


def test_json_holds_what_is_not_finite():
    back = JsonSerializer().deserialize(JsonSerializer.serialize(np.array([np.nan, np.inf])))

    assert np.isnan(back[0]) and back[1] == np.inf


@pytest.mark.parametrize(
    "sample",
    [
        {"data": [1, 2], "type": "image", "shape": [2]},
        {"data": [1, 2], "type": "f4", "shape": [3]},
        {"data": "text", "type": "f4", "shape": None},
        {"data": [1, 2], "type": "f4", "shape": [2], "more": 1},
    ],
)
def test_dicts_that_look_like_arrays_in_json_stay_dicts(sample):
    assert JsonSerializer().deserialize(JsonSerializer.serialize(sample)) == sample


@pytest.mark.parametrize("shard", [False, True])
def test_the_hook_is_handed_every_dict_that_is_no_array(shard, tmp_path):
    serializer = JsonSerializer(deser_hook=lambda found: (sorted(found), found.get("x")))
    sample = {"inner": {"x": np.zeros(2)}, "n": 1}

    if shard:
        serializer.serialize_shard_to_file([sample], str(tmp_path / "a.gz"))
        (back,) = serializer.deserialize_shard_from_file(str(tmp_path / "a.gz"))
    else:
        back = serializer.deserialize(serializer.serialize(sample))

    assert back == (["inner", "n"], None)


def test_what_a_hook_raises_comes_out_as_it_is(tmp_path):
    def hook(found):
        raise ValueError("the user's own")

    serializer = JsonSerializer(hook)
    serializer.serialize_shard_to_file([{"x": 1}], str(tmp_path / "a.gz"))

    for read in (lambda: serializer.deserialize(b"{}"), lambda: list(reading(serializer, tmp_path / "a.gz"))):
        with pytest.raises(ValueError, match="the user's own") as caught:
            read()
        assert caught.type is ValueError


def test_a_hook_must_be_callable():
    with pytest.raises(ArgumentTypeError, match="deser_hook must be callable, not str"):
        JsonSerializer("hook")


# What is refused


def cycle():
    made = []
    made.append(made)
    return made


def tower():
    made = []
    for _ in range(100_000):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("sample", "error", "reason"),
    [
        (object(), ArgumentTypeError, "not object"),
        ({"x": {1, 2}}, ArgumentTypeError, "not set"),
        (np.array([Trap()]), ArgumentTypeError, "an array of Python objects"),
        (np.zeros(1, [("a", object)]), ArgumentTypeError, "an array of Python objects"),
        (np.ma.masked_array([1, 2], [True, False]), ArgumentTypeError, "a masked array"),
        (cycle(), ArgumentValueError, "cannot hold this"),
        (tower(), ArgumentValueError, "cannot hold this"),
    ],
)
def test_what_cannot_be_held_is_refused_with_a_reason(serializer, sample, error, reason):
    with pytest.raises(error, match=reason):
        serializer.serialize(sample)


def test_messagepack_refuses_whole_numbers_of_more_than_64_bits():
    with pytest.raises(ArgumentValueError, match=r"from -2\*\*63 to 2\*\*64 - 1"):
        MessagepackSerializer.serialize({"x": 2**64})


def test_messagepack_refuses_dtypes_that_would_come_back_as_others():
    bfloat16 = pytest.importorskip("ml_dtypes", reason="pip install ml_dtypes").bfloat16

    for value in (np.zeros(2, bfloat16), np.zeros(1, bfloat16)[0]):
        with pytest.raises(ArgumentTypeError, match="bfloat16"):
            MessagepackSerializer.serialize(value)


def test_messagepack_refuses_fields_that_overlap():
    overlapping = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i4"], "offsets": [0, 2]})

    with pytest.raises(ArgumentTypeError, match="cannot be described in MessagePack"):
        MessagepackSerializer.serialize(np.zeros(1, overlapping))


@pytest.mark.parametrize("array", [np.zeros(1, complex), np.zeros(1, "M8[s]"), np.array([b"x"]), np.zeros(1, "f4,i2")])
def test_json_refuses_arrays_that_it_cannot_hold(array):
    with pytest.raises(ArgumentTypeError, match=r"JSON cannot hold arrays of dtype .*: use the MessagepackSerializer"):
        JsonSerializer.serialize(array)


@pytest.mark.parametrize("kind", [b"O", b"", b"V"])
@pytest.mark.parametrize("described", ["|O", "O", [["x", "|O"]]])
def test_pickled_arrays_are_never_unpickled(kind, described, tmp_path):
    wire = {b"nd": True, b"type": described, b"kind": kind, b"shape": [1], b"data": pickle.dumps(Trap())}
    packed = msgpack.packb({"x": wire})
    (tmp_path / "a.gz").write_bytes(gzip.compress(packed))

    with pytest.raises(ShardFormatError, match=r"pickled: that is not read, since it could run any code"):
        MessagepackSerializer.deserialize(packed)
    with pytest.raises(ShardFormatError, match=r"a\.gz.*pickled: that is not read"):
        list(reading(MessagepackSerializer, tmp_path / "a.gz"))


@pytest.mark.parametrize(
    "wire",
    [
        {b"nd": True, b"type": "<f8", b"shape": [3], b"data": bytes(16)},
        {b"nd": True, b"type": "<f8", b"shape": [-2], b"data": bytes(16)},
        {b"nd": True, b"type": "<f8", b"shape": ["2"], b"data": bytes(16)},
        {b"nd": True, b"type": "<f8", b"shape": [2**40, 2**40], b"data": bytes(16)},
        {b"nd": True, b"type": "no dtype", b"shape": [2], b"data": bytes(16)},
        {b"nd": True, b"type": [["x"]], b"kind": b"V", b"shape": [2], b"data": bytes(16)},
        {b"nd": True, b"type": "<f8", b"shape": 2, b"data": bytes(16)},
        {b"nd": True, b"type": "<f8", b"shape": [2], b"data": 16},
        {b"nd": False, b"type": "<f8", b"data": bytes(7)},
        {b"nd": False, b"type": "O", b"data": bytes(8)},
        {b"complex": True, b"data": "no number"},
    ],
)
def test_arrays_that_do_not_add_up_are_damage(wire):
    with pytest.raises(ShardFormatError, match="no whole value in MessagePack"):
        MessagepackSerializer.deserialize(msgpack.packb([wire]))


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x91", b"\x01\x01", b"\xa2\xff\xff", b"\x81\x90\x01", b'["x"'])
def test_damaged_bytes_are_an_error(serializer, damage):
    with pytest.raises(ShardFormatError, match="this is no whole value in"):
        serializer.deserialize(damage)


# Shards


def reading(serializer, path, **options):
    return serializer.deserialize_shard_from_file(str(path), **options)


@pytest.fixture
def shard(serializer, tmp_path):
    """The path of a shard of five samples."""
    path = tmp_path / "shard.gz"
    samples = [{"number": number, "x": np.full(50, number)} for number in range(5)]
    serializer.serialize_shard_to_file(samples, str(path))
    return path


def test_a_shard_comes_back_sample_by_sample(serializer, tmp_path):
    serializer.serialize_shard_to_file(SAMPLES, str(tmp_path / "a.gz"))

    assert same(list(reading(serializer, tmp_path / "a.gz")), SAMPLES)


def test_an_empty_shard_is_one_without_samples(serializer, tmp_path):
    serializer.serialize_shard_to_file([], str(tmp_path / "a.gz"))

    assert list(reading(serializer, tmp_path / "a.gz")) == []


def test_a_shard_may_lie_on_any_file_system(serializer):
    memory = fsspec.filesystem("memory")
    serializer.serialize_shard_to_file(SAMPLES, "/serializers/a.gz", fs=memory)

    assert same(list(reading(serializer, "memory://serializers/a.gz")), SAMPLES)
    assert same(list(reading(serializer, "/serializers/a.gz", fs=memory, compression="gzip")), SAMPLES)


def test_equal_shards_are_equal_files(serializer, tmp_path):
    for name in ("a.gz", "b.gz"):
        serializer.serialize_shard_to_file(SAMPLES, str(tmp_path / name))

    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_lists_come_back_as_lists_or_as_tuples_when_asked(tmp_path):
    MessagepackSerializer.serialize_shard_to_file([{"x": [1, (2, 3)]}], str(tmp_path / "a.gz"))

    assert list(reading(MessagepackSerializer, tmp_path / "a.gz")) == [{"x": [1, [2, 3]]}]
    as_tuples = reading(MessagepackSerializer, tmp_path / "a.gz", unpacker_kwargs={"use_list": False})
    assert list(as_tuples) == [{"x": (1, (2, 3))}]


def test_structured_arrays_are_read_as_tuples_as_well(tmp_path):
    array = np.zeros(2, [("x", "<f4"), ("position", "<f8", (3,))])
    MessagepackSerializer.serialize_shard_to_file([array], str(tmp_path / "a.gz"))

    (back,) = reading(MessagepackSerializer, tmp_path / "a.gz", unpacker_kwargs={"use_list": False})

    assert same(back, array)


def test_a_shard_cut_off_anywhere_is_an_error(serializer, shard):
    whole = shard.read_bytes()

    for length in range(len(whole)):
        shard.write_bytes(whole[:length])
        with pytest.raises(ShardFormatError, match=r"shard\.gz' is damaged.*Write it again, or delete it"):
            list(reading(serializer, shard))


def test_a_damaged_byte_is_an_error(serializer, shard):
    whole = shard.read_bytes()

    # Behind gzip's header, whose fields say little, lie the samples; behind them their checksum and size.
    for position in range(10, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        shard.write_bytes(damaged)
        with pytest.raises(ShardFormatError):
            list(reading(serializer, shard))


def test_a_half_shard_in_a_whole_gzip_file_is_an_error(serializer, shard):
    """What another writer leaves behind that fails in the middle and closes its file."""
    samples = gzip.decompress(shard.read_bytes())

    shard.write_bytes(gzip.compress(samples[: len(samples) - 5]))

    with pytest.raises(ShardFormatError, match=r"after 4 whole samples"):
        list(reading(serializer, shard))


def test_a_number_cut_off_in_a_whole_gzip_file_is_an_error(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"12\n34"))

    with pytest.raises(ShardFormatError, match="the last sample is cut off"):
        list(reading(JsonSerializer(), tmp_path / "a.gz"))


def test_a_last_line_without_its_end_is_read_where_it_is_whole(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b'{"x": 1}\n{"x": 2}'))

    assert list(reading(JsonSerializer(), tmp_path / "a.gz")) == [{"x": 1}, {"x": 2}]


@pytest.mark.parametrize(
    "content", [b"no gzip at all", b"\x1f\x8b", gzip.compress(b"\xc1\n", mtime=0), gzip.compress(b"\x91", mtime=0)]
)
def test_another_format_is_an_error(serializer, tmp_path, content):
    (tmp_path / "a.gz").write_bytes(content)

    with pytest.raises(ShardFormatError, match=r"a\.gz"):
        list(reading(serializer, tmp_path / "a.gz"))


def test_shards_larger_than_what_is_read_at_once_come_back(serializer, tmp_path):
    rng = np.random.default_rng(0)
    samples = [{"n": number, "x": rng.random(size)} for number, size in enumerate([10, 300_000, 0, 150_000, 7])]
    serializer.serialize_shard_to_file(samples, str(tmp_path / "a.gz"))

    assert (tmp_path / "a.gz").stat().st_size > 3_000_000
    assert same(list(reading(serializer, tmp_path / "a.gz")), samples)


def test_gzip_files_in_a_row_are_one_shard(serializer, tmp_path):
    serializer.serialize_shard_to_file(SAMPLES, str(tmp_path / "a.gz"))
    serializer.serialize_shard_to_file(SAMPLES[:1], str(tmp_path / "a.gz"), mode="ab")

    assert same(list(reading(serializer, tmp_path / "a.gz")), [*SAMPLES, SAMPLES[0]])


def test_samples_before_the_damage_come_out_first(serializer, shard):
    samples = gzip.decompress(shard.read_bytes())
    shard.write_bytes(gzip.compress(samples[:-5]))

    reader = reading(serializer, shard)

    assert [next(reader)["number"] for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ShardFormatError):
        next(reader)


def test_a_writer_that_fails_leaves_no_file_that_reads_as_a_shard(serializer, tmp_path):
    # Large enough to be written before the last sample is looked at.
    samples = [{"x": np.random.default_rng(0).random(100_000)}, object()]

    with pytest.raises(ArgumentTypeError):
        serializer.serialize_shard_to_file(samples, str(tmp_path / "a.gz"))

    with pytest.raises(ShardFormatError):
        list(reading(serializer, tmp_path / "a.gz"))


# Compatibility with squirrel-core 0.20.2, msgpack 1.2.4 and msgpack-numpy 0.4.8


# Each built with the format's own package, as squirrel-core does.
def messagepack_of_squirrel(*samples):
    wire = {np.ndarray: lambda it: {b"nd": True, b"type": it.dtype.str, b"kind": b"", b"shape": it.shape}}
    written = b""
    for sample in samples:
        written += msgpack.packb(sample, default=lambda it: {**wire[type(it)](it), b"data": it.tobytes()})
    return written


def json_of_squirrel(*samples):
    def default(it):
        return {"data": it.tolist(), "type": it.dtype.str, "shape": it.shape}

    return b"".join(json.dumps(sample, default=default).encode() + b"\n" for sample in samples)


@pytest.mark.parametrize(
    ("serializer", "write"),
    [(MessagepackSerializer(), messagepack_of_squirrel), (JsonSerializer(), json_of_squirrel)],
    ids=["MessagePack", "JSON"],
)
def test_shards_of_squirrel_are_read_and_ours_are_the_same(serializer, write, tmp_path):
    # As fsspec opens a file for squirrel.
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(write(*SAMPLES))
    (tmp_path / "theirs.gz").write_bytes(packed.getvalue())
    serializer.serialize_shard_to_file(SAMPLES, str(tmp_path / "ours.gz"))

    assert same(list(reading(serializer, tmp_path / "theirs.gz")), SAMPLES)
    assert gzip.decompress((tmp_path / "ours.gz").read_bytes()) == write(*SAMPLES)


# Files that squirrel-core 0.20.2 wrote with msgpack 1.2.4, msgpack-numpy 0.4.8 and numpy 2.4.6.
GOLDEN_MESSAGEPACK = """
H4sICDGsAWsC/2sAa1mUmbIwcWlmbmJ6ausRpryUw0dYSioLUhfbpJkcYcnOzEs5wnCEtTgjsSB1EhPzEZaUxJLEIxIMYNBgDyQcgAiIG4B4gcPSnMSk
1BzGJSWJ6cWTFlYsrGwBGZ+ExfiaJEN04xkZocYzMkLMaQZpOARzT6YRVJrp33+wBROaF1Y1HWFPzs8tyEmtOAyRXaZhqGuUpbmwGNm2SZMW5oEMmLSw
DOgvC6jFjGFQmyfCLOZihHiMgcVhYQlqaIQaoTl3IhNUk0AiUEMSECdDNQMA1S8S9FMBAAA=
"""
GOLDEN_JSON = """
H4sICDGsAWsC/2sAq1bKTFGyUlBKVNJRUMrMTUxPBfKqlVISSxKBjOhoAz0DHQVDEGGkZxCroxBtDGKbgAhToABQRKmksgCkSckmzQRkSHFGIpgfbaSj
YBxbCxTJSUxKzQGKGIIUJ6YXgySVKkBqK5Via7mqoU5IwuGEkqLSVBSLapIMUSwCmmuIYpGuEZJNQBsAaHAx5OUAAAA=
"""


def test_a_shard_that_squirrel_wrote_in_messagepack(tmp_path):
    (tmp_path / "k.gz").write_bytes(base64.b64decode(GOLDEN_MESSAGEPACK))

    first, second, third = reading(MessagepackSerializer, tmp_path / "k.gz")

    image = np.array([[0, 1, 2], [3, 4, 5]], "<f4")
    assert same(first, {"id": "a", "image": image, "label": 1, "tags": ["x", "y"]})
    assert same(second, {"id": "b", "image": np.array([[True]]), "label": np.int16(-2), "tags": []})
    assert same(third.pop("s"), np.array([(1, 2.5)], [("n", "<i2"), ("v", "<f8")]))
    assert same(third, {"z": 1 - 2j, "t": np.array(["ab", "c"])})


def test_a_shard_that_squirrel_wrote_in_json(tmp_path):
    (tmp_path / "k.gz").write_bytes(base64.b64decode(GOLDEN_JSON))

    first, second = reading(JsonSerializer(), tmp_path / "k.gz")

    image = np.array([[0, 1, 2], [3, 4, 5]], "<f4")
    assert same(first, {"id": "a", "image": image, "label": 1, "tags": ["x", "y"]})
    assert same(second, {"id": "b", "image": np.array([[True]]), "label": -2, "tags": []})


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)

    with pytest.raises(MissingDependencyError, match=r"smartml\[pipeline\]"):
        MessagepackSerializer.serialize({})


@pytest.mark.parametrize("one", SERIALIZERS)
def test_a_serializer_is_known_by_its_methods(one):
    assert isinstance(one, SquirrelSerializer)
    assert not isinstance(zlib, SquirrelSerializer)


def test_a_serializer_can_be_pickled(serializer):
    assert isinstance(pickle.loads(pickle.dumps(serializer)), type(serializer))
