"""A database as it was asked for, and what its servers are configured with."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.access import Access, Entrance
from smartml.experiment.cluster import BUS_OFFSET, Shape
from smartml.experiment.folder import DatabaseFolder
from smartml.experiment.inference import InferenceWorkers
from smartml.experiment.schedulers.local import DEFAULT_DATABASE
from smartml.experiment.server import PERSISTENCE, SOCKET_PATH_BYTES, ServerConfig, largest_value, memory_bytes
from smartml.store.module import find_module

# What may be part of a file's and of an environment variable's name.
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class DatabaseDescription:
    """What was asked for, checked; the fields are the arguments of `Orchestrator`."""

    identifier: str = DEFAULT_DATABASE
    shape: Shape = field(default_factory=Shape)
    # Of the first server; 0 for any that is free, None for a unix socket alone.
    port: int | None = 6379
    # IP addresses to listen on; the first one is handed out.
    addresses: tuple[str, ...] = ("127.0.0.1",)
    unix_socket: str | os.PathLike[str] | bool | None = None
    max_memory: int | str | None = None
    persistence: str | None = None
    access: Access = field(default_factory=Access)
    # How often in a row a server that has ended by itself is started again.
    restarts: int = 0
    # What runs the models that are stored in it.
    inference: InferenceWorkers = field(default_factory=InferenceWorkers)

    def __post_init__(self) -> None:
        self._check_port()
        has_socket = self.unix_socket not in (None, False)
        if self.shape.is_cluster and (has_socket or self.port is None):
            raise ArgumentValueError(
                f"unix_socket={self.unix_socket!r} with db_nodes={self.shape.primaries}: clients reach the nodes of a "
                "cluster by TCP alone; leave it out, or use db_nodes=1"
            )
        if self.port is None and not has_socket:
            raise ArgumentValueError("port=None, no TCP, leaves no way in: add unix_socket=True, or give a port")
        if not isinstance(self.identifier, str) or not _IDENTIFIER.fullmatch(self.identifier):
            raise ArgumentValueError(
                f"db_identifier {self.identifier!r} must be made of letters, digits, '_', '-' and '.'"
            )
        if self.persistence is not None and self.persistence not in PERSISTENCE:
            kinds = "; ".join(f"{kind!r}: {meaning}" for kind, meaning in PERSISTENCE.items())
            raise ArgumentValueError(f"persistence {self.persistence!r} is unknown; there are None and {kinds}")
        if self.max_memory is not None:
            memory_bytes(self.max_memory)
        if not isinstance(self.restarts, int) or isinstance(self.restarts, bool) or self.restarts < 0:
            raise ArgumentValueError(f"restarts must be a whole number from 0 on, got {self.restarts!r}")
        if self.restarts and self.persistence is None:
            raise ArgumentValueError(
                f"restarts={self.restarts} without persistence: the database would come back empty; add "
                "persistence='aof', which keeps every write"
            )

    @property
    def listening(self) -> tuple[str, ...]:
        """The IP addresses to listen on: the one that is handed out first, and loopback in any case."""
        # From the first one, too, the nodes of a cluster reach each other.
        return tuple(dict.fromkeys([*self.addresses, "127.0.0.1"]))

    @property
    def exposed(self) -> tuple[str, ...]:
        """The IP addresses by which other machines reach it."""
        return tuple(address for address in self.addresses if not address.startswith("127."))

    @property
    def given_ports(self) -> list[int]:
        """The port of each server, 0 where it is not given."""
        return [self.port + index if self.port else 0 for index in range(self.shape.size)]

    def configs(
        self, folder: DatabaseFolder, ports: Sequence[int], entrance: Entrance, settings: Mapping[str, str]
    ) -> list[ServerConfig]:
        """Return the configuration of each server. Raises ArgumentValueError where the socket's path is too long."""
        nodes_files = folder.nodes_files(self.shape, bool(self.persistence))
        socket = self._socket_path(folder.path)
        return [
            ServerConfig(
                name=name,
                port=port,
                bind=self.listening,
                unix_socket=socket,
                max_memory=self.max_memory,
                persistence=self.persistence,
                max_value_bytes=largest_value(self.max_memory),
                nodes_file=None if nodes_file is None else nodes_file.name,
                module=find_module(),
                module_words=self.inference.module_words(
                    name, f"unix://{socket}" if socket else f"{self.listening[0]}:{port}", entrance.auth_file
                ),
                port_lines=tuple(entrance.port_lines(port)),
                user_lines=tuple(entrance.user_lines()),
                peer_lines=tuple(entrance.cluster_lines()),
                settings=settings,
            )
            for name, port, nodes_file in zip(self.shape.names(self.identifier), ports, nodes_files, strict=True)
        ]

    def _check_port(self) -> None:
        if self.port is None:
            return
        if not isinstance(self.port, int) or isinstance(self.port, bool):
            raise ArgumentTypeError(f"port must be an int, got {type(self.port).__name__}: {self.port!r}")
        shape = self.shape
        highest = 65535 if not shape.is_cluster else 65535 - BUS_OFFSET - (shape.size - 1)
        if not 0 <= self.port <= highest:
            why = f", since {shape.size} nodes need the ports that follow and those {BUS_OFFSET} above"
            raise ArgumentValueError(
                f"port must be 0 (any that is free) to {highest}, got {self.port}{why if shape.is_cluster else ''}"
            )

    def _socket_path(self, folder: Path) -> str | None:
        if self.unix_socket is None or self.unix_socket is False:
            return None
        given = f"{self.identifier}.sock" if self.unix_socket is True else self.unix_socket
        path = os.path.join(folder, os.fspath(given))
        size = len(os.fsencode(path)) + 1
        if size > SOCKET_PATH_BYTES:
            raise ArgumentValueError(
                f"the path of the unix socket takes {size} bytes, the system allows {SOCKET_PATH_BYTES}: "
                f"{path}; name a shorter one by unix_socket="
            )
        return path
