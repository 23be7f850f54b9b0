"""`smartml compat`: programs of SmartSim and SmartRedis as they are."""

import importlib
import sys
from typing import NamedTuple

import click

from smartml.cli.terminal import plain_errors
from smartml.compat.running import CompatPath
from smartml.experiment.scripts import run_script


class _Later(NamedTuple):
    """A command of this group that is defined elsewhere, and imported when it is used."""

    module: str
    name: str
    help: str


_LATER = {
    "check": _Later(
        "compat_check", "check", "Tell what of a project works unchanged, is better written otherwise, or is missing."
    ),
    "smart": _Later("compat_smart", "smart", "Do what scripts ask the command `smart` of SmartSim for."),
}


class _CompatGroup(click.Group):
    """Lists the commands of other files without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *_LATER})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _LATER:
            return super().get_command(context, name)
        command = getattr(importlib.import_module(f"smartml.cli.{_LATER[name].module}"), _LATER[name].name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        own = {name: command.get_short_help_str(80) for name, command in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted({**own, **{name: later.help for name, later in _LATER.items()}}.items()))


@click.group(cls=_CompatGroup, context_settings={"help_option_names": ["-h", "--help"]})
def compat() -> None:
    """Run programs of SmartSim and SmartRedis as they are, and help to move them over."""


@compat.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--real-smartredis/--no-real-smartredis",
    default=None,
    help="Whether `import smartredis` means SmartRedis itself; by default where it is installed.",
)
@click.option("--real-smartsim", is_flag=True, help="`import smartsim` means SmartSim itself.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def run(script: str, options: tuple[str, ...], real_smartredis: bool | None, real_smartsim: bool) -> None:
    """Run the Python program SCRIPT, for which smartml is SmartSim and SmartRedis.

    It runs with its OPTIONS as Python would run it; programs that it starts find the same.
    """
    # What is wrong with the path is said in one sentence, what is wrong with the program as Python says it.
    plain_errors(CompatPath(real_smartsim, real_smartredis).enter)()
    code = run_script(script, options)
    if isinstance(code, str):
        click.echo(code, err=True)
        sys.exit(1)
    sys.exit(code)
