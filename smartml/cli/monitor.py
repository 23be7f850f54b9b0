"""`smartml monitor`: records of a run, kept, read and shown while it goes on."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from smartml.cli.access import access_options, read_access
from smartml.cli.pages import fetch_assets, web_serve
from smartml.cli.terminal import as_json_option, plain_errors, until_interrupted
from smartml.errors import ArgumentValueError, RecordsNotFoundError
from smartml.monitor import Guard, RecordClient, RecordServer, script
from smartml.monitor.access import default_address, is_address
from smartml.monitor.demo import write_demo


@click.group()
def monitor() -> None:
    """Keep, read and show the records of a run while it goes on."""


monitor.add_command(web_serve)
monitor.add_command(fetch_assets)


def _durability(context: click.Context, parameter: click.Parameter, value: str) -> str | float:
    try:
        return value if value in ("request", "never") else float(value)
    except ValueError as error:
        raise click.BadParameter("it is 'request', 'never' or a number of seconds") from error


@monitor.command("grpc-serve")
@click.argument("path")
@click.argument("port", type=click.IntRange(0, 65535), default=8081)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of this machine to listen on.")
@click.option(
    "--durability",
    default="request",
    show_default=True,
    callback=_durability,
    help="When records are safe from a power failure: request, never, or after so many seconds.",
)
@click.option("--token-file", type=click.Path(), help="File with the token that clients must show.")
@click.option("--certificate-file", type=click.Path(), help="Certificate in PEM, for TLS.")
@click.option("--key-file", type=click.Path(), help="Its key.")
@click.option("--allow-plain-text", is_flag=True, help="Let others in without TLS: the network is trusted.")
@plain_errors
def grpc_serve(path: str, port: int, host: str, durability: Any, **guard: Any) -> None:
    """Keep what loggers send, in the folder or URL PATH, and serve it at PORT (0 takes a free one)."""
    with until_interrupted() as stop, RecordServer(path, port, host, durability, Guard(**guard)) as server:
        click.echo(f"records are kept in {path} and served at {server.address}")
        click.echo(f"for programs:  export SMARTML_MONITOR={server.address}")
        while not stop():
            time.sleep(0.1)


@monitor.command()
@click.argument("source")
@access_options
@plain_errors
def scopes(source: str, **access: Any) -> None:
    """List the scopes of SOURCE, a path or host:port."""
    for scope in script.scopes(source, access=read_access(**access)):
        click.echo(scope)


@monitor.command()
@click.argument("source")
@click.argument("scope")
@access_options
@plain_errors
def names(source: str, scope: str, **access: Any) -> None:
    """List the names of SCOPE in SOURCE, a path or host:port."""
    for name in script.names(source, scope, access=read_access(**access)):
        click.echo(name)


@monitor.command()
@click.argument("source")
@click.argument("scope", required=False)
@access_options
@plain_errors
def config(source: str, scope: str | None, **access: Any) -> None:
    """Print as JSON what was noted of SCOPE, or of all scopes."""
    click.echo(json.dumps(script.config(source, scope, access=read_access(**access)), indent=2))


@monitor.command()
@click.argument("source")
@as_json_option
@access_options
@plain_errors
def counts(source: str, as_json: bool, **access: Any) -> None:
    """Count the points of every scope, name and index of SOURCE, a path or host:port."""
    found = script.counts(source, access=read_access(**access))
    if as_json:
        rows = [
            {"scope": scope, "name": name, "index": index, "points": n} for (scope, name, index), n in found.items()
        ]
        click.echo(json.dumps(rows))
        return
    table = Table("scope", "name", "index", "points", box=None)
    for group, points in found.items():
        table.add_row(*map(str, group), f"{points:,}")
    Console().print(table)


@monitor.command()
@click.argument("source")
@click.argument("scope", required=False)
@click.argument("name", required=False)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A .npz or .csv file to write.")
@access_options
@plain_errors
def export(source: str, scope: str | None, name: str | None, output: Path | None, **access: Any) -> None:
    """Write the points of SOURCE, or of one SCOPE or NAME, to a file, or as CSV to the terminal.

    A line of CSV is scope, name, index, field=value, ... An .npz file has an array `scope/name/index/field` for each.
    """
    if output is not None and output.suffix not in (".npz", ".csv"):
        raise click.BadParameter(f"{output} must end in .npz or .csv", param_hint="--output")
    found = script.export(source, scope, name, access=read_access(**access))
    if not found and scope is not None:
        # Say what there is instead.
        known = script.names(source, scope, access=read_access(**access))
        if name is not None and name not in known:
            raise RecordsNotFoundError(f"there is no name {name!r} in scope {scope!r}; there is: {', '.join(known)}")
    if output is not None and output.suffix == ".npz":
        arrays = {
            f"{scope}/{name}/{index}/{field}": values
            for (scope, name, index), fields in found.items()
            for field, values in fields.items()
        }
        np.savez(output, **arrays)
        return
    with click.open_file(str(output or "-"), "w", encoding="utf-8") as file:
        script.write_csv(found, file)


@monitor.command()
@click.argument("source")
@click.argument("scope")
@click.argument("name", required=False)
@access_options
@plain_errors
def delete(source: str, scope: str, name: str | None, **access: Any) -> None:
    """Delete SCOPE, or one NAME of it, from SOURCE: host:port, or a path that no server has open."""
    script.delete(source, scope, name, access=read_access(**access))


@monitor.command()
@click.argument("source")
@access_options
@plain_errors
def compact(source: str, **access: Any) -> None:
    """Free the room of what was deleted from SOURCE: host:port, or a path that no server has open."""
    before, after = script.compact(source, access=read_access(**access))
    click.echo(f"{before:,} bytes before, {after:,} bytes now")


@monitor.command()
@click.argument("arguments", nargs=-1, required=True, metavar="[URI] SCOPE [STEPS]")
@click.option("--uri", help="host:port of the record server, instead of SMARTML_MONITOR or 127.0.0.1:8081.")
@plain_errors
def demo(arguments: tuple[str, ...], uri: str | None) -> None:
    """Log STEPS (2000) steps of a made-up run to SCOPE, to have something to look at."""
    if uri is None and len(arguments) > 1 and is_address(arguments[0]):
        uri, *arguments_left = arguments
        arguments = tuple(arguments_left)
    if len(arguments) > 2:
        raise click.UsageError("at most a server, a scope and a number of steps can be given")
    try:
        steps = int(arguments[1]) if len(arguments) > 1 else 2000
    except ValueError as error:
        raise click.UsageError(f"STEPS is a number, not {arguments[1]!r}") from error
    if steps < 1:
        raise ArgumentValueError(f"STEPS must be 1 or more, not {steps}")
    uri = uri or default_address()
    with closing(RecordClient(uri)) as client:
        client.health(timeout_s=5)
    with until_interrupted() as stop:
        points = write_demo(arguments[0], steps, uri, stop)
    click.echo(f"logged {points:,} points to {arguments[0]} at {uri}")
