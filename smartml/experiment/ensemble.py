"""An ensemble: several models that are started, watched and stopped together."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError, DuplicateNameError
from smartml.experiment.db_objects import DBObject, DBObjects, check_new
from smartml.experiment.files import PathLike, Paths, check_name
from smartml.experiment.model import Model, check_batch_settings
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.policy import Policy
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.strategies import Strategy, members_of


class Ensemble(DBObjects):
    """Describe a group of models; usually made by `Experiment.create_ensemble`.

    Its members are `<name>_0`, `<name>_1`, ..., each with its own copy of the run settings, in a folder of its own
    below `path`, with key prefixing on. How many there are:

    params, run_settings: one for each combination of values that `perm_strat` makes: "all_perm" every one, "step" the
        first values, the second values, ..., "random" `n_models` of all, or a function (see strategies.py). A value
        may be a list, or one for all. With `replicas`, so many of each, one after the other.
    replicas, run_settings: so many equal ones.
    batch_settings alone: none yet; they are appended by `add_model`.

    batch_settings: all members run side by side in one job, or are the tasks of a job array (its `set_array`).
    params_as_args: the parameters that each member gets as arguments (`Model.params_to_args`).
    policy: restarts, time limit and more, of each member by itself.
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        path: PathLike | None = None,
        params_as_args: Sequence[str] | None = None,
        batch_settings: BatchSettings | None = None,
        run_settings: RunSettings | None = None,
        perm_strat: str | Strategy = "all_perm",
        *,
        replicas: int | None = None,
        n_models: int = 0,
        policy: Policy | None = None,
    ) -> None:
        self.name = check_name(name, "an ensemble")
        self.params = dict(params) if isinstance(params, Mapping) else params or {}
        self.batch_settings = check_batch_settings(batch_settings, f"ensemble {name!r}")
        self.path = str(Path(path or ".").absolute())
        self._models: list[Model] = []
        # What all members run in databases.
        self._db_objects: list[DBObject] = []
        if run_settings is None:
            if params or replicas is not None or batch_settings is None:
                raise ArgumentValueError(
                    f"ensemble {name!r} needs run_settings beside params or replicas, or batch_settings alone"
                )
            return
        if not params and replicas is None:
            raise ArgumentValueError(f"ensemble {name!r} has run_settings: it needs params or replicas, too")
        if replicas is not None and (not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 1):
            raise ArgumentValueError(f"ensemble {name!r} needs at least one replica, got {replicas!r}")
        chosen = members_of(params, perm_strat, n_models) if params else [{}]
        # SmartSim forgets the replicas when there are params.
        for index, own in enumerate(own for own in chosen for _ in range(replicas or 1)):
            member = f"{name}_{index}"
            folder = Path(self.path) / member
            model = Model(member, own, copy.deepcopy(run_settings), folder, params_as_args, policy=policy)
            if params_as_args:
                model.params_to_args()
            self.add_model(model)
        self.enable_key_prefixing()

    @property
    def type(self) -> str:
        """The kind of entity, as tables show it."""
        return type(self).__name__

    @property
    def models(self) -> list[Model]:
        """The members, in a list of their own."""
        return list(self._models)

    @property
    def entities(self) -> list[Model]:
        """The members, in a list of their own."""
        return self.models

    @property
    def batch(self) -> bool:
        """True when the members run in one job of a batch system."""
        return self.batch_settings is not None

    def set_path(self, new_path: PathLike) -> None:
        """Move the folders of the members below another one (SmartSim would give all of them this one)."""
        self.path = str(Path(new_path).absolute())
        for model in self._models:
            model.set_path(Path(self.path) / model.name)

    def add_model(self, model: Model) -> None:
        """Append a model, which keeps its folder. Raises DuplicateNameError."""
        if not isinstance(model, Model):
            raise ArgumentTypeError(f"only a Model can join ensemble {self.name!r}, got {type(model).__name__}")
        if any(model.name == member.name for member in self._models):
            raise DuplicateNameError(f"ensemble {self.name!r} has a member {model.name!r} already")
        if model.batch_settings is not None and self.batch:
            raise ArgumentValueError(f"{model.name!r} is a batch job of its own: it cannot be part of {self.name!r}'s")
        for one in self._db_objects:
            model.add_db_object(one)
        self._models.append(model)

    def attach_generator_files(
        self, to_copy: Paths = None, to_symlink: Paths = None, to_configure: Paths = None
    ) -> None:
        """Say which files each member finds in its folder (see `Model.attach_generator_files`)."""
        for model in self._models:
            model.attach_generator_files(to_copy, to_symlink, to_configure)

    def register_incoming_entity(self, incoming_entity: "Model | Ensemble") -> None:
        """Let every member read what another entity puts."""
        for model in self._models:
            model.register_incoming_entity(incoming_entity)

    def add_db_object(self, one: DBObject) -> None:
        """Have a model or script put into the databases, for every member, those to come included."""
        for known in (self._db_objects, *(model.db_objects for model in self._models)):
            check_new(one, known, f"ensemble {self.name!r}")
        for model in self._models:
            model.add_db_object(one)
        self._db_objects.append(one)

    def start_after(
        self, what: "Model | Ensemble | Orchestrator | str", when: str = "completed", **options: Any
    ) -> None:
        """Let every member wait until something has come (see `Model.start_after`)."""
        for model in self._models:
            model.start_after(what, when, **options)

    def enable_key_prefixing(self) -> None:
        """Put each member's name before every key it writes."""
        for model in self._models:
            model.enable_key_prefixing()

    def disable_key_prefixing(self) -> None:
        """Let the members write their keys as they are."""
        for model in self._models:
            model.disable_key_prefixing()

    def query_key_prefixing(self) -> bool:
        """Return True when all members put their names before their keys."""
        return all(model.query_key_prefixing() for model in self._models)

    def __getitem__(self, name: str) -> Model | None:
        """Return the member of that name, or None, as SmartSim does."""
        return next((model for model in self._models if model.name == name), None)

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __repr__(self) -> str:
        return f"<{self.type} {self.name}, {len(self)} members>"
