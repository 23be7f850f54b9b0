"""The bytes of a stored model: read back as they were written, and refused when they do not add up."""

import random
import struct

import pytest

from smartml.errors import ModelFormatError
from smartml.inference.values import read_model


def text(content):
    return struct.pack("<I", len(content)) + content


def value_of(content=b"weights", texts=(b"TF", b"GPU:1", b"v1", b"a", b"b", b"c"), counts=(2, 1), kind=1):
    described = b"".join(map(text, texts))
    return content + described + struct.pack("<QQQQIHHI4s", 77, 8, 2, 50, len(described), *counts, kind, b"SMM1")


def test_a_value_is_read_as_it_is_described():
    model = read_model(value_of(), "m")

    assert (bytes(model.content), model.version) == (b"weights", 77)
    assert (model.backend, model.device, model.tag) == ("TF", "GPU:1", "v1")
    assert (model.inputs, model.outputs) == (("a", "b"), ("c",))
    assert (model.batch_size, model.min_batch_size, model.is_script) == (8, 2, False)


@pytest.mark.parametrize("value", [b"", b"SMM1", b"x" * 60, value_of()[:-1]])
def test_what_is_no_model_is_named(value):
    with pytest.raises(ModelFormatError, match="key 'm' holds neither a model nor a script"):
        read_model(value, "m")


@pytest.mark.parametrize(
    "value",
    [
        value_of(kind=3),
        value_of(kind=2),
        value_of(counts=(3, 1)),
        value_of(counts=(1, 1)),
        value_of(counts=(65535, 65535)),
        value_of(texts=(b"", b"CPU", b""), counts=(0, 0)),
        value_of()[20:],
    ],
    ids=["kind", "script with a backend", "too few texts", "too many texts", "huge", "model without backend", "cut"],
)
def test_a_damaged_model_is_named(value):
    with pytest.raises(ModelFormatError, match="the model under key 'm' is damaged"):
        read_model(value, "m")


def test_random_damage_is_either_read_or_named():
    chance = random.Random(5)
    whole = value_of()
    read = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 255, chance.randrange(256)))
        try:
            read_model(damaged, "m")
            read += 1
        except ModelFormatError:
            pass
    assert 100 < read < 2900
