"""The output files of a job: `<name>.out` and `<name>.err`, those of earlier runs, and their last lines."""

import os
from pathlib import Path

# Enough of the end of a file to hold the last lines of a traceback.
_TAIL_BYTES = 16 * 1024


def keep_earlier(*files: Path) -> None:
    """Rename the files that an earlier run left: `producer.out` becomes `producer.1.out`, the next `producer.2.out`.

    Files given together get the same number. The highest number is the latest of the earlier runs.
    """
    if not any(os.path.lexists(file) for file in files):
        return
    number = 1
    while any(os.path.lexists(_numbered(file, number)) for file in files):
        number += 1
    for file in files:
        if os.path.lexists(file):
            file.rename(_numbered(file, number))


def open_to_append(file: Path) -> int:
    """Return the descriptor of a file to whose end all that is written goes, whoever else writes to it, too.

    The file is made where it is missing, and its folder. Raises OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(file, flags, 0o666)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, flags, 0o666)


def last_lines(file: Path, count: int = 10) -> str:
    """Return the last lines of a text file, or nothing when it cannot be read."""
    try:
        with open(file, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-count:])


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.stem}.{number}{file.suffix}")
