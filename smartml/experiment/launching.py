"""Start the programs of an experiment: once what they wait for has come, and again when they fail."""

import functools
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from smartml.errors import DependencyError, ProgramNotFoundError, SmartMLError
from smartml.experiment.batch_jobs import GRACE_S as BATCH_GRACE_S
from smartml.experiment.batch_jobs import BatchJob, check_cancel, submit
from smartml.experiment.colocated import check_identifiers, with_own_database
from smartml.experiment.dependencies import Dependency, check_circle
from smartml.experiment.detached import DetachedJob, Recording
from smartml.experiment.files import TAG, AttachedFiles, place_files
from smartml.experiment.generated import index_file, write_index
from smartml.experiment.guardian import GRACE_S
from smartml.experiment.job import Job
from smartml.experiment.journal import Journal, Start, Wait, find_end
from smartml.experiment.loop import loop
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator, reachable
from smartml.experiment.placements import batch_plan, placement_of
from smartml.experiment.process import ProcessJob
from smartml.experiment.publication import Publisher
from smartml.experiment.runs import Batch, ProgramRun, Runs
from smartml.experiment.schedulers.local import Command, child_environment, command_line
from smartml.experiment.states import Status
from smartml.experiment.supervisor import report_failure, supervisor
from smartml.experiment.uploads import Uploads, check_objects
from smartml.store.entities import ENTITY_VARIABLE, EntityState

logger = logging.getLogger(__name__)

# What a program waits for that has nothing to wait for itself.
_OTHERS = "the others of its job"

# Between two looks at what nothing tells of; it grows.
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.05, 1.0


