"""Who a client says it is: the file with user, password and certificates that only its owner can read.

    {"username": "trainer", "password": "…", "tls": {"ca_file": "ca.crt"}}

Either of password and `tls` may be left out, and the user name. Files that `tls` names (the fields of `TLS`) lie beside
this one unless their paths are absolute.
"""

import dataclasses
import json
import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smartml.errors import ArgumentTypeError, StoreConnectionError
from smartml.store.address import TLS

# Names the file, with the suffix `_<identifier>` for a database that has one. What stands in the file never travels in
# an environment value.
AUTH_FILE_VARIABLE = "SMARTML_DB_AUTH"


@dataclass(frozen=True)
class Credentials:
    """What a database wants to know of its clients, and how the connection is encrypted; nothing by default."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TLS | None = None

    def write(self, file: str | os.PathLike[str]) -> None:
        """Write the file anew, for nobody else to read."""
        content: dict[str, Any] = {"username": self.username, "password": self.password}
        if self.tls is not None:
            content["tls"] = dataclasses.asdict(self.tls)
        write_secret(file, json.dumps({name: value for name, value in content.items() if value is not None}) + "\n")


def write_secret(file: str | os.PathLike[str], text: str) -> None:
    """Write a file as a whole that never, not even for a moment, others could read."""
    name = os.fspath(file)
    draft = f"{name}.{os.getpid()}.draft"
    # What a killed process has left must not lend its permissions.
    if os.path.lexists(draft):
        os.unlink(draft)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    os.replace(draft, name)


def credentials_from_environment(environ: Mapping[str, str], db_identifier: str | None = None) -> Credentials:
    """Read the file that `SMARTML_DB_AUTH` names, or that of a database with an identifier; empty where it is not set.

    Raises StoreConnectionError when it cannot be used.
    """
    variable = f"{AUTH_FILE_VARIABLE}_{db_identifier}" if db_identifier else AUTH_FILE_VARIABLE
    name = environ.get(variable)
    return read_credentials(name, f"{variable} names {name!r}") if name else Credentials()


def read_credentials(file: str | os.PathLike[str], found: str | None = None) -> Credentials:
    """Read a file of credentials; `found` says in an error how it was. Raises StoreConnectionError."""
    if not isinstance(file, str | os.PathLike):
        raise ArgumentTypeError(f"credentials must be a file or a smartml.store.Credentials, not {type(file).__name__}")
    name = os.fspath(file)
    found = found or f"the credentials are to be in {name!r}"
    try:
        with open(name, "rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            text = opened.read()
    except OSError as error:
        raise StoreConnectionError(f"{found}, which cannot be read: {error}") from error
    if mode & 0o077:
        raise StoreConnectionError(f"{found}, which others can read: chmod 600 {shlex.quote(name)}")
    try:
        return _parse(json.loads(text), os.path.dirname(os.path.abspath(name)))
    except (ValueError, TypeError):
        # Nothing of the content, nor of a reason that quotes it: it may be a password.
        raise StoreConnectionError(
            f'{found}, which does not hold {{"username": "…", "password": "…"}} as JSON (the user name may be left '
            'out; "tls": {"ca_file": "…"} may be added)'
        ) from None


def _parse(content: Any, folder: str) -> Credentials:
    if not isinstance(content, dict) or not {"password", "tls"} & content.keys():
        raise ValueError
    username, password, tls = (content.get(name) for name in ("username", "password", "tls"))
    if not isinstance(username, str | None) or not isinstance(password, str | None):
        raise ValueError
    if "password" in content and password is None:
        raise ValueError
    if tls is not None:
        if not isinstance(tls, dict):
            raise ValueError
        # An unknown field is a TypeError.
        tls = TLS(**{name: _beside(value, folder) for name, value in tls.items()})
    return Credentials(username, password, tls)


def _beside(value: object, folder: str) -> Any:
    return os.path.join(folder, value) if isinstance(value, str) else value
