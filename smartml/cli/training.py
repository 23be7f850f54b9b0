"""`smartml train`: a model trained as YAML files say."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from smartml.cli.terminal import plain_errors, until_interrupted

# Options that take several files each, until the next option or override.
_OF_FILES = ("--global_configs", "--input_configs", "--fusion_configs", "--output_configs")


class _WithFiles(click.Command):
    """A command whose options take several files, as EIR's do, and which takes overrides with or without dashes."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        given: list[str] = []
        option = None
        for word in args:
            if "=" in word and "." in word.partition("=")[0] and not Path(word).exists():
                # An override; dashes would make an option of it.
                given, option = [*given, word.removeprefix("--")], None
            elif word.startswith("-"):
                option = word if word in _OF_FILES else None
                given += [] if option else [word]
            else:
                given += [option, word] if option else [word]
        return super().parse_args(context, given)


def _files(name: str, words: str, *, required: bool = False) -> Callable[[Any], Any]:
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option(f"--{name}", name, type=path, multiple=True, required=required, help=words)


@click.command(cls=_WithFiles)
@_files("global_configs", "YAML files of the run as a whole, merged.")
@_files("input_configs", "YAML files, one for each input.")
@_files("fusion_configs", "YAML files of how inputs become one, merged.")
@_files("output_configs", "YAML files, one for each output.")
@click.option("--resume", type=click.Path(file_okay=False, path_type=Path), help="Go on with the run in this folder.")
@click.argument("overrides", nargs=-1)
@plain_errors
def train(
    global_configs: tuple[Path, ...],
    input_configs: tuple[Path, ...],
    fusion_configs: tuple[Path, ...],
    output_configs: tuple[Path, ...],
    resume: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train a model as YAML files say.

    OVERRIDES change single keys: [--]<stem of a file>.<section>.<key>=<value>, such as
    globals.basic_experiment.n_epochs=3. Of a run that goes on, those of global_config can be changed.
    """
    from smartml.training import read_configuration, resume_configuration
    from smartml.training import train as run

    if resume is not None:
        if global_configs or input_configs or fusion_configs or output_configs:
            raise click.UsageError("--resume takes the configuration of the run: leave the files out")
        configuration = resume_configuration(resume, overrides)
    elif not global_configs or not output_configs:
        raise click.UsageError("give --global_configs and --output_configs, or --resume")
    else:
        configuration = read_configuration(global_configs, input_configs, fusion_configs, output_configs, overrides)
    is_quiet = configuration.globals.visualization_logging.no_pbar
    with until_interrupted() as stop, _progress_bar(is_quiet) as show:
        outcome = run(configuration, resume=resume is not None, report=show, stop=stop)
    click.echo(
        f"{outcome.reason} after {outcome.iterations} iterations, best perf-average {outcome.best_performance:.4f}"
    )
    if outcome.reason == "stopped":
        click.echo(f"to go on:  smartml train --resume {outcome.folder}")
    for path in outcome.checkpoints[:1]:
        click.echo(f"best checkpoint:  {path}")


@contextlib.contextmanager
def _progress_bar(is_quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Give a function that shows how far a run has come, with the time that is left."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=is_quiet or not console.is_terminal) as line:
        task = line.add_task("begins", total=None)

        def show(now: Any) -> None:
            judged = "" if now.performance is None else f", perf {now.performance:.3f} (best {now.best:.3f})"
            line.update(
                task,
                description=f"epoch {now.epoch + 1}, loss {now.loss:.4f}{judged}",
                completed=now.iteration,
                total=now.iterations,
            )

        yield show
