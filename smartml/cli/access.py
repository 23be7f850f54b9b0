"""Options of every command that talks to a record server."""

from typing import Any

import click

from smartml.monitor.access import Access


def access_options(command: Any) -> Any:
    """Add options for the files that a record server may want of its clients."""
    token = click.option("--token-file", type=click.Path(), help="File with the token that the record server wants.")
    certificate = click.option("--certificate-file", type=click.Path(), help="Certificate of the server, for TLS.")
    return token(certificate(command))


def read_access(token_file: str | None, certificate_file: str | None) -> Access:
    """Return what these options say, else what the environment says."""
    known = Access.from_environment()
    return Access(token_file or known.token_file, certificate_file or known.certificate_file)
