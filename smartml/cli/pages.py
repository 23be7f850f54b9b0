"""`smartml watch`, `smartml monitor web-serve` and `assets`: live pages of records, and what they draw with."""

from pathlib import Path
from typing import Any

import click

from smartml.cli.access import access_options, read_access
from smartml.cli.terminal import plain_errors
from smartml.errors import AssetsError
from smartml.monitor import open_records
from smartml.monitor.pages import (
    WATCH_PAGE,
    FixedSchema,
    PageServer,
    SchemaFile,
    assets,
    find_records,
    read_address,
    serve_pages,
    watch_schema,
)


@click.command("web-serve")
@click.argument("web_uri")
@click.argument("grpc_uri")
@click.argument("schema_file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("refresh_seconds", type=float, default=0.1)
@click.option(
    "--allow-origin", "origins", multiple=True, help="Another name by which browsers may open the pages; repeat it."
)
@access_options
@plain_errors
def web_serve(
    web_uri: str, grpc_uri: str, schema_file: Path, refresh_seconds: float, origins: tuple[str, ...], **access: Any
) -> None:
    """Serve live pages at WEB_URI of the records at GRPC_URI, drawn as SCHEMA_FILE says.

    WEB_URI is host:port, or a port of this machine alone. GRPC_URI is a record server's host:port, or the path of a
    store. A plot is drawn anew at most every REFRESH_SECONDS, 0.1 unless given.
    """
    schema = SchemaFile(schema_file)
    host, port = read_address(web_uri)
    records = open_records(grpc_uri, read_access(**access))
    server = PageServer(records, schema, host, port, refresh_s=refresh_seconds, origins=origins)
    serve_pages(server, lambda address: click.echo(f"live pages are at {address}"))


@click.command("watch")
@click.argument("experiment", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of this machine to serve at; 0 is any.")
@click.option("--open", "is_opened", is_flag=True, help="Open the page in the browser.")
@access_options
@plain_errors
def watch(experiment: str | None, port: int, is_opened: bool, **access: Any) -> None:
    """Serve the page of a run: its programs, samples, losses, memory and fields.

    EXPERIMENT is the folder of one that was started with monitor=True, or host:port of a record server. Without it,
    the server that SMARTML_MONITOR names, else this folder.
    """

    def tell(address: str) -> None:
        click.echo(f"the run is at {address}{WATCH_PAGE}")
        if is_opened:
            click.launch(address + WATCH_PAGE)

    records = find_records(experiment, read_access(**access))
    serve_pages(PageServer(records, FixedSchema(watch_schema()), port=port), tell)


@click.command("assets")
@click.option(
    "--from",
    "archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Archive made by `npm pack`.",
)
@plain_errors
def fetch_assets(archive: Path | None) -> None:
    """Fetch what live pages draw with, where the installation could not."""
    try:
        assets.fetch(archive=archive)
    except assets.FetchError as error:
        raise AssetsError(str(error)) from error
    click.echo(f"{assets.PACKAGE} is in {assets.FOLDER}")
