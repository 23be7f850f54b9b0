"""`smartml demo`, `smartml preview` and `smartml run`: scripts run by the command."""

import contextlib
import runpy
import shlex
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console, Group
from rich.live import Live

from smartml.cli.terminal import plain_errors, rows_table
from smartml.experiment.preview import previewing
from smartml.experiment.scripts import Started, failed_rows, noting_experiments, run_script
from smartml.experiment.supervisor import supervisor

_TUTORIAL = "01_online_surrogate"


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def demo(options: tuple[str, ...]) -> NoReturn:
    """Run the first tutorial: a simulation feeds a network while it runs. `smartml demo --help` lists its options."""
    script = resources.files("smartml.tutorials") / _TUTORIAL / "run.py"
    sys.argv = ["smartml demo", *options]
    runpy.run_path(str(script), run_name="__main__")
    sys.exit(0)


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@plain_errors
def preview(script: str, options: tuple[str, ...]) -> None:
    """Print all that the launch script SCRIPT would run, and start nothing.

    The script runs with its OPTIONS; each `start` of an experiment prints its folders, commands and scripts.
    """
    sys.argv = [script, *options]
    # As for a script that Python runs itself.
    sys.path.insert(0, str(Path(script).resolve().parent))
    with previewing(click.echo):
        runpy.run_path(script, run_name="__main__")


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def run(script: str, options: tuple[str, ...]) -> None:
    """Run the launch script SCRIPT, and show how what it starts is doing.

    The script runs with its OPTIONS as Python would run it. In a terminal a table below its own words is kept up to
    date; in the end the table, and where to look further, are printed. The exit code is the script's own; where that is
    0, it is 1 when a program or database has failed for good.
    """
    console = Console(stderr=True)
    with noting_experiments() as experiments:
        try:
            with _live_table(experiments, console):
                code = run_script(script, options)
        finally:
            # What the script leaves behind ends now, so that the table shows how.
            supervisor.close()
            for experiment in experiments:
                console.print(rows_table(experiment.rows()))
                where = shlex.quote(experiment.exp_path)
                click.echo(
                    f"experiment {experiment.name!r} is in {where}; its outputs:  smartml logs {where}", err=True
                )
    if isinstance(code, str):
        click.echo(code, err=True)
        sys.exit(1)
    failed = failed_rows(experiments)
    if failed:
        click.echo(f"failed: {', '.join(row['name'] for row in failed)}", err=True)
    sys.exit(code or (1 if failed else 0))


class _Tables:
    """The tables of experiments as they are at this moment, as high as the terminal has room for."""

    def __init__(self, experiments: Sequence[Started], console: Console) -> None:
        self._experiments = experiments
        self._console = console

    def __rich__(self) -> Group:
        # A head, a line for what is left out, and some lines for what the script says.
        room = max(3, self._console.height // max(1, len(self._experiments)) - 5)
        return Group(*(rows_table(experiment.rows(), room) for experiment in self._experiments))


def _live_table(experiments: Sequence[Started], console: Console) -> contextlib.AbstractContextManager[object]:
    if not console.is_terminal:
        return contextlib.nullcontext()
    # Each picture asks the machine for the state of every job, of which there may be hundreds.
    return Live(_Tables(experiments, console), console=console, refresh_per_second=1, transient=True)