class Launching:
    """Start the programs of one experiment, and look after them. Safe to use from any thread.

    databases: returns those that run, whose addresses programs get.
    """

    def __init__(
        self, launcher: str, runs: Runs, databases: Callable[[], Sequence[Orchestrator]], journal: Journal
    ) -> None:
        self._launcher = launcher
        self._runs = runs
        self._databases = databases
        self._journal = journal
        self._publisher = Publisher()
        self._uploads = Uploads()
        # What `generate` has put in place, by the name of the model.
        self._generated: dict[str, AttachedFiles] = {}
        # Guards the runs that wait: a run leaves them once, to begin or to end.
        self._lock = threading.Lock()
        self._waiting: list[ProgramRun] = []

    def place(self, model: Model, tag: str = TAG) -> None:
        """Put the files of a model into its folder, and their index beside them, for starts to come."""
        _place(model, tag)
        self._generated[model.name] = model.files

    def take_up(self, run: ProgramRun, job: DetachedJob | BatchJob) -> None:
        """Watch a program that another process has started."""
        # One that has waited is in the table.
        if not run.wait_id:
            self._runs.add(run)
        run.waits_for = ""
        run.tries.append(job)
        # An end that the journal has told is no news.
        is_old = job.has_ended
        supervisor.adopt(job, on_end=lambda job: run.settle(job.status) if is_old else self._on_end(run, job))
        job.watch()

    def take_up_wait(self, run: ProgramRun, wait_id: str, waits_for: str) -> None:
        """Put a program into the table that another process may start later, or settle."""
        self._runs.add(run)
        run.wait_id, run.waits_for = wait_id, waits_for

    def check(self, models: Sequence[Model], databases: Sequence[Orchestrator]) -> None:
        """See that programs are there, and that what they wait for can come when these are started together.

        Raises ProgramNotFoundError, DependencyError, DuplicateNameError for two databases of one identifier, or two
        models for databases of one name.
        """
        check_circle(models)
        check_identifiers(models, (one.db_identifier for one in (*self._databases(), *databases)))
        check_objects(models, has_database=bool([*self._databases(), *databases]))

        def is_known(other: Model) -> bool:
            return any(other is model for model in models) or self._runs.latest(other) is not None

        for model in models:
            _check_program(model)
            for dependency in model.dependencies:
                dependency.check(model, is_known, [*self._databases(), *databases])

    def start(self, groups: Iterable[Sequence[ProgramRun]]) -> None:
        """Start programs, those of one batch job as a group, now or when what they wait for has come.

        Raises LaunchError.
        """
        # Read once: for many programs it costs as much as to start them.
        caller = dict(os.environ)
        with self._journal.together():
            for runs in groups:
                self._start(runs, caller)

    def _start(self, runs: Sequence[ProgramRun], caller: Mapping[str, str]) -> None:
        for run in runs:
            self._runs.add(run)
        waiting = [run for run in runs if run.entity.dependencies]
        if not waiting:
            if runs[0].batch is not None:
                runs[0].batch.is_begun = True
            try:
                self._begin(runs, caller)
            except BaseException:
                for run in runs:
                    self._runs.remove(run)
                raise
            return
        for run in runs:
            self._note_wait(run)
        with self._lock:
            self._waiting += waiting
        for run in waiting:
            self._publish(run)
            for dependency in run.entity.dependencies:
                if dependency.timeout_s is not None:
                    self._give_up_after(run, dependency, dependency.timeout_s)
        for run in waiting:
            self._look(run, _FIRST_LOOK_S)

    def stop(self, runs: Iterable[ProgramRun], grace_s: float | None = None) -> None:
        """End programs, and those that wait before they begin; what has ended is left as it is."""
        running = [run for run in runs if not run.is_over]
        check_cancel([run.job for run in running if isinstance(run.job, BatchJob)])
        with self._lock:
            for run in running:
                run.is_cancelled = True
                self._settle_idle(run)
            unblocked = [
                batch for batch in {run.batch for run in running} if batch is not None and self._is_ready(batch)
            ]
            for batch in unblocked:
                batch.is_begun = True
        for batch in unblocked:
            # What is left of a job that waited for those that were stopped.
            loop.aside(functools.partial(self._begin_aside, *(run for run in batch.runs if run.final is None)))
        jobs = [run.job for run in running if run.job is not None and not run.job.is_over]
        for job in jobs:
            self._journal.stop(job.record()["id"])
        for run in running:
            if run.final is not None:
                self._publish(run)
                self._tell(run)
        supervisor.stop(jobs, grace_s)
        longest_s = max((run.entity.policy.grace_s if grace_s is None else grace_s for run in running), default=0.0)
        supervisor.wait(running, longest_s + GRACE_S)

    def hand_over(self, runs: Iterable[ProgramRun], services: Sequence[Job]) -> None:
        """Let what runs go on after this process, unwatched, services as well, and what waits never begin."""
        # What another script is to start later is none of ours.
        running = [run for run in runs if not run.is_over and (run.tries or not run.is_attached)]
        with self._lock:
            for run in running:
                run.is_cancelled = True
                self._settle_idle(run)
        supervisor.hand_over([*services, *(run.job for run in running if run.job is not None)])

    def _settle_idle(self, run: ProgramRun) -> None:
        """Cancel a run that waits, for others or for its next try. The lock is held."""
        if run in self._waiting:
            self._waiting.remove(run)
        elif run.is_attached and not run.tries:
            # The script that would start it looks before it does.
            self._journal.stop(run.wait_id)
        elif run.timer is None and (run.batch is None or run.tries):
            return
        self._settle(run, Status.STATUS_CANCELLED, "stopped")

    def _note_wait(self, run: ProgramRun) -> None:
        """Have others know of a program that is to start later, if this process lives until then."""
        model = run.entity
        run.wait_id = f"wait-{secrets.token_hex(8)}"
        waits_for = " and ".join(map(str, model.dependencies)) or _OTHERS
        command = list(command_line(model.run_settings, model.path))
        self._journal.wait(
            Wait(run.wait_id, run.name, model.type, run.number, run.is_detached, waits_for, command, model.path)
        )

    def _settle(self, run: ProgramRun, status: Status, reason: str) -> None:
        """Note that a run will not start, or not again."""
        run.settle(status, reason)
        if run.wait_id and not run.tries and not run.is_attached:
            self._journal.settle(run.wait_id, status, reason)

    def _is_ready(self, batch: Batch) -> bool:
        """Tell whether the programs of a batch job that are still wanted wait for nothing more. The lock is held."""
        wanted = [run for run in batch.runs if run.final is None]
        return not batch.is_begun and bool(wanted) and not any(run in self._waiting for run in wanted)

    def _look(self, run: ProgramRun, next_look_s: float) -> None:
        """Begin a run if all that it waits for has come. May block for a while."""
        model, databases = run.entity, self._databases()
        try:
            missing = [one for one in model.dependencies if not one.is_met(model, self._runs, databases)]
        except DependencyError as error:
            self._give_up(run, error)
            return
        with self._lock:
            if run not in self._waiting:
                return
            if missing:
                run.waits_for = " and ".join(map(str, missing))
                if run.timer is None and any(one.is_polled for one in missing):
                    run.timer = loop.call_later(
                        next_look_s, lambda: loop.aside(lambda: self._look_again(run, next_look_s))
                    )
                return
            self._waiting.remove(run)
            run.waits_for = ""
            together = [run]
            if run.batch is not None:
                if not self._is_ready(run.batch):
                    run.waits_for = _OTHERS
                    return
                run.batch.is_begun = True
                together = [one for one in run.batch.runs if one.final is None]
        self._begin_aside(*together)

    def _look_again(self, run: ProgramRun, look_s: float) -> None:
        with self._lock:
            run.timer = None
        self._look(run, min(1.5 * look_s, _LONGEST_LOOK_S))

    def _give_up_after(self, run: ProgramRun, dependency: Dependency, timeout_s: float) -> None:
        def give_up() -> None:
            try:
                # It may have come, while others have not.
                if not dependency.is_met(run.entity, self._runs, self._databases()):
                    self._give_up(run, DependencyError(f"{run.name!r} has waited {timeout_s:g} s for {dependency}"))
            except DependencyError as error:
                self._give_up(run, error)

        loop.call_later(timeout_s, lambda: loop.aside(give_up))

    def _give_up(self, run: ProgramRun, why: DependencyError) -> None:
        with self._lock:
            if run not in self._waiting:
                return
            # A batch job is not handed in without some of its programs.
            given_up = [run]
            if run.batch is not None:
                given_up = [one for one in run.batch.runs if one.final is None]
                run.batch.is_begun = True
            for one in given_up:
                if one in self._waiting:
                    self._waiting.remove(one)
        for one in given_up:
            logger.error("%s is not started: %s", one.name, why)
            self._conclude(one, Status.STATUS_CANCELLED, str(why))

    def _begin_aside(self, *runs: ProgramRun) -> None:
        """Start the programs of runs where nobody is there to hear of an error."""
        if supervisor.is_closing:
            for run in runs:
                self._settle(run, Status.STATUS_CANCELLED, "its script has ended")
            return
        if any(run.wait_id and not run.tries and self._journal.is_stopped(run.wait_id) for run in runs):
            # By another process; a batch job is not handed in without some of its programs.
            for run in runs:
                self._conclude(run, Status.STATUS_CANCELLED, "stopped by another process")
            return
        try:
            self._begin(runs, os.environ)
        except (SmartMLError, OSError) as error:
            for run in runs:
                logger.error("%s failed: %s", run.name, error)
                self._conclude(run, Status.STATUS_FAILED, str(error))

    def _conclude(self, run: ProgramRun, status: Status, reason: str) -> None:
        """End a run that does not start; who waits for it goes on when all have been told."""
        self._publish(run, status)
        self._settle(run, status, reason)
        self._tell(run)

    def _begin(self, runs: Sequence[ProgramRun], caller: Mapping[str, str]) -> None:
        if (batch := runs[0].batch) is not None:
            self._begin_batch(batch, runs)
        else:
            self._begin_process(runs[0], caller)

    def _begin_batch(self, batch: Batch, runs: Sequence[ProgramRun]) -> None:
        for run in runs:
            run.waits_for = ""
            if self._generated.get(run.name) is not run.entity.files:
                _place(run.entity)
        addresses = reachable(self._databases())
        members = [run.entity for run in runs]
        self._uploads.put(members, self._databases())
        plan = batch_plan(batch.entity, batch.settings, self._launcher, addresses, members)
        for run in runs:
            self._publish(run, Status.STATUS_QUEUED)
        try:
            # The time that a site gives a program to end is longer than that of a process here.
            jobs = submit(plan, max(BATCH_GRACE_S, *(member.policy.grace_s for member in members)))
        except SmartMLError:
            for run in runs:
                self._publish(run, Status.STATUS_FAILED)
            raise
        for run, job in zip(runs, jobs, strict=True):
            self._note_batch_job(run, job)
        # Stopped in the very moment of their start.
        supervisor.stop([run.tries[-1] for run in runs if run.is_cancelled])

    def _note_batch_job(self, run: ProgramRun, job: BatchJob) -> None:
        model = run.entity
        job.outlives_interrupt = run.outlives_interrupt
        start = Start(run.name, model.type, run.number + len(run.tries), job.is_detached, job.grace_s)
        with self._lock:
            run.tries.append(job)
        self._journal.start(job, start)
        if model.policy.time_limit_s is not None:
            job.when_started(functools.partial(supervisor.limit, job, model.policy.time_limit_s))

        def tell() -> None:
            self._publish(run)
            self._tell(run)

        job.when_started(lambda: loop.aside(tell))
        supervisor.adopt(job, on_end=lambda job: self._on_end(run, job))
        self._tell(run)

    def _begin_process(self, run: ProgramRun, caller: Mapping[str, str]) -> None:
        model = run.entity
        command = self._command(model, caller)
        self._uploads.put([model], self._databases())
        # Before it runs: who looks for it shall not miss it.
        self._publish(run, Status.STATUS_RUNNING)
        start = Start(run.name, model.type, run.number + len(run.tries), run.is_detached, model.policy.grace_s)
        # Its end is told after its start, however short it is.
        is_noted = threading.Event()

        def on_end(job: Job) -> None:
            is_noted.wait()
            self._on_end(run, job)

        try:
            job = supervisor.launch(
                run.name,
                command,
                on_end=on_end,
                detach=run.is_detached,
                grace_s=model.policy.grace_s,
                recording=Recording(self._journal.file, start),
            )
            job.outlives_interrupt = run.outlives_interrupt
            with self._lock:
                run.tries.append(job)
                is_cancelled = run.is_cancelled
            if not run.is_detached:
                self._journal.start(job, start)
            if model.policy.time_limit_s is not None:
                supervisor.limit(job, model.policy.time_limit_s)
        except SmartMLError:
            self._publish(run, Status.STATUS_FAILED)
            raise
        finally:
            is_noted.set()
        if is_cancelled:
            # Stopped in the very moment of its start.
            supervisor.stop([job])
        self._tell(run)

    def _on_end(self, run: ProgramRun, job: Job) -> None:
        # The end of a detached process is noted by its recorder, that of a batch job by whoever sees it.
        is_noted_here = not (run.is_detached or run.is_attached)
        if isinstance(job, BatchJob):
            is_noted_here = not job.is_end_noted
        if job.status is Status.STATUS_FAILED and is_noted_here:
            # Another process may have stopped it.
            entry = find_end(self._journal.file, job.record()["id"])
            job.is_cancelled = entry is not None and entry.is_stopped
        delay_s = run.restart_delay_s(job)
        again = (
            f"; restart {run.restarts} of {run.entity.policy.restarts} in {delay_s:g} s" if delay_s is not None else ""
        )
        report_failure(job, again)
        if is_noted_here:
            self._journal.end(job)
        if delay_s is None:
            run.settle(job.status)
            self._publish(run)
        else:
            # It still runs for those who wait for its data.
            self._publish(run, Status.STATUS_NEW)
            with self._lock:
                if not run.is_cancelled:
                    run.timer = loop.call_later(delay_s, lambda: loop.aside(lambda: self._try_again(run)))
            if run.is_cancelled and run.final is None:
                run.settle(Status.STATUS_CANCELLED)
                self._publish(run)
        self._tell(run)

    def _try_again(self, run: ProgramRun) -> None:
        with self._lock:
            if run.final is not None:
                return
            run.timer = None
        if isinstance(run.job, ProcessJob):
            # Children that it has left behind would be in the way of the next try.
            ProcessJob.cancel([run.job])
        self._begin_aside(run)

    def _tell(self, run: ProgramRun) -> None:
        """Have those look again who wait for what this run may have changed."""
        supervisor.notify()
        with self._lock:
            concerned = [
                other for other in self._waiting if any(one.concerns(run.entity) for one in other.entity.dependencies)
            ]
        for other in concerned:
            loop.aside(functools.partial(self._look, other, _FIRST_LOOK_S))

    def _publish(self, run: ProgramRun, status: Status | None = None) -> None:
        model = run.entity
        prefix = model.name if model.query_key_prefixing() else ""
        self._publisher.publish(self._databases(), EntityState(model.name, str(status or run.status), prefix))

    def _command(self, model: Model, caller: Mapping[str, str]) -> Command:
        """Return what is to be started; the files of the model are put in place first, and those the command reads."""
        folder = Path(model.path)
        if self._generated.get(model.name) is not model.files:
            _place(model)
        out, err = folder / f"{model.name}.out", folder / f"{model.name}.err"
        addresses = reachable(self._databases())
        environment = child_environment(
            caller,
            with_own_database(model, addresses),
            reads_from=[entity.name for entity in model.incoming_entities],
            writes_as=model.name if model.query_key_prefixing() else None,
            own={ENTITY_VARIABLE: model.name, **model.run_settings.env_vars},
            log=err,
        )
        if self._launcher == "local":
            return Command(command_line(model.run_settings, model.path), folder, environment, out, err)
        placement = placement_of(model, addresses)
        for file, text in model.run_settings.side_files(placement).items():
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(text, encoding="utf-8")
        argv = tuple(model.run_settings.command(placement))
        if not model.run_settings.writes_output:
            return Command(argv, folder, environment, out, err)
        # The run command writes what the program says into its files; what it says itself must not get between that.
        log = folder / f"{model.name}.launch.log"
        return Command(argv, folder, environment, log, log, written=(err, out))


def _place(model: Model, tag: str = TAG) -> None:
    """Put the files of a model into its folder, and their index beside them."""
    folder = Path(model.path)
    placed = place_files(model.files, folder, model.params, tag, used_elsewhere=model.params_as_args)
    if model.files or model.params:
        write_index(index_file(folder, model.name), placed, model.params, tag)


def _check_program(model: Model) -> None:
    """Look again: run settings may be old, or their program may have been changed by hand."""
    # Raises what cannot be put together.
    command_line(model.run_settings, model.path)
    for program in model.run_settings.programs():
        if not shutil.which(program):
            raise ProgramNotFoundError(f"{model.name!r} cannot start: {program} is not there, or not executable")
