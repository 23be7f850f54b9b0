"""Start the servers of a database by a launcher, on the hosts of an allocation or in a batch job of its own."""

import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smartml.errors import SchedulerError, ServerStartError
from smartml.experiment.access import Entrance
from smartml.experiment.batch_jobs import BatchJob, submit
from smartml.experiment.batch_watcher import ask
from smartml.experiment.description import DatabaseDescription
from smartml.experiment.folder import DatabaseFolder
from smartml.experiment.hosting import Request, Step, batch_job, check_hosts, steps
from smartml.experiment.job import Job
from smartml.experiment.node import Node
from smartml.experiment.output import keep_earlier
from smartml.experiment.places import Call, Place, first_line, place_file, wait_for_places
from smartml.experiment.process import ProcessJob
from smartml.experiment.readiness import wait_until_ready
from smartml.experiment.record import NodeRecord
from smartml.experiment.schedulers.batch_system import first_words
from smartml.experiment.schedulers.launchers import batch_system
from smartml.experiment.schedulers.local import Command
from smartml.experiment.supervisor import supervisor
from smartml.store.credentials import write_secret

logger = logging.getLogger(__name__)

# A host may wait for its configuration while others still wait to be started.
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class HostedStart:
    """One start of a database by its launcher."""

    request: Request
    wanted: DatabaseDescription
    folder: DatabaseFolder
    # Names of network interfaces on the hosts.
    interface: tuple[str, ...]
    # How long it may take from when the servers could be started: a queue may take longer.
    timeout_s: float

    def start(
        self, settings: Mapping[str, str], on_end: Callable[[Any], None], detach: bool
    ) -> tuple[list[Node], Entrance, tuple[str, ...]]:
        """Return the servers once they serve, how to log in, and the addresses by which other machines reach them.

        What was started until then is stopped on an error. Raises ServerStartError, LaunchError, ArgumentValueError.
        """
        call = self.call(secrets.token_hex(8))
        jobs: dict[str, Job] = {}
        try:
            self._launch(call, jobs, on_end, detach)
            places = self._wait_for_places(call, jobs)
            wanted = replace(
                self.wanted, addresses=tuple(dict.fromkeys(one for place in places for one in place.addresses))
            )
            entrance = wanted.access.prepare(self.folder.auth_file, wanted.listening)
            nodes = [
                self._node(index, name, place, jobs[name], entrance)
                for index, (name, place) in enumerate(zip(call.names, places, strict=True))
            ]
            self._configure(call, places, entrance, settings)
            wait_until_ready(nodes, self.timeout_s)
        except BaseException:
            supervisor.stop(dict.fromkeys(jobs.values()))
            raise
        finally:
            for name in call.names:
                place_file(self.folder.path, name).unlink(missing_ok=True)
        for job in jobs.values():
            if isinstance(job, BatchJob):
                job.note_running()
        return nodes, entrance, wanted.exposed

    def with_hosts(self) -> "HostedStart":
        """Return the same with the hosts of the allocation, which is asked now. Raises ServerStartError."""
        if self.request.batch is not None or self.request.hosts:
            return self
        return replace(self, request=replace(self.request, hosts=tuple(self._hosts_of_allocation())))

    def launch_again(
        self, index: int, ports: Sequence[int], on_end: Callable[[Any], None], detach: bool
    ) -> tuple[ProcessJob, Call]:
        """Start one server of an allocation again, on its host, and return at once; it waits for `serve_again`.

        Raises LaunchError.
        """
        call = replace(self.call(secrets.token_hex(8)), ports=tuple(ports))
        step = self.commands(call)[index]
        job = self._launch_step(step, on_end, detach)
        return job, replace(call, names=step.names, ports=(ports[index],))

    def serve_again(
        self, index: int, call: Call, job: Job, ports: Sequence[int], entrance: Entrance, settings: Mapping[str, str]
    ) -> Node:
        """Have a server that was started again serve at its port; return it at once. Raises ServerStartError."""
        (name,) = call.names
        try:
            (place,) = self._wait_for_places(call, {name: job})
        finally:
            place_file(self.folder.path, name).unlink(missing_ok=True)
        self._write_config(index, call.token, place, ports, entrance, settings)
        return self._node(index, name, place, job, entrance)

    def call(self, token: str) -> Call:
        """Return what the run commands take to the hosts."""
        shape = self.wanted.shape
        return Call(
            tuple(shape.names(self.wanted.identifier)),
            str(self.folder.path),
            token,
            self.interface,
            tuple(self.wanted.given_ports),
            shape.is_cluster,
            (),
            self.timeout_s + _PATIENCE_S,
        )

    def commands(self, call: Call) -> list[Step]:
        """Return the run commands of an allocation. Raises ArgumentValueError where there are no hosts."""
        hosts = self.request.hosts or tuple(self._hosts_of_allocation())
        check_hosts(self.request, self.wanted.shape, hosts, self.wanted.identifier)
        return steps(self.request, self.wanted.shape, self.folder, call, hosts)

    def _hosts_of_allocation(self) -> list[str]:
        system = batch_system(self.request.launcher)
        environment: Mapping[str, str] = os.environ
        if self.request.alloc is not None:
            said = ask(["squeue", "--noheader", f"--jobs={self.request.alloc}", "--format=%N"])
            if said.code or not said.out.strip():
                raise ServerStartError(f"allocation {self.request.alloc} has no hosts: {said.text}")
            environment = {"SLURM_JOB_NODELIST": said.out.strip()}
        source = system.allocation_hosts(environment)
        if source is None:
            return []
        text = source.text
        try:
            if source.command:
                answer = ask(source.command)
                if answer.code:
                    raise SchedulerError(answer.text)
                text = answer.out
            elif source.file:
                text = Path(source.file).read_text(encoding="utf-8")
        except (OSError, SchedulerError) as error:
            raise ServerStartError(f"the hosts of this allocation cannot be told: {error}") from error
        return first_words(text.splitlines())

    def _launch(self, call: Call, jobs: dict[str, Job], on_end: Callable[[Any], None], detach: bool) -> None:
        if self.request.batch is None:
            for step in self.commands(call):
                self._keep_outputs(step)
                jobs.update(dict.fromkeys(step.names, self._launch_step(step, on_end, detach)))
            return
        plan, in_job = batch_job(self.request, self.wanted.shape, self.folder, call)
        for step in in_job:
            self._keep_outputs(step)

        def note(started: Sequence[BatchJob]) -> None:
            for step, job in zip(in_job, started, strict=True):
                jobs.update(dict.fromkeys(step.names, job))
                supervisor.adopt(job, on_end=on_end)

        # In a thread of its own: an interrupt must not come between a job and its id, by which alone it can be ended.
        with ThreadPoolExecutor(max_workers=1) as pool:
            submission = pool.submit(submit, plan)
            try:
                note(submission.result())
            except KeyboardInterrupt:
                if not jobs:
                    note(submission.result())
                raise
        logger.info("database %s is handed in as %s", self.wanted.identifier, next(iter(jobs.values())).title)

    def _launch_step(self, step: Step, on_end: Callable[[Any], None], detach: bool) -> ProcessJob:
        settings, placement = step.settings, step.placement
        out, err = Path(placement.out), Path(placement.err)
        argv = tuple(settings.command(placement))
        if settings.writes_output:
            # What the run command says itself must not get between what the server says.
            log = self.folder.path / f"{placement.name}.launch.log"
            command = Command(argv, self.folder.path, os.environ, log, log, written=(err, out))
        else:
            command = Command(argv, self.folder.path, os.environ, out, err)
        return supervisor.launch(placement.name, command, is_service=True, on_end=on_end, detach=detach)

    def _keep_outputs(self, step: Step) -> None:
        if len(step.names) > 1:
            for index in range(len(step.names)):
                keep_earlier(self.folder.output_file(index, "out"), self.folder.output_file(index, "err"))

    def _wait_for_places(self, call: Call, jobs: Mapping[str, Job]) -> list[Place]:
        since: list[float] = []

        def left_s() -> float:
            if not all(job.has_started for job in jobs.values()):
                return self.timeout_s
            since[:] = since or [time.monotonic()]
            return since[0] + self.timeout_s - time.monotonic()

        def check(name: str) -> None:
            if (job := jobs[name]).has_ended:
                raise ServerStartError(
                    f"the database server {name} ended while starting: {job.title}: {job.ending}; {job.last_words}"
                )

        return wait_for_places(self.folder.path, call.names, call.token, check, left_s)

    def _configure(self, call: Call, places: Sequence[Place], entrance: Entrance, settings: Mapping[str, str]) -> None:
        wanted, is_kept = self.wanted, self.wanted.persistence is not None
        addresses = [(place.addresses[0], place.port) for place in places]
        self.folder.write_nodes_files(wanted.shape, addresses, is_kept)
        ports = [place.port for place in places]
        for index, place in enumerate(places):
            self._write_config(index, call.token, place, ports, entrance, settings)

    def _write_config(
        self,
        index: int,
        token: str,
        place: Place,
        ports: Sequence[int],
        entrance: Entrance,
        settings: Mapping[str, str],
    ) -> None:
        own = replace(self.wanted, addresses=place.addresses)
        config = own.configs(self.folder, ports, entrance, settings)[index]
        write_secret(self.folder.path / f"{config.name}.conf", first_line(token) + config.text())

    def _node(self, index: int, name: str, place: Place, job: Job, entrance: Entrance) -> Node:
        root = (job.pid, job.root.created, job.mark) if isinstance(job, ProcessJob) else (0, 0.0, "")
        record = NodeRecord(
            name,
            place.addresses[0],
            place.port,
            *root,
            None,
            str(self.folder.output_file(index, "out")),
            machine=os.uname().nodename,
            server_pid=place.pid,
        )
        return Node(self.wanted.identifier, record, job, entrance.credentials)
