"""The index of what was put into the folder of a program: a JSON file there, `<name>.files.json`."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class PlacedFile:
    """One file or link of a program's folder."""

    # Relative to the folder.
    path: str
    # Where it came from, and how: "copy", "symlink" or "configure".
    source: str
    kind: str
    # The parameters that were filled in, each with the lines, from 1.
    parameters: dict[str, list[int]] = field(default_factory=dict)
    # The tags that no parameter has the name of, each with the lines.
    defaults: dict[str, list[int]] = field(default_factory=dict)


def index_file(folder: Path, name: str) -> Path:
    """Return where the index of a program lies."""
    return folder / f"{name}.files.json"


def write_index(file: Path, placed: Sequence[PlacedFile], params: Mapping[str, str], tag: str) -> None:
    """Write the index of what was placed with these parameters; that of an earlier time is replaced."""
    # What was placed last under a name is what lies there.
    content = {
        "generated": datetime.now().astimezone().isoformat(timespec="seconds"),
        "tag": tag,
        "params": dict(params),
        "files": [dataclasses.asdict(one) for one in {one.path: one for one in placed}.values()],
    }
    # As a whole, and never through a link that lies there.
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(file)
