"""An experiment: describe what to run, start it, watch it, stop it."""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from smartml.errors import (
    AlreadyStartedError,
    ArgumentTypeError,
    ArgumentValueError,
    DuplicateNameError,
    NotStartedError,
    PathExistsError,
    PathNotFoundError,
    UnsupportedError,
)
from smartml.experiment.attaching import ended_scripts, take_up
from smartml.experiment.ensemble import Ensemble
from smartml.experiment.entities import Entities, Entity, sort_entities
from smartml.experiment.files import TAG, PathLike, check_name, remove_folder
from smartml.experiment.guardian import GRACE_S
from smartml.experiment.job import names_with_titles
from smartml.experiment.journal import Journal, Start, read_journal
from smartml.experiment.launching import Launching
from smartml.experiment.model import Model
from smartml.experiment.monitoring import Monitoring
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.policy import policy_of
from smartml.experiment.preview import free_file, preview_text, shown
from smartml.experiment.runs import Batch, NodeRun, ProgramRun, Run, Runs
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.containers import Container
from smartml.experiment.schedulers.launchers import (
    check_settings,
    create_batch_settings,
    create_run_settings,
    find_launcher,
)
from smartml.experiment.schedulers.local import DEFAULT_DATABASE
from smartml.experiment.schedulers.options import OptionValue
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.scripts import note_experiment
from smartml.experiment.states import Status
from smartml.experiment.strategies import Strategy
from smartml.experiment.summary import launch_summary, row_facts, summary_table
from smartml.experiment.supervisor import supervisor

logger = logging.getLogger(__name__)


