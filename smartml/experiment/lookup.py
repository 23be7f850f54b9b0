"""Find experiments by their folders, and the names in them, as people type them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from smartml.errors import NotStartedError
from smartml.experiment.journal import JOURNAL, History, Journal, read_journal


def find_experiment(words: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the folder of an experiment and the names of entities that were typed behind it.

    The first word is the folder, if an experiment was started there; else it is one of the names, and the experiment
    that of the current folder, or of the only folder in it that has one. Raises NotStartedError.
    """
    if words and (found := _experiments_at(Path(words[0]))):
        return _the_only(found, Path(words[0])), list(words[1:])
    found = _experiments_at(Path())
    if words and (not found or (os.sep in words[0] and words[0] not in _names_in(found))):
        raise NotStartedError(f"no experiment was started in {os.path.abspath(words[0])}")
    if not found:
        raise NotStartedError(f"no experiment was started in {Path.cwd()}, nor in a folder of it: name its folder")
    return _the_only(found, Path()), list(words)


def typed_names(words: Sequence[str]) -> list[str]:
    """Return what may follow these words: names of what the experiment has started. None where there is none."""
    try:
        path, names = find_experiment(words)
        return [name for name in entity_names(read_journal(Journal(str(path)).file)) if name not in names]
    except NotStartedError:
        return []


def entity_names(history: History) -> list[str]:
    """Return the names of what was started, in the order of the first starts, and of what waits for its start."""
    started = (str(entry.start["name"]) for entry in history.jobs.values())
    return list(dict.fromkeys((*started, *(entry.wait.name for entry in history.waits.values()))))


def check_names(history: History, names: Iterable[str]) -> None:
    """See that something was started under each name. Raises NotStartedError."""
    known = entity_names(history)
    for name in names:
        if name not in known:
            listed = ", ".join(map(repr, known)) or "none"
            raise NotStartedError(f"experiment {history.name!r} has started nothing named {name!r}; it has: {listed}")


def _experiments_at(folder: Path) -> list[Path]:
    """Return the folder itself where it is an experiment's, else those in it that are."""
    if (folder / JOURNAL).is_file():
        return [folder]
    return sorted(file.parents[1] for file in folder.glob(f"*/{JOURNAL}"))


def _names_in(folders: Iterable[Path]) -> list[str]:
    return [name for folder in folders for name in entity_names(read_journal(Journal(str(folder)).file))]


def _the_only(found: Sequence[Path], where: Path) -> Path:
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise NotStartedError(f"{os.path.abspath(where)} has several experiments: name the folder of one: {listed}")
    return found[0]
