"""Brings the pages and pictures of the tutorials here, to `docs/tutorials`, before the build looks for its pages.

A link to their folder would need no copies, but MyST resolves it and then knows none of the pages behind it.
"""

import os
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "tutorials"
SUFFIXES = (".md", ".png")


def pages_and_pictures():
    return [path for path in sorted(SOURCE.glob("[0-9]*/*")) if path.suffix in SUFFIXES]


def bring(app, config):
    wanted = {Path(app.srcdir, "tutorials", path.relative_to(SOURCE)): path for path in pages_and_pictures()}
    for there in Path(app.srcdir, "tutorials").glob("*/*"):
        if there not in wanted:
            there.unlink()
    for there, path in wanted.items():
        # What has not changed is not read again.
        if not there.exists() or there.read_bytes() != path.read_bytes():
            write_whole(there, path.read_bytes())


def write_whole(path, content):
    """Write a file that others, who build at the same time, find whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def setup(app):
    app.connect("config-inited", bring)
    return {"parallel_read_safe": True}
