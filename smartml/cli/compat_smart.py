"""`smartml compat smart`: what scripts call as `smart`."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import click

import smartml
from smartml.cli.machine import info as machine_info
from smartml.cli.terminal import plain_errors
from smartml.compat.validation import find_redis_cli, provide_module, validate
from smartml.errors import SmartMLError

_DEVICES = ["cpu", "gpu", "cuda-11", "cuda-12", "cuda11", "cuda12", "rocm-6", "rocm6"]


@click.group(invoke_without_command=True)
@click.pass_context
def smart(context: click.Context) -> None:
    """Do what scripts ask the command `smart` of SmartSim for."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        sys.exit(os.EX_USAGE)


@smart.command()
@click.option("-v", "verbose", is_flag=True, help="Nothing more is said.")
@click.option("--device", type=click.Choice(_DEVICES, case_sensitive=False), help="Frameworks are the ones of pip.")
@click.option("--dragon", is_flag=True, help="Not there.")
@click.option("--skip-python-packages", is_flag=True, help="None are installed.")
@click.option("--skip-backends", is_flag=True, help="None are built.")
@click.option("--skip-torch", is_flag=True, help="None are built.")
@click.option("--skip-tensorflow", is_flag=True, help="None are built.")
@click.option("--skip-onnx", is_flag=True, help="None are built.")
@click.option("--config-dir", type=click.Path(), help="None are built.")
@click.option("--keydb", is_flag=True, help="Not there.")
@plain_errors
def build(dragon: bool, keydb: bool, **others: object) -> None:
    """Build the tensor module where it is not there; nothing else has to be built."""
    for name, is_wanted in (("--dragon", dragon), ("--keydb", keydb)):
        if is_wanted:
            raise click.ClickException(f"{name}: smartml has no such thing; leave it out")
    click.echo(f"the tensor module is {provide_module()}; frameworks are those that pip installs")


@smart.command()
@click.option("--clobber", is_flag=True, help="Nothing was built.")
def clean(clobber: bool) -> None:
    """Say that no backends were built that could be removed."""
    click.echo("nothing was built that could be removed")


@smart.command()
def clobber() -> None:
    """Say that no server was built that could be removed."""
    click.echo("nothing was built that could be removed")


@smart.command()
def dbcli() -> None:
    """Print the path of `redis-cli`."""
    found = find_redis_cli()
    if found is None:
        click.echo("there is no redis-cli: install Redis")
        sys.exit(os.EX_SOFTWARE)
    click.echo(found)


@smart.command()
def site() -> None:
    """Print the folder of the package."""
    click.echo(Path(smartml.__file__).parent)


@smart.command("validate")
@click.option("-p", "--port", type=int, help="Of the database; by default one that is free.")
@click.option("--device", type=click.Choice(_DEVICES, case_sensitive=False), help="Databases need none.")
def validate_command(port: int | None, device: str | None) -> None:
    """Start a database, put a tensor there and get it back."""
    try:
        click.echo(validate(port))
    except SmartMLError as error:
        click.echo(f"{error}", err=True)
        sys.exit(os.EX_SOFTWARE)


@smart.command()
@click.option("--dragon", is_flag=True, help="Not there.")
def teardown(dragon: bool) -> None:
    """Say that nothing of Dragon was started."""
    click.echo("nothing of Dragon was started")


@smart.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def dashboard(options: tuple[str, ...]) -> NoReturn:
    """Run SmartDashboard, where it is installed; `smartml watch` is the page of a run here."""
    if importlib.util.find_spec("smartdashboard") is None:
        click.echo("SmartDashboard is not installed; `smartml watch` shows the page of a run", err=True)
        sys.exit(os.EX_CONFIG)
    sys.exit(subprocess.run([sys.executable, "-m", "smartdashboard", *options]).returncode)


smart.add_command(machine_info)
