"""The command `smartml`: words for the shell, no logic of its own."""

import contextlib
import json
import logging
import runpy
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress as ProgressLine
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from smartml import Client, Orchestrator, __version__
from smartml.errors import SmartMLError, StoreError, TensorModuleError
from smartml.experiment.node import Node
from smartml.experiment.preview import previewing
from smartml.experiment.supervisor import supervisor
from smartml.feeds import DataInfo
from smartml.feeds.player import read_speed, replay
from smartml.feeds.progress import Progress
from smartml.feeds.recorder import record
from smartml.feeds.schemes import KeyOrder, KeyScheme
from smartml.store.listing import list_keys
from smartml.store.module import MODULE_VARIABLE, build_module, find_module

_TUTORIAL = "01_online_surrogate"

_path = click.option(
    "--path", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder of the database."
)
_identifier = click.option("--identifier", default="orchestrator", show_default=True, help="Name of the database.")
_address = click.option("--address", help="host:port or unix://path, instead of the database of --path.")
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


@main.command(context_settings={"allow_interspersed_args": False})
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@_plain_errors
def preview(script: str, options: tuple[str, ...]) -> None:
    """Print all that the launch script SCRIPT would run, and start nothing.

    The script runs with its OPTIONS; each `start` of an experiment prints its folders, commands and scripts.
    """
    sys.argv = [script, *options]
    # As for a script that Python runs itself.
    sys.path.insert(0, str(Path(script).resolve().parent))
    with previewing(click.echo):
        runpy.run_path(script, run_name="__main__")


@main.group()
def db() -> None:
    """Start, stop and look into a database."""


