"""The files that a program finds in its folder: copied, linked, or copied with parameters filled in."""

import logging
import os
import re
import shutil
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from smartml.errors import ArgumentTypeError, ArgumentValueError, PathExistsError, PathNotFoundError, PlacementError
from smartml.experiment.generated import PlacedFile

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]

# One path or several, as users may give them.
Paths = PathLike | Sequence[PathLike] | None

# What stands on both sides of a parameter's name in a file to configure.
TAG = ";"

# How many files a warning names.
_SHOWN = 5


@dataclass(frozen=True)
class AttachedFiles:
    """What to put into a folder; made by `attach_files`."""

    to_copy: tuple[Path, ...] = ()
    to_symlink: tuple[Path, ...] = ()
    to_configure: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.to_copy or self.to_symlink or self.to_configure)


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


def place_files(
    files: AttachedFiles,
    folder: Path,
    params: Mapping[str, str],
    tag: str = TAG,
    used_elsewhere: Collection[str] = (),
) -> list[PlacedFile]:
    """Put the files into the folder, which is created; what lies there under their names is replaced.

    Of a folder to copy or to configure, the contents are placed, and what its links lead to; one to configure must have
    no linked folders. Nothing is ever written through a link of the folder. A tag without a parameter, and a parameter
    without a tag that is not `used_elsewhere`, are warned about. Returns what was placed.
    Raises PathExistsError, PathNotFoundError, ArgumentValueError, PlacementError.
    """
    # Listed before anything is written, since the folder may lie in a source.
    to_copy = [found for source in files.to_copy for found in _targets(source, folder)]
    to_configure = [found for source in files.to_configure for found in _targets(source, folder, may_follow=False)]
    _make_folder(folder)
    placed: list[PlacedFile] = []
    for source, target in to_copy:
        _replace(source, target, folder)
        if not source.is_dir():
            placed.append(PlacedFile(str(target.relative_to(folder)), str(source), "copy"))
    for source in files.to_symlink:
        _link(source, folder / source.name)
        placed.append(PlacedFile(source.name, str(source), "symlink"))
    for source, target in to_configure:
        if target.exists() and not target.is_symlink() and not target.is_dir() and target.samefile(source):
            raise PathExistsError(f"configuring {source} would overwrite the file itself: run in another folder")
        _replace(source, target, folder)
        if not source.is_dir():
            used, defaults = _configure_file(source, target, params, tag)
            placed.append(PlacedFile(str(target.relative_to(folder)), str(source), "configure", used, defaults))
    if files.to_configure:
        used_names = {name for one in placed for name in one.parameters}
        unused = {name: value for name, value in params.items() if name not in used_names | set(used_elsewhere)}
        _warn_of_unused(unused, [source for source, _ in to_configure], tag)
    return placed


class Configured(NamedTuple):
    """A text with parameters filled in."""

    text: str
    # The parameters that were used, each with its lines, from 1.
    used: dict[str, list[int]]
    # The words of tags without a parameter, each with its line.
    defaults: list[tuple[int, str]]


def configure(text: str, params: Mapping[str, str], tag: str = TAG) -> Configured:
    """Fill in the parameters of a text: `;THERMO;` becomes the value of THERMO.

    Any other word between two tags loses them, and remains as its own default.
    """
    mark = re.escape(tag)
    known = re.compile(f"{mark}({'|'.join(map(re.escape, params))}){mark}") if params else re.compile("(?!)()")
    unknown = re.compile(rf"{mark}((?:(?!{mark})\S)+){mark}")
    written: list[str] = []
    used: dict[str, list[int]] = {}
    defaults: list[tuple[int, str]] = []
    line = 1
    # Every second piece is the name of a parameter. Known tags go first, so that a stray `;` before one does no harm.
    for index, piece in enumerate(known.split(text)):
        if index % 2:
            written.append(params[piece])
            used.setdefault(piece, []).append(line)
            continue
        for match in unknown.finditer(piece):
            defaults.append((line + piece.count("\n", 0, match.start()), match[1]))
        written.append(unknown.sub(r"\1", piece))
        line += piece.count("\n")
    return Configured("".join(written), used, defaults)


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
    """Delete a folder with its contents, or the file or link in its place; nothing outside `within` is ever deleted.

    Of a link, only itself is deleted. Raises PathExistsError.
    """
    if within.resolve() not in (folder.parent.resolve() / folder.name).parents:
        raise PathExistsError(f"{folder} is not inside {within}, so it is not overwritten; delete it by hand")
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
    else:
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


