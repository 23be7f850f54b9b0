"""A job that is a process of this machine, with all that descends from it."""

import contextlib
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from smartml.experiment.guardian import GRACE_S, MARK_VARIABLE, Root, end_processes
from smartml.experiment.job import Job
from smartml.experiment.output import keep_earlier
from smartml.experiment.schedulers.local import Command
from smartml.experiment.states import Status

logger = logging.getLogger(__name__)


class ProcessJob(Job):
    """One started program; made by `Supervisor.launch`."""

    def __init__(
        self,
        name: str,
        command: Command,
        mark: str,
        process: "subprocess.Popen[bytes]",
        is_service: bool = False,
        scratch: str | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        super().__init__(name, is_service, grace_s)
        # The mark of a folder to delete with this process, if it uses one.
        self.scratch = scratch
        self.command = command
        self.pid = process.pid
        self.mark = mark
        self.root = Root(process.pid, psutil.Process(process.pid).create_time())
        self._process = process

    @property
    def id(self) -> str:
        """The process."""
        return str(self.pid)

    @property
    def title(self) -> str:
        """`pid 4711`."""
        return f"pid {self.pid}"

    def wait(self) -> int:
        """Block until the process has ended; return its exit code."""
        return self._process.wait()

    def collect(self) -> None:
        """Note how the process has ended."""
        self.end(self._process.wait())

    @classmethod
    def cancel(cls, jobs: Sequence[Any], grace_s: float | None = None) -> None:
        """End the processes of these jobs and all that descends from them; return when they are gone."""
        own = {job.mark: job.grace_s for job in jobs} if grace_s is None else {}
        end_marked({job.mark: job.root for job in jobs}, GRACE_S if grace_s is None else grace_s, own)

    def _present_status(self) -> Status:
        with contextlib.suppress(psutil.Error):
            if psutil.Process(self.pid).status() == psutil.STATUS_STOPPED:
                return Status.STATUS_PAUSED
        return Status.STATUS_RUNNING

    def _output_files(self) -> Sequence[Path]:
        return (self.command.err, self.command.out)


def start_process(command: Command, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a program with its output in its files; those of an earlier run are kept. Raises OSError."""
    command.folder.mkdir(parents=True, exist_ok=True)
    for file in (command.out, command.err):
        file.parent.mkdir(parents=True, exist_ok=True)
    keep_earlier(command.out, command.err)
    with contextlib.ExitStack() as stack:
        # To append: whoever writes to the same file beside the program does not overwrite its lines.
        out, err = (stack.enter_context(open(file, "ab")) for file in (command.out, command.err))
        return subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # Its own session: the terminal's Ctrl-C goes to this process alone, which then decides.
            start_new_session=True,
        )


def marked(environment: dict[str, str], mark: str, is_detached: bool) -> dict[str, str]:
    """Return an environment with the mark of a job, below that of the job that this process may be part of."""
    outer = None if is_detached else os.environ.get(MARK_VARIABLE)
    return {**environment, MARK_VARIABLE: f"{outer}/{mark}" if outer else mark}


def end_marked(
    roots: Mapping[str, Root | None], grace_s: float, own_grace_s: Mapping[str, float] | None = None
) -> None:
    """End the processes of jobs, by their marks, whoever started them; `own_grace_s` for those that have their own."""
    if roots and (left := end_processes(roots, grace_s, own_grace_s)):
        logger.error("processes %s do not end, not even by SIGKILL", ", ".join(map(str, left)))
