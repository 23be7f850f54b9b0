"""An ensemble: several models that are started, watched and stopped together."""

import copy
from collections.abc import Iterator
from pathlib import Path

from smartml.errors import ArgumentTypeError, ArgumentValueError, DuplicateNameError, UnsupportedError
from smartml.experiment.files import PathLike, Paths, check_name
from smartml.experiment.model import Model
from smartml.experiment.schedulers.settings import RunSettings


class Ensemble:
    """Describe a group of equal models; usually made by `Experiment.create_ensemble`.

    Its members are `<name>_0`, `<name>_1`, ..., each with its own copy of the run settings, in a folder of its own
    below `path`, with key prefixing on.
    """

    def __init__(
        self,
        name: str,
        params: dict[str, object] | None = None,
        path: PathLike | None = None,
        *,
        run_settings: RunSettings | None = None,
        replicas: int | None = None,
    ) -> None:
        if params:
            raise UnsupportedError(
                f"ensemble {name!r}: members cannot be made from params yet; use replicas=n, or make a model for each "
                "and append it by add_model"
            )
        if run_settings is None or replicas is None:
            raise ArgumentValueError(f"ensemble {name!r} needs run_settings and replicas")
        if not isinstance(replicas, int) or replicas < 1:
            raise ArgumentValueError(f"ensemble {name!r} needs at least one replica, got {replicas!r}")
        self.name = check_name(name, "an ensemble")
        self.path = str(Path(path or ".").absolute())
        self.models: list[Model] = []
        for index in range(replicas):
            member = f"{name}_{index}"
            self.add_model(Model(member, {}, copy.deepcopy(run_settings), Path(self.path) / member))
        self.enable_key_prefixing()

    @property
    def type(self) -> str:
        """The kind of entity, as tables show it."""
        return type(self).__name__

    @property
    def entities(self) -> list[Model]:
        """The members."""
        return self.models

    def add_model(self, model: Model) -> None:
        """Append a model. Raises DuplicateNameError."""
        if not isinstance(model, Model):
            raise ArgumentTypeError(f"only a Model can join ensemble {self.name!r}, got {type(model).__name__}")
        if any(model.name == member.name for member in self.models):
            raise DuplicateNameError(f"ensemble {self.name!r} has a member {model.name!r} already")
        self.models.append(model)

    def attach_generator_files(
        self, to_copy: Paths = None, to_symlink: Paths = None, to_configure: Paths = None
    ) -> None:
        """Say which files each member finds in its folder (see `Model.attach_generator_files`)."""
        for model in self.models:
            model.attach_generator_files(to_copy, to_symlink, to_configure)

    def register_incoming_entity(self, incoming_entity: "Model | Ensemble") -> None:
        """Let every member read what another entity puts."""
        for model in self.models:
            model.register_incoming_entity(incoming_entity)

    def enable_key_prefixing(self) -> None:
        """Put each member's name before every key it writes."""
        for model in self.models:
            model.enable_key_prefixing()

    def disable_key_prefixing(self) -> None:
        """Let the members write their keys as they are."""
        for model in self.models:
            model.disable_key_prefixing()

    def query_key_prefixing(self) -> bool:
        """Return True when all members put their names before their keys."""
        return all(model.query_key_prefixing() for model in self.models)

    def __len__(self) -> int:
        return len(self.models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __repr__(self) -> str:
        return f"<{self.type} {self.name}, {len(self)} members>"
