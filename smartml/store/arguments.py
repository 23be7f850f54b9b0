"""What a caller gave, checked: whole numbers, names, texts, files."""

import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import SupportsIndex, TypeAlias

from smartml.errors import ArgumentTypeError, ArgumentValueError, ModelFileError
from smartml.store.keys import checked_name

# A name, or several.
Names: TypeAlias = str | Sequence[str] | None
PathLike: TypeAlias = str | os.PathLike[str]


def checked_int(value: SupportsIndex, name: str) -> int:
    """Return a whole number (numpy's integers are ones, too), or raise ArgumentTypeError."""
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentTypeError(f"{name} must be int, not {type(value).__name__}: {value!r:.80}") from None


def checked_count(value: SupportsIndex, name: str) -> int:
    """Return a whole number from 0 on, or raise ArgumentTypeError or ArgumentValueError."""
    number = checked_int(value, name)
    if number < 0:
        raise ArgumentValueError(f"{name} must not be negative: {number}")
    return number


def checked_names(names: Names, what: str) -> list[str]:
    """Return names as a list, one alone included; raises for what is none."""
    if names is None:
        return []
    listed = [names] if isinstance(names, str) else names
    if isinstance(listed, bytes) or not isinstance(listed, Iterable):
        raise ArgumentTypeError(f"{what} must be a name or several, not {type(names).__name__}: {names!r:.80}")
    listed = list(listed)
    for name in listed:
        checked_name(name, f"tensor of {what}")
    return listed


def checked_text(text: str, name: str) -> str:
    """Return text, or raise ArgumentTypeError."""
    if not isinstance(text, str):
        raise ArgumentTypeError(f"{name} must be str, not {type(text).__name__}: {text!r:.80}")
    return text


def checked_file(file: PathLike) -> Path:
    """Return the path of a file that is there."""
    if not isinstance(file, str | os.PathLike):
        raise ArgumentTypeError(f"the path of a file must be str or a path, not {type(file).__name__}: {file!r:.80}")
    path = Path(file).absolute()
    if not path.is_file():
        raise ModelFileError(f"there is no file {path}")
    return path


def read_model_file(file: PathLike) -> bytes:
    """Return the bytes of a model's file. Raises ModelFileError, ArgumentTypeError."""
    return checked_file(file).read_bytes()


def read_script_file(file: PathLike) -> str:
    """Return the text of a script's file. Raises ModelFileError, ArgumentTypeError."""
    path = checked_file(file)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentValueError(f"{path} is no script: {error}") from error
