"""Where a record server answers, and what it wants to see of who asks."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from smartml.errors import ArgumentValueError, RecordsAccessError

# Names the record server to whoever is started beside it: host:port.
ADDRESS_VARIABLE = "SMARTML_MONITOR"
# Names the file that holds the token, since a secret in a variable is seen by others.
TOKEN_VARIABLE = "SMARTML_MONITOR_AUTH"
# Names the file with the certificate that the server's is signed by, or the server's own.
CERTIFICATE_VARIABLE = "SMARTML_MONITOR_CERTIFICATE"
# Names the run that whoever is started beside the server belongs to, and what of it he is (as an experiment tells).
SCOPE_VARIABLE = "SMARTML_MONITOR_SCOPE"
# Where an experiment keeps its records, in its own folder.
RECORDS_FOLDER = "records"
_ENTITY_VARIABLE = "SMARTML_ENTITY"
DEFAULT_ADDRESS = "127.0.0.1:8081"


@dataclass(frozen=True)
class Access:
    """How to talk to a record server that asks for more than its address.

    token_file: holds the token that the server was started with; nobody but its owner may read it.
    certificate_file: in PEM; with it the connection is by TLS. None of both: as the variables of the environment say.
    """

    token_file: str | os.PathLike[str] | None = None
    certificate_file: str | os.PathLike[str] | None = None

    @classmethod
    def from_environment(cls) -> "Access":
        """Return what SMARTML_MONITOR_AUTH and SMARTML_MONITOR_CERTIFICATE name."""
        return cls(os.environ.get(TOKEN_VARIABLE) or None, os.environ.get(CERTIFICATE_VARIABLE) or None)

    def token(self) -> str | None:
        """Return the token. Raises RecordsAccessError."""
        return None if self.token_file is None else read_token(self.token_file)

    def certificate(self) -> bytes | None:
        """Return the certificate. Raises RecordsAccessError."""
        return None if self.certificate_file is None else read_file(self.certificate_file)


def read_token(path: str | os.PathLike[str]) -> str:
    """Return the token that a file holds, which its owner alone may read. Raises RecordsAccessError."""
    token = read_file(path).decode(errors="replace").strip()
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        raise RecordsAccessError(f"others may read the token in {os.fspath(path)}: chmod 600 it")
    if not token.isascii() or not token.isprintable() or not token:
        raise RecordsAccessError(f"{os.fspath(path)} holds no token: one line of printable ASCII is needed")
    return token


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return what a file holds. Raises RecordsAccessError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RecordsAccessError(f"{os.fspath(path)} cannot be read: {error}") from error


def default_address() -> str:
    """Return the address of the record server that the environment names, or where one is by default."""
    return os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS


def default_scope() -> str | None:
    """Return the scope that the environment names: the run and, in a program of it, `run/program`."""
    run, entity = os.environ.get(SCOPE_VARIABLE), os.environ.get(_ENTITY_VARIABLE)
    return f"{run}/{entity}" if run and entity else run or None


def is_address(target: str) -> bool:
    """Tell whether this is host:port, and not a path: the part behind the last colon is a number, and no file is so."""
    host, colon, port = target.rpartition(":")
    return bool(colon and host) and port.isascii() and port.isdigit() and not os.path.exists(target)


def checked_address(address: object) -> str:
    """Return host:port. Raises ArgumentValueError."""
    if not isinstance(address, str) or not is_address(address):
        raise ArgumentValueError(
            f"the address of a record server is host:port, such as {DEFAULT_ADDRESS}, not {address!r}"
        )
    return address
