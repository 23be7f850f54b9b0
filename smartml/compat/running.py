"""Run programs of SmartSim and SmartRedis as they are, with a path on which these names mean smartml.

The path is that of the program and, as `PYTHONPATH`, of all that it starts.
"""

import importlib.machinery
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smartml.errors import MissingDependencyError
from smartml.experiment.scripts import run_script

_HERE = Path(__file__).parent
_SMARTSIM = _HERE / "path"
_SMARTREDIS = _HERE / "path_smartredis"


@dataclass(frozen=True)
class CompatPath:
    """Which of the two names mean smartml.

    real_smartsim: `import smartsim` means the package that is installed.
    real_smartredis: so does `import smartredis`; None: where it is installed.
    """

    real_smartsim: bool = False
    real_smartredis: bool | None = None

    @property
    def folders(self) -> list[str]:
        """The folders to put before all others on the path of imports.

        Raises MissingDependencyError where a package is wanted that is not installed.
        """
        if self.real_smartsim and not _is_installed("smartsim"):
            raise MissingDependencyError("SmartSim is not installed: leave --real-smartsim out, or install it")
        if self.real_smartredis and not _is_installed("smartredis"):
            raise MissingDependencyError(
                'SmartRedis is not installed: pip install "smartml[smartredis]" (up to Python 3.11), or leave '
                "--real-smartredis out"
            )
        is_real = _is_installed("smartredis") if self.real_smartredis is None else self.real_smartredis
        return [
            str(folder) for folder, is_real in ((_SMARTSIM, self.real_smartsim), (_SMARTREDIS, is_real)) if not is_real
        ]

    def enter(self) -> None:
        """Put the folders on the path of this process, and on that of the processes it starts."""
        ours = {str(_SMARTSIM), str(_SMARTREDIS)}
        inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        rest = [folder for folder in inherited if folder and folder not in ours]
        os.environ["PYTHONPATH"] = os.pathsep.join([*self.folders, *rest])
        sys.path[:] = [*self.folders, *(folder for folder in sys.path if folder not in ours)]


def run_program(script: str, options: Sequence[str] = (), path: CompatPath | None = None) -> int | str:
    """Run a Python program in this process as Python itself would; return its exit code, or its last words.

    Raises MissingDependencyError as `CompatPath.folders` does.
    """
    (path or CompatPath()).enter()
    return run_script(script, options)


def _is_installed(package: str) -> bool:
    """Tell whether there is another package of that name than ours."""
    ours = {str(_SMARTSIM), str(_SMARTREDIS)}
    folders = [folder for folder in sys.path if folder not in ours]
    return importlib.machinery.PathFinder.find_spec(package, folders) is not None
