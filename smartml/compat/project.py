"""A project that uses SmartSim or SmartRedis, read file by file: what works unchanged, and what does not."""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from smartml.compat.python_code import uses_in_python
from smartml.compat.table import Verdict
from smartml.compat.texts import uses_in_build, uses_in_c, uses_in_fortran, uses_in_requirements, uses_in_script
from smartml.compat.uses import Use
from smartml.errors import PathNotFoundError

# Nobody writes a longer one; what is longer was made by a program.
_MOST_BYTES = 4 * 1024 * 1024
# Folders of others, or made by tools.
_LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}
# A folder that holds one of these is an environment, or what a build has made.
_MADE = ("pyvenv.cfg", "CMakeCache.txt", "conda-meta")


class Unread(NamedTuple):
    """A file or folder that could not be read, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class SourceFile:
    """A file that uses something of theirs."""

    # Relative to the project.
    path: str
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Project:
    """What was found in a project."""

    files: tuple[SourceFile, ...]
    unread: tuple[Unread, ...]
    # How many were looked into.
    files_read: int

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many different names there are of each verdict."""
        names = {use.name for file in self.files for use in file.uses}
        counted = Counter(name.verdict for name in names)
        return {verdict: counted[verdict] for verdict in Verdict}

    @property
    def lacks_nothing(self) -> bool:
        """True when there is something here for every name."""
        return not self.counts[Verdict.MISSING]

    def facts(self) -> dict[str, Any]:
        """Return all of it as data that JSON can hold."""
        return {
            "files_read": self.files_read,
            "files": [{"file": file.path, "uses": [_fact(use) for use in file.uses]} for file in self.files],
            "unread": [one._asdict() for one in self.unread],
            "names": {verdict.value: count for verdict, count in self.counts.items()},
        }


def _fact(use: Use) -> dict[str, Any]:
    name = use.name
    return {
        "line": use.line,
        "name": name.theirs,
        "verdict": name.verdict.value,
        "ours": name.ours,
        "reason": name.reason,
    }


def read_project(path: str | os.PathLike[str]) -> Project:
    """Read a folder with all below it, or one file. What cannot be read is listed; links to folders are not followed.

    Left out are hidden folders, environments, and what builds have made. Raises PathNotFoundError.
    """
    root = Path(path)
    if not root.exists():
        raise PathNotFoundError(f"{root} is not there: name the folder of a project, or one file of it")
    files: list[SourceFile] = []
    unread: list[Unread] = []
    count = 0
    for file in [root] if root.is_file() else _files_below(root, unread):
        reader = _reader_of(file)
        if reader is None:
            continue
        shown = file.name if file == root else str(file.relative_to(root))
        try:
            uses = reader(_contents(file))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            unread.append(Unread(shown, _reason(error)))
            continue
        count += 1
        if uses:
            files.append(SourceFile(shown, tuple(sorted(uses, key=lambda use: (use.line, use.name.theirs)))))
    return Project(tuple(files), tuple(unread), count)


def _files_below(root: Path, unread: list[Unread]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        unread.append(Unread(os.path.relpath(error.filename, root), _reason(error)))

    for folder, folders, names in os.walk(root, onerror=note):
        if folder != str(root) and any(os.path.exists(os.path.join(folder, made)) for made in _MADE):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        yield from (Path(folder, name) for name in sorted(names))


def _contents(file: Path) -> bytes:
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no plain file")
    if status.st_size > _MOST_BYTES:
        raise ValueError(f"it is longer than {_MOST_BYTES // 1024**2} MiB")
    return file.read_bytes()


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg} (line {error.lineno})" if error.lineno else str(error.msg)
    if isinstance(error, OSError):
        return str(error.strerror or error)
    if isinstance(error, RecursionError | MemoryError):
        return "it is nested too deeply"
    return str(error)


_Reader = Callable[[bytes], list[Use]]


def _text(contents: bytes) -> str:
    if b"\0" in contents:
        raise ValueError("it is binary")
    try:
        return contents.decode()
    except UnicodeDecodeError:
        # Old sources: every byte is a letter, and names are ASCII.
        return contents.decode("latin-1")


def _texts(*readers: Callable[[str], list[Use]]) -> _Reader:
    return lambda contents: [use for reader in readers for use in reader(_text(contents))]


def _python(contents: bytes) -> list[Use]:
    if b"\0" in contents:
        raise ValueError("it is binary")
    return uses_in_python(contents)


def _set_up(contents: bytes) -> list[Use]:
    return _python(contents) + uses_in_requirements(_text(contents))


def _notebook(contents: bytes) -> list[Use]:
    """Read the cells of a notebook as one source; lines count as if its cells with code stood below each other."""
    try:
        cells = json.loads(_text(contents))["cells"]
        sources = ["".join(cell["source"]).rstrip("\n") for cell in cells if cell["cell_type"] == "code"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError("it is no notebook") from error
    # What is no Python in it is a command to the notebook.
    return uses_in_python(re.sub(r"(?m)^(\s*)([%!?].*)$", r"\1pass  # \2", "\n".join(sources)))


_READERS: dict[str, _Reader] = {
    **dict.fromkeys((".py", ".pyi", ".pyw"), _python),
    ".ipynb": _notebook,
    **dict.fromkeys(
        (".c", ".cc", ".cpp", ".cxx", ".cu", ".h", ".hh", ".hpp", ".hxx", ".cuh", ".ipp", ".tcc"), _texts(uses_in_c)
    ),
    **dict.fromkeys(
        (".f", ".for", ".ftn", ".f77", ".f90", ".f95", ".f03", ".f08", ".fpp", ".inc"), _texts(uses_in_fortran)
    ),
    **dict.fromkeys((".cmake", ".mk"), _texts(uses_in_build)),
    **dict.fromkeys(
        (".sh", ".bash", ".csh", ".zsh", ".slurm", ".sbatch", ".pbs", ".lsf", ".job"), _texts(uses_in_script)
    ),
}
_NAMED_READERS: dict[str, _Reader] = {
    r"CMakeLists\.txt|(GNU)?[Mm]akefile": _texts(uses_in_build),
    r"setup\.py": _set_up,
    r"(?:.*[-_.])?(?:requirements|constraints)(?:[-_.].*)?\.(?:txt|in)": _texts(uses_in_requirements),
    r"pyproject\.toml|setup\.cfg|Pipfile|environment.*\.ya?ml|conda.*\.ya?ml|spack\.yaml|tox\.ini": _texts(
        uses_in_requirements
    ),
    r"(?:.*\.)?(?:Dockerfile|Containerfile)(?:\..*)?|.*\.def": _texts(uses_in_script),
}


def _reader_of(file: Path) -> _Reader | None:
    for pattern, reader in _NAMED_READERS.items():
        if re.fullmatch(pattern, file.name):
            return reader
    return _READERS.get(file.suffix.lower())
