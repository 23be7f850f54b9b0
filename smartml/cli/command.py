"""The command itself: a list of what there is, and where it is defined."""

import logging
from importlib import import_module
from typing import NamedTuple

import click
from rich.console import Console
from rich.logging import RichHandler

from smartml import __version__
from smartml.errors import MissingDependencyError
from smartml.extras import missing


class _Command(NamedTuple):
    """Where a command is defined; its module is imported when it is used, for some need large packages."""

    module: str
    name: str
    help: str
    # What brings the packages that it needs, where those are optional.
    extra: str = ""

    def load(self) -> click.Command:
        try:
            command = getattr(import_module(f"smartml.cli.{self.module}"), self.name)
        except MissingDependencyError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            if not self.extra or not error.name or error.name.startswith("smartml"):
                raise
            raise click.ClickException(missing(error.name, f"this command ({self.name})", self.extra)) from error
        assert isinstance(command, click.Command)
        return command


_COMMANDS = {
    "clean": _Command(
        "experiments",
        "clean",
        "Remove what ended runs of an experiment have left, results too, after listing it and asking.",
    ),
    "compat": _Command(
        "compat", "compat", "Run programs of SmartSim and SmartRedis as they are, and help to move them over."
    ),
    "completion": _Command("machine", "completion", "Print what makes SHELL complete the command with the tab key."),
    "db": _Command("database", "db", "Start, stop and look into a database."),
    "demo": _Command("scripts", "demo", "Run the first tutorial: a simulation feeds a network while it runs."),
    "doctor": _Command("machine", "doctor", "Tell what this machine has, and how to get what is missing."),
    "inference": _Command(
        "inference",
        "inference",
        "Run the models of the database at ADDRESS until it ends, or this command is interrupted.",
    ),
    "info": _Command("machine", "info", "Tell what is installed: versions and paths."),
    "logs": _Command(
        "experiments",
        "logs",
        "Print the ends of the outputs of programs and databases, each line behind its name; error output has a `!`.",
    ),
    "module": _Command("module", "module", "Build and find the module for programs of SmartRedis."),
    "monitor": _Command(
        "monitor", "monitor", "Keep, read and show the records of a run while it goes on.", extra="monitor"
    ),
    "predict": _Command(
        "serving",
        "predict",
        "Answer samples in files by a trained model, and say how right the answers are.",
        extra="serving",
    ),
    "preview": _Command("scripts", "preview", "Print all that the launch script SCRIPT would run, and start nothing."),
    "record": _Command(
        "recordings",
        "record_stream",
        "Write the running stream of a database to the new folder OUT.",
    ),
    "replay": _Command("recordings", "replay_recording", "Put the recording OUT into a database as its producers did."),
    "run": _Command("scripts", "run", "Run the launch script SCRIPT, and show how what it starts is doing."),
    "serve": _Command(
        "serving", "serve", "Answer requests by a trained model, over HTTP or through a database.", extra="serving"
    ),
    "status": _Command("experiments", "status", "Tell what an experiment has started, and how it is doing."),
    "stop": _Command("experiments", "stop", "Stop what an experiment has started: programs, then databases."),
    "stream": _Command(
        "streaming",
        "stream",
        "Serve samples over WebSocket, and put those of others into a database.",
        extra="streaming",
    ),
    "train": _Command("training", "train", "Train a model as YAML files say.", extra="training"),
    "watch": _Command(
        "pages", "watch", "Serve the page of a run: its programs, samples, losses, memory and fields.", extra="monitor"
    ),
}


class _LazyGroup(click.Group):
    """Lists its commands without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return _COMMANDS[name].load() if name in _COMMANDS else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name].help) for name in self.list_commands(context)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
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
