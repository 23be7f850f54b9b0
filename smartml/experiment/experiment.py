"""An experiment: describe what to run, start it, watch it, stop it."""

import contextlib
import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from smartml.errors import (
    AlreadyStartedError,
    ArgumentTypeError,
    ArgumentValueError,
    DuplicateNameError,
    LaunchError,
    NotStartedError,
    PathExistsError,
    PathNotFoundError,
    ProgramNotFoundError,
    UnsupportedError,
)
from smartml.experiment.ensemble import Ensemble
from smartml.experiment.files import TAG, AttachedFiles, PathLike, check_name, place_files, remove_folder
from smartml.experiment.generated import index_file, write_index
from smartml.experiment.guardian import GRACE_S
from smartml.experiment.job import Job, names_with_titles
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.preview import free_file, preview_text, shown
from smartml.experiment.publication import publish
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.containers import Container
from smartml.experiment.schedulers.launchers import (
    check_settings,
    create_batch_settings,
    create_run_settings,
    find_launcher,
)
from smartml.experiment.schedulers.local import (
    DEFAULT_DATABASE,
    Command,
    child_environment,
    command_line,
)
from smartml.experiment.schedulers.options import OptionValue
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.states import Status
from smartml.experiment.strategies import Strategy
from smartml.experiment.summary import summary_table
from smartml.experiment.supervisor import report_failure, supervisor
from smartml.store.entities import ENTITY_VARIABLE, EntityState

logger = logging.getLogger(__name__)

Entity = Model | Ensemble | Orchestrator


class Run(NamedTuple):
    """One start of an entity, or of one node of a database."""

    entity: Model | Orchestrator
    # Counts the starts of this entity, from 1.
    number: int
    job: Job


class Entities(NamedTuple):
    """Entities sorted by kind: this is the order in which they are reported, and the reverse of their start."""

    models: list[Model]
    ensembles: list[Ensemble]
    databases: list[Orchestrator]

    @property
    def programs(self) -> list[Model]:
        """The models, then the members of the ensembles."""
        return [*self.models, *(member for ensemble in self.ensembles for member in ensemble)]


