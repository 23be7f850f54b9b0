"""`smartml serve` and `smartml predict`: trained models that answer."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from smartml import Client, serving
from smartml.cli.terminal import plain_errors, until_interrupted
from smartml.errors import ArgumentValueError
from smartml.serving import BatchLimits, CheckpointWatch, Predictor, ServerLimits, StoreWorker
from smartml.serving.access import read_token

_MB = 1024 * 1024

model_option = click.option(
    "--model-path",
    "--model_path",
    required=True,
    type=click.Path(path_type=Path),
    help="A checkpoint in saved_models of its run folder, or a run folder, of which the best is taken.",
)
device_option = click.option("--device", default="cpu", show_default=True, help="Such as cuda:0.")
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Of the model; as many as cores if not set."
)
max_batch_size_option = click.option(
    "--max-batch-size", default=64, show_default=True, help="Samples in one forward pass."
)


def load(model_path: Path, device: str, threads: int | None) -> Predictor:
    """Load a predictor; the number of threads has to be set before the framework is imported."""
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    return Predictor.load(model_path, device)


def named_values(values: tuple[str, ...], option: str) -> dict[str, str]:
    """Read NAME=VALUE, given any number of times."""
    named = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name or not text:
            raise ArgumentValueError(f"{option} {value!r} is not of the form NAME=VALUE")
        named[name] = text
    return named


@click.command()
@model_option
@device_option
@threads_option
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets others in: give a token, too.")
@click.option("--port", default=8000, show_default=True, help="0 takes a free one.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Requests must carry the token in its first line.")
@click.option("--tls-certificate", type=click.Path(path_type=Path), help="PEM file, for HTTPS; with --tls-key.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM file.")
@max_batch_size_option
@click.option("--max-wait-ms", default=5.0, show_default=True, help="The longest that an idle model waits for more.")
@click.option("--max-queued", default=1024, show_default=True, help="Samples that may wait; others are told to retry.")
@click.option("--max-body-mb", default=16, show_default=True, help="Size of one request.")
@click.option(
    "--redis",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Answer tensors of the database there, not HTTP; without an address, of the one that SSDB names.",
)
@click.option("--prefix", multiple=True, metavar="INPUT=PREFIX", help="With --redis: what keys of an input begin with.")
@click.option("--keep-questions", is_flag=True, help="With --redis: delete nothing that was answered.")
@click.option("--reload/--no-reload", default=True, show_default=True, help="Take better checkpoints into use.")
@plain_errors
def serve(
    model_path: Path,
    device: str,
    threads: int | None,
    max_batch_size: int,
    redis: str | None,
    prefix: tuple[str, ...],
    keep_questions: bool,
    reload: bool,
    **http: Any,
) -> None:
    """Answer requests by a trained model, over HTTP or through a database."""
    # What is wrong with these is said before the model is loaded, which takes longer.
    prefixes = named_values(prefix, "--prefix")
    token_file = http.pop("token_file")
    token = read_token(token_file) if token_file is not None else None
    predictor = load(model_path, device, threads)
    watch = CheckpointWatch(predictor, partial(Predictor.load, device=device)) if reload else None
    if redis is None:
        _serve_http(predictor, watch, token, max_batch_size, **http)
        return
    with Client(address=redis or None) as client, until_interrupted() as is_over:
        worker = StoreWorker(
            predictor,
            client,
            prefixes=prefixes,
            keep_questions=keep_questions,
            max_batch_size=max_batch_size,
            watch=watch,
        )
        click.echo(f"{predictor.name} answers tensors {worker.pattern} at {client.database.address}")
        worker.run(is_over)
        click.echo(f"{worker.answered} questions answered, {worker.failed} of them by an error")


def _serve_http(
    predictor: Predictor,
    watch: CheckpointWatch | None,
    token: str | None,
    max_batch_size: int,
    host: str,
    port: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    max_wait_ms: float,
    max_queued: int,
    max_body_mb: int,
) -> None:
    batches = BatchLimits(max_batch_size, max_wait_ms / 1000, max_queued)
    limits = ServerLimits(batches, max_body_size=max_body_mb * _MB, max_bodies_size=16 * max_body_mb * _MB)
    # These need packages that a worker does not: they are imported now.
    app = serving.create_app(predictor, limits, token=token, watch=watch)
    server = serving.Server(app, host, port, certificate_file=tls_certificate, key_file=tls_key)
    click.echo(f"{predictor.name} answers at {server.url}")
    if not server.is_local and token is None:
        click.echo("everybody who reaches this machine may ask: --token-file names a token to demand", err=True)
    server.run()


@click.command()
@model_option
@click.option(
    "--input", "inputs", multiple=True, required=True, metavar="NAME=SOURCE", help="Folder, list or CSV file."
)
@click.option("--target", "targets", multiple=True, metavar="NAME=SOURCE", help="True values of an output, to compare.")
@click.option("--output-folder", "--output_folder", required=True, type=click.Path(file_okay=False, path_type=Path))
@device_option
@threads_option
@max_batch_size_option
@plain_errors
def predict(
    model_path: Path,
    inputs: tuple[str, ...],
    targets: tuple[str, ...],
    output_folder: Path,
    device: str,
    threads: int | None,
    max_batch_size: int,
) -> None:
    """Answer samples in files by a trained model, and say how right the answers are."""
    sources, truths = named_values(inputs, "--input"), named_values(targets, "--target")
    predictor = load(model_path, device, threads)
    columns = (TextColumn("{task.completed} of {task.total} samples"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)
        found = serving.predict_files(
            predictor,
            sources,
            output_folder,
            targets=truths,
            batch_size=max_batch_size,
            report=lambda done, total: shown.update(task, completed=done, total=total),
        )
    for output, by_column in found.items():
        for column, metrics in by_column.items():
            values = ", ".join(
                f"{kind} {'none' if value is None else f'{value:.4f}'}" for kind, value in metrics.items()
            )
            click.echo(f"{output}, {column}: {values}")
    click.echo(f"answers of {predictor.name} are in {output_folder}")
