"""`smartml module`: the tensor module, built and found."""

import shlex
from pathlib import Path

import click

from smartml.cli.terminal import plain_errors
from smartml.errors import TensorModuleError
from smartml.store.module import MODULE_VARIABLE, build_module, find_module


@click.group()
def module() -> None:
    """Build and find the module for programs of SmartRedis."""


@module.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write, not the package's own.")
@plain_errors
def build(output: Path | None) -> None:
    """Compile the module with the C compiler that is there, or that CC names."""
    built = build_module(output)
    click.echo(f"the tensor module is {built}")
    if output is not None:
        click.echo(f"for databases started from here:  export {MODULE_VARIABLE}={shlex.quote(str(built))}")


@module.command("path")
@plain_errors
def module_path() -> None:
    """Print the file that databases load."""
    found = find_module()
    if found is None:
        raise TensorModuleError("there is no tensor module: build it by `smartml module build`")
    click.echo(found)
