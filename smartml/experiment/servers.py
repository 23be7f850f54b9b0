"""The servers that a database consists of, and what they tell."""

from typing import Any

from smartml.errors import NotStartedError, StoreError
from smartml.experiment.cluster import covers_all_slots
from smartml.experiment.description import DatabaseDescription
from smartml.experiment.job import Job
from smartml.experiment.node import Node


class Servers:
    """Base of Orchestrator: where its servers are, and how they are doing."""

    name: str
    _description: DatabaseDescription
    # The primaries first, from their start on; also when another process started them.
    _nodes: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The servers, each with its name, address, pid, log and status: primaries first. Empty before the start."""
        return self._nodes

    @property
    def port(self) -> int:
        """The port, of a cluster that of its first node; 0 until a free one was taken."""
        return self.ports[0]

    @property
    def ports(self) -> list[int]:
        """The port of each server."""
        return [node.port for node in self._nodes] or self._description.given_ports

    @property
    def hosts(self) -> list[str]:
        """The IP addresses of the servers' hosts; empty before the start."""
        return list(dict.fromkeys(node.record.host for node in self._nodes))

    @property
    def address(self) -> str:
        """The address for clients, `127.0.0.1:6780`, those of a cluster with commas between them.

        Raises NotStartedError before the start.
        """
        return ",".join(self.get_address())

    @property
    def unix_socket(self) -> str | None:
        """The path of the unix socket, if one was asked for. Raises NotStartedError before the start."""
        return self._started_nodes()[0].record.unix_socket

    @property
    def pid(self) -> int:
        """The process of the (first) server. Raises NotStartedError before the start."""
        return self.pids[0]

    @property
    def pids(self) -> list[int]:
        """The process of each server. Raises NotStartedError before the start."""
        return [node.pid for node in self._started_nodes()]

    @property
    def log(self) -> str:
        """The path of the (first) server's log. Raises NotStartedError before the start."""
        return self.logs[0]

    @property
    def logs(self) -> list[str]:
        """The path of each server's log. Raises NotStartedError before the start."""
        return [node.log for node in self._started_nodes()]

    @property
    def job(self) -> Job | None:
        """The (first) server's process, or batch job, when this process started it."""
        return next(iter(self.jobs), None)

    @property
    def jobs(self) -> list[Job]:
        """The process of each server as a job, when this process started it, or the batch jobs; one may run several."""
        return list(dict.fromkeys(node.job for node in self._nodes if node.job is not None))

    def get_address(self) -> list[str]:
        """Return the addresses for clients, one of each server. Raises NotStartedError before the start."""
        return [node.address for node in self._started_nodes()]

    def is_active(self) -> bool:
        """Return True when the server answers, or in a cluster all slots are served."""
        healthy = [node for node in self._nodes if node.is_running and node.is_healthy()]
        if not healthy or len(healthy) == len(self._nodes):
            return bool(healthy)
        # A node is not missed any more once a replica serves its slots.
        try:
            return covers_all_slots(healthy[0].slot_owners(), [node.port for node in healthy])
        except StoreError:
            return False

    def info(self, section: str | None = None) -> dict[str, Any]:
        """Return what Redis's INFO tells; of a cluster, the first node that runs (`nodes` has the others).

        Raises StoreConnectionError when it does not answer.
        """
        nodes = self._started_nodes()
        return next((node for node in nodes if node.is_running), nodes[0]).info(section)

    def _started_nodes(self) -> tuple[Node, ...]:
        if not self._nodes:
            raise NotStartedError(f"database {self.name!r} was not started; call its start(), or exp.start(db)")
        return self._nodes