class Experiment:
    """Describe and run databases and programs, each program with its output in a folder of its own.

        exp = Experiment("online-training")
        db = exp.create_database(port=0)
        producer = exp.create_model("producer", exp.create_run_settings("python", "producer.py"))
        producer.attach_generator_files(to_copy="producer.py")
        exp.start(db, producer)

    exp_path: an existing folder; by default `<current folder>/<name>`, made when something starts.
    launcher: "local", "slurm", "pbs", "pals", "lsf", "sge", or "auto", the one of this machine. All but "local" can be
    described, and not started yet. What it started ends with this process, in whatever way that ends.
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
        # Every start, in order.
        self._runs: list[Run] = []
        # The databases whose addresses programs get: started here, or running when handed to `start`.
        self._databases: list[Orchestrator] = []
        # The databases that a preview would have started.
        self._previewed: list[Orchestrator] = []
        # What `generate` has put in place, by the name of the model.
        self._generated: dict[str, AttachedFiles] = {}

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
    ) -> Model:
        """Describe a program; `path`, the folder it runs in, is by default `<exp_path>/<name>`.

        batch_settings: it runs as a job of its own. Raises UnsupportedError for settings of another launcher.
        """
        folder = path or Path(self.exp_path, check_name(name, "a model"))
        model = Model(name, params, run_settings, folder, batch_settings=batch_settings)
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
    ) -> Ensemble:
        """Describe several programs, by their parameters or their number (see `Ensemble`).

            exp.create_ensemble("sweep", {"steps": [10, 20], "rate": [0.1, 0.2]}, run_settings=settings)

        Their folders lie in `path`, by default `<exp_path>/<name>`. batch_settings: all run in one job.
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
        )
        check_settings(self.launcher, name, run_settings, batch_settings)
        return ensemble

    def create_database(
        self,
        port: int = 6379,
        path: PathLike | None = None,
        db_nodes: int = 1,
        *,
        interface: str | Sequence[str] = "lo",
        db_identifier: str = DEFAULT_DATABASE,
        **options: Any,
    ) -> Orchestrator:
        """Describe a database; `path` is by default `<exp_path>/<db_identifier>`. `options` as for Orchestrator."""
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
        chosen = self._sorted(entities)
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
            _place(model, tag or TAG)
            self._generated[model.name] = model.files
            logger.log(logging.INFO if verbose else logging.DEBUG, "generated %s with %s", model.path, model.params)

    def start(
        self, *entities: Entity, block: bool = True, summary: bool = False, kill_on_interrupt: bool = True
    ) -> None:
        """Start databases, each until it answers, then ensembles, then models.

        With `block`, a call that starts programs returns when none of the experiment's runs any more, earlier ones
        included, as in SmartSim (`wait(model)` waits for one); a database alone never blocks.
        Everything is checked before anything starts, and what this call started is stopped when a start fails.
        A program that fails is logged with its last words the moment it ends; it stops nothing else and raises nothing:
        ask `get_status` or `summary`. A database that runs already is taken as it is. Files that `generate` did not put
        in place are put there now. Output goes to `<path>/<name>.out` and `.err`; that of earlier runs is kept as
        `<name>.1.out`, `<name>.2.out`, ...

        Ctrl-C stops everything that this experiment started and that is not detached, children's children too; with
        `kill_on_interrupt=False` the programs go on, unwatched, and are listed in a warning.
        Raises ServerStartError, LaunchError, DuplicateNameError, AlreadyStartedError.
        """
        chosen = self._sorted(entities)
        if (show := shown()) is not None:
            # As much as there is: it is asked for by the command, which has no other way to see it.
            show(self._preview(chosen, "debug"))
            self._previewed += [database for database in chosen.databases if database not in self._previewed]
            return
        if self.launcher != "local":
            raise UnsupportedError(f"launcher {self.launcher!r} cannot start anything yet; there is: 'local'")
        self._check_settings(chosen)
        self._check_not_running(chosen)
        _check_programs(chosen.programs)
        if summary:
            self._log_launch(chosen)
        before = len(self._runs)
        with self._handling_interrupt(kill_on_interrupt):
            try:
                for database in chosen.databases:
                    self._start_database(database, kill_on_interrupt)
                for model in [*chosen.programs[len(chosen.models) :], *chosen.models]:
                    self._start_program(model, kill_on_interrupt)
            except Exception:
                self._stop(self._runs[before:])
                raise
            if block and chosen.programs:
                supervisor.wait(self._jobs_of_programs())

    def stop(self, *entities: Entity, grace_s: float = GRACE_S) -> None:
        """Stop models, then ensembles, then databases, by default all that were started; what has ended is left alone.

        Every process of a program is asked to end, and killed after `grace_s`. Raises NotStartedError.
        """
        if not entities or shown() is not None:
            self._stop(self._runs, grace_s)
            return
        chosen = self._sorted(entities)
        jobs = [self._latest_run(model).job for model in chosen.programs]
        for database in chosen.databases:
            if database not in self._databases:
                raise NotStartedError(f"database {database.name!r} was not started by experiment {self.name!r}")
        supervisor.stop(jobs, grace_s)
        for database in chosen.databases:
            database.stop(grace_s)

    def wait(self, *entities: Model | Ensemble, timeout_s: float | None = None) -> bool:
        """Block until the programs have ended, by default all that were started; return False when time ran out first.

        An interrupt is left to the caller: nothing is stopped. Raises NotStartedError.
        """
        chosen = self._sorted(entities)
        if chosen.databases:
            raise ArgumentTypeError("a database does not end by itself: wait for models and ensembles")
        if shown() is not None:
            return True
        jobs = [self._latest_run(model).job for model in chosen.programs]
        return supervisor.wait(jobs if entities else self._jobs_of_programs(), timeout_s)

    def poll(self, interval: float = 10, verbose: bool = True, kill_on_interrupt: bool = True) -> None:
        """Block until no program runs; with `verbose` log what still does every `interval` seconds."""
        with self._handling_interrupt(kill_on_interrupt):
            while not supervisor.wait(self._jobs_of_programs(), interval):
                for job in self._jobs_of_programs() if verbose else ():
                    if not job.is_over:
                        logger.info("%s (%s): %s for %.0f s", job.name, job.title, job.status, job.runtime_s)

    def finished(self, entity: Model | Ensemble) -> bool:
        """Return True when the model, or every member of the ensemble, has ended. Raises NotStartedError."""
        return self.wait(entity, timeout_s=0)

    def get_status(self, *entities: Entity) -> list[Status]:
        """Return the states of models, then of members of ensembles, then of databases, whatever their order here."""
        chosen = self._sorted(entities)
        runs = [self._find_run(model) for model in chosen.programs]
        states = [run.job.status if run else Status.STATUS_NEVER_STARTED for run in runs]
        return [*states, *(database.status for database in chosen.databases)]

    def summary(self, style: str = "github") -> str:
        """Return a table of every start: kind, pid, number of the run, seconds, status and exit code.

        Each node of a database has a line of its own.
        """
        return summary_table(((run.entity.type, run.number, run.job) for run in self._runs), style)

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
        chosen = self._sorted(entities)
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

    def _sorted(self, entities: Sequence[Entity]) -> Entities:
        """Return the entities by kind. Raises ArgumentTypeError, DuplicateNameError."""
        for entity in entities:
            if not isinstance(entity, Entity):
                hint = "; put a * before a list" if isinstance(entity, Iterable) else ""
                raise ArgumentTypeError(
                    f"expected models, ensembles and databases, got {type(entity).__name__}: {entity!r}{hint}"
                )
        chosen = Entities(
            [entity for entity in entities if isinstance(entity, Model)],
            [entity for entity in entities if isinstance(entity, Ensemble)],
            [entity for entity in entities if isinstance(entity, Orchestrator)],
        )
        together: list[Entity] = [*chosen.programs, *chosen.ensembles, *chosen.databases]
        names = [entity.name for entity in together]
        for name in names:
            if names.count(name) > 1:
                raise DuplicateNameError(f"{names.count(name)} of the entities are named {name!r}: rename all but one")
        return chosen

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
            if not len(ensemble):
                raise ArgumentValueError(f"ensemble {ensemble.name!r} has no members: append them by add_model")

    def _check_not_running(self, chosen: Entities) -> None:
        running: dict[str, Entity] = {run.entity.name: run.entity for run in self._runs if not run.job.is_over}
        running |= {database.name: database for database in self._running_databases()}
        together: list[Entity] = [*chosen.programs, *chosen.databases]
        for entity in together:
            if running.get(entity.name) is entity:
                raise AlreadyStartedError(f"{entity.name!r} runs already: wait for its end, or stop it first")
            if entity.name in running:
                raise DuplicateNameError(f"another entity named {entity.name!r} is running: rename one of them")

    def _start_database(self, database: Orchestrator, kill_on_interrupt: bool) -> None:
        if not database.is_running:
            database.start(default_path=Path(self.exp_path, database.name))
            number = self._next_number(database)
            for job in database.jobs:
                self._note_run(database, number, job, kill_on_interrupt)
        if database not in self._databases:
            self._databases.append(database)

    def _start_program(self, model: Model, kill_on_interrupt: bool) -> None:
        folder = Path(model.path)
        out, err = folder / f"{model.name}.out", folder / f"{model.name}.err"
        if self._generated.get(model.name) is not model.files:
            _place(model)
        command = Command(
            argv=_command(model),
            folder=folder,
            environment=child_environment(
                os.environ,
                {database.db_identifier: database.get_address() for database in self._running_databases()},
                reads_from=[entity.name for entity in model.incoming_entities],
                writes_as=model.name if model.query_key_prefixing() else None,
                own={ENTITY_VARIABLE: model.name, **model.run_settings.env_vars},
                log=err,
            ),
            out=out,
            err=err,
        )
        # Before it runs: who looks for it shall not miss it.
        self._publish(model, Status.STATUS_RUNNING)
        try:
            job = supervisor.launch(model.name, command, on_end=lambda job: self._on_end(model, job))
        except LaunchError:
            self._publish(model, Status.STATUS_FAILED)
            raise
        self._note_run(model, self._next_number(model), job, kill_on_interrupt)

    def _on_end(self, model: Model, job: Job) -> None:
        report_failure(job)
        self._publish(model, job.status)

    def _publish(self, model: Model, status: Status) -> None:
        prefix = model.name if model.query_key_prefixing() else ""
        publish(self._running_databases(), EntityState(model.name, str(status), prefix))

    def _next_number(self, entity: Model | Orchestrator) -> int:
        return 1 + max((run.number for run in self._runs if run.entity is entity), default=0)

    def _note_run(self, entity: Model | Orchestrator, number: int, job: Job, kill_on_interrupt: bool) -> None:
        job.outlives_interrupt = not kill_on_interrupt
        self._runs.append(Run(entity, number, job))

    def _running_databases(self) -> list[Orchestrator]:
        return [database for database in self._databases if database.is_running]

    def _jobs_of_programs(self) -> list[Job]:
        return [run.job for run in self._runs if isinstance(run.entity, Model)]

    def _find_run(self, model: Model) -> Run | None:
        return next((run for run in reversed(self._runs) if run.entity is model), None)

    def _latest_run(self, model: Model) -> Run:
        run = self._find_run(model)
        if run is None:
            raise NotStartedError(f"{model.name!r} was never started by experiment {self.name!r}")
        return run

    def _stop(self, runs: Iterable[Run], grace_s: float = GRACE_S) -> None:
        running = [run for run in runs if not run.job.is_over]
        supervisor.stop((run.job for run in running if isinstance(run.entity, Model)), grace_s)
        for entity in dict.fromkeys(run.entity for run in running):
            if isinstance(entity, Orchestrator):
                entity.stop(grace_s)

    @contextlib.contextmanager
    def _handling_interrupt(self, kill: bool) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            # A detached database was to stay in any case.
            running = [run for run in self._runs if not run.job.is_over and not getattr(run.entity, "detach", False)]
            if kill:
                if running:
                    jobs = (run.job for run in running)
                    logger.warning("interrupted: stopping %s", names_with_titles(jobs, at_most=8))
                self._stop(running)
            else:
                supervisor.hand_over(run.job for run in running)
            raise

    def _log_launch(self, chosen: Entities) -> None:
        lines = [
            "=== Launch Summary ===",
            f"Experiment: {self.name}",
            f"Experiment Path: {self.exp_path}",
            f"Launcher: {self.launcher}",
            *(f"Database: {database.name} ({database.status})" for database in chosen.databases),
            *(f"Ensemble: {ensemble.name} ({len(ensemble)} members)" for ensemble in chosen.ensembles),
            *(f"Model: {model.name}: {shlex.join(_command(model))}" for model in chosen.models),
        ]
        logger.info("\n".join(lines))


def _place(model: Model, tag: str = TAG) -> None:
    """Put the files of a model into its folder, and their index beside them."""
    folder = Path(model.path)
    placed = place_files(model.files, folder, model.params, tag, used_elsewhere=model.params_as_args)
    if model.files or model.params:
        write_index(index_file(folder, model.name), placed, model.params, tag)


def _command(model: Model) -> tuple[str, ...]:
    return command_line(model.run_settings, model.path)


def _check_programs(models: Iterable[Model]) -> None:
    """Look again: run settings may be old, or their program may have been changed by hand."""
    for model in models:
        # Raises what cannot be put together.
        _command(model)
        for program in model.run_settings.programs():
            if not os.access(program, os.X_OK):
                raise ProgramNotFoundError(f"{model.name!r} cannot start: {program} is not there, or not executable")
