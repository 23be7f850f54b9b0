"""A database on the node of a program, for that program alone: started before it, gone with it.

    srun -n 8 python colocated_start.py '{"port": 6780, …}' ./simulation --steps 100

Whatever starts the program starts, in its place, `colocated_start.py`. On each node the first of these has a keeper
(`colocated_keeper.py`) start the server; each then becomes the program, in the same process. The keeper stops the
server when the last of them has ended.
"""

import copy
import dataclasses
import json
import os
import re
import secrets
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError, DuplicateNameError, UnsupportedError
from smartml.experiment import colocated_start
from smartml.experiment.access import Access
from smartml.experiment.db_objects import DBObject, to_fields
from smartml.experiment.schedulers.local import DEFAULT_DATABASE, Databases
from smartml.experiment.schedulers.lsf import JsrunSettings
from smartml.experiment.schedulers.settings import RunSettings
from smartml.store import TLS

# What SmartRedis's client takes for a path (spec: SmartRedis on the wire, 1.1).
_SOCKET_PATH = re.compile(r"[a-zA-Z0-9.:,_\-/]*")
_SETTING = re.compile(r"[a-z][a-z0-9_-]*")

# What SmartSim tells the module that runs models in the server; here a worker beside it does, and takes this one.
_THREADS = "intra_op_parallelism"
_OF_MODELS = ("threads_per_queue", "inter_op_parallelism")

# Redis's settings that hold a password.
_SECRETS = ("requirepass", "masterauth", "user", "tls-key-file-pass", "tls-client-key-file-pass")

# The CPUs to pin a server to: numbers, or groups of them.
Pinning = Iterable[int | Iterable[int]]


@dataclass(frozen=True)
class ColocatedDatabase:
    """What was asked for; travels to the node as JSON."""

    # 0: any that is free on the node; None: no TCP.
    port: int | None = 6379
    interface: tuple[str, ...] = ("lo",)
    unix_socket: str | None = None
    # As chmod takes it: 755.
    socket_permissions: int = 755
    # None: no pinning.
    cpus: tuple[int, ...] | None = (0,)
    # The server's files stay in `<model>-db/<host>`, and its log is `<model>-db.log`, in the program's folder.
    debug: bool = False
    identifier: str = ""
    # Of the framework that runs models; None for as many as the CPUs that the server may use.
    intra_op_threads: int | None = None
    # True: one is made on the node; a path: of the file that holds it.
    password: bool | str = False
    username: str | None = None
    # True: certificates are made on the node; else the fields of `TLS`.
    tls: bool | Mapping[str, Any] = False
    # Redis's settings, by name.
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Models and scripts to put into it (db_objects.py).
    objects: tuple[Mapping[str, Any], ...] = ()
    # Of the program.
    name: str = ""
    # What all processes of one program have in common, and no other program on the node.
    token: str = ""

    @property
    def db_identifier(self) -> str:
        """The identifier, which is that of the database without suffix where none was given."""
        return self.identifier or DEFAULT_DATABASE

    @property
    def address(self) -> str:
        """Where the program finds it; port 0 stands for one that is known only on the node."""
        return f"unix://{self.unix_socket}" if self.port is None else f"127.0.0.1:{self.port}"

    def access(self) -> Access:
        """Return who may use it."""
        password = Path(self.password) if isinstance(self.password, str) else self.password
        return Access(password, self.username, TLS(**self.tls) if isinstance(self.tls, Mapping) else self.tls)

    def prelude(self) -> tuple[str, ...]:
        """Return the words that go before the program."""
        # Isolated (-I), so that no file of the program's folder stands in for one of the standard library; without what
        # is installed (-S), which is not needed and takes time.
        return (sys.executable, "-IS", colocated_start.__file__, json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, text: str) -> "ColocatedDatabase":
        """Read what `prelude` has written."""
        fields = json.loads(text)
        for name in ("interface", "cpus"):
            fields[name] = fields[name] and tuple(fields[name])
        fields["objects"] = tuple(fields["objects"])
        return cls(**fields)


