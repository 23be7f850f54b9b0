"""Who may connect to a server, judged by the request that opens a connection."""

from __future__ import annotations

import hmac
import os
import ssl
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from smartml.errors import ArgumentValueError

_SCHEME = "Bearer "


@dataclass(frozen=True)
class Access:
    """Who may connect: everybody who reaches the port, but for pages of other origins in a browser.

    With `token`, whoever sends it, as `Authorization: Bearer TOKEN`, or as `?token=TOKEN` behind the address: EIR's
    client sends no headers of its own. `origins` are allowed beside the server's own; "*" allows all. With `tls`, the
    server speaks `wss` only, which EIR's client does not.
    """

    token: str | None = field(default=None, repr=False)
    origins: Sequence[str] = ()
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def refusal(self, path: str, headers: Mapping[str, str]) -> tuple[HTTPStatus, str] | None:
        """Tell why a request is refused; None if it is not."""
        if self.token is not None and not self._has_token(path, headers.get("Authorization", "")):
            return HTTPStatus.UNAUTHORIZED, "a valid token is needed: Authorization: Bearer TOKEN, or ?token=TOKEN\n"
        origin = headers.get("Origin")
        # Browsers send it for every page; other programs need not.
        if origin is None or origin in self.origins or "*" in self.origins:
            return None
        if urlsplit(origin).netloc == headers.get("Host"):
            return None
        return HTTPStatus.FORBIDDEN, "pages of this origin may not connect\n"

    def _has_token(self, path: str, header: str) -> bool:
        assert self.token is not None
        given = parse_qs(urlsplit(path).query).get("token", [])
        if header.startswith(_SCHEME):
            given = [*given, header[len(_SCHEME) :].strip()]
        expected = self.token.encode()
        return any(hmac.compare_digest(each.encode(errors="replace"), expected) for each in given)


def read_token(path: str | Path) -> str:
    """Read a token from a file that only its owner can read; raises ArgumentValueError."""
    try:
        mode = os.stat(path).st_mode
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ArgumentValueError(f"the file of the token cannot be read: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ArgumentValueError(f"others can read the token in {path}: chmod 600 {path}")
    if not token:
        raise ArgumentValueError(f"the file of the token is empty: {path}")
    return token


def without_secrets(url: str) -> str:
    """Return an address as messages may show it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "..." if parts.query else "", ""))
