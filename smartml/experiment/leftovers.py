"""What the ended runs of an experiment have left on disk, and its removal."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from smartml.errors import AlreadyStartedError, UnsupportedError
from smartml.experiment.experiment import Experiment
from smartml.experiment.files import remove_folder
from smartml.experiment.journal import JOURNAL, Entry, History, Journal, read_journal
from smartml.experiment.states import Status


class Leftover(NamedTuple):
    """A file or folder that can go."""

    path: Path
    # Of whom: the name of a program or database, or "the journal".
    owner: str
    files: int
    bytes: int


def find_leftovers(exp_path: Path) -> list[Leftover]:
    """List what can go: folders of programs and databases that have ended, and the journal where nothing runs.

    A program's folder goes as a whole where it lies in the experiment's and has the program's name; of any other, which
    may hold more than a run, only the output files. What holds anything that runs stays.
    Raises NotStartedError, AlreadyStartedError while the script runs, which may start any of it again, and
    UnsupportedError on another machine than that of the script.
    """
    journal = Journal(os.path.abspath(exp_path)).file
    history = read_journal(journal)
    root = journal.parents[1]
    script = history.script
    if script is not None and script.is_running:
        raise AlreadyStartedError(
            f"the script of experiment {history.name!r} (pid {script.pid}) runs: nothing is removed before it has ended"
        )
    if script is not None and not script.is_here:
        raise UnsupportedError(
            f"the script of experiment {history.name!r} (pid {script.pid}) was started on {script.host}: whether it "
            "runs is known only there, so clean up from there"
        )
    busy = _busy_paths(history, root)
    found: dict[Path, str] = {}
    for entry in history.jobs.values():
        for path in _paths_of(entry, root):
            # Neither what holds something that runs, nor what lies in the folder of it.
            if os.path.lexists(path) and not any(_holds(path, other) or _holds(other, path) for other in busy):
                found.setdefault(path, str(entry.start["name"]))
    within = [path for path in found if not any(other in path.parents for other in found)]
    if not busy:
        found[root / JOURNAL.parent] = "the journal"
        within.append(root / JOURNAL.parent)
    return [Leftover(path, found[path], *_size(path)) for path in within]


def remove_leftovers(exp_path: Path, listed: Iterable[Leftover]) -> Iterator[Leftover]:
    """Remove what was listed, unless it runs again by now; yield each that is gone."""
    root = Path(os.path.abspath(exp_path))
    still = {leftover.path for leftover in find_leftovers(exp_path)}
    for leftover in listed:
        if leftover.path in still:
            # Files of programs that ran elsewhere lie elsewhere.
            remove_folder(leftover.path, root if root in leftover.path.parents else leftover.path.parent)
            _remove_empty(leftover.path.parent, root)
            yield leftover


def _remove_empty(folder: Path, root: Path) -> None:
    """Delete a folder that has become empty, and those above it, the experiment's the last; never where we are."""
    while (folder == root or root in folder.parents) and not any(folder.iterdir()):
        if Path.cwd().is_relative_to(folder):
            return
        folder.rmdir()
        folder = folder.parent


def _busy_paths(history: History, root: Path) -> list[Path]:
    """Return the folders of what runs, and what its batch jobs need."""
    running = {row["name"] for row in Experiment.attach(root).rows() if not Status(row["status"]).is_terminal}
    here = os.uname().nodename
    entries = [
        entry
        for entry in history.jobs.values()
        # What another machine runs, this one cannot look at.
        if entry.start["name"] in running or (entry.end is None and entry.start.get("host", here) != here)
    ]
    return [path for entry in entries for path in (Path(entry.start["folder"]), *_batch_files(entry))]


def _paths_of(entry: Entry, root: Path) -> list[Path]:
    """Return what a run may have left: its folder, or the files in it that are its own for certain."""
    name, folder = str(entry.start["name"]), Path(entry.start["folder"])
    # The folder of a cluster has the name of the database, without the number of the node.
    if folder.name in (name, name.rpartition("_")[0]) and root in folder.parents:
        own = [folder]
    else:
        own = [folder / f"{name}.files.json"]
    return [*own, *_batch_files(entry), *entry.outputs, *_earlier(entry)]


def _batch_files(entry: Entry) -> list[Path]:
    """Return what a batch job has beside the folders of its programs: their exit codes, and its script."""
    if "codes" not in entry.start:
        return []
    codes = Path(entry.start["codes"])
    return [codes, codes.with_suffix(".sh")]


def _earlier(entry: Entry) -> list[Path]:
    """Return the outputs of earlier runs: `producer.1.out` beside `producer.out`."""
    return [
        earlier
        for file in entry.outputs
        if file.parent.is_dir()
        for earlier in file.parent.iterdir()
        if re.fullmatch(rf"{re.escape(file.stem)}\.\d+{re.escape(file.suffix)}", earlier.name)
    ]


def _holds(folder: Path, path: Path) -> bool:
    return folder == path or folder in path.parents


def _size(path: Path) -> tuple[int, int]:
    """Return how many files there are, and how many bytes; links count as what they are."""
    if path.is_symlink() or not path.is_dir():
        return 1, path.lstat().st_size
    files = [Path(where, name) for where, _, names in os.walk(path) for name in names]
    return len(files), sum(file.lstat().st_size for file in files)