class Colocation:
    """Base of Model: a program may have a database of its own on its node."""

    name: str
    db_objects: tuple[DBObject, ...]
    run_settings: RunSettings
    # What runs beside the program, if anything.
    colocated_database: ColocatedDatabase | None = None

    @property
    def colocated(self) -> bool:
        """True when the program has a database on its node."""
        return self.colocated_database is not None

    def colocate_db_tcp(
        self,
        port: int = 6379,
        ifname: str | Sequence[str] = "lo",
        db_cpus: int = 1,
        custom_pinning: Pinning | None = None,
        debug: bool = False,
        db_identifier: str = "",
        *,
        password: bool | os.PathLike[str] | None = None,
        username: str | None = None,
        tls: bool | TLS | None = None,
        **db_args: Any,
    ) -> None:
        """Give the program a database on its node, by TCP at 127.0.0.1: one for all its processes there.

        It starts before the program and ends with its last process on the node; an earlier call is replaced.
        port: 0 takes a free one on each node. ifname: interfaces to listen on besides loopback.
        custom_pinning: the CPUs that the server may use, by default the first `db_cpus`, [] for all; ignored by macOS.
        debug: keep its files in `<model>-db` and its log as `<model>-db.log`, in the program's folder.
        db_identifier: the suffix of the variables that name it (`SSDB_<db_identifier>`).
        password: True has one made on each node; or the path of a file, which all nodes see, whose first line it is.
            (Not the password itself, which would stand in a command line.) username, tls: as for `Orchestrator`; with
            tls=True each node makes certificates. The program's clients find by themselves what they need, in a file
            that only its owner can read; SmartRedis's own client knows neither passwords nor TLS.
        db_args: settings in Redis's terms, `maxmemory="3gb"`; intra_op_parallelism: the threads of what runs models.
        """
        interfaces = (ifname,) if isinstance(ifname, str) else tuple(ifname)
        if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
            raise ArgumentValueError(f"port must be 0 (any that is free) to 65535, got {port!r}")
        access = _access(password, username, tls)
        self._colocate(
            db_cpus, custom_pinning, debug, db_identifier, db_args, port=port, interface=interfaces, **access
        )

    def colocate_db_uds(
        self,
        unix_socket: str | os.PathLike[str] = "/tmp/redis.socket",
        socket_permissions: int = 755,
        db_cpus: int = 1,
        custom_pinning: Pinning | None = None,
        debug: bool = False,
        db_identifier: str = "",
        *,
        password: bool | os.PathLike[str] | None = None,
        username: str | None = None,
        **db_args: Any,
    ) -> None:
        """Give the program a database on its node, by a unix socket and not by TCP; see `colocate_db_tcp`.

        unix_socket: its path on each node. socket_permissions: as chmod takes them. What goes through it never leaves
        the node, so there is no TLS.
        """
        if "tls" in db_args:
            raise UnsupportedError(
                f"tls={db_args['tls']!r}: a unix socket is not encrypted, since nothing leaves the node; leave it out, "
                "or take colocate_db_tcp"
            )
        path = os.fspath(unix_socket)
        if not path or not _SOCKET_PATH.fullmatch(path):
            raise ArgumentValueError(f"unix_socket {path!r} may have letters, digits and any of . : , _ - / alone")
        if not isinstance(socket_permissions, int) or not re.fullmatch(r"[0-7]{3}", str(socket_permissions)):
            raise ArgumentValueError(f"socket_permissions must be as chmod takes them, 755, got {socket_permissions!r}")
        self._colocate(
            db_cpus,
            custom_pinning,
            debug,
            db_identifier,
            db_args,
            port=None,
            unix_socket=os.path.abspath(path),
            socket_permissions=socket_permissions,
            **_access(password, username, None),
        )

    def colocate_db(self, *args: Any, **kwargs: Any) -> None:
        """Call `colocate_db_tcp`, whose older name this is."""
        warnings.warn("colocate_db is now colocate_db_tcp", FutureWarning, stacklevel=2)
        self.colocate_db_tcp(*args, **kwargs)

    def _colocate(
        self,
        db_cpus: int,
        pinning: Pinning | None,
        debug: bool,
        identifier: str,
        db_args: Mapping[str, Any],
        **where: Any,
    ) -> None:
        if self.run_settings.mpmd:
            raise UnsupportedError(
                f"{self.name!r} starts several programs at once, which cannot have a database beside"
            )
        if not isinstance(db_cpus, int) or isinstance(db_cpus, bool) or db_cpus < 1:
            raise ArgumentValueError(f"db_cpus must be a whole number from 1 on, got {db_cpus!r}")
        if not isinstance(identifier, str) or not re.fullmatch(r"[A-Za-z0-9_.-]*", identifier):
            raise ArgumentValueError(f"db_identifier {identifier!r} must be made of letters, digits, '_', '-' and '.'")
        database = ColocatedDatabase(
            cpus=_cpus(db_cpus, pinning),
            debug=bool(debug),
            identifier=identifier,
            intra_op_threads=_threads(db_args),
            settings=_settings(db_args),
            objects=to_fields(self.db_objects, self.name),
            name=self.name,
            token=secrets.token_hex(4),
            **where,
        )
        self._set_database(database)
        if isinstance(self.run_settings, JsrunSettings):
            _make_room(self.run_settings, db_cpus)

    def _take_along(self, objects: Sequence[DBObject]) -> None:
        """Have models and scripts put into the program's own database, if it has one. Raises UnsupportedError."""
        if self.colocated_database is not None:
            self._set_database(dataclasses.replace(self.colocated_database, objects=to_fields(objects, self.name)))

    def _set_database(self, database: ColocatedDatabase) -> None:
        # A copy: the settings may be those of others, too.
        settings = copy.deepcopy(self.run_settings)
        settings.prelude = database.prelude()
        self.run_settings = settings
        self.colocated_database = database


