"""`smartml db`: start, stop and look into a database."""

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from smartml import Orchestrator
from smartml.cli.terminal import address_option, as_json_option, connect, identifier_option, path_option, plain_errors
from smartml.errors import StoreError
from smartml.experiment.node import Node
from smartml.experiment.supervisor import supervisor
from smartml.store.credentials import AUTH_FILE_VARIABLE
from smartml.store.listing import list_keys


@click.group()
def db() -> None:
    """Start, stop and look into a database."""


@db.command()
@path_option
@identifier_option
@click.option("--port", default=6379, show_default=True, help="0 takes a free one.")
@click.option("--db-nodes", default=1, show_default=True, help="From 3 on a cluster of so many servers.")
@click.option("--replicas", default=0, show_default=True, help="Copies of each node of a cluster.")
@click.option("--interface", default="lo", show_default=True, help="Network interface to listen on besides loopback.")
@click.option("--unix-socket", type=click.Path(), help="Path of a unix socket beside TCP.")
@click.option("--max-memory", help="Such as 3gb; writers get an error when it is full.")
@click.option("--persistence", type=click.Choice(["rdb", "aof"]), help="Keep the data on disk.")
@click.option("--password", is_flag=True, help="Have a password made, and written to a file that only you can read.")
@click.option("--password-file", type=click.Path(exists=True, dir_okay=False), help="The password is its first line.")
@click.option("--username", help="Who logs in with the password, in the place of the default user.")
@click.option("--tls", is_flag=True, help="Encrypt connections, with certificates that are made.")
@click.option("--restarts", default=0, show_default=True, help="How often it may be started again (in the foreground).")
@click.option("--inference", default=1, show_default=True, help="Workers of each server for models stored in it.")
@click.option("--foreground", is_flag=True, help="Stay until the database ends, and end it when interrupted.")
@plain_errors
def start(
    path: Path, identifier: str, foreground: bool, password: bool, password_file: str | None, **options: Any
) -> None:
    """Start a database, which goes on when this command has ended."""
    # What a container or a batch system sends to end a program: leave in order, which stops the database.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if options["restarts"] and not foreground:
        raise click.UsageError("--restarts needs --foreground: somebody has to see that it ends")
    options["password"] = Path(password_file) if password_file else password
    database = Orchestrator(path, db_identifier=identifier, detach=not foreground, **options)
    database.start()
    click.echo(f"database {identifier!r} answers at {database.address}")
    for node in database.nodes:
        click.echo(f"{node.name}:  {node.address}, pid {node.pid}, log {node.log}")
    kind = "Clustered" if len(database.nodes) > 1 else "Standalone"
    auth = f" {AUTH_FILE_VARIABLE}={shlex.quote(database.auth_file)}" if database.auth_file else ""
    click.echo(f"for programs:  export SSDB={database.address} SR_DB_TYPE={kind}{auth}")
    click.echo(f"to stop it:    smartml db stop --path {shlex.quote(str(database.path))}")
    while foreground and database.is_running:
        # As long as it may come back.
        supervisor.wait(database.jobs, timeout_s=0.5)


@db.command()
@path_option
@identifier_option
@plain_errors
def stop(path: Path, identifier: str) -> None:
    """Stop the database that was started in a folder."""
    database = Orchestrator.attach(path, identifier)
    database.stop()
    click.echo(f"database {identifier!r} at {database.address} has been stopped")


@db.command()
@path_option
@identifier_option
@as_json_option
@plain_errors
def status(path: Path, identifier: str, as_json: bool) -> None:
    """Tell how the database of a folder is doing."""
    database = Orchestrator.attach(path, identifier)
    nodes = [_node_facts(node) for node in database.nodes]
    facts = {
        "name": identifier,
        "status": str(database.status),
        "serves all": "yes" if database.is_active() else "no",
        "address": database.address,
        "unix socket": database.unix_socket or "none",
        "credentials": database.auth_file or "none needed",
        # What a replica holds is there already.
        "keys": sum(node["keys"] for node in nodes if node["role"] == "primary"),
        "server": next(filter(None, (node["server"] for node in nodes)), "unknown"),
        "memory limit": next(filter(None, (node["memory limit"] for node in nodes)), "unknown"),
        "logs": database.logs,
    }
    if as_json:
        click.echo(json.dumps({**facts, "nodes": nodes}))
        return
    console = Console()
    table = Table(Column(), Column(overflow="fold"), show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, "\n".join(value) if isinstance(value, list) else str(value))
    console.print(table)
    console.print(_table_of_nodes(nodes))


def _node_facts(node: Node) -> dict[str, Any]:
    try:
        info = node.info()
    except StoreError:
        # It has ended, or hangs; the status and the log say more.
        info = {}
    version = info.get("valkey_version", info.get("redis_version"))
    return {
        "name": node.name,
        "address": node.address,
        "pid": node.pid,
        "status": str(node.status) if info or not node.is_running else "does not answer",
        "role": {"master": "primary", "slave": "replica"}.get(info.get("role", ""), ""),
        "server": f"{info.get('server_name', 'redis')} {version}" if version else "",
        "memory limit": (info["maxmemory_human"] if info["maxmemory"] else "none") if info else "",
        "up (s)": info.get("uptime_in_seconds", 0),
        "clients": info.get("connected_clients", 0),
        "keys": info.get("db0", {}).get("keys", 0),
        "memory": info.get("used_memory_human", ""),
    }


def _table_of_nodes(nodes: list[dict[str, Any]]) -> Table:
    # The rest stands above, once for all.
    columns = ("name", "pid", "status", "role", "up (s)", "clients", "keys", "memory")
    table = Table(*(Column(name, no_wrap=True) for name in columns), box=None)
    for node in nodes:
        table.add_row(*(str(node[name]) for name in columns))
    return table


@db.command()
@click.argument("pattern", default="*")
@address_option
@path_option
@identifier_option
@click.option("--limit", default=1000, show_default=True, help="Stop after so many keys.")
@as_json_option
@plain_errors
def keys(pattern: str, address: str | None, path: Path, identifier: str, limit: int, as_json: bool) -> None:
    """List the keys that match PATTERN, with what they hold."""
    with connect(address, path, identifier) as client:
        descriptions = sorted(list_keys(client.database, pattern, limit), key=lambda found: found.key)
    if as_json:
        click.echo(json.dumps([vars(description) for description in descriptions]))
        return
    table = Table("key", "kind", "content", "bytes", box=None)
    for description in descriptions:
        table.add_row(description.key, description.kind, description.content, f"{description.size:,}")
    Console().print(table)
