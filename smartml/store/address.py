"""Where a database is and how to get there: addresses, TLS, timeouts (pure: nothing is connected here)."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreConnectionError

# A century; what the kernel is told must fit into a C long.
_LONGEST_TIMEOUT_S = 100 * 365 * 24 * 3600
_ADDRESS_FORMS = "write 'host:port' or 'unix:///path/of/socket'"
# Names and IP addresses, IPv6 with its colons and perhaps an interface behind a percent sign.
_HOST = re.compile(r"[\w.:%-]+")


class ServerAddress(NamedTuple):
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
    # How long one command may go without progress; on a cluster, with all its attempts, as nodes and slots move.
    timeout_s: float = 60.0
    # How long to go on knocking at a server that is not there yet.
    connect_timeout_s: float = 5.0
    # How long a put waits for room in a database whose memory is used up; 0: not at all.
    full_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.cluster is not None:
            _check_type("cluster", self.cluster, bool, "True, False or None")
        if self.tls is not None:
            _check_type("tls", self.tls, TLS, "a smartml.store.TLS or None")
        for name in ("username", "password"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), str):
                raise ArgumentTypeError(f"{name} must be str or None, not {type(getattr(self, name)).__name__}")
        if self.username is not None and self.password is None:
            # Not the name itself: in a URL it may be the password, with the colon before it forgotten.
            raise ArgumentValueError("a user name is given without a password")
        for name in ("timeout_s", "connect_timeout_s"):
            value = getattr(self, name)
            _check_type(name, value, Real, "a number of seconds")
            if not 0 < value <= _LONGEST_TIMEOUT_S:
                raise ArgumentValueError(f"{name} must be above 0 and at most {_LONGEST_TIMEOUT_S} s, not {value}")
        _check_type("full_timeout_s", self.full_timeout_s, Real, "a number of seconds")
        if not 0 <= self.full_timeout_s <= _LONGEST_TIMEOUT_S:
            raise ArgumentValueError(
                f"full_timeout_s must be from 0 to {_LONGEST_TIMEOUT_S} s, not {self.full_timeout_s}"
            )

    def in_random_order(self) -> list[ServerAddress]:
        """List the addresses so that many clients spread over the nodes of a cluster."""
        return random.sample(self.addresses, len(self.addresses))


def _check_type(name: str, value: object, expected: type, words: str) -> None:
    if not isinstance(value, expected):
        raise ArgumentTypeError(f"{name} must be {words}, not {type(value).__name__}: {value!r:.80}")


def parse_addresses(text: str) -> tuple[ServerAddress, ...]:
    """Read `host:port`, `tcp://host:port`, `unix://path`, or several of them separated by commas."""
    if not isinstance(text, str):
        raise ArgumentTypeError(f"an address is text such as '127.0.0.1:6379', not {type(text).__name__}: {text!r:.80}")
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ArgumentValueError(f"{text!r} holds no address; {_ADDRESS_FORMS}")
    return tuple(_parse_address(part) for part in parts)


def _parse_address(text: str) -> ServerAddress:
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path or "\0" in path:
            raise ArgumentValueError(f"{text!r} is not an address; {_ADDRESS_FORMS}")
        return ServerAddress(unix_socket=path)
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    # `[` marks an IPv6 host, whose own colons would hide the one before the port.
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not colon or not is_port or not _HOST.fullmatch(host):
        hint = "a URL goes to Client.from_url" if "://" in host or "@" in host else _ADDRESS_FORMS
        raise ArgumentValueError(f"{_without_password(text)!r} is not an address; {hint}")
    return ServerAddress(host, int(port))


def settings_from_url(url: str) -> ConnectionSettings:
    """Read `redis://[user:password@]host:port[/database]`, `rediss://…` (TLS) or `unix://[user:password@]/path`."""
    if not isinstance(url, str):
        raise ArgumentTypeError(f"a database URL is text, not {type(url).__name__}: {url!r:.80}")
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
        database = int(parts.path.strip("/") or 0) if parts.scheme != "unix" else 0
    except ValueError:
        # Not the reason itself: it quotes what stands for the port, which a '#' or '/' in a password makes part of it.
        raise ArgumentValueError(
            f"{_without_password(url)!r} is not a database URL: write redis://user:password@host:port/number, with "
            "'%23' for '#', '%2F' for '/' and '%3F' for '?' in a password"
        ) from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ArgumentValueError(
            f"{_without_password(url)!r} is not a database URL; it begins redis://, rediss:// or unix://"
        )
    if parts.query or parts.fragment:
        raise ArgumentValueError(
            f"{_without_password(url)!r} has a part behind '?' or '#', which nobody would read: give timeouts and the "
            "like as arguments"
        )
    if parts.scheme == "unix":
        address = parse_addresses(f"unix://{unquote(parts.path)}")[0]
    else:
        address = ServerAddress(parts.hostname or "127.0.0.1", port)
    return ConnectionSettings(
        addresses=(address,),
        found="given as a URL",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=TLS() if parts.scheme == "rediss" else None,
        database=database,
    )


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
    try:
        addresses = parse_addresses(value)
    except ArgumentValueError as error:
        raise ArgumentValueError(f"the environment variable {name} is wrong: {error}") from error
    return addresses, (kind.lower() == "clustered" if kind else None), f"named by {name}"


def _without_password(text: str) -> str:
    before, at, address = text.rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}{slashes}…@{address}" if at and slashes else f"…@{address}" if at else text
