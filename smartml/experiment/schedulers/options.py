"""Options of commands: their values, and how they are written as words."""

import re
from collections.abc import Mapping, Sequence

from smartml.errors import ArgumentTypeError, ArgumentValueError

# What may be given as the value of an option; None stands for an option without one.
OptionValue = str | int | float | None


def short_and_long(options: Mapping[str, OptionValue]) -> list[str]:
    """Return options as words: `-k v` where the name is one letter, else `--key=v`."""
    words = []
    for name, value in options.items():
        if len(name) == 1:
            words += [f"-{name}"] if _is_bare(value) else [f"-{name}", str(value)]
        else:
            words.append(f"--{name}" if _is_bare(value) else f"--{name}={value}")
    return words


def two_words(options: Mapping[str, OptionValue]) -> list[str]:
    """Return options as words: `--key v`, whatever the name."""
    pairs = ([f"--{name}"] if _is_bare(value) else [f"--{name}", str(value)] for name, value in options.items())
    return [word for pair in pairs for word in pair]


def _is_bare(value: OptionValue) -> bool:
    # SmartSim takes 0 for no value, too.
    return value is None or value == ""


def count(setting: str, value: object, at_least: int = 1) -> int:
    """Return a number of something, which may be given as text. Raises ArgumentTypeError, ArgumentValueError."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ArgumentTypeError(f"{setting} must be an int, got {type(value).__name__}: {value!r}")
    if isinstance(value, str) and not re.fullmatch(r"-?\d+", value.strip()):
        raise ArgumentValueError(f"{setting} must be a whole number, got {value!r}")
    if int(value) < at_least:
        raise ArgumentValueError(f"{setting} must be {at_least} or more, got {value}")
    return int(value)


def joined_counts(setting: str, values: object) -> str:
    """Return numbers from 0, one or several, with commas between them."""
    several = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    return ",".join(str(count(setting, value, at_least=0)) for value in several)


def names(setting: str, values: object) -> list[str]:
    """Return names, one or several; a str may list them with commas. Raises ArgumentTypeError, ArgumentValueError."""
    several = [values] if isinstance(values, str) else values
    if not isinstance(several, Sequence) or not all(isinstance(name, str) for name in several):
        raise ArgumentTypeError(f"{setting} must be a str or a list of str, got {values!r}")
    found = [part.strip() for name in several for part in _outside_brackets(name)]
    if not found or not all(found):
        raise ArgumentValueError(f"{setting} must name at least one, and none empty, got {values!r}")
    return found


def _outside_brackets(text: str) -> list[str]:
    """Split at commas, but not at those of `node[1,3-5]`."""
    return re.split(r",(?![^\[]*\])", text)


def check_walltime(walltime: object, pattern: str, accepted: str) -> str:
    """Return a time limit that the pattern matches. Raises ArgumentTypeError, ArgumentValueError."""
    if not isinstance(walltime, str):
        raise ArgumentTypeError(f"walltime must be a str, got {type(walltime).__name__}: {walltime!r}")
    if not re.fullmatch(pattern, walltime):
        raise ArgumentValueError(f"walltime {walltime!r} is none of: {accepted}")
    return walltime


def clock_text(seconds: int) -> str:
    """Return seconds as `HH:MM:SS`; the hours may be more than 24."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def seconds_text(walltime: str) -> str:
    """Return a time limit in seconds, from seconds or `[HH:]MM:SS`."""
    check_walltime(walltime, r"\d+(:\d{1,2}){0,2}", "seconds, MM:SS, HH:MM:SS")
    seconds = 0
    for part in walltime.split(":"):
        seconds = seconds * 60 + int(part)
    return str(seconds)


def text_of(setting: str, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{setting} must be a str, got {type(value).__name__}: {value!r}")
    return value
