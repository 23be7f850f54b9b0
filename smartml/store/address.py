"""Where a database is and how to get in: addresses, credentials, TLS (pure: nothing is connected here)."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreConnectionError

# Names a file that only its owner can read: {"username": …, "password": …}. Credentials themselves never
# travel in an environment value.
AUTH_FILE_VARIABLE = "SMARTML_DB_AUTH"


@dataclass(frozen=True)
class ServerAddress:
    """One server: a host and port, or a unix socket."""

    host: str = "127.0.0.1"
    port: int = 6379
    unix_socket: str | None = None

    def __str__(self) -> str:
        if self.unix_socket is not None:
            return f"unix://{self.unix_socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class TLS:
    """How to encrypt a connection: files in PEM format, None for the system's certificate authorities."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    verify: bool = True


@dataclass(frozen=True)
class ConnectionSettings:
    """All that is needed to reach a database."""

    addresses: tuple[ServerAddress, ...]
    # How the addresses were found, for the error that says that nobody answers there.
    found: str
    # None: ask the server whether it is part of a cluster.
    cluster: bool | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TLS | None = None
    database: int = 0
    # How long one command may go without progress.
    timeout_s: float = 60.0
    # How long to go on knocking at a server that is not there yet.
    connect_timeout_s: float = 5.0


def parse_addresses(text: str) -> tuple[ServerAddress, ...]:
    """Read `host:port`, `tcp://host:port`, `unix://path`, or several of them separated by commas."""
    if not isinstance(text, str):
        raise ArgumentTypeError(f"an address is text such as '127.0.0.1:6379', not {type(text).__name__}: {text!r}")
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ArgumentValueError(f"{text!r} holds no address; write 'host:port' or 'unix:///path/of/socket'")
    return tuple(_parse_address(part) for part in parts)


def _parse_address(text: str) -> ServerAddress:
    if text.startswith("unix://"):
        return ServerAddress(unix_socket=text.removeprefix("unix://"))
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    # `[` marks an IPv6 host, whose own colons would hide the one before the port.
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ArgumentValueError(f"{text!r} is not an address; write 'host:port' or 'unix:///path/of/socket'")
    return ServerAddress(host, int(port))


def settings_from_url(url: str, **changes: object) -> ConnectionSettings:
    """Read `redis://[user:password@]host:port[/database]`, `rediss://…` (TLS) or `unix://[user:password@]/path`."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ArgumentValueError(
            f"{_without_password(url)!r} is not a database URL; it begins redis://, rediss:// or unix://"
        )
    try:
        port = parts.port or 6379
        database = int(parts.path.strip("/") or 0) if parts.scheme != "unix" else 0
    except ValueError as error:
        raise ArgumentValueError(f"{_without_password(url)!r} is not a database URL: {error}") from error
    if parts.scheme == "unix":
        address = ServerAddress(unix_socket=unquote(parts.path))
    else:
        address = ServerAddress(parts.hostname or "127.0.0.1", port)
    settings = {
        "addresses": (address,),
        "found": "given as a URL",
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "tls": TLS() if parts.scheme == "rediss" else None,
        "database": database,
    }
    return ConnectionSettings(**{**settings, **changes})  # type: ignore[arg-type]


def addresses_from_environment(
    environ: Mapping[str, str], db_identifier: str | None = None
) -> tuple[tuple[ServerAddress, ...], bool | None, str]:
    """Find a database as SmartSim hands it over: `SSDB` and `SR_DB_TYPE`, suffixed `_<identifier>` if one is named.

    Returns the addresses, whether they are a cluster (None where `SR_DB_TYPE` is unset: ask the server), and
    the words that say where this was found. Raises StoreConnectionError when `SSDB` is not set.
    """
    suffix = f"_{db_identifier}" if db_identifier else ""
    name = f"SSDB{suffix}"
    value = environ.get(name, "")
    if not value:
        raise StoreConnectionError(
            f"no database is named: the environment variable {name} is not set. "
            "Start this program through an Experiment, or give Client(address='host:port')"
        )
    kind = environ.get(f"SR_DB_TYPE{suffix}")
    return parse_addresses(value), (kind.lower() == "clustered" if kind else None), f"named by {name}"


def credentials_from_environment(environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Read user name and password from the file that `SMARTML_DB_AUTH` names; (None, None) where it is not set."""
    name = environ.get(AUTH_FILE_VARIABLE)
    if not name:
        return None, None
    path = Path(name)
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        content = json.loads(path.read_text())
        username, password = content.get("username"), content["password"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise StoreConnectionError(
            f'{AUTH_FILE_VARIABLE} names {name!r}, which cannot be read as {{"username": …, "password": …}}: {error!r}'
        ) from error
    if mode & 0o077:
        raise StoreConnectionError(f"{AUTH_FILE_VARIABLE} names {name!r}, which others can read: chmod 600 {name}")
    return username, password


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
