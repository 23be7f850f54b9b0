"""`smartml demo` and `smartml preview`: scripts run by the command."""

import runpy
import sys
from importlib import resources
from pathlib import Path
from typing import NoReturn

import click

from smartml.cli.terminal import plain_errors
from smartml.experiment.preview import previewing

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
