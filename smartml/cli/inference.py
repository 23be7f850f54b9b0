"""`smartml inference`: a worker for a database that starts none itself."""

import os

import click

from smartml.cli.terminal import plain_errors
from smartml.errors import SmartMLError
from smartml.inference import InferenceWorker, settings_for


@click.command()
@click.argument("address")
@click.option("--auth-file", type=click.Path(), help="What the database wants to know of its clients.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the framework; as many as cores if not set.")
@plain_errors
def inference(address: str, auth_file: str | None, threads: int | None) -> None:
    """Run the models of the database at ADDRESS until it ends, or this command is interrupted.

    Only for a server that was started with the module, but by no Orchestrator: that brings its own workers. Of a
    cluster each node needs one.
    """
    if threads is not None:
        # Read when a framework is imported, which is later.
        os.environ["OMP_NUM_THREADS"] = str(threads)
    with InferenceWorker(settings_for(address, auth_file)) as worker:
        click.echo(f"ready for the models of the database at {address}")
        worker.run()
    raise SmartMLError(f"the database at {address} has ended")
