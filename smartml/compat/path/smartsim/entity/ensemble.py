"""Several programs that are started together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smartml import experiment as _ours
from smartml.experiment.files import PathLike
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.strategies import Strategy
from smartsim.entity.dbobject import DBModel, DBScript
from smartsim.entity.entityList import EntityList
from smartsim.entity.model import Model
from smartsim.error.errors import SMARTSIM

__all__ = ["Ensemble"]


@SMARTSIM.speaks
class Ensemble(_ours.Ensemble, EntityList):
    __doc__ = _ours.Ensemble.__doc__

    def __init__(
        self,
        name: str,
        params: Mapping[str, object] | None,
        path: PathLike | None = None,
        params_as_args: Sequence[str] | None = None,
        batch_settings: BatchSettings | None = None,
        run_settings: RunSettings | None = None,
        perm_strat: str | Strategy = "all_perm",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, params, path, params_as_args, batch_settings, run_settings, perm_strat, **kwargs)
        know_members(self)

    @property
    def db_models(self) -> Iterator[DBModel]:
        """The models that the databases of its members get."""
        return (one for one in self._db_objects if isinstance(one, DBModel))

    @property
    def db_scripts(self) -> Iterator[DBScript]:
        """The scripts that the databases of its members get."""
        return (one for one in self._db_objects if isinstance(one, DBScript))

    @property
    def attached_files_table(self) -> str:
        """The attached files of each member as a table."""
        tables = [f"{member.name}\n{member.attached_files_table}" for member in self if isinstance(member, Model)]
        return "\n\n".join(tables) or "The ensemble is empty, no files to show."

    def print_attached_files(self) -> None:
        """Print the attached files of each member as a table."""
        print(self.attached_files_table)  # noqa: T201


def know_members(ensemble: _ours.Ensemble) -> None:
    """Let the members that smartml has made be of the class that programs know, which differs in its errors alone."""
    for member in ensemble:
        if type(member) is _ours.Model:
            member.__class__ = Model
