"""`smartml compat check`: what a project needs to run with smartml."""

import json
import sys
import textwrap
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from smartml.cli.terminal import as_json_option, plain_errors
from smartml.compat.project import Project, SourceFile, read_project
from smartml.compat.table import Name, Verdict

_MARKS = {Verdict.UNCHANGED: ("✓", "green"), Verdict.BETTER: ("→", "yellow"), Verdict.MISSING: ("✗", "bold red")}
# Of one name in a file.
_MOST_LINES = 8


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@click.option("--changes", "only_changes", is_flag=True, help="Leave out what works unchanged.")
@as_json_option
@plain_errors
def check(path: Path, only_changes: bool, as_json: bool) -> None:
    """Tell what of a project works unchanged, is better written otherwise, or is missing.

    PATH: the folder of a project that uses SmartSim or SmartRedis, by default the current one, or one file. Nothing of
    it is run or imported. The exit code is 0 when nothing is missing, 1 otherwise.
    """
    project = read_project(path)
    if as_json:
        click.echo(json.dumps(project.facts()))
    else:
        _show(project, only_changes)
    sys.exit(0 if project.lacks_nothing else 1)


def _show(project: Project, only_changes: bool) -> None:
    console = Console(highlight=False)
    for file in project.files:
        _show_file(console, file, only_changes)
    if project.unread:
        console.print(Text("not read", "bold"))
        for one in project.unread:
            console.print(f"  {one.file}: {one.reason}", markup=False, soft_wrap=True)
    console.print(_summary(project), soft_wrap=True)


def _show_file(console: Console, file: SourceFile, only_changes: bool) -> None:
    by_name = sorted(file.uses, key=lambda use: use.name.theirs)
    lines = {name: [use.line for use in uses] for name, uses in groupby(by_name, lambda use: use.name)}
    shown = [name for name in lines if not only_changes or name.verdict is not Verdict.UNCHANGED]
    if shown:
        console.print(Text(file.path, "bold"))
    for name in sorted(shown, key=lambda name: lines[name][0]):
        mark, style = _MARKS[name.verdict]
        here = f" = {name.ours}" if name.ours and name.verdict is Verdict.UNCHANGED else ""
        text = Text.assemble((f"{mark} ", style), name.theirs, (f"{here}  {_numbers(lines[name])}", "dim"))
        console.print(Text("  ") + text, soft_wrap=True)
        if advice := _advice(name):
            indent = " " * 6
            click.echo(textwrap.fill(advice, console.width, initial_indent=indent, subsequent_indent=indent))


def _numbers(lines: list[int]) -> str:
    different = list(dict.fromkeys(lines))
    more = f" and {len(different) - _MOST_LINES} more" if len(different) > _MOST_LINES else ""
    return f"line{'s' if len(different) > 1 else ''} {', '.join(map(str, different[:_MOST_LINES]))}{more}"


def _advice(name: Name) -> str:
    if name.verdict is Verdict.UNCHANGED:
        return ""
    instead = f"instead: {name.ours}" if name.ours else ""
    return "; ".join(part for part in (instead, name.reason) if part)


def _summary(project: Project) -> Text:
    counts = project.counts
    if not project.files:
        return Text(f"{_count(project.files_read, 'file')} read, none uses SmartSim or SmartRedis{_unread(project)}")
    styles = {verdict: style if counts[verdict] else "" for verdict, (_, style) in _MARKS.items()}
    unchanged, better, missing = (counts[verdict] for verdict in Verdict)
    return Text.assemble(
        f"{_count(project.files_read, 'file')} read, {len(project.files)} with names of SmartSim or SmartRedis: ",
        (f"{unchanged} work{'s' if unchanged == 1 else ''} unchanged", styles[Verdict.UNCHANGED]),
        ", ",
        (f"{better} {'is' if better == 1 else 'are'} better written otherwise", styles[Verdict.BETTER]),
        ", ",
        (f"{missing} {'is' if missing == 1 else 'are'} not there", styles[Verdict.MISSING]),
        _unread(project),
    )


def _unread(project: Project) -> str:
    return f"; {_count(len(project.unread), 'file')} could not be read" if project.unread else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