def _cpus(db_cpus: int, pinning: Pinning | None) -> tuple[int, ...] | None:
    if pinning is None:
        return tuple(range(db_cpus))
    if isinstance(pinning, str) or not isinstance(pinning, Iterable):
        raise ArgumentTypeError(f"custom_pinning must be numbers of CPUs, or groups of them, got {pinning!r}")
    flat = [
        cpu
        for group in pinning
        for cpu in (group if isinstance(group, Iterable) and not isinstance(group, str) else [group])
    ]
    for cpu in flat:
        if not isinstance(cpu, int) or isinstance(cpu, bool):
            raise ArgumentTypeError(f"custom_pinning must be numbers of CPUs, or groups of them, got {cpu!r}")
        if cpu < 0:
            raise ArgumentValueError(f"custom_pinning names CPU {cpu}; they count from 0")
    return tuple(sorted(set(flat))) or None


def _threads(db_args: Mapping[str, Any]) -> int | None:
    number = db_args.get(_THREADS)
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise ArgumentValueError(f"{_THREADS} must be a whole number from 1 on, got {number!r}")
    return number


def _access(password: object, username: object, tls: object) -> dict[str, Any]:
    """Return who may use the database, in terms that may stand in a command line."""
    if isinstance(password, str):
        raise UnsupportedError(
            "a password beside a program would stand in the command line that starts it on its node: give "
            "password=True, or the path (pathlib.Path) of a file whose first line it is"
        )
    asked: Any = (password, username, tls)
    # Tells of what does not go together.
    Access(*asked)
    if isinstance(tls, TLS):
        tls = {
            name: os.path.abspath(value) if isinstance(value, str | os.PathLike) else value
            for name, value in dataclasses.asdict(tls).items()
        }
    if isinstance(password, os.PathLike):
        password = os.path.abspath(password)
    return {"password": password or False, "username": username, "tls": tls or False}


def _settings(db_args: Mapping[str, Any]) -> dict[str, str]:
    if "limit_app_cpus" in db_args:
        raise UnsupportedError(
            "limit_app_cpus: programs are not kept off the database's CPUs: use the run command's binding options"
        )
    settings = {}
    for name, value in db_args.items():
        if name == _THREADS:
            continue
        if name in _OF_MODELS:
            warnings.warn(
                f"{name} is for models that a server runs itself; here a worker does, which takes {_THREADS}",
                stacklevel=4,
            )
            continue
        if name.replace("_", "-") in _SECRETS:
            raise UnsupportedError(f"{name} would stand in a command line: use password=True, or the path of a file")
        if not _SETTING.fullmatch(name) or isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ArgumentTypeError(f"{name}={value!r} is no setting of Redis: give a str or a number")
        settings[name.replace("_", "-")] = str(value)
    return settings


def _make_room(settings: JsrunSettings, db_cpus: int) -> None:
    """Let all processes of a host share one resource set, which has enough CPUs for the server."""
    settings.set_rs_per_host(1)
    there = settings.run_args.get("cpu_per_rs", 0)
    if there != "ALL_CPUS" and int(there or 0) < db_cpus:
        settings.set_cpus_per_rs(db_cpus)


def with_own_database(model: Colocation, others: Mapping[str, Sequence[str]]) -> Databases:
    """Return the databases that a program finds: others, and its own where it has one."""
    auth_files = others.auth_files if isinstance(others, Databases) else {}
    database = model.colocated_database
    own = {} if database is None else {database.db_identifier: [database.address]}
    return Databases({**others, **own}, auth_files)


def check_identifiers(models: Iterable[Colocation], identifiers: Iterable[str]) -> None:
    """Raise DuplicateNameError when a program's own database has the identifier of another that it would get."""
    known = set(identifiers)
    for model in models:
        database = model.colocated_database
        if database is not None and database.db_identifier in known:
            raise DuplicateNameError(
                f"{model.name!r} has a database beside it whose identifier is that of another, "
                f"{database.db_identifier!r}: give one of them another by db_identifier"
            )


def log_file(folder: Path, database: ColocatedDatabase) -> Path:
    """Return where the log of a server is found that was to be debugged."""
    return folder / f"{database.name}-db.log"