@db.command()
@_path
@_identifier
@click.option("--port", default=6379, show_default=True, help="0 takes a free one.")
@click.option("--db-nodes", default=1, show_default=True, help="From 3 on a cluster of so many servers.")
@click.option("--replicas", default=0, show_default=True, help="Copies of each node of a cluster.")
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
    click.echo(f"database {identifier!r} answers at {database.address}")
    for node in database.nodes:
        click.echo(f"{node.name}:  {node.address}, pid {node.pid}, log {node.log}")
    kind = "Clustered" if len(database.nodes) > 1 else "Standalone"
    click.echo(f"for programs:  export SSDB={database.address} SR_DB_TYPE={kind}")
    click.echo(f"to stop it:    smartml db stop --path {shlex.quote(str(database.path))}")
    if foreground:
        supervisor.wait(database.jobs)


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
    nodes = [_node_facts(node) for node in database.nodes]
    facts = {
        "name": identifier,
        "status": str(database.status),
        "serves all": "yes" if database.is_active() else "no",
        "address": database.address,
        "unix socket": database.unix_socket or "none",
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
@_address
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
        # The first one given is asked who the others are: it must be there.
        nodes = Orchestrator.attach(path, identifier).nodes
        address = ",".join(node.address for node in nodes if node.is_running)
        return Client(cluster=len(nodes) > 1, address=address)
    return Client(address=address)


@main.command("record")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--sample-prefix", help="Record tensors <prefix>_<iteration>.")
@click.option("--target-prefix", help="Prefix of the targets that belong to them.")
@click.option("--ranks", type=int, help="Ranks that put tensors <prefix>_<rank>_<iteration>.")
@click.option("--key-order", type=click.Choice(["rank_iteration", "iteration_rank"]), default="rank_iteration")
@click.option("--list", "list_name", help="Record the datasets of this aggregation list, as producers publish it.")
@click.option("--sample-name", help="Name of its samples, for a list that nobody publishes.")
@click.option("--target-name", help="Name of its targets.")
@click.option("--producer", "producers", multiple=True, help="Entity whose keys to follow, not those of SSKEYIN.")
@click.option("--until-idle", "until_idle_s", type=float, help="End when nothing has come for so many seconds.")
@click.option("--limit", type=int, help="End after so many batches.")
@_address
@_path
@_identifier
@_plain_errors
def record_stream(
    out: Path,
    producers: tuple[str, ...],
    until_idle_s: float | None,
    limit: int | None,
    address: str | None,
    path: Path,
    identifier: str,
    **names: Any,
) -> None:
    """Write the running stream of a database to the new folder OUT, until interrupted."""
    scheme = _scheme(**names)
    with _client(address, path, identifier) as client, _until_interrupted() as stop, _progress_line("recorded") as show:
        done = record(
            client, out, scheme, producers=producers, until_idle_s=until_idle_s, limit=limit, stop=stop, report=show
        )
    click.echo(f"recorded {done}" + (f" in {out}" if done.batches else ": nothing came"))


def _scheme(
    sample_prefix: str | None,
    target_prefix: str | None,
    ranks: int | None,
    key_order: KeyOrder,
    list_name: str | None,
    sample_name: str | None,
    target_name: str | None,
) -> KeyScheme | DataInfo | str:
    if (sample_prefix is None) == (list_name is None):
        raise click.UsageError("name either --sample-prefix or --list, not both and not none")
    if sample_prefix is not None:
        if sample_name is not None or target_name is not None:
            raise click.UsageError("--sample-name and --target-name belong to --list")
        return KeyScheme(sample_prefix, target_prefix, ranks, key_order)
    assert list_name is not None
    if target_prefix is not None or ranks is not None:
        raise click.UsageError("--target-prefix and --ranks belong to --sample-prefix")
    if target_name is not None and sample_name is None:
        raise click.UsageError("--target-name needs --sample-name beside it")
    return list_name if sample_name is None else DataInfo(list_name, sample_name, target_name)


@main.command("replay")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--speed", default="1.0", show_default=True, help='Times as fast as recorded; "max" waits for nothing.')
@click.option("--loop", "loops", default=1, show_default=True, help="Put all of it so many times, as new batches.")
@click.option("--prefix-entity", "entity", help="Put under this entity's keys, not those of the recorded producer.")
@_address
@_path
@_identifier
@_plain_errors
def replay_recording(
    out: Path, speed: str, loops: int, entity: str | None, address: str | None, path: Path, identifier: str
) -> None:
    """Put the recording OUT into a database, as its producers did."""
    factor = read_speed(speed)
    with _client(address, path, identifier) as client, _until_interrupted() as stop, _progress_line("put") as show:
        done = replay(client, out, speed=factor, loops=loops, entity=entity, stop=stop, report=show)
    click.echo(f"put {done}")


@contextlib.contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C or SIGTERM came; a second one ends the program at once."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        seen.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _progress_line(verb: str) -> Iterator[Callable[[Progress], object]]:
    """Give a function that shows how far something has come, in one line of the terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with ProgressLine(*columns, console=console, transient=True, disable=not console.is_terminal) as line:
        task = line.add_task(f"{verb} nothing yet", total=None)

        def show(done: Progress) -> None:
            elapsed_s = line.tasks[0].elapsed or 0.0
            rate = f", {done.bytes / 1e6 / elapsed_s:.1f} MB/s" if elapsed_s else ""
            line.update(task, description=f"{verb} {done}{rate}")

        yield show


@main.group()
def module() -> None:
    """Build and find the tensor module, which lets programs of SmartRedis use a database."""


@module.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write, not the package's own.")
@_plain_errors
def build(output: Path | None) -> None:
    """Compile the module with the C compiler that is there, or that CC names."""
    built = build_module(output)
    click.echo(f"the tensor module is {built}")
    if output is not None:
        click.echo(f"for databases started from here:  export {MODULE_VARIABLE}={shlex.quote(str(built))}")


@module.command("path")
@_plain_errors
def module_path() -> None:
    """Print the file that databases load."""
    found = find_module()
    if found is None:
        raise TensorModuleError("there is no tensor module: build it by `smartml module build`")
    click.echo(found)
