"""Programs on this machine: how to run one, its command line, and the environment it gets."""

import copy
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartml.errors import ArgumentTypeError, ArgumentValueError, ProgramNotFoundError

# What may be given as the value of an environment variable.
EnvValue = str | int | float | bool | None


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


class RunSettings:
    """Describe how to run one program.

    `exe` is looked up on the PATH at once; `python` and `python3` mean the interpreter that runs this script, whatever
    the PATH says, so that a script started from an environment that was not activated starts its programs in it.
    `exe_args`: a list, or one string, which is split as a shell would. `run_command` and `run_args` are put before the
    program as they are. A variable of `env_vars` whose value is None is taken over from the caller's environment.
    Raises ProgramNotFoundError.
    """

    def __init__(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_command: str | None = "",
        run_args: Mapping[str, str | int | float | None] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
    ) -> None:
        self.exe = [find_program(exe)]
        self.exe_args = _words(exe_args)
        self.run_command = None if run_command in (None, "", "auto") else find_program(str(run_command))
        self.run_args = copy.deepcopy(dict(run_args or {}))
        self.env_vars: dict[str, str | None] = {}
        self.update_env(env_vars or {})

    def add_exe_args(self, args: str | Sequence[str]) -> None:
        """Append arguments of the program."""
        self.exe_args += _words(args)

    def update_env(self, env_vars: Mapping[str, EnvValue]) -> None:
        """Add environment variables; they win over all that smartml sets."""
        if not isinstance(env_vars, Mapping):
            raise ArgumentTypeError(f"env_vars must map names to values, got {type(env_vars).__name__}")
        for name, value in env_vars.items():
            if not isinstance(value, EnvValue):
                raise ArgumentTypeError(
                    f"environment variable {name!r} must be a str, number or bool, got {type(value).__name__}"
                )
            if not isinstance(name, str) or not name or "=" in name or "\0" in f"{name}{value}":
                raise ArgumentValueError(f"{name!r}={value!r} cannot be an environment variable")
        self.env_vars |= {name: None if value is None else str(value) for name, value in env_vars.items()}

    def format_run_args(self) -> list[str]:
        """Return the arguments of the run command as words."""
        words = ([name] if value is None else [name, str(value)] for name, value in self.run_args.items())
        return [word for pair in words for word in pair]


def find_program(exe: str) -> str:
    """Return the absolute path of a program. Raises ProgramNotFoundError."""
    if not isinstance(exe, str):
        raise ArgumentTypeError(f"a program is named by a str, got {type(exe).__name__}: {exe!r}")
    if exe in ("python", "python3") and sys.executable:
        return sys.executable
    found = shutil.which(os.path.expanduser(exe))
    if found is None:
        raise ProgramNotFoundError(_why_not_found(exe))
    # Not resolved: a program may look at the name it is called by.
    return os.path.abspath(found)


def command_line(settings: RunSettings) -> tuple[str, ...]:
    """Return the words of the command that runs the program here."""
    launcher = [settings.run_command, *settings.format_run_args()] if settings.run_command else []
    return (*launcher, *settings.exe, *settings.exe_args)


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
    stale = ("SSKEYIN", "SSKEYOUT", *(("SSDB", "SR_DB_TYPE") if databases else ()))
    environment = {name: value for name, value in caller.items() if not _is_one_of(name, stale)}
    environment.setdefault("PYTHONUNBUFFERED", "1")  # Output that can be followed, and is there after a crash.
    environment.setdefault("SR_LOG_LEVEL", "INFO")  # Without it, and a file, every client begins with a warning.
    if log is not None:
        environment.setdefault("SR_LOG_FILE", str(log))
    for identifier, addresses in databases.items():
        environment |= _database_variables(identifier, addresses, reads_from, writes_as, caller)
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

# The identifier whose variables carry no suffix.
DEFAULT_DATABASE = "orchestrator"


def _database_variables(
    identifier: str,
    addresses: Sequence[str],
    reads_from: Iterable[str],
    writes_as: str | None,
    caller: Mapping[str, str],
) -> dict[str, str]:
    suffix = "" if identifier == DEFAULT_DATABASE else f"_{identifier}"
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


def _is_one_of(name: str, variables: Iterable[str]) -> bool:
    return any(name == variable or name.startswith(f"{variable}_") for variable in variables)


def _words(args: str | Sequence[str] | None) -> list[str]:
    if args is None:
        return []
    if isinstance(args, str):
        try:
            return shlex.split(args)
        except ValueError as error:
            raise ArgumentValueError(f"arguments {args!r}: {error}; give a list of words instead") from error
    if not isinstance(args, Sequence) or not all(isinstance(word, str) for word in args):
        raise ArgumentTypeError(f"arguments must be a str or a list of str, got {args!r}")
    return list(args)


def _why_not_found(exe: str) -> str:
    if os.path.isdir(exe):
        return f"{exe!r} is a folder, not a program"
    if os.path.isfile(exe):
        return f"{exe!r} is not executable: `chmod +x` it, or run it by its interpreter, as in exe='python'"
    where = f"{os.getcwd()}" if os.sep in exe else "the PATH"
    return f"program {exe!r} is not found in {where}: install it, or give its full path"
