"""The files that a program finds in its folder: copied, linked, or copied with parameters filled in."""

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartml.errors import ArgumentTypeError, ArgumentValueError, PathExistsError, PathNotFoundError

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]

# One path or several, as users may give them.
Paths = PathLike | Sequence[PathLike] | None

# What stands on both sides of a parameter's name in a file to configure.
TAG = ";"


@dataclass(frozen=True)
class AttachedFiles:
    """What to put into a folder; made by `attach_files`."""

    to_copy: tuple[Path, ...] = ()
    to_symlink: tuple[Path, ...] = ()
    to_configure: tuple[Path, ...] = ()


def attach_files(to_copy: Paths = None, to_symlink: Paths = None, to_configure: Paths = None) -> AttachedFiles:
    """Return what is to be put into a folder; relative paths mean the current folder, now.

    Raises PathNotFoundError, and ArgumentValueError when two would get the same name there.
    """
    files = AttachedFiles(_existing(to_copy), _existing(to_symlink), _existing(to_configure))
    placed: dict[str, Path] = {}
    # The contents of a folder are placed, not the folder; those may replace one another.
    copied = [path for path in (*files.to_copy, *files.to_configure) if not path.is_dir()]
    for path in (*copied, *files.to_symlink):
        if path.name in placed:
            raise ArgumentValueError(f"{placed[path.name]} and {path} would both be {path.name!r} in the folder")
        placed[path.name] = path
    return files


def place_files(files: AttachedFiles, folder: Path, params: Mapping[str, str], tag: str = TAG) -> None:
    """Put the files into the folder, which is created; what lies there under their names is replaced.

    Of a folder to copy or to configure, the contents are placed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in files.to_copy:
        for file, target in _targets(source, folder):
            _replace(file, target)
    for source in files.to_symlink:
        _link(source, folder / source.name)
    used: set[str] = set()
    for source in files.to_configure:
        for file, target in _targets(source, folder):
            if target.exists() and not target.is_symlink() and target.samefile(file):
                raise PathExistsError(f"configuring {file} would overwrite the file itself: run in another folder")
            _replace(file, target)
            used |= _configure_file(file, target, params, tag)
    if files.to_configure and (unused := params.keys() - used):
        logger.warning(
            "no file of %s has a tag for: %s", folder, ", ".join(f"{tag}{name}{tag}" for name in sorted(unused))
        )


def configure(text: str, params: Mapping[str, str], tag: str = TAG) -> tuple[str, set[str], list[tuple[int, str]]]:
    """Fill in the parameters of a text: `;THERMO;` becomes the value of THERMO.

    Any other word between two tags loses them, and remains as its own default. Returns the text, the parameters that
    were used, and the tags without a parameter, each with its line number.
    """
    mark = re.escape(tag)
    known = re.compile(f"{mark}({'|'.join(map(re.escape, params))}){mark}") if params else re.compile("(?!)()")
    unknown = re.compile(rf"{mark}((?:(?!{mark})\S)+){mark}")
    written: list[str] = []
    defaults: list[tuple[int, str]] = []
    line = 1
    # Every second piece is the name of a parameter. Known tags go first, so that a stray `;` before one does no harm.
    pieces = known.split(text)
    for index, piece in enumerate(pieces):
        if index % 2:
            written.append(params[piece])
            continue
        for match in unknown.finditer(piece):
            defaults.append((line + piece.count("\n", 0, match.start()), match[1]))
        written.append(unknown.sub(r"\1", piece))
        line += piece.count("\n")
    return "".join(written), set(pieces[1::2]), defaults


def check_name(name: object, of: str) -> str:
    """Return the name of an experiment or entity, which is also that of a folder and the first part of keys."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"the name of {of} must be a str, got {type(name).__name__}: {name!r}")
    if not name or name in (".", "..") or any(letter in name for letter in "/,\0\n"):
        raise ArgumentValueError(
            f"{name!r} cannot be the name of {of}: it names a folder, and must not contain '/' or ','"
        )
    return name


def check_params(params: object) -> dict[str, str]:
    """Return parameters as text. Raises ArgumentTypeError."""
    if not isinstance(params or {}, Mapping):
        raise ArgumentTypeError(f"params must map names to values, got {type(params).__name__}")
    checked = dict(params or {})  # type: ignore[call-overload]
    for name, value in checked.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            raise ArgumentTypeError(f"parameter {name!r} must be a str or a number, got {value!r}")
    return {name: str(value) for name, value in checked.items()}


def remove_folder(folder: Path, within: Path) -> None:
    """Delete a folder with its contents; nothing outside `within` is ever deleted. Raises PathExistsError."""
    if within.resolve() not in folder.resolve().parents:
        raise PathExistsError(f"{folder} is not inside {within}, so it is not overwritten; delete it by hand")
    shutil.rmtree(folder)


def _existing(paths: Paths) -> tuple[Path, ...]:
    if paths is None:
        return ()
    several = list(paths) if isinstance(paths, Sequence) and not isinstance(paths, str) else [paths]
    for path in several:
        if not isinstance(path, str | os.PathLike):
            raise ArgumentTypeError(f"attached files must be given as str or path, got {type(path).__name__}: {path!r}")
        if not os.path.exists(path):
            raise PathNotFoundError(f"cannot attach {os.path.abspath(path)}: there is no such file or folder")
    return tuple(Path(path).absolute() for path in several)


def _targets(source: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield every file of the source with its place in the folder."""
    if not source.is_dir():
        yield source, folder / source.name
        return
    for parent, _, names in os.walk(source, followlinks=False):
        for name in names:
            file = Path(parent) / name
            yield file, folder / file.relative_to(source)


def _replace(source: Path, target: Path) -> None:
    if target.is_symlink():
        # Never written through: it may lead to the very source.
        target.unlink()
    elif target.exists() and target.samefile(source):
        return  # The program runs where its files lie.
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _link(source: Path, target: Path) -> None:
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        if target.samefile(source):
            return
        raise PathExistsError(
            f"{target} is in the way of a link to {source}: delete it, or generate with overwrite=True"
        )
    target.symlink_to(source)


def _configure_file(source: Path, target: Path, params: Mapping[str, str], tag: str) -> set[str]:
    # Whatever the encoding, bytes that are not text stay as they are.
    text = source.read_bytes().decode(errors="surrogateescape")
    written, used, defaults = configure(text, params, tag)
    for line, word in defaults:
        logger.warning("%s, line %d: no parameter is named %r, its tags are removed", source, line, word)
    target.write_bytes(written.encode(errors="surrogateescape"))
    return used
