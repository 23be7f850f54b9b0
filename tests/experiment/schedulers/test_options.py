"""Options of commands: their values and words."""

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.options import clock_text, count, names, seconds_text, short_and_long, two_words

OPTIONS = {"n": 2, "zero": 0, "bare": None, "empty": "", "b": None}


def test_options_as_words():
    assert short_and_long(OPTIONS) == ["-n", "2", "--zero=0", "--bare", "--empty", "-b"]
    assert two_words(OPTIONS) == ["--n", "2", "--zero", "0", "--bare", "--empty", "--b"]


def test_numbers_may_be_given_as_text():
    assert (count("nodes", 2), count("nodes", " 3 "), count("gpus", 0, at_least=0)) == (2, 3, 0)
    for wrong in (0, "-1", "two", ""):
        with pytest.raises(ArgumentValueError, match="nodes must be"):
            count("nodes", wrong)
    for wrong in (True, 1.0, None):
        with pytest.raises(ArgumentTypeError, match="nodes must be an int"):
            count("nodes", wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("a", ["a"]), ("a, b", ["a", "b"]), (["a", "b,c"], ["a", "b", "c"]), ("n[1,3-4],m[5,6]", ["n[1,3-4]", "m[5,6]"])],
)
def test_names_may_be_one_or_several(given, expected):
    assert names("hosts", given) == expected


def test_names_that_are_none_are_refused():
    for wrong in ("", "a,,b", []):
        with pytest.raises(ArgumentValueError, match="hosts must name at least one"):
            names("hosts", wrong)
    for wrong in (5, [5], {"a"}):
        with pytest.raises(ArgumentTypeError, match="hosts must be a str or a list"):
            names("hosts", wrong)


def test_times_are_written_as_clocks_and_read_as_seconds():
    assert (clock_text(0), clock_text(3661), clock_text(108_000)) == ("00:00:00", "01:01:01", "30:00:00")
    assert (seconds_text("90"), seconds_text("1:30"), seconds_text("01:00:05")) == ("90", "90", "3605")
    with pytest.raises(ArgumentValueError, match="seconds, MM:SS, HH:MM:SS"):
        seconds_text("1 hour")
