"""A program as the user names it: where it is, its arguments, and its variables."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

from smartml.errors import ArgumentTypeError, ArgumentValueError, ProgramNotFoundError

# What may be given as the value of an environment variable.
EnvValue = str | int | float | bool | None


def find_program(exe: str) -> str:
    """Return the absolute path of a program. Raises ProgramNotFoundError."""
    if not isinstance(exe, str):
        raise ArgumentTypeError(f"a program is named by a str, got {type(exe).__name__}: {exe!r}")
    if exe in ("python", "python3") and sys.executable:
        return sys.executable
    found = shutil.which(os.path.expanduser(exe))
    if found is None:
        raise ProgramNotFoundError(_why_not_found(exe))
    # Not resolved: a program may look at the name it is called by.
    return os.path.abspath(found)


def split_words(words: object, setting: str = "arguments") -> list[str]:
    """Return words that are given as a list, or as one str, which is split as a shell would.

    `setting` says in messages what they are. Raises ArgumentTypeError, ArgumentValueError.
    """
    if words is None:
        return []
    if isinstance(words, str):
        try:
            return shlex.split(words)
        except ValueError as error:
            raise ArgumentValueError(f"{setting}, {words!r}: {error}; give a list of words instead") from error
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
        raise ArgumentTypeError(f"{setting} must be a str or a list of str, got {words!r}")
    return list(words)


def _why_not_found(exe: str) -> str:
    if os.path.isdir(exe):
        return f"{exe!r} is a folder, not a program"
    if os.path.isfile(exe):
        return f"{exe!r} is not executable: `chmod +x` it, or run it by its interpreter, as in exe='python'"
    where = f"{os.getcwd()}" if os.sep in exe else "the PATH"
    return f"program {exe!r} is not found in {where}: install it, or give its full path"


def assignments(variables: Mapping[str, str | None]) -> Iterable[str]:
    """Yield `name=value` for every variable that has a value."""
    return (f"{name}={value}" for name, value in variables.items() if value is not None)
