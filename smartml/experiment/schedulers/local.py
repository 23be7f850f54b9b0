"""Programs on this machine: the command line of one, and the environment it gets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartml.experiment.schedulers.settings import RunSettings


@dataclass(frozen=True)
class Command:
    """One program, ready to be started."""

    argv: tuple[str, ...]
    # The folder it runs in.
    folder: Path
    # Its whole environment.
    environment: Mapping[str, str]
    # Where its standard output and error go.
    out: Path
    err: Path
    # Files that it writes by itself and that say more of it, the most telling first.
    written: tuple[Path, ...] = ()


class Databases(dict[str, Sequence[str]]):
    """The databases that a program finds: their addresses by identifier.

    auth_files: by identifier, too, the files with what clients have to show.
    """

    def __init__(self, addresses: Mapping[str, Sequence[str]], auth_files: Mapping[str, str] | None = None) -> None:
        super().__init__(addresses)
        self.auth_files = dict(auth_files or {})


def command_line(settings: RunSettings, folder: str = "") -> tuple[str, ...]:
    """Return the words of the command that runs the program here; `folder` is where, for a container to see it."""
    return tuple(settings.local_command(folder))


def child_environment(
    caller: Mapping[str, str],
    databases: Mapping[str, Sequence[str]],
    reads_from: Iterable[str] = (),
    writes_as: str | None = None,
    own: Mapping[str, str | None] | None = None,
    log: Path | None = None,
) -> dict[str, str]:
    """Return the environment of a program: the caller's, what finds the databases, and the program's own on top.

    `databases` maps identifier -> addresses. The caller's SSDB... are kept only when the experiment has no database,
    so that a script may use one that it did not start; SSKEYIN and SSKEYOUT describe the caller, never its programs.
    `log` is where a SmartRedis client reports what went wrong; on the standard output it would get between results.
    """
    stale = ("SSKEYIN", "SSKEYOUT", *(("SSDB", "SR_DB_TYPE", AUTH_VARIABLE) if databases else ()))
    suffixed = tuple(f"{variable}_" for variable in stale)
    environment = {name: value for name, value in caller.items() if name not in stale and not name.startswith(suffixed)}
    environment.setdefault("PYTHONUNBUFFERED", "1")  # Output that can be followed, and is there after a crash.
    environment.setdefault("SR_LOG_LEVEL", "INFO")  # Without it, and a file, every client begins with a warning.
    if log is not None:
        environment.setdefault("SR_LOG_FILE", str(log))
    for identifier, addresses in databases.items():
        environment |= _database_variables(identifier, addresses, reads_from, writes_as, caller)
    auth_files = databases.auth_files if isinstance(databases, Databases) else {}
    for identifier, file in auth_files.items():
        environment[f"{AUTH_VARIABLE}{_suffix(identifier)}"] = file
    if not databases:
        environment |= _key_variables("", reads_from, writes_as)
    for name, value in (own or {}).items():
        environment[name] = caller.get(name, "") if value is None else value
    if "SSDB" in environment:
        # Without SR_DB_TYPE a SmartRedis client takes a single server for a cluster, and retries for 100 s.
        database_type = _database_type(environment["SSDB"].split(","))
        environment = {**_CLIENT_PATIENCE, "SR_DB_TYPE": database_type, **environment}
    return environment


# How a SmartRedis client waits (spec: SmartRedis on the wire, 1.2 and 1.3). Its default gives up on a reply after
# 250 ms and sends the command again, up to 101 times: a slow write is then done more than once, an append to a list
# leaves several entries. Ten minutes are more than the largest value takes, so only a lost connection is ever retried:
# every second for half a minute, which outlasts a restart of the database. Attempts are counted, not timed, as
# timeout * 1000 // interval + 1, each with its own socket timeout.
_CLIENT_PATIENCE = {
    "SR_SOCKET_TIMEOUT": "600000",  # ms
    "SR_CMD_INTERVAL": "1000",  # ms
    "SR_CMD_TIMEOUT": "30",  # s
    "SR_CONN_INTERVAL": "1000",  # ms
    "SR_CONN_TIMEOUT": "30",  # s
}

# Names the file with what the clients of a database have to show (store/credentials.py).
AUTH_VARIABLE = "SMARTML_DB_AUTH"

# The identifier whose variables carry no suffix.
DEFAULT_DATABASE = "orchestrator"


def _suffix(identifier: str) -> str:
    return "" if identifier == DEFAULT_DATABASE else f"_{identifier}"


def _database_variables(
    identifier: str,
    addresses: Sequence[str],
    reads_from: Iterable[str],
    writes_as: str | None,
    caller: Mapping[str, str],
) -> dict[str, str]:
    suffix = _suffix(identifier)
    # Set with its suffix for every database: a client never falls back on the name without one.
    patience = {f"{name}{suffix}": value for name, value in _CLIENT_PATIENCE.items()}
    return {
        f"SSDB{suffix}": ",".join(addresses),
        f"SR_DB_TYPE{suffix}": _database_type(addresses),
        **{name: caller.get(name, value) for name, value in patience.items()},
        **_key_variables(suffix, reads_from, writes_as),
    }


def _database_type(addresses: Sequence[str]) -> str:
    return "Clustered" if len(addresses) > 1 else "Standalone"


def _key_variables(suffix: str, reads_from: Iterable[str], writes_as: str | None) -> dict[str, str]:
    variables = {f"SSKEYIN{suffix}": ",".join(reads_from), f"SSKEYOUT{suffix}": writes_as or ""}
    return {name: value for name, value in variables.items() if value}
