"""`smartml record` and `smartml replay`: a running stream written to disk, and put into a database again."""

from pathlib import Path
from typing import Any

import click

from smartml.cli.terminal import (
    address_option,
    connect,
    identifier_option,
    path_option,
    plain_errors,
    progress_line,
    scheme_of,
    scheme_options,
    until_interrupted,
)
from smartml.feeds.player import read_speed, replay
from smartml.feeds.recorder import record


@click.command("record")
@click.argument("out", type=click.Path(path_type=Path))
@scheme_options
@click.option("--producer", "producers", multiple=True, help="Entity whose keys to follow, not those of SSKEYIN.")
@click.option("--until-idle", "until_idle_s", type=float, help="End when nothing has come for so many seconds.")
@click.option("--limit", type=int, help="End after so many batches.")
@address_option
@path_option
@identifier_option
@plain_errors
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
    """Write the running stream of a database to the new folder OUT.

    It goes on until it is interrupted, or until one of the options says that it is done.
    """
    scheme = scheme_of(**names)
    with connect(address, path, identifier) as client, until_interrupted() as stop, progress_line("recorded") as show:
        done = record(
            client, out, scheme, producers=producers, until_idle_s=until_idle_s, limit=limit, stop=stop, report=show
        )
    click.echo(f"recorded {done}" + (f" in {out}" if done.batches else ": nothing came"))


@click.command("replay")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--speed", default="1.0", show_default=True, help='Times as fast as recorded; "max" waits for nothing.')
@click.option("--loop", "loops", default=1, show_default=True, help="Put all of it so many times, as new batches.")
@click.option("--prefix-entity", "entity", help="Put under this entity's keys, not those of the recorded producer.")
@address_option
@path_option
@identifier_option
@plain_errors
def replay_recording(
    out: Path, speed: str, loops: int, entity: str | None, address: str | None, path: Path, identifier: str
) -> None:
    """Put the recording OUT into a database as its producers did."""
    factor = read_speed(speed)
    with connect(address, path, identifier) as client, until_interrupted() as stop, progress_line("put") as show:
        done = replay(client, out, speed=factor, loops=loops, entity=entity, stop=stop, report=show)
    click.echo(f"put {done}")
