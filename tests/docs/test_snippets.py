"""The code on the how-to pages and in the guide for moving over runs as it stands there, page by page."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from .pages import before, expected_lines, files, pages, program

# What a page needs beside numpy and a database: what its code imports, and what that needs.
NEEDS = {
    "keras": ("keras", "torch"),
    "smartml.monitor": ("grpc", "yaml"),
    "smartml.serving": ("torch", "pydantic", "yaml", "sklearn", "tokenizers"),
    "smartml.streaming": ("websockets", "pybase64"),
    "smartml.training": ("torch", "pydantic", "yaml", "sklearn", "tokenizers"),
    "smartml.feeds.recorder": ("zarr",),
    "smartredis": ("smartredis",),
    "torch": ("torch",),
}
ALL_PAGES = [page for folder in ("howto", "moving") for page in pages(folder)]
# A page that another one goes on from runs with that one.
PAGES = [page for page in ALL_PAGES if page not in map(before, ALL_PAGES)]


def missing_packages(page):
    text = program(page) + "".join(files(page).values())
    imported = re.findall(r"^(?:from|import) ([\w.]+)", text, re.MULTILINE)
    needed = [package for name in imported for package in NEEDS.get(name, NEEDS.get(name.partition(".")[0], ()))]
    return [package for package in dict.fromkeys(needed) if find_spec(package) is None]


def run(code, folder):
    """Run a program in a folder, with the database of the fixture `client`."""
    (folder / "program.py").write_text(code)
    environment = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    # Frameworks warn of what they themselves do.
    return subprocess.run(
        [sys.executable, "-W", "ignore", "program.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def in_order(expected, printed):
    """List the expected lines that are not printed, or not behind the one before."""
    lines = iter(printed.splitlines())
    return [line for line in expected if not any(line == it for it in lines)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path, client):
    chain = [it for it in (before(page), page) if it]
    if missing := [package for it in chain for package in missing_packages(it)]:
        pytest.skip(f"needs the package {missing[0]}")
    for it in chain:
        for name, content in files(it).items():
            (tmp_path / name).write_text(content)
    code = "\n".join(map(program, chain))

    done = run(code, tmp_path)

    assert done.returncode == 0, done.stderr[-3000:]
    assert in_order(expected_lines(code), done.stdout) == [], done.stdout[-3000:]


def test_a_line_that_was_not_printed_is_told():
    assert in_order(["1", "2"], "1\n2\n") == []
    assert in_order(["2", "1"], "1\n2\n") == ["1"]
