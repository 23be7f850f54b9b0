"""What pages and tables mention is there: commands and their options, names, extras, targets of make."""

import builtins
import configparser
import re
import shlex
import sys

import click
import pytest

from smartml.cli import main

from .pages import DOCS, ROOT, shell_lines, table_rows

PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("howto/*.md"), *DOCS.glob("moving/*.md")])
LINES = [(page, line) for page in PAGES for line in shell_lines(page)]


def find_command(words):
    """Find what `smartml WORDS` runs: the command, and the words that are its own."""
    command, context = main, click.Context(main)
    while words and not words[0].startswith("-") and isinstance(command, click.Group):
        inner = command.get_command(context, words[0])
        assert inner is not None, f"there is no command {words[0]!r}"
        command, words = inner, words[1:]
    return command, words


def unknown_options(line):
    """List options of a line that its command does not have."""
    words = shlex.split(line.replace("…", ""))[1:]
    try:
        command, rest = find_command(words)
    except click.ClickException as error:
        pytest.skip(error.message)
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)]
    if any(it.name == "options" for it in command.params):
        # Handed on to a script.
        return []
    if any(it.name == "overrides" for it in command.params):
        # `--globals.basic_experiment.n_epochs` is a key of a file.
        given = [name for name in given if "." not in name]
    known = {name for it in command.params if isinstance(it, click.Option) for name in it.opts + it.secondary_opts}
    return [name for name in given if name not in known | {"--help"}]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page.stem}: {line}" for page, line in LINES])
def test_commands_and_options_of_the_pages_exist(page, line):
    assert unknown_options(line) == []


def test_wrong_commands_and_options_are_noticed():
    assert unknown_options("smartml db start --port 0 --prot 1") == ["--prot"]
    with pytest.raises(AssertionError, match="there is no command 'strat'"):
        unknown_options("smartml db strat")


def names_here():
    """List names in the columns of ours of the guide for moving over: page and name."""
    for page in sorted(DOCS.glob("moving/*.md")):
        for _, here in table_rows(page.read_text(), ["there", "here"]):
            for code in re.findall(r"`([^`]+)`", here):
                if imported := re.fullmatch(r"from (smartml[\w.]*) import ([\w, ]+)", code):
                    yield from ((page, f"{imported[1]}.{name.strip()}") for name in imported[2].split(","))
                elif re.fullmatch(r"smartml(\.\w+)+|[A-Z][a-z]\w+(\.\w+)?", code):
                    yield page, code


def test_names_of_the_guide_for_moving_over_exist(monkeypatch):
    for package in ("griffe", "sphinx"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    monkeypatch.setattr(sys, "path", [str(DOCS / "extensions"), *sys.path])
    import public_names

    full = public_names.all_names()
    offered = {
        f"{module}.{name}" for module in public_names.described_modules() for name in public_names.public_names(module)
    }
    # `DataLogger.write` for `smartml.monitor.DataLogger.write`.
    short = {name.removeprefix(f"{module}.") for name, module in full.items()}
    known = {*full, *offered, *short, *public_names.described_modules(), *dir(builtins)}

    names = list(names_here())
    assert len(names) > 100
    assert [f"{page.name}: {name}" for page, name in names if name not in known] == []


def test_extras_of_the_first_page_exist():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    rows = table_rows((DOCS / "start.md").read_text())
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert {"torch", "keras", "all"} <= named
    assert named - set(setup["options.extras_require"]) == set()


def test_make_targets_that_pages_name_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {name for page in PAGES for name in re.findall(r"[`^]make ([\w-]+)", page.read_text(), re.MULTILINE)}
    assert "docs" in named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
