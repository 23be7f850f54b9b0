"""Containers that programs run in: Singularity, and Apptainer as it is called today.

Options as in https://apptainer.org/docs/user/main/cli/apptainer_exec.html.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.experiment.schedulers.programs import split_words

# Folders of the host to see inside: one, several, or host -> inside, where None means the same place.
Mounts = str | Sequence[str] | Mapping[str, str | None]


@dataclass(frozen=True)
class Container:
    """Describe the image that a program runs in; use Singularity or Apptainer.

    args: options of the container's command. mount: folders of the host to see inside. working_directory: the folder
    inside, by default that of the entity, which is mounted in any case.
    """

    image: str
    args: str | Sequence[str] = ""
    mount: Mounts = ""
    working_directory: str = ""

    # The commands that run such a container, the preferred first.
    commands: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name, value in (("image", self.image), ("working_directory", self.working_directory)):
            if not isinstance(value, str):
                raise ArgumentTypeError(f"{name} of a container must be a str, got {type(value).__name__}: {value!r}")
        if not self.image:
            raise ArgumentValueError("image of a container must name a file or a URL, got ''")
        if not self.commands:
            raise ArgumentTypeError("Container says nothing of how it is run: use Singularity or Apptainer")
        split_words(self.args, "args of a container")
        self.binds()

    @property
    def runtime(self) -> str:
        """The command that runs the container: its path where it is there, else its name."""
        return next(filter(None, map(shutil.which, self.commands)), self.commands[0])

    def binds(self) -> list[str]:
        """Return the mounts as the command takes them: `host` or `host:inside`."""
        if isinstance(self.mount, Mapping):
            split_words(list(self.mount), "mount of a container")
            split_words([inside for inside in self.mount.values() if inside is not None], "mount of a container")
            return [f"{host}:{inside}" if inside else host for host, inside in self.mount.items()]
        several = [self.mount] if isinstance(self.mount, str) else self.mount
        return [bind for bind in split_words(several, "mount of a container") if bind]

    def container_cmds(self, default_working_directory: str = "") -> list[str]:
        """Return the words that stand before the program."""
        folder = self.working_directory or default_working_directory
        binds = self.binds()
        if folder and not any(bind.split(":")[0] == folder for part in binds for bind in part.split(",")):
            binds.insert(0, folder)
        return [
            *(self.runtime, "exec"),
            *(("--pwd", folder) if folder else ()),
            *split_words(self.args, "args of a container"),
            *(("--bind", ",".join(binds)) if binds else ()),
            self.image,
        ]


@dataclass(frozen=True)
class Singularity(Container):
    """Run a program by `singularity exec`, or by `apptainer` where only that is there."""

    commands: ClassVar[tuple[str, ...]] = ("singularity", "apptainer")


@dataclass(frozen=True)
class Apptainer(Container):
    """Run a program by `apptainer exec`, or by `singularity` where only that is there."""

    commands: ClassVar[tuple[str, ...]] = ("apptainer", "singularity")
