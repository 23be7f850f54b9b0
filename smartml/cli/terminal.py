"""What the commands of the shell share: options, plain errors, interruption, and one line of progress."""

import contextlib
import json
import signal
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.progress import Progress as ProgressLine
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from smartml import Client, Orchestrator
from smartml.errors import SmartMLError
from smartml.experiment.logs import Line
from smartml.experiment.lookup import typed_names
from smartml.experiment.states import Status
from smartml.feeds import DataInfo
from smartml.feeds.progress import Progress
from smartml.feeds.schemes import KeyOrder, KeyScheme

path_option = click.option(
    "--path", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder of the database."
)
identifier_option = click.option(
    "--identifier", default="orchestrator", show_default=True, help="Name of the database."
)
address_option = click.option("--address", help="host:port or unix://path, instead of the database of --path.")


def _complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    names = typed_names(context.params.get("words") or ())
    # The first may be a folder.
    folders = [] if context.params.get("words") else [CompletionItem(typed, type="dir")]
    return [CompletionItem(name) for name in names if name.startswith(typed)] + folders


experiment_argument = click.argument("words", nargs=-1, shell_complete=_complete)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs to read.")


def plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show smartml's own errors as one sentence, without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except SmartMLError as error:
            raise click.ClickException(str(error)) from error

    return wrapped


def scheme_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let options say what producers put; `scheme_of` reads them."""
    key_order = click.Choice(["rank_iteration", "iteration_rank"])
    for option in reversed(
        [
            click.option("--sample-prefix", help="Follow tensors <prefix>_<iteration>."),
            click.option("--target-prefix", help="Prefix of the targets that belong to them."),
            click.option("--ranks", type=int, help="Ranks that put tensors <prefix>_<rank>_<iteration>."),
            click.option("--key-order", type=key_order, default="rank_iteration"),
            click.option("--list", "list_name", help="Follow this aggregation list, as producers publish it."),
            click.option("--sample-name", help="Name of its samples, for a list that nobody publishes."),
            click.option("--target-name", help="Name of its targets."),
        ]
    ):
        command = option(command)
    return command


def scheme_of(
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


def address_of(address: str | None, path: Path, identifier: str) -> tuple[bool | None, str]:
    """Return whether the database is a cluster, None if that is not known, and its address."""
    if address is not None:
        return None, address
    # The first one given is asked who the others are: it must be there.
    nodes = Orchestrator.attach(path, identifier).nodes
    return len(nodes) > 1, ",".join(node.address for node in nodes if node.is_running)


def connect(address: str | None, path: Path, identifier: str) -> Client:
    if address is None:
        database = Orchestrator.attach(path, identifier)
        # The first one given is asked who the others are: it must be there.
        return database.connect(address=",".join(node.address for node in database.nodes if node.is_running))
    return Client(address=address)


@contextlib.contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
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
def progress_line(verb: str) -> Iterator[Callable[[Progress], object]]:
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


# By the states of jobs.
_STYLES = {
    Status.STATUS_RUNNING: "cyan",
    Status.STATUS_COMPLETED: "green",
    Status.STATUS_FAILED: "bold red",
    Status.STATUS_CANCELLED: "yellow",
}

# Of names before lines of output.
_COLOURS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta")


def rows_table(rows: Sequence[dict[str, Any]], at_most: int | None = None) -> Table:
    """Show the rows of an experiment; where they are more than `at_most`, those that matter most."""
    left = rows if at_most is None else sorted(rows, key=_importance)[:at_most]
    shown = [row for row in rows if row in left]
    columns = (Column(name, no_wrap=True) for name in ("name", "kind", "run", "id", "seconds", "status"))
    table = Table(*columns, Column("exit code", overflow="fold"), box=None)
    for row in shown:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        how = row["reason"] or ("" if row["returncode"] is None else str(row["returncode"]))
        status = Text(row["status"], _STYLES.get(Status(row["status"]), ""))
        # Text, so that brackets in names are no markup.
        table.add_row(Text(row["name"]), row["kind"], str(row["run"]), row["id"] or "", seconds, status, Text(how))
    if more := len(rows) - len(shown):
        states = Counter(row["status"] for row in rows)
        words = ", ".join(f"{count} {state}" for state, count in states.items())
        table.add_row(Text(f"... {more} more"), "", "", "", "", "", Text(f"all: {words}"))
    return table


def _importance(row: dict[str, Any]) -> int:
    order = (Status.STATUS_FAILED, Status.STATUS_RUNNING, Status.STATUS_QUEUED, Status.STATUS_NEW)
    return order.index(Status(row["status"])) if row["status"] in order else len(order)


def line_printer(console: Console, as_json: bool = False) -> Callable[[Line], None]:
    """Return a function that prints a line of output behind the name of its program, which has a colour of its own.

    console: of the standard output.
    """
    width = 0

    def show(line: Line) -> None:
        nonlocal width
        if as_json:
            click.echo(json.dumps(line._asdict()))
            return
        width = max(width, len(line.name))
        # The same in every call of the command; `hash` is not.
        colour = _COLOURS[zlib.crc32(line.name.encode()) % len(_COLOURS)]
        prefix = f"{line.name:{width}} {'!' if line.is_error else '|'} "
        if "\x1b" in line.text:
            # Colours that the program itself wrote are kept, and nothing else that would act on the terminal.
            console.print(Text(prefix, colour) + Text.from_ansi(line.text))
        else:
            # Ten times as fast.
            click.echo(click.style(prefix, fg=colour) + line.text, color=None if console.color_system else False)

    return show
