"""Who may ask: a token in a file that only its owner can read."""

import hmac
import json
import os
import shlex
import stat
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from pathlib import Path
from typing import Any, TypeAlias

from smartml.errors import ArgumentValueError, PathNotFoundError

Message: TypeAlias = MutableMapping[str, Any]
# An application of ASGI (asgi.readthedocs.io, HTTP & WebSocket message format).
App: TypeAlias = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_SHORTEST_TOKEN = 16


def read_token(path: Path) -> str:
    """Read a token: the first line of a file that only its owner can read."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            lines = file.read(4096).splitlines()
    except OSError as error:
        raise PathNotFoundError(f"the file of the token, {str(path)!r}, cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ArgumentValueError(
            f"the file of the token, {str(path)!r}, can be read by others: chmod 600 {shlex.quote(str(path))}"
        )
    token = lines[0].strip() if lines else b""
    # RFC 6750, section 2.1, allows letters, digits and a few signs; nothing that a header could not carry.
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.decode().isprintable() or b" " in token:
        raise ArgumentValueError(
            f"the first line of {str(path)!r} must be a token of {_SHORTEST_TOKEN} or more printable ASCII characters "
            "without spaces, such as `openssl rand -hex 32` prints"
        )
    return token.decode()


class TokenGate:
    """Lets requests through that carry the token (RFC 6750); answers 401 to others, except for the open paths."""

    def __init__(self, app: App, token: str, open_paths: Collection[str]) -> None:
        self._app = app
        self._expected = b"bearer " + token.encode()
        self._open_paths = open_paths

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths or self._has_token(scope):
            await self._app(scope, receive, send)
            return
        body = json.dumps({"detail": "send the header 'Authorization: Bearer <token>'"}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"www-authenticate", b'Bearer realm="smartml"'),
            # Its body is not read.
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _has_token(self, scope: MutableMapping[str, Any]) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        # In a time that does not tell how much of it is right.
        return hmac.compare_digest(scheme.lower() + b" " + token.strip(), self._expected)
