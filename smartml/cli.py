"""The command `smartml`: words for the shell, no logic of its own."""

import json
import logging
import runpy
import shlex
import signal
import sys
from collections.abc import Callable
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from smartml import Client, Orchestrator, __version__
from smartml.errors import SmartMLError
from smartml.experiment.supervisor import supervisor
from smartml.store.listing import list_keys

_TUTORIAL = "01_online_surrogate"

_path = click.option(
    "--path", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder of the database."
)
_identifier = click.option("--identifier", default="orchestrator", show_default=True, help="Name of the database.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs to read.")


def _plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show smartml's own errors as one sentence, without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except SmartMLError as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="smartml")
@click.option("-v", "--verbose", is_flag=True, help="Tell what is done.")
def main(verbose: bool) -> None:
    """Train while the simulation runs."""
    # Warnings and errors reach the terminal by themselves, in step with a live display.
    if verbose:
        logging.basicConfig(
            level=logging.INFO,
            format="%(message)s",
            handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
        )


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def demo(options: tuple[str, ...]) -> NoReturn:
    """Run the first tutorial: a simulation feeds a network while it runs. `smartml demo --help` lists its options."""
    script = resources.files("smartml.tutorials") / _TUTORIAL / "run.py"
    sys.argv = ["smartml demo", *options]
    runpy.run_path(str(script), run_name="__main__")
    sys.exit(0)


@main.group()
def db() -> None:
    """Start, stop and look into a database."""


@db.command()
@_path
@_identifier
@click.option("--port", default=6379, show_default=True, help="0 takes a free one.")
@click.option("--interface", default="lo", show_default=True, help="Network interface to listen on besides loopback.")
@click.option("--unix-socket", type=click.Path(), help="Path of a unix socket beside TCP.")
@click.option("--max-memory", help="Such as 3gb; writers get an error when it is full.")
@click.option("--persistence", type=click.Choice(["rdb", "aof"]), help="Keep the data on disk.")
@click.option("--foreground", is_flag=True, help="Stay until the database ends, and end it when interrupted.")
@_plain_errors
def start(path: Path, identifier: str, foreground: bool, **options: Any) -> None:
    """Start a database, which goes on when this command has ended."""
    # What a container or a batch system sends to end a program: leave in order, which stops the database.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    database = Orchestrator(path, db_identifier=identifier, detach=not foreground, **options)
    database.start()
    click.echo(f"database {identifier!r} answers at {database.address}, pid {database.pid}, log {database.log}")
    click.echo(f"for programs:  export SSDB={database.address} SR_DB_TYPE=Standalone")
    click.echo(f"to stop it:    smartml db stop --path {shlex.quote(str(database.path))}")
    if foreground:
        supervisor.wait([database.job] if database.job else [])


@db.command()
@_path
@_identifier
@_plain_errors
def stop(path: Path, identifier: str) -> None:
    """Stop the database that was started in a folder."""
    database = Orchestrator.attach(path, identifier)
    database.stop()
    click.echo(f"database {identifier!r} at {database.address} has been stopped")


@db.command()
@_path
@_identifier
@_as_json
@_plain_errors
def status(path: Path, identifier: str, as_json: bool) -> None:
    """Tell how the database of a folder is doing."""
    database = Orchestrator.attach(path, identifier)
    info = database.info()
    facts = {
        "name": identifier,
        "address": database.address,
        "unix socket": database.unix_socket or "none",
        "pid": database.pid,
        "server": f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}",
        "up for (s)": info["uptime_in_seconds"],
        "clients": info["connected_clients"],
        "keys": info.get("db0", {}).get("keys", 0),
        "memory": info["used_memory_human"],
        "memory limit": info["maxmemory_human"] if info["maxmemory"] else "none",
        "log": database.log,
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console().print(table)


@db.command()
@click.argument("pattern", default="*")
@click.option("--address", help="host:port or unix://path, instead of the database of --path.")
@_path
@_identifier
@click.option("--limit", default=1000, show_default=True, help="Stop after so many keys.")
@_as_json
@_plain_errors
def keys(pattern: str, address: str | None, path: Path, identifier: str, limit: int, as_json: bool) -> None:
    """List the keys that match PATTERN, with what they hold."""
    with _client(address, path, identifier) as client:
        descriptions = sorted(list_keys(client.database, pattern, limit), key=lambda found: found.key)
    if as_json:
        click.echo(json.dumps([vars(description) for description in descriptions]))
        return
    table = Table("key", "kind", "content", "bytes", box=None)
    for description in descriptions:
        table.add_row(description.key, description.kind, description.content, f"{description.size:,}")
    Console().print(table)


def _client(address: str | None, path: Path, identifier: str) -> Client:
    if address is None:
        address = Orchestrator.attach(path, identifier).address
    return Client(address=address)
