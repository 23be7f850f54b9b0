"""PALS: run settings of its `mpiexec`, on HPE Cray EX systems.

Options as in https://cpe.ext.hpe.com/docs/latest/pals/mpiexec.html.
"""

import os
from collections.abc import Mapping
from typing import ClassVar

from smartml.experiment.schedulers.mpi import MpiSettings
from smartml.experiment.schedulers.programs import assignments


class PalsMpiexecSettings(MpiSettings):
    """Run a program by the `mpiexec` of PALS."""

    command_name = "mpiexec"
    options: ClassVar[Mapping[str, str]] = {
        "set_tasks": "np",
        "set_tasks_per_node": "ppn",
        "set_cpu_binding_type": "cpu-bind",
        "set_hostlist": "hosts",
        "set_hostlist_from_file": "hostfile",
        "set_verbose_launch": "verbose",
        "set_broadcast": "transfer",
    }
    # The script that chooses GPUs for each process, with its arguments; it runs the program.
    _affinity_script: tuple[str, ...] = ()

    def set_gpu_affinity_script(self, affinity: str | os.PathLike[str], *args: object) -> None:
        """Set the script that is called with the program as its last arguments, to choose GPUs for each process."""
        self._affinity_script = (os.fspath(affinity), *map(str, args))

    def format_env_vars(self) -> list[str]:
        """Return `--env name=value` for each, and `--envlist` with what is taken over from the caller."""
        taken = ",".join(name for name, value in self.env_vars.items() if value is None)
        given = (word for variable in assignments(self.env_vars) for word in ("--env", variable))
        return [*given, *(["--envlist", taken] if taken else [])]

    def program(self, folder: str) -> list[str]:
        """Return the words of the program itself, after its script for GPUs."""
        return [*self._affinity_script, *super().program(folder)]
