"""Who may use a database: with a password or without, encrypted or not."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from smartml.errors import ArgumentTypeError, ArgumentValueError, PathNotFoundError, StoreConnectionError
from smartml.experiment.certificates import make_certificates
from smartml.experiment.server import quote
from smartml.store import TLS, Credentials
from smartml.store.credentials import read_credentials
from smartml.store.sockets import tls_context

# 256 bits, as text.
_PASSWORD_BYTES = 32
_USERNAME = re.compile(r"[^\s\0]+")


@dataclass(frozen=True)
class Access:
    """What was asked for: nothing, a password, or encryption; see `Orchestrator`."""

    password: bool | str | os.PathLike[str] | None = field(default=None, repr=False)
    username: str | None = None
    tls: bool | TLS | None = None

    def __post_init__(self) -> None:
        # Never the value: it may be a password.
        if not isinstance(self.password, bool | str | os.PathLike | None):
            raise ArgumentTypeError(f"password must be True, a str, a path or None, got {type(self.password).__name__}")
        if self.password == "":
            raise ArgumentValueError("the password is empty: give another, or True to have one made")
        if self.username is not None and not (isinstance(self.username, str) and _USERNAME.fullmatch(self.username)):
            raise ArgumentValueError(f"username must be a str without blanks, got {self.username!r}")
        if self.username is not None and not self.password:
            raise ArgumentValueError(f"user {self.username!r} needs a password: add password=True to have one made")
        if not isinstance(self.tls, bool | TLS | None):
            raise ArgumentTypeError(f"tls must be True, a smartml.store.TLS or None, got {type(self.tls).__name__}")
        if isinstance(self.tls, TLS) and not (self.tls.certificate_file and self.tls.key_file):
            raise ArgumentValueError("tls of a server needs certificate_file and key_file; True has them made")

    @property
    def is_guarded(self) -> bool:
        """True when clients need a password."""
        return bool(self.password)

    @property
    def is_needed(self) -> bool:
        """True when clients have to show anything, or to speak TLS."""
        return bool(self.password or self.tls)

    def prepare(self, auth_file: Path, hosts: Iterable[str]) -> "Entrance":
        """Make what is missing: a password, certificates for these IP addresses, and the file for clients.

        A password that was made earlier, and that the file still holds, stays.
        Raises PathNotFoundError, ArgumentValueError for files that cannot be used, MissingDependencyError.
        """
        server: TLS | None = None
        if self.tls is True:
            server = make_certificates(auth_file.with_suffix(".tls"), hosts)
        elif isinstance(self.tls, TLS):
            server = _absolute(self.tls)
            # Tells of a file that cannot be used before any server is started.
            tls_context(server)
        for_clients = None if server is None else TLS(ca_file=server.ca_file, verify=server.verify)
        credentials = Credentials(self.username, self._find_password(auth_file), for_clients)
        if credentials == Credentials():
            auth_file.unlink(missing_ok=True)
            return Entrance()
        credentials.write(auth_file)
        return Entrance(credentials, auth_file, server)

    def _find_password(self, auth_file: Path) -> str | None:
        if not self.password:
            return None
        if isinstance(self.password, str):
            return self.password
        if isinstance(self.password, os.PathLike):
            return _read_password(self.password)
        try:
            earlier = read_credentials(auth_file)
        except StoreConnectionError:
            earlier = Credentials()
        return earlier.password or secrets.token_urlsafe(_PASSWORD_BYTES)


@dataclass(frozen=True)
class Entrance:
    """The way into one database: what its servers are told, and its clients; open to all by default."""

    credentials: Credentials = field(default_factory=Credentials)
    # Where the clients find the credentials.
    auth_file: Path | None = None
    # The certificate and key of the servers, and the authority of both sides.
    server: TLS | None = None

    def port_lines(self, port: int) -> list[str]:
        """Return the lines of a server's configuration that say where it listens, and how."""
        if self.server is None:
            return [f"port {port}"]
        files = {
            "tls-cert-file": self.server.certificate_file,
            "tls-key-file": self.server.key_file,
            "tls-ca-cert-file": self.server.ca_file,
        }
        return [
            "port 0",
            f"tls-port {port}",
            *(f"{name} {quote(file)}" for name, file in files.items() if file is not None),
            # Clients show a password. (The nodes of a cluster show each other their certificates all the same.)
            "tls-auth-clients no",
        ]

    def user_lines(self) -> list[str]:
        """Return the lines that say who may log in; the password stands there as its hash."""
        username, password = self.credentials.username, self.credentials.password
        if password is None:
            return []
        digest = hashlib.sha256(password.encode()).hexdigest()
        lines = [f"user {quote(username or 'default')} on #{digest} ~* &* +@all"]
        return lines if username is None else ["user default off", *lines]

    def cluster_lines(self) -> list[str]:
        """Return the lines by which the nodes of a cluster reach each other."""
        lines = ["tls-cluster yes", "tls-replication yes"] if self.server is not None else []
        username, password = self.credentials.username, self.credentials.password
        if password is not None:
            lines.append(f"masterauth {quote(password)}")
            if username is not None:
                lines.append(f"masteruser {quote(username)}")
        return lines


def _absolute(tls: TLS) -> TLS:
    paths = {
        name: os.path.abspath(path)
        for name in ("ca_file", "certificate_file", "key_file")
        if (path := getattr(tls, name)) is not None
    }
    return replace(tls, **paths)


def _read_password(file: os.PathLike[str]) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            first = opened.readline().rstrip("\r\n")
    except OSError as error:
        raise PathNotFoundError(
            f"the password is to be in {os.fspath(file)!r}, which cannot be read: {error}"
        ) from error
    if not first:
        raise ArgumentValueError(f"the password is to be in {os.fspath(file)!r}, whose first line is empty")
    return first