def _targets(source: Path, folder: Path, may_follow: bool = True) -> list[tuple[Path, Path]]:
    """Return every file of the source, and every folder in it, with its place in the folder."""
    if not source.is_dir():
        return [(source, folder / source.name)]
    found: list[tuple[Path, Path]] = []
    # The folders still to look into, each with the real folders above it: a link to one of them has no end.
    waiting: list[tuple[Path, tuple[Path, ...]]] = [(source, (source.resolve(),))]
    while waiting:
        parent, above = waiting.pop()
        for entry in sorted(parent.iterdir()):
            if not entry.exists():
                raise PathNotFoundError(f"{entry} is a link to {os.readlink(entry)}, where there is nothing: remove it")
            if entry.is_dir():
                real = entry.resolve()
                if entry.is_symlink() and not may_follow:
                    raise ArgumentValueError(
                        f"{entry} is a link to a folder, which cannot be in a folder to configure: attach it by itself"
                    )
                if real in above:
                    raise ArgumentValueError(f"{entry} is a link to a folder above itself: its contents have no end")
                if real == folder.resolve():
                    continue
                waiting.append((entry, (*above, real)))
            found.append((entry, folder / entry.relative_to(source)))
    return found


def _warn_of_unused(params: Mapping[str, str], searched: Sequence[Path], tag: str) -> None:
    more = ", ..." if len(searched) > _SHOWN else ""
    files = ", ".join(map(str, searched[:_SHOWN])) + more
    for name, value in params.items():
        logger.warning("parameter %r (%s) is not used: no %s in %s", name, value, f"{tag}{name}{tag}", files)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise PathExistsError(f"{folder} cannot be made, a file is in the way: {error.filename}") from error
    except OSError as error:
        raise PlacementError(f"{folder} cannot be made: {error}") from error


def _replace(source: Path, target: Path, folder: Path) -> None:
    for parent in target.relative_to(folder).parents:
        if (folder / parent).is_symlink() and parent != Path():
            raise PathExistsError(f"{source} would be written through the link {folder / parent}: attach one of them")
    if source.is_dir():
        if target.is_symlink():
            raise PathExistsError(f"{source} would be written through the link {target}: attach one of them")
        _make_folder(target)
        return
    if target.is_dir() and not target.is_symlink():
        raise PathExistsError(f"{target} is a folder, in the way of the file {source}: rename one of them")
    if target.is_symlink():
        # Never written through: it may lead to the very source.
        target.unlink()
    elif target.exists() and target.samefile(source):
        return  # The program runs where its files lie.
    _make_folder(target.parent)
    try:
        # An earlier one may be for reading only, or have other names.
        target.unlink(missing_ok=True)
        shutil.copy2(source, target)
    except OSError as error:
        raise PlacementError(f"{source} cannot be copied to {target}: {error}") from error


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


def _configure_file(
    source: Path, target: Path, params: Mapping[str, str], tag: str
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Write the file with its parameters; return the lines of those, and of the tags without one."""
    try:
        # Whatever the encoding, bytes that are not text stay as they are.
        text = source.read_bytes().decode(errors="surrogateescape")
        written, used, defaults = configure(text, params, tag)
        mode = target.stat().st_mode
        # What may only be read is copied so.
        target.chmod(mode | stat.S_IWUSR)
        target.write_bytes(written.encode(errors="surrogateescape"))
        target.chmod(mode)
    except OSError as error:
        raise PlacementError(f"{source} cannot be configured as {target}: {error}") from error
    lines: dict[str, list[int]] = {}
    for line, word in defaults:
        logger.warning("%s, line %d: no parameter is named %r, its tags are removed", source, line, word)
        lines.setdefault(word, []).append(line)
    return used, lines
