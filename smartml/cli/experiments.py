"""`smartml status`, `stop`, `logs` and `clean`: what experiments have started, seen from any shell."""

import json
import os
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal

from smartml.cli.terminal import (
    as_json_option,
    experiment_argument,
    line_printer,
    plain_errors,
    rows_table,
    until_interrupted,
)
from smartml.experiment import Experiment
from smartml.experiment.journal import Journal, Script, read_journal
from smartml.experiment.leftovers import find_leftovers, remove_leftovers
from smartml.experiment.logs import Logs, follow
from smartml.experiment.lookup import find_experiment
from smartml.experiment.states import Status


@click.command()
@experiment_argument
@as_json_option
@plain_errors
def status(words: tuple[str, ...], as_json: bool) -> None:
    """Tell what an experiment has started, and how it is doing.

    WORDS: the folder of the experiment, if it is not here, and names of programs or databases, by default all.
    """
    path, names = find_experiment(words)
    experiment = Experiment.attach(path)
    experiment.get_status(*names)
    script = _running_script(experiment)
    rows = [row for row in experiment.rows() if not names or row["name"] in names]
    facts = {
        "experiment": experiment.name,
        "path": experiment.exp_path,
        "launcher": experiment.launcher,
        "script pid": None if script is None else script.pid,
    }
    if as_json:
        click.echo(json.dumps({**facts, "rows": rows}))
        return
    how = "its script does not run here" if script is None else f"its script runs (pid {script.pid})"
    click.echo(f"experiment {experiment.name!r} in {experiment.exp_path}, launcher {experiment.launcher}; {how}")
    Console().print(rows_table(rows))


@click.command()
@experiment_argument
@click.option("--grace", "grace_s", type=click.FloatRange(min=0), help="Seconds to end by themselves before a kill.")
@plain_errors
def stop(words: tuple[str, ...], grace_s: float | None) -> None:
    """Stop what an experiment has started: programs, then databases.

    WORDS: the folder of the experiment, if it is not here, and names of what to stop, by default everything. The script
    itself is not ended; it learns that its programs were cancelled.
    """
    path, names = find_experiment(words)
    experiment = Experiment.attach(path)
    known = dict.fromkeys(row["name"] for row in experiment.rows())
    chosen = _unfinished(experiment, names or known)
    experiment.stop(*names, grace_s=grace_s)
    left = _unfinished(experiment, chosen)
    for name in chosen:
        click.echo(f"{name} {'does not end' if name in left else 'has been stopped'}")
    if not chosen:
        click.echo(f"nothing of it runs in {experiment.exp_path}")
    script = _running_script(experiment)
    if script is not None:
        click.echo(f"its script still runs (pid {script.pid}), and may start more")
    if left:
        raise SystemExit(1)


def _running_script(experiment: Experiment) -> Script | None:
    script = read_journal(Journal(experiment.exp_path).file).script
    return script if script is not None and script.is_running else None


def _unfinished(experiment: Experiment, names: Iterable[str]) -> list[str]:
    rows = experiment.rows()
    running = {row["name"] for row in rows if not Status(row["status"]).is_terminal}
    return [name for name in names if name in running]


@click.command()
@experiment_argument
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Go on until nothing runs, or until Ctrl-C.")
@click.option("-n", "--lines", default=10, show_default=True, type=click.IntRange(min=0), help="Of each file's end.")
@as_json_option
@plain_errors
def logs(words: tuple[str, ...], is_followed: bool, lines: int, as_json: bool) -> None:
    """Print the ends of the outputs of programs and databases, each line behind its name; error output has a `!`.

    WORDS: the folder of the experiment, if it is not here, and names of whose output to print, by default everyone's.
    """
    path, names = find_experiment(words)
    show = line_printer(Console(highlight=False, soft_wrap=True), as_json)
    found = Logs(path, names, lines)
    with until_interrupted() as stop:
        for line in found.earlier():
            show(line)
        for line in follow(found, stop) if is_followed else found.unfinished():
            show(line)
    found.close()


@click.command()
@experiment_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json_option
@plain_errors
def clean(words: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove what ended runs of an experiment have left, results too, after listing it and asking.

    WORDS: the folder of the experiment, if it is not here. What runs, or holds anything that runs, stays. With --json
    and without --yes it only lists.
    """
    path, names = find_experiment(words)
    if names:
        raise click.UsageError(f"{names[0]!r} is no folder of an experiment; single programs are not removed")
    found = find_leftovers(path)
    if as_json:
        facts: list[dict[str, Any]] = [{**one._asdict(), "path": str(one.path)} for one in found]
        if yes:
            gone = {one.path for one in remove_leftovers(path, found)}
            facts = [{**fact, "is_removed": one.path in gone} for fact, one in zip(facts, found, strict=True)]
        click.echo(json.dumps(facts))
        return
    for one in found:
        count = f"{one.files} file{'s' if one.files != 1 else ''}"
        click.echo(f"{one.path}{os.sep if one.path.is_dir() else ''}  ({one.owner}: {count}, {decimal(one.bytes)})")
    if not found:
        click.echo("nothing is left that does not run")
        return
    if not yes:
        click.confirm("remove all of these?", abort=True)
    gone_count = sum(1 for _ in remove_leftovers(path, found))
    click.echo(f"removed {gone_count}, {decimal(sum(one.bytes for one in found))}")
