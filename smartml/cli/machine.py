"""`smartml doctor`, `smartml info` and `smartml completion`: what is here, and how the shell can help."""

import dataclasses
import json
import sys

import click
from click.shell_completion import get_completion_class
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from smartml.cli.terminal import as_json_option, plain_errors
from smartml.experiment.installation import describe_installation
from smartml.experiment.machine import Finding, examine

_MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]![/]"}


@click.command()
@as_json_option
@plain_errors
def doctor(as_json: bool) -> None:
    """Tell what this machine has, and how to get what is missing.

    The exit code is 0 when databases can be run; the rest is optional.
    """
    if as_json:
        findings = list(examine())
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    else:
        findings = _show()
    sys.exit(0 if all(finding.is_there for finding in findings if finding.is_basic) else 1)


def _show() -> list[Finding]:
    console = Console()
    findings: list[Finding] = []
    for finding in examine():
        if not findings or findings[-1].group != finding.group:
            console.print(f"[bold]{finding.group}[/]")
        findings.append(finding)
        console.print(
            f"  {_MARKS[finding.is_there]} {escape(finding.name)}: {escape(finding.detail)}",
            soft_wrap=True,
            highlight=False,
        )
        if finding.cure:
            console.print(f"      → {escape(finding.cure)}", soft_wrap=True, highlight=False)
    return findings


@click.command()
@as_json_option
@plain_errors
def info(as_json: bool) -> None:
    """Tell what is installed: versions and paths."""
    facts = describe_installation()
    if as_json:
        click.echo(json.dumps(facts))
        return
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, box=None)
    server = facts.pop("server")
    packages, extras = facts.pop("packages"), facts.pop("extras")
    for name, value in facts.items():
        table.add_row(name, str(value or "none"))
    table.add_row("server", f"{server['version']}, {server['path']}" if server else "none")
    table.add_row("packages", _in_words(packages))
    for name, needed in extras.items():
        table.add_row(f"extra {name}", _in_words(needed))
    Console().print(table)


def _in_words(packages: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'is missing'}" for name, version in packages.items())


@click.command()
@click.argument("shell", type=click.Choice(["bash", "fish", "zsh"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete the command with the tab key.

    \b
    bash:  eval "$(smartml completion bash)"   # in ~/.bashrc
    zsh:   eval "$(smartml completion zsh)"   # in ~/.zshrc, after compinit
    fish:  smartml completion fish > ~/.config/fish/completions/smartml.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    click.echo(kind(context.find_root().command, {}, "smartml", "_SMARTML_COMPLETE").source())
