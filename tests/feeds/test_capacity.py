"""A capacity is a number of samples, or text that says how many bytes."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.feeds.capacity import Capacity, read_capacity


@pytest.mark.parametrize(
    ("given", "size"),
    [("2gb", 2 << 30), ("512 MB", 512 << 20), ("1.5 kB", 1536), ("7b", 7), (" 1 TB ", 1 << 40)],
)
def test_text_says_bytes(given, size):
    assert read_capacity(given) == Capacity(size=size)


def test_a_number_says_samples():
    assert read_capacity(100) == Capacity(samples=100)
    assert read_capacity(100).rows(row_size=8) == 100


def test_bytes_have_room_for_whole_samples():
    assert read_capacity("1kb").rows(row_size=100) == 10


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        (0, ArgumentValueError, "at least 1 sample, not 0"),
        (-3, ArgumentValueError, "at least 1 sample, not -3"),
        ("100", ArgumentValueError, "'100' is no number of bytes: write a number and one of b, kb, mb, gb, tb"),
        ("2 gib", ArgumentValueError, "'2 gib' is no number of bytes"),
        ("-1gb", ArgumentValueError, "'-1gb' is no number of bytes"),
        ("0gb", ArgumentValueError, "'0gb' has no room for anything"),
        (1.5, ArgumentTypeError, "must be a number of samples or text .* not 1.5"),
        (True, ArgumentTypeError, "not True"),
    ],
)
def test_what_is_no_capacity_is_refused(given, error, reason):
    with pytest.raises(error, match=reason):
        read_capacity(given)
