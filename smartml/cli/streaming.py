"""`smartml stream`: samples served over WebSocket, and those of other servers put into a database."""

import json
import ssl
from pathlib import Path
from typing import Any

import click

from smartml.cli.terminal import (
    address_of,
    address_option,
    identifier_option,
    path_option,
    plain_errors,
    progress_line,
    scheme_of,
    scheme_options,
    until_interrupted,
)
from smartml.feeds import DataInfo, TrainingDataUploader
from smartml.feeds.live import RedisSource
from smartml.feeds.stream import Until
from smartml.streaming import Access, ClientOptions, Extent, HeartbeatRule, WebSocketSource, serve
from smartml.streaming.access import read_token
from smartml.streaming.bridge import pull
from smartml.streaming.sources import load_source

_POLL_S = 0.2
_rules = click.Choice([rule.value for rule in HeartbeatRule])
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_token_option = click.option("--token-file", type=_file, help="File with the token that clients need.")


@click.group()
def stream() -> None:
    """Serve samples over WebSocket, and put those of others into a database."""


@stream.command("serve")
@click.option(
    "--source",
    required=True,
    help='"redis": what producers put; the folder of a recording; module:name or file.py:name of a Python object.',
)
@scheme_options
@click.option("--until-done", is_flag=True, help="End the stream when its producers have, of a database.")
@click.option("--info", type=_file, help="JSON: inputs and outputs, where they cannot be derived from the samples.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 listens on all interfaces.")
@click.option("--port", default=8000, show_default=True, help="0 takes a free one.")
@click.option("--shared", is_flag=True, help="Give each sample to one client only.")
@click.option(
    "--heartbeat", type=click.Choice([rule.value for rule in HeartbeatRule]), default="auto", show_default=True
)
@click.option("--compression", is_flag=True, help="Compress for clients that ask for it.")
@click.option("--window-mb", default=256, show_default=True, help="Megabytes of samples to hold for slower clients.")
@_token_option
@click.option("--origin", "origins", multiple=True, help="Origin whose pages may connect, too.")
@click.option("--tls-cert", type=_file, help="Certificate, to serve wss.")
@click.option("--tls-key", type=_file, help="Its key.")
@address_option
@path_option
@identifier_option
@plain_errors
def serve_stream(
    source: str,
    until_done: bool,
    info: Path | None,
    host: str,
    port: int,
    shared: bool,
    heartbeat: str,
    compression: bool,
    window_mb: int,
    token_file: Path | None,
    origins: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    address: str | None,
    path: Path,
    identifier: str,
    **names: Any,
) -> None:
    """Serve a stream of samples to clients of EIR's protocol, until interrupted."""
    if source == "redis":
        scheme = scheme_of(**names)
        served: Any = _live(scheme, address_of(address, path, identifier), until_done=until_done)
    else:
        served = load_source(source)
    tls = None
    if tls_cert is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(tls_cert, tls_key)
    with (
        until_interrupted() as stop,
        serve(
            served,
            None if info is None else json.loads(info.read_text(encoding="utf-8")),
            host,
            port,
            shared=shared,
            heartbeat=heartbeat,
            compression=compression,
            access=Access(None if token_file is None else read_token(token_file), origins, tls),
            extent=Extent(window_bytes=window_mb << 20),
        ) as server,
    ):
        click.echo(f"serving at {server.url}")
        while not stop():
            server.wait(_POLL_S)
        server.check()
        status = server.status()
    click.echo(f"read {status['samples_read']} samples of the source")


def _live(scheme: Any, where: tuple[bool | None, str], *, until_done: bool) -> RedisSource:
    cluster, address = where
    named: dict[str, Any] = {"data_info_or_list_name": scheme}
    if not isinstance(scheme, str | DataInfo):
        named = {
            "sample_prefix": scheme.sample_prefix,
            "target_prefix": scheme.target_prefix,
            "uploader_ranks": scheme.ranks,
            "key_order": scheme.order,
        }
    until: Until | None = "producers_done" if until_done else None
    return RedisSource(**named, until=until, wait_timeout_s=None, cluster=cluster, address=address)


@stream.command("pull")
@click.argument("url")
@click.option(
    "--list", "list_name", default="training_data", show_default=True, help="Aggregation list to put them on."
)
@click.option("--input", "input_name", help="Which input, where the stream has several.")
@click.option("--target", "target_name", help="Which target, where the stream has several.")
@click.option("--no-targets", is_flag=True, help="Put inputs alone.")
@click.option("--batch-size", default=32, show_default=True, help="Samples in each dataset.")
@click.option("--limit", type=int, help="End after so many samples.")
@click.option("--shared", is_flag=True, help="Take the part that a shared server gives.")
@click.option("--ca-file", type=_file, help="Certificates to trust, of a wss server.")
@_token_option
@address_option
@path_option
@identifier_option
@plain_errors
def pull_stream(
    url: str,
    list_name: str,
    input_name: str | None,
    target_name: str | None,
    no_targets: bool,
    batch_size: int,
    limit: int | None,
    shared: bool,
    ca_file: Path | None,
    token_file: Path | None,
    address: str | None,
    path: Path,
    identifier: str,
) -> None:
    """Put the samples of the streaming server at URL into a database, as a producer does."""
    options = ClientOptions(
        token=None if token_file is None else read_token(token_file),
        ca_file=None if ca_file is None else str(ca_file),
        wait_timeout_s=None,
    )
    source = WebSocketSource(url, batch_size=batch_size, shared=shared, options=options)
    cluster, address = address_of(address, path, identifier)
    # As feeds look for it, unless they are told another name.
    target = None if no_targets else "targets"
    uploader = TrainingDataUploader(list_name, target_name=target, cluster=cluster, address=address)
    with uploader, until_interrupted() as stop, progress_line("put") as show:
        uploader.publish_info()
        done = pull(
            source, uploader, input_name=input_name, target_name=target_name, limit=limit, stop=stop, report=show
        )
    click.echo(f"put {done}")
