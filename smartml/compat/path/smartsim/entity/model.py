"""A program of an experiment."""

from collections.abc import Iterator

from smartml import experiment as _ours
from smartml.experiment.files import AttachedFiles
from smartsim.entity.dbobject import DBModel, DBScript
from smartsim.entity.entity import SmartSimEntity
from smartsim.error.errors import SMARTSIM

__all__ = ["Model"]


@SMARTSIM.speaks
class Model(_ours.Model, SmartSimEntity):
    __doc__ = _ours.Model.__doc__

    @property
    def db_models(self) -> Iterator[DBModel]:
        """The models that its databases get."""
        return (one for one in self.db_objects if isinstance(one, DBModel))

    @property
    def db_scripts(self) -> Iterator[DBScript]:
        """The scripts that its databases get."""
        return (one for one in self.db_objects if isinstance(one, DBScript))

    @property
    def attached_files_table(self) -> str:
        """The attached files as a table."""
        return files_table(self.files, "model" if type(self).__name__ == "Model" else "entity")

    def print_attached_files(self) -> None:
        """Print the attached files as a table."""
        print(self.attached_files_table)  # noqa: T201


def files_table(files: AttachedFiles, of: str) -> str:
    """Return the attached files of an entity as a table of two columns, within lines."""
    if not files:
        return f"No file attached to this {of}."
    rows = [("Strategy", "Files")]
    for strategy, paths in (("Copy", files.to_copy), ("Symlink", files.to_symlink), ("Configure", files.to_configure)):
        rows += [(strategy if index == 0 else "", str(path)) for index, path in enumerate(paths)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"| {row[0]:{widths[0]}} | {row[1]:{widths[1]}} |" for row in rows]
    rule, head = ("+".join(["", *(mark * (width + 2) for width in widths), ""]) for mark in "-=")
    table = [rule, lines[0], head]
    for row, line in zip(rows[1:], lines[1:], strict=True):
        table += [rule, line] if row[0] and table[-1] != head else [line]
    return "\n".join([*table, rule])
