"""A model: one program of an experiment, with its files and its place among the others."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

from smartml.errors import ArgumentTypeError, ArgumentValueError, DuplicateNameError
from smartml.experiment.colocated import Colocation
from smartml.experiment.db_objects import DBObject, DBObjects, check_new
from smartml.experiment.dependencies import (
    AfterData,
    AfterDatabase,
    AfterPrograms,
    Dependency,
    check_moment,
    check_timeout,
)
from smartml.experiment.files import AttachedFiles, PathLike, Paths, attach_files, check_name, check_params
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.policy import Policy
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.local import DEFAULT_DATABASE
from smartml.experiment.schedulers.settings import RunSettings

if TYPE_CHECKING:
    from smartml.experiment.ensemble import Ensemble


class Model(Colocation, DBObjects):
    """Describe a program to run; usually made by `Experiment.create_model`.

    params: values for the tags of files to configure. path: the folder it runs in, by default the current one.
    params_as_args: the parameters that `params_to_args` makes arguments of. batch_settings: it runs as a batch job.
    policy: restarts, time limit and more.
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, str | int | float] | None,
        run_settings: RunSettings,
        path: PathLike | None = None,
        params_as_args: Sequence[str] | None = None,
        batch_settings: BatchSettings | None = None,
        policy: Policy | None = None,
    ) -> None:
        if not isinstance(run_settings, RunSettings):
            raise ArgumentTypeError(
                f"model {name!r} needs run settings, as create_run_settings makes them, got {run_settings!r}"
            )
        self.name = check_name(name, "a model")
        self.params = check_params(params)
        self.params_as_args = list(params_as_args or [])
        self.batch_settings = check_batch_settings(batch_settings, f"model {name!r}")
        self.run_settings = run_settings
        self.path = str(Path(path or ".").absolute())
        self.files = AttachedFiles()
        self.incoming_entities: list[Model] = []
        self.policy = policy or Policy()
        # What must have come before it starts.
        self.dependencies: list[Dependency] = []
        # What it runs in databases.
        self.db_objects: tuple[DBObject, ...] = ()
        self._is_prefixing = False

    @property
    def type(self) -> str:
        """The kind of entity, as tables show it."""
        return type(self).__name__

    def set_path(self, path: PathLike) -> None:
        """Set the folder that the program runs in."""
        self.path = str(Path(path).absolute())

    def params_to_args(self) -> None:
        """Append the parameters of `params_as_args` to the program's arguments.

        `--steps` gives `--steps=5`, `-n` gives `-n 5`; a name without dashes gets one or two, as its length says.
        Raises ArgumentValueError for a name that is no parameter.
        """
        words: list[str] = []
        for name in self.params_as_args:
            if name not in self.params:
                known = ", ".join(map(repr, self.params)) or "none"
                raise ArgumentValueError(f"model {self.name!r} has no parameter {name!r} to pass; it has: {known}")
            words += _argument(name, self.params[name])
        # A copy: the settings may be those of others, too.
        self.run_settings = copy.deepcopy(self.run_settings)
        self.run_settings.add_exe_args(words)

    def attach_generator_files(
        self, to_copy: Paths = None, to_symlink: Paths = None, to_configure: Paths = None
    ) -> None:
        """Say which files the program finds in its folder; an earlier attachment is replaced.

        They are put there by `Experiment.generate`, or else when it is started. In files to configure, `;name;` becomes
        the value of the parameter. Raises PathNotFoundError.
        """
        self.files = attach_files(to_copy, to_symlink, to_configure)

    def register_incoming_entity(self, incoming_entity: Union["Model", "Ensemble"]) -> None:
        """Let this program read what another puts: its name, or those of an ensemble's members, go to `SSKEYIN`."""
        members = incoming_entity if isinstance(incoming_entity, Model) else getattr(incoming_entity, "models", None)
        if members is None:
            raise ArgumentTypeError(
                f"model {self.name!r} can read from a Model or an Ensemble, got {type(incoming_entity).__name__}"
            )
        for member in [members] if isinstance(members, Model) else members:
            if any(member.name == known.name for known in self.incoming_entities):
                raise DuplicateNameError(f"{member.name!r} is registered with {self.name!r} already")
            self.incoming_entities.append(member)

    def start_after(
        self,
        what: Union["Model", "Ensemble", Orchestrator, str],
        when: str = "completed",
        *,
        db_identifier: str = DEFAULT_DATABASE,
        timeout_s: float | None = None,
    ) -> None:
        """Let this program wait, when it is started, until something has come; called again, for that as well.

        what: a model, or all members of an ensemble, until they are "completed" (with exit code 0), "started", or
            "ended", however. A database, until it answers. A name, until a tensor, a dataset or an aggregation list of
            that name is in the database `db_identifier`, as it is or under the name of an incoming entity:

                trainer.register_incoming_entity(producer)
                trainer.start_after("training_data")

        timeout_s: how long to wait at most, from the call of `Experiment.start` on.
        What can never come ends the waiting: the program is Cancelled, and an error is logged that says why. It cannot
        when a program that was to complete has failed for good, or when no incoming entity (where none is registered,
        no other program) is left that could put the data. What is known before anything starts is raised there, as
        DependencyError. Raises ArgumentTypeError, ArgumentValueError.
        """
        moment, timeout_s = check_moment(when), check_timeout(timeout_s)
        models = [what] if isinstance(what, Model) else getattr(what, "models", None)
        if models is not None:
            if any(model is self for model in models):
                raise ArgumentValueError(f"model {self.name!r} cannot wait for itself")
            found: Dependency = AfterPrograms(getattr(what, "name", ""), tuple(models), moment, timeout_s)
        elif isinstance(what, Orchestrator):
            found = AfterDatabase(what, timeout_s)
        elif isinstance(what, str) and what:
            found = AfterData(what, db_identifier, timeout_s)
        else:
            raise ArgumentTypeError(
                f"model {self.name!r} can wait for a Model, Ensemble, Orchestrator, or the name of data, got {what!r}"
            )
        self.dependencies.append(found)

    def add_db_object(self, one: DBObject) -> None:
        """Have a model or script put into the databases, as `add_ml_model` and the others describe it."""
        check_new(one, self.db_objects, f"model {self.name!r}")
        self._take_along((*self.db_objects, one))
        self.db_objects += (one,)

    def enable_key_prefixing(self) -> None:
        """Put this program's name before every key it writes (`SSKEYOUT`)."""
        self._is_prefixing = True

    def disable_key_prefixing(self) -> None:
        """Let this program write its keys as they are."""
        self._is_prefixing = False

    def query_key_prefixing(self) -> bool:
        """Return True when the program's name is put before its keys."""
        return self._is_prefixing

    def __repr__(self) -> str:
        return f"<{self.type} {self.name}>"


def check_batch_settings(settings: object, of: str) -> BatchSettings | None:
    """Return the settings of a batch job, or None where there is none. Raises ArgumentTypeError."""
    if settings is not None and not isinstance(settings, BatchSettings):
        raise ArgumentTypeError(
            f"batch_settings of {of} must be as create_batch_settings makes them, got {type(settings).__name__}"
        )
    return settings


def _argument(name: str, value: str) -> list[str]:
    if not name.startswith("-"):
        name = f"-{name}" if len(name) == 1 else f"--{name}"
    return [f"{name}={value}"] if name.startswith("--") else [name, value]
