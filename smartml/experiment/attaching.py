"""Take up what other processes have started, as the journal tells of it."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from smartml.errors import NotStartedError
from smartml.experiment.batch_jobs import BatchJob, recorded_job
from smartml.experiment.detached import DetachedJob
from smartml.experiment.guardian import find_root
from smartml.experiment.journal import Entry, History, Journal, Script, WaitEntry, read_journal
from smartml.experiment.launching import Launching
from smartml.experiment.loop import loop
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.runs import NodeRun, ProgramRun, Runs
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.states import Status
from smartml.experiment.supervisor import supervisor

logger = logging.getLogger(__name__)

# How long all jobs may take to be looked at. The exit code of one that has just ended may come as late as this.
_FIRST_LOOK_S = 3.0

# Between two looks at a program that its script may start; it grows.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0


class _Waiting(NamedTuple):
    """A program that another process may start, and what its journal said of it."""

    run: ProgramRun
    entry: WaitEntry


def ended_scripts(history: History) -> set[Script]:
    """Return the scripts of this machine that do not run any more."""
    return _ended(_scripts([*history.jobs.values(), *history.waits.values()]))


def _scripts(entries: Iterable[Entry | WaitEntry]) -> set[Script]:
    return {entry.script for entry in entries if entry.script is not None}


def _ended(scripts: set[Script]) -> set[Script]:
    return {script for script in scripts if script.is_here and not script.is_running}


def take_up(
    history: History, ended: set[Script], journal: Journal, runs: Runs, launching: Launching
) -> list[Orchestrator]:
    """Put what a journal tells of into the table of runs, and watch what still runs; return the running databases.

    ended: scripts that had ended when the journal was read.
    """
    databases = {name: _find_database(name, Path(record)) for name, record in history.databases.items()}
    waits: list[_Waiting] = []
    entries: list[Entry | WaitEntry] = [*history.jobs.values(), *history.waits.values()]
    # In the order of events: of several starts of a program the last is its latest.
    for entry in sorted(entries, key=_time_of):
        if isinstance(entry, WaitEntry):
            waits.append(_take_up_wait(entry, entry.script in ended, launching))
            continue
        try:
            _take_up_job(entry, entry.script in ended, journal, runs, launching, databases)
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("%s tells too little of a job, which is left out: %r", journal.file, error)
    _look_later([one for one in waits if one.run.final is None], journal, launching, _FIRST_PAUSE_S)
    jobs = [run.job for run in runs if run.job is not None]
    # Nothing tells of a first look: it is there in a moment, or, where a batch system is silent, for long it is not.
    deadline = time.monotonic() + _FIRST_LOOK_S
    while not all(job.is_seen for job in jobs) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [database for database in databases.values() if database.is_running]


def _time_of(entry: Entry | WaitEntry) -> float:
    return entry.time if isinstance(entry, WaitEntry) else float(entry.start.get("time", 0))


def _take_up_job(
    entry: Entry,
    has_script_ended: bool,
    journal: Journal,
    runs: Runs,
    launching: Launching,
    databases: dict[str, Orchestrator],
) -> None:
    start = entry.start
    host = start.get("host", os.uname().nodename)
    if entry.end is None and host != os.uname().nodename:
        logger.warning(
            "%s (pid %s) was started on %s: whether it runs is known only there", start["name"], start["pid"], host
        )
        return
    job = _job_of(entry, journal)
    if isinstance(job, DetachedJob) and not job.is_detached and has_script_ended and find_root(job.root) is None:
        # It was ended with its script, which nobody was left to note.
        job.end_unnoted()
    number = int(start["number"])
    if start["kind"] != "Orchestrator":
        run = ProgramRun(_model_of(start["name"], start["command"], start["folder"]), number, job.is_detached)
        run.is_attached = True
        launching.take_up(run, job)
        return
    # The nodes of a cluster have the name of their database, and their own number.
    database = databases.get(job.name) or databases.get(job.name.rpartition("_")[0])
    if database is not None and isinstance(job, BatchJob):
        # One that runs is watched by its database already.
        known = {str(one.record()["id"]): one for one in database.jobs}
        if job.record()["id"] in known:
            runs.add(NodeRun(database, number, known[job.record()["id"]]))
        else:
            runs.add(NodeRun(database, number, job))
            supervisor.adopt(job, on_end=lambda job: None)
            job.watch()
    elif database is not None:
        # Whoever stops a database removes its record.
        record = database.checkpoint_file
        entry.is_stopped = entry.is_stopped or record is None or not Path(record).exists()
        job.is_cancelled = job.is_cancelled or entry.is_stopped
        runs.add(NodeRun(database, number, job))
        supervisor.adopt(job, on_end=lambda job: None)
        job.watch()


def _take_up_wait(entry: WaitEntry, has_script_ended: bool, launching: Launching) -> _Waiting:
    """Put a program that has not started into the table."""
    wait = entry.wait
    run = ProgramRun(_model_of(wait.name, wait.command, wait.folder), wait.number, wait.is_detached)
    run.is_attached = True
    launching.take_up_wait(run, wait.id, wait.waits_for)
    _settle_wait(run, entry, has_script_ended)
    return _Waiting(run, entry)


def _settle_wait(run: ProgramRun, entry: WaitEntry, has_script_ended: bool) -> None:
    """Note what has become of a program without a start, if anything."""
    if entry.status is not None:
        run.settle(entry.status, entry.reason)
    elif entry.is_stopped:
        run.settle(Status.STATUS_CANCELLED, "stopped by another process")
    elif has_script_ended:
        run.settle(Status.STATUS_CANCELLED, f"its script ended while it waited for {entry.wait.waits_for}")


def _look_later(waits: Sequence[_Waiting], journal: Journal, launching: Launching, pause_s: float) -> None:
    """Learn what becomes of programs that wait, as long as the scripts live that are to start them."""

    def look() -> None:
        left = [one for one in waits if one.run.final is None]
        # In this order: what a script has noted at last is seen.
        scripts = _scripts(one.entry for one in left)
        ended = _ended(scripts)
        try:
            history = read_journal(journal.file)
        except NotStartedError:
            # Removed, which is not done while the script runs.
            history = History(waits={one.entry.wait.id: one.entry for one in left})
            ended = scripts
        for run, entry in left:
            now = history.waits.get(entry.wait.id)
            if now is None:
                _take_up_start(run, history, journal, launching)
            else:
                _settle_wait(run, now, entry.script in ended)
        supervisor.notify()
        _look_later(
            [one for one in left if one.run.final is None and not one.run.tries],
            journal,
            launching,
            min(1.5 * pause_s, _LONGEST_PAUSE_S),
        )

    if waits:
        loop.call_later(pause_s, lambda: loop.aside(look))


def _take_up_start(run: ProgramRun, history: History, journal: Journal, launching: Launching) -> None:
    starts = (entry for entry in history.jobs.values() if entry.start["name"] == run.name)
    entry = next(entry for entry in starts if int(entry.start["number"]) == run.number)
    job = _job_of(entry, journal)
    run.is_detached = job.is_detached
    launching.take_up(run, job)


def _job_of(entry: Entry, journal: Journal) -> DetachedJob | BatchJob:
    return _batch_job(entry) if "launcher" in entry.start else DetachedJob.find(entry, journal.file)


def _batch_job(entry: Entry) -> BatchJob:
    job = recorded_job(entry.start)
    job.is_cancelled = entry.is_stopped
    if entry.end is not None:
        code = entry.end["returncode"]
        job.is_end_noted = True
        job.end(None if code is None else int(code), str(entry.end.get("reason", "")))
    return job


def _find_database(name: str, record: Path) -> Orchestrator:
    try:
        return Orchestrator.attach(record)
    except NotStartedError:
        # It has ended; it still has a line in the table.
        return Orchestrator(record.parent, port=0, db_identifier=name)


def _model_of(name: str, command: Sequence[str], folder: str) -> Model:
    # Any program that is there, so that one that is not any more can be looked at.
    settings = RunSettings(sys.executable)
    settings.exe, settings.exe_args = [command[0]], list(command[1:])
    return Model(name, None, settings, folder)
