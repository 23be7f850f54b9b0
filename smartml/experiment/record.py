"""The record of a running database: a JSON file in its folder, by which another process finds it."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from smartml.errors import NotStartedError
from smartml.experiment.cluster import Shape
from smartml.experiment.guardian import Root, find_root


@dataclass(frozen=True)
class NodeRecord:
    """What another process must know of one running server."""

    name: str
    host: str
    port: int
    # The process that was started, and when, which tells it from a later process of that pid.
    pid: int
    created: float
    # The mark of its processes (guardian.py).
    mark: str
    unix_socket: str | None
    # Where it logs.
    log: str
    # The machine of which `pid` is a process; empty for this one. (A run command runs here, its server elsewhere.)
    machine: str = ""
    # The server's own process, on `host`, where that is not `pid`; which is then 0 when a batch system has started it.
    server_pid: int = 0

    @property
    def root(self) -> Root:
        """The process that was started."""
        return Root(self.pid, self.created)

    @property
    def is_process_here(self) -> bool:
        """True when this machine knows whether the process lives."""
        return self.pid != 0 and self.machine in ("", os.uname().nodename)

    def find_process(self) -> psutil.Process | None:
        """Return the process, or None when it has ended, or was never one of this machine."""
        return find_root(self.root) if self.is_process_here else None


@dataclass(frozen=True)
class DatabaseRecord:
    """What another process must know of a running database."""

    db_identifier: str
    shape: Shape
    # The primaries first, as they were started.
    nodes: tuple[NodeRecord, ...]
    # The file with what clients have to show, not that itself.
    auth_file: str | None = None
    launcher: str = "local"
    # Of each node the job of a batch system, as `BatchJob.record` tells of it; none where a process was started.
    jobs: tuple[Mapping[str, Any], ...] = ()

    def write(self, file: Path) -> None:
        """Write the file as a whole: a reader sees the old one or the new one."""
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        draft.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
        draft.replace(file)


def read_record(file: Path) -> DatabaseRecord:
    """Read the record of a database. Raises NotStartedError when there is none, or it cannot be one."""
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        record = DatabaseRecord(
            db_identifier=fields["db_identifier"],
            shape=Shape(**fields["shape"]),
            nodes=tuple(NodeRecord(**node) for node in fields["nodes"]),
            auth_file=fields.get("auth_file"),
            launcher=fields.get("launcher", "local"),
            jobs=tuple(fields.get("jobs", ())),
        )
        if len(record.nodes) != record.shape.size:
            raise ValueError(f"{len(record.nodes)} nodes are not {record.shape}")
    except FileNotFoundError:
        raise NotStartedError(f"no database was started in {file.parent} (there is no {file.name})") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotStartedError(f"{file} does not describe a database: {error!r}; delete it") from error
    return record