class Experiment:
    """Describe and run databases and programs, each program with its output in a folder of its own.

        exp = Experiment("online-training")
        db = exp.create_database(port=0)
        producer = exp.create_model("producer", exp.create_run_settings("python", "producer.py"))
        producer.attach_generator_files(to_copy="producer.py")
        exp.start(db, producer)

    exp_path: an existing folder; by default `<current folder>/<name>`, made when something starts.
    launcher: "local", "slurm", "pbs", "pals", "lsf", "sge", or "auto", the one of this machine. Programs are processes
    here; with other launchers than "local" those that a run command (`srun`, `mpirun`, ...) starts, or, with batch
    settings, jobs of its batch system.
    What it started ends with this process, in whatever way that ends, unless it is detached, or a batch job, which its
    batch system runs on: then `attach` finds it.
    Raises PathNotFoundError, UnsupportedError.
    """

    def __init__(self, name: str, exp_path: PathLike | None = None, launcher: str = "local") -> None:
        self.name = check_name(name, "an experiment")
        if exp_path is not None and not isinstance(exp_path, str | os.PathLike):
            raise ArgumentTypeError(f"exp_path must be a str or path, got {type(exp_path).__name__}")
        if exp_path is not None and not os.path.isdir(exp_path):
            raise PathNotFoundError(f"exp_path {os.path.abspath(exp_path)} is not an existing folder: make it first")
        self.exp_path = os.path.abspath(name if exp_path is None else exp_path)
        self.launcher = find_launcher(launcher)
        self._runs = Runs()
        self._journal = Journal(self.exp_path)
        self._launching = Launching(self.launcher, self._runs, self._running_databases, self._journal)
        # True once the journal names this script.
        self._is_noted = False
        # The databases whose addresses programs get: started here, or running when handed to `start`.
        self._databases: list[Orchestrator] = []
        # The databases that a preview would have started.
        self._previewed: list[Orchestrator] = []
        # What keeps the records of the run, once `start` was asked for it.
        self.monitoring: Monitoring | None = None

    @classmethod
    def attach(cls, exp_path: PathLike) -> "Experiment":
        """Find what experiments have started in a folder, and take it up again: what is detached, and what still runs.

            exp = Experiment.attach("online-training")
            exp.wait("producer")

        Programs that were started are known by their names to `get_status`, `wait`, `finished` and `stop`, and so are
        models of the same name that this experiment creates. All are shown in `summary`; those that run are watched,
        and outlive this process all the same. Programs that wait for others are shown, too: as long as their script
        runs, it starts them; with its end they are Cancelled, and `rows` says what they waited for. Programs that fail
        are not started again: that was up to their script. Running databases are handed to programs that are started
        from here. Raises NotStartedError where no experiment has started anything.
        """
        path = os.path.abspath(exp_path)
        journal = Journal(path)
        ended = ended_scripts(read_journal(journal.file))
        # Again, with all that those have noted at last.
        history = read_journal(journal.file)
        found = cls(history.name, path, history.launcher)
        found._databases = take_up(history, ended, found._journal, found._runs, found._launching)
        return found

    def reconnect_orchestrator(self, checkpoint: PathLike) -> Orchestrator:
        """Take up a database that runs: programs started from now on get its address.

        checkpoint: its record (`Orchestrator.checkpoint_file`), or its folder. It outlives this process. Raises
        NotStartedError when it does not run, DuplicateNameError when another of its name does here.
        """
        database = Orchestrator.attach(checkpoint)
        self._check_not_running(sort_entities([database]))
        self._databases.append(database)
        return database

    def create_run_settings(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_command: str | None = "auto",
        run_args: Mapping[str, OptionValue] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        container: Container | None = None,
        **options: Any,
    ) -> RunSettings:
        """Describe how to run a program (see `RunSettings`). Raises ProgramNotFoundError.

        run_command: "auto" takes the first of the launcher's that is on the PATH, on this machine none. `mpirun`,
        `mpiexec`, `orterun`, `srun`, `aprun` and `jsrun` give settings of their own kind, whatever the launcher, with
        `options` such as srun's `alloc`; any other is put before the program as it is.
        """
        return create_run_settings(self.launcher, exe, exe_args, run_command, run_args, env_vars, container, **options)

    def create_batch_settings(
        self,
        nodes: int = 1,
        time: str = "",
        queue: str = "",
        account: str = "",
        batch_args: Mapping[str, OptionValue] | None = None,
        **options: Any,
    ) -> BatchSettings:
        """Describe a job of the launcher's batch system, for `create_model` and `create_ensemble`.

        `options` are those of its settings: `ncpus`, `resources`, `smts`, `pe_type` ... Raises UnsupportedError when
        the launcher has none.
        """
        return create_batch_settings(self.launcher, nodes, time, queue, account, batch_args, **options)

    def create_model(
        self,
        name: str,
        run_settings: RunSettings,
        params: dict[str, str | int | float] | None = None,
        path: PathLike | None = None,
        enable_key_prefixing: bool = False,
        batch_settings: BatchSettings | None = None,
        **policy: Any,
    ) -> Model:
        """Describe a program; `path`, the folder it runs in, is by default `<exp_path>/<name>`.

        batch_settings: it runs as a job of its own. policy: `restarts`, `restart_delay_s`, `restart_reset_s`,
        `time_limit_s`, `grace_s`, `detach` (see `Policy`):

            exp.create_model("solver", settings, restarts=3, time_limit_s=3600)

        Raises UnsupportedError for settings of another launcher.
        """
        folder = path or Path(self.exp_path, check_name(name, "a model"))
        looked_after = policy_of(policy, "create_model")
        model = Model(name, params, run_settings, folder, batch_settings=batch_settings, policy=looked_after)
        check_settings(self.launcher, name, run_settings, batch_settings)
        if enable_key_prefixing:
            model.enable_key_prefixing()
        return model

    def create_ensemble(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        batch_settings: BatchSettings | None = None,
        run_settings: RunSettings | None = None,
        replicas: int | None = None,
        perm_strategy: str | Strategy = "all_perm",
        path: PathLike | None = None,
        *,
        params_as_args: Sequence[str] | None = None,
        n_models: int = 0,
        **policy: Any,
    ) -> Ensemble:
        """Describe several programs, by their parameters or their number (see `Ensemble`).

            exp.create_ensemble("sweep", {"steps": [10, 20], "rate": [0.1, 0.2]}, run_settings=settings)

        Their folders lie in `path`, by default `<exp_path>/<name>`. batch_settings: all run in one job. policy: as for
        `create_model`, of each by itself.
        Raises UnsupportedError for settings of another launcher.
        """
        ensemble = Ensemble(
            name,
            params,
            path or Path(self.exp_path, check_name(name, "an ensemble")),
            params_as_args,
            batch_settings,
            run_settings,
            perm_strategy,
            replicas=replicas,
            n_models=n_models,
            policy=policy_of(policy, "create_ensemble"),
        )
        check_settings(self.launcher, name, run_settings, batch_settings)
        return ensemble

    def create_database(
        self,
        port: int = 6379,
        path: PathLike | None = None,
        db_nodes: int = 1,
        *,
        interface: str | Sequence[str] = "auto",
        db_identifier: str = DEFAULT_DATABASE,
        **options: Any,
    ) -> Orchestrator:
        """Describe a database; `path` is by default `<exp_path>/<db_identifier>`. `options` as for Orchestrator.

        With other launchers than "local" its servers run on other hosts: in the allocation of this script, `alloc` or
        `hosts`, or with `batch=True` in a job of their own.
        """
        folder = path or Path(self.exp_path, db_identifier)
        return Orchestrator(folder, port, interface, self.launcher, db_nodes, db_identifier=db_identifier, **options)

    def generate(
        self, *entities: Entity, tag: str | None = None, overwrite: bool = False, verbose: bool = False
    ) -> None:
        """Make the folders of entities and put their attached files there, before they are started.

        Optional: `start` does so for what was not generated. A folder that exists is an error, or, with `overwrite`,
        is deleted first, if it lies in the experiment's. That of a database is emptied in any case, unless it keeps
        data. `verbose` logs the parameters. What a model's folder got is listed in `<name>.files.json` there.
        tag: what stands on both sides of a parameter's name in files to configure, by default `;`.
        Raises PathExistsError, AlreadyStartedError, PlacementError.
        """
        if tag is not None and not isinstance(tag, str):
            raise ArgumentTypeError(f"tag must be a str, got {type(tag).__name__}: {tag!r}")
        chosen = sort_entities(entities)
        if shown() is not None:
            return
        self._check_not_running(chosen)
        for model in chosen.programs:
            if os.path.lexists(model.path) and not overwrite:
                raise PathExistsError(
                    f"{model.path} exists: allow overwrite=True to replace it, or rename {model.name!r}"
                )
        for database in chosen.databases:
            folder = Path(database.path or Path(self.exp_path, database.name))
            if folder.is_dir() and Path(self.exp_path) in folder.parents and (overwrite or not database.persistence):
                remove_folder(folder, Path(self.exp_path))
            folder.mkdir(parents=True, exist_ok=True)
        for model in chosen.programs:
            if os.path.lexists(model.path):
                remove_folder(Path(model.path), Path(self.exp_path))
            self._launching.place(model, tag or TAG)
            logger.log(logging.INFO if verbose else logging.DEBUG, "generated %s with %s", model.path, model.params)

    def start(
        self,
        *entities: Entity,
        block: bool = True,
        summary: bool = False,
        kill_on_interrupt: bool = True,
        detach: bool = False,
        monitor: bool = False,
    ) -> None:
        """Start databases, each until it answers, then ensembles, then models.

        With `block`, a call that starts programs returns when none of the experiment's runs any more, earlier ones
        included, as in SmartSim (`wait(model)` waits for one); a database alone never blocks.
        Everything is checked before anything starts, and what this call started is stopped when a start fails.
        A program that fails is logged with its last words the moment it ends; it stops nothing else and raises nothing:
        ask `get_status` or `summary`. A database that runs already is taken as it is. Files that `generate` did not put
        in place are put there now. Output goes to `<path>/<name>.out` and `.err`; that of earlier runs is kept as
        `<name>.1.out`, `<name>.2.out`, ...
        Programs that wait for others (`Model.start_after`), and restarts, need this script to live: when it ends, what
        still waits is Cancelled.

        Ctrl-C stops everything that this experiment started and that is not detached, children's children too; with
        `kill_on_interrupt=False` the programs go on, unwatched, and are listed in a warning. With `detach` all that
        this call starts outlives the script; `Experiment.attach(exp_path)` finds it again.

        With `monitor` a record server keeps what this experiment's programs log, and its states, in
        `<exp_path>/records`, until this process ends; see `monitoring.Monitoring`.
        Raises ServerStartError, LaunchError, DuplicateNameError, AlreadyStartedError, DependencyError.
        """
        chosen = sort_entities(entities)
        if (show := shown()) is not None:
            # As much as there is: it is asked for by the command, which has no other way to see it.
            show(self._preview(chosen, "debug"))
            self._previewed += [database for database in chosen.databases if database not in self._previewed]
            return
        self._check_settings(chosen)
        self._check_not_running(chosen)
        self._launching.check(chosen.programs, chosen.databases)
        if summary:
            logger.info("%s", launch_summary(self.name, self.exp_path, self.launcher, chosen))
        self._note_script()
        if monitor and (self.monitoring is None or self.monitoring.is_closed):
            self.monitoring = Monitoring(self.name, self.exp_path, self._states, self._running_databases)
        before = len(self._runs)
        with self._handling_interrupt(kill_on_interrupt):
            try:
                for database in chosen.databases:
                    self._start_database(database, kill_on_interrupt, detach)
                if self.monitoring is not None and not self.monitoring.is_closed:
                    self.monitoring.look()
                self._launching.start(self._new_runs(chosen, detach, not kill_on_interrupt))
            except Exception:
                self._stop(list(self._runs)[before:])
                raise
            if block and chosen.programs:
                self._wait_for(self._runs.programs())

    def stop(self, *entities: Entity | str, grace_s: float | None = None) -> None:
        """Stop models, then ensembles, then databases, by default all that were started; what has ended is left alone.

        Every process of a program is asked to end, and killed after `grace_s`, by default the program's own. What still
        waits for others does not start any more. Raises NotStartedError.
        """
        if not entities or shown() is not None:
            self._stop(self._runs, grace_s)
            return
        chosen = self._find(entities)
        runs = [self._latest_run(model) for model in chosen.programs]
        for database in chosen.databases:
            if database not in self._databases:
                raise NotStartedError(f"database {database.name!r} was not started by experiment {self.name!r}")
        nodes = [run for run in self._runs if run.entity in chosen.databases]
        self._stop([*runs, *nodes], grace_s)
        for database in chosen.databases:
            # Also one that was running when it was handed to `start`.
            database.stop(GRACE_S if grace_s is None else grace_s)

    def wait(self, *entities: Model | Ensemble | str, timeout_s: float | None = None) -> bool:
        """Block until the programs have ended, by default all that were started; return False when time ran out first.

        A program that is about to be started again has not ended. An interrupt is left to the caller: nothing is
        stopped. Raises NotStartedError.
        """
        chosen = self._find(entities)
        if chosen.databases:
            raise ArgumentTypeError("a database does not end by itself: wait for models and ensembles")
        if shown() is not None:
            return True
        runs = [self._latest_run(model) for model in chosen.programs]
        return self._wait_for(runs if entities else self._runs.programs(), timeout_s)

    def poll(self, interval: float = 10, verbose: bool = True, kill_on_interrupt: bool = True) -> None:
        """Block until no program runs; with `verbose` log what still does every `interval` seconds."""
        with self._handling_interrupt(kill_on_interrupt):
            while not self._wait_for(self._runs.programs(), interval):
                for run in self._runs.programs() if verbose else ():
                    if not run.is_over:
                        logger.info("%s", run)

    def finished(self, entity: Model | Ensemble | str) -> bool:
        """Return True when the model, or every member of the ensemble, has ended. Raises NotStartedError."""
        return self.wait(entity, timeout_s=0)

    def get_status(self, *entities: Entity | str) -> list[Status]:
        """Return the states of models, then of members of ensembles, then of databases, whatever their order here."""
        chosen = self._find(entities)
        runs = [self._runs.latest(model) for model in chosen.programs]
        states = [run.status if run else Status.STATUS_NEVER_STARTED for run in runs]
        return [*states, *(database.status for database in chosen.databases)]

    def summary(self, style: str = "github") -> str:
        """Return a table of every start: kind, pid, number of the run, seconds, status and exit code.

        Each node of a database has a line of its own, and so has each try of a program that is started again.
        """
        return summary_table(self._runs.rows(), style)

    def rows(self) -> list[dict[str, Any]]:
        """Return what `summary` shows as data: name, kind, run, status, id, seconds, returncode, reason."""
        return [row_facts(row) for row in self._runs.rows()]

    def preview(
        self,
        *entities: Entity,
        verbosity_level: str = "info",
        output_format: str = "plain_text",
        output_filename: PathLike | None = None,
    ) -> str:
        """Return what `start` would run, and log it: folders, files, variables, commands and scripts.

        Nothing is started or generated. verbosity_level: "info" shows of an ensemble the first and the last member,
        "debug" and "developer" show all. output_filename: a file to write the text to, in place of the log; a free name
        is taken where there is one. An address that is not known yet stands as `<db_identifier>`.
        """
        if output_format != "plain_text":
            raise ArgumentValueError(f"output_format {output_format!r} is unknown; there is: 'plain_text'")
        chosen = sort_entities(entities)
        self._check_settings(chosen)
        text = self._preview(chosen, verbosity_level)
        if output_filename is None:
            logger.info("%s", text)
        else:
            free_file(Path(output_filename)).write_text(text, encoding="utf-8")
        return text

    @property
    def db_identifiers(self) -> set[str]:
        """The identifiers of the running databases."""
        return {database.db_identifier for database in self._running_databases()}

    def __str__(self) -> str:
        return self.name

    def _find(self, entities: Sequence[Entity | str]) -> Entities:
        """Return the entities by kind, those that are named as they were started. Raises NotStartedError."""
        return sort_entities([self._named(entity) if isinstance(entity, str) else entity for entity in entities])

    def _named(self, name: str) -> Entity:
        known: dict[str, Entity] = {run.entity.name: run.entity for run in self._runs}
        if name not in known:
            listed = ", ".join(map(repr, known)) or "none"
            raise NotStartedError(f"experiment {self.name!r} has started nothing named {name!r}; it has: {listed}")
        return known[name]

    def _preview(self, chosen: Entities, verbosity_level: str) -> str:
        overview = {"Experiment Name": self.name, "Experiment Path": self.exp_path, "Launcher": self.launcher}
        return preview_text(
            overview,
            chosen.models,
            chosen.ensembles,
            chosen.databases,
            self._running_databases(),
            self._previewed if shown() is not None else [],
            verbosity_level,
        )

    def _check_settings(self, chosen: Entities) -> None:
        """Look again: models may have been made, or appended to an ensemble, by hand."""
        for model in chosen.programs:
            check_settings(self.launcher, model.name, model.run_settings, model.batch_settings)
        for ensemble in chosen.ensembles:
            check_settings(self.launcher, ensemble.name, None, ensemble.batch_settings)
            if (batch := ensemble.batch_settings) is not None and not batch.has_tasks(len(ensemble)):
                limited = [model.name for model in ensemble if model.policy.time_limit_s is not None]
                if limited and len(ensemble) > 1:
                    raise UnsupportedError(
                        f"{', '.join(limited)} cannot have a time limit within the job of {ensemble.name!r}: limit the "
                        "job by its batch settings, or make it an array by set_array()"
                    )
            if not len(ensemble):
                raise ArgumentValueError(f"ensemble {ensemble.name!r} has no members: append them by add_model")

    def _check_not_running(self, chosen: Entities) -> None:
        running: dict[str, Entity] = {run.entity.name: run.entity for run in self._runs if not run.is_over}
        running |= {database.name: database for database in self._running_databases()}
        together: list[Entity] = [*chosen.programs, *chosen.databases]
        for entity in together:
            if running.get(entity.name) is entity or self._is_attached(entity):
                raise AlreadyStartedError(f"{entity.name!r} runs already: wait for its end, or stop it first")
            if entity.name in running:
                raise DuplicateNameError(f"another entity named {entity.name!r} is running: rename one of them")

    def _is_attached(self, entity: Entity) -> bool:
        run = self._runs.latest(entity) if isinstance(entity, Model) else None
        return run is not None and run.is_attached and not run.is_over

    def _note_script(self) -> None:
        if not self._is_noted:
            self._journal.experiment(self.name, self.launcher, os.getpid(), psutil.Process().create_time())
            self._is_noted = True
            note_experiment(self)

    def _start_database(self, database: Orchestrator, kill_on_interrupt: bool, detach: bool) -> None:
        if not database.is_running:
            database.start(default_path=Path(self.exp_path, database.name))
            number = self._runs.next_number(database)
            if detach:
                supervisor.release(database.jobs)
            for job in database.jobs:
                job.outlives_interrupt = not kill_on_interrupt
                job.is_detached = job.is_detached or detach
                self._runs.add(NodeRun(database, number, job))
                self._journal.start(job, Start(job.name, database.type, number, job.is_detached, job.grace_s))
        if database not in self._databases:
            self._databases.append(database)
            if database.checkpoint_file is not None:
                self._journal.database(database.name, database.checkpoint_file)

    def _new_runs(self, chosen: Entities, detach: bool, outlives_interrupt: bool) -> Iterator[list[ProgramRun]]:
        """Yield the starts of programs in their order, those of one batch job together."""

        def new(model: Model) -> ProgramRun:
            number = self._runs.next_number(model)
            return ProgramRun(model, number, detach or model.policy.detach, outlives_interrupt)

        for ensemble in chosen.ensembles:
            if (settings := ensemble.batch_settings) is not None:
                yield Batch(ensemble, settings, [new(member) for member in ensemble]).runs
        batched = [member for ensemble in chosen.ensembles if ensemble.batch for member in ensemble]
        for model in chosen.in_order_of_start:
            if model not in batched:
                run = new(model)
                yield [run] if model.batch_settings is None else Batch(model, model.batch_settings, [run]).runs

    def _states(self) -> dict[str, Status]:
        return {row.name: row.status for row in self._runs.rows()}

    def _running_databases(self) -> list[Orchestrator]:
        return [database for database in self._databases if database.is_running]

    def _wait_for(self, runs: Iterable[ProgramRun], timeout_s: float | None = None) -> bool:
        return supervisor.wait(runs, timeout_s)

    def _latest_run(self, model: Model) -> ProgramRun:
        run = self._runs.latest(model)
        if run is None:
            raise NotStartedError(f"{model.name!r} was never started by experiment {self.name!r}")
        return run

    def _stop(self, runs: Iterable[Run], grace_s: float | None = None) -> None:
        running = [run for run in runs if not run.is_over]
        self._launching.stop((run for run in running if isinstance(run, ProgramRun)), grace_s)
        nodes = [run for run in running if isinstance(run, NodeRun)]
        for run in nodes:
            self._journal.stop(run.job.record()["id"])
        for database in dict.fromkeys(run.entity for run in nodes):
            database.stop(GRACE_S if grace_s is None else grace_s)
        supervisor.wait((run.job for run in nodes), GRACE_S)

    @contextlib.contextmanager
    def _handling_interrupt(self, kill: bool) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            running = [run for run in self._runs if not run.is_over and not run.is_detached]
            if kill:
                if jobs := [run.job for run in running if run.job is not None]:
                    logger.warning("interrupted: stopping %s", names_with_titles(jobs, at_most=8))
                self._stop(running)
            else:
                nodes = [run.job for run in running if isinstance(run, NodeRun)]
                self._launching.hand_over((run for run in running if isinstance(run, ProgramRun)), nodes)
            raise
