"""A model: one program of an experiment, with its files and its place among the others."""

from pathlib import Path
from typing import TYPE_CHECKING, Union

from smartml.errors import ArgumentTypeError, DuplicateNameError
from smartml.experiment.files import AttachedFiles, PathLike, Paths, attach_files, check_name, check_params
from smartml.experiment.schedulers.settings import RunSettings

if TYPE_CHECKING:
    from smartml.experiment.ensemble import Ensemble


class Model:
    """Describe a program to run; usually made by `Experiment.create_model`.

    params: values for the tags of files to configure. path: the folder it runs in, by default the current one.
    """

    def __init__(
        self,
        name: str,
        params: dict[str, str | int | float] | None,
        run_settings: RunSettings,
        path: PathLike | None = None,
    ) -> None:
        if not isinstance(run_settings, RunSettings):
            raise ArgumentTypeError(
                f"model {name!r} needs run settings, as create_run_settings makes them, got {run_settings!r}"
            )
        self.name = check_name(name, "a model")
        self.params = check_params(params)
        self.run_settings = run_settings
        self.path = str(Path(path or ".").absolute())
        self.files = AttachedFiles()
        self.incoming_entities: list[Model] = []
        self._is_prefixing = False

    @property
    def type(self) -> str:
        """The kind of entity, as tables show it."""
        return type(self).__name__

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
