"""The inference workers of a database: what its server is told, which starts them when a model is stored in it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from smartml.errors import ArgumentTypeError, ArgumentValueError

_PROGRAM = "smartml.inference"


@dataclass(frozen=True)
class InferenceWorkers:
    """How many workers each server of a database has; they run its models and scripts.

    They are its own, and not of the process that has started it: so a database that goes on by itself, or was started
    by a launcher on another host, has them, too. A server without models has none, for each takes the memory of a
    framework.
    """

    number: int = 1
    # Of each worker's framework; None for as many as cores.
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.number < 0 or self.number > 1000:
            raise ArgumentValueError(
                f"inference must be the number of workers, from 0 to 1000, or True for 1: {self.number}"
            )
        if self.threads is not None and (not isinstance(self.threads, int) or self.threads < 1):
            raise ArgumentValueError(f"intra_op_threads must be a whole number from 1 on, not {self.threads!r}")

    @classmethod
    def wanted(cls, inference: int | bool, threads: int | None) -> "InferenceWorkers":
        """Read the argument of an Orchestrator."""
        if not isinstance(inference, int):
            raise ArgumentTypeError(f"inference must be True, False or a number of workers, not {inference!r}")
        return cls(int(inference), threads)

    def module_words(self, name: str, address: str, auth_file: Path | None) -> tuple[str, ...]:
        """Return the arguments of the module in the server of this name (smartml/store/module/inference.h)."""
        if self.number == 0:
            return ()
        # The same interpreter, and this smartml. The server runs in the folder of its data, where a file might bear the
        # name of a package.
        folders = [str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        path = os.pathsep.join(dict.fromkeys(filter(None, folders)))
        words = ["env", f"PYTHONPATH={path}", "PYTHONSAFEPATH=1", sys.executable, "-m", _PROGRAM, address]
        if auth_file is not None:
            words += ["--auth-file", str(auth_file)]
        if self.threads is not None:
            words += ["--threads", str(self.threads)]
        return (str(self.number), f"{name}.inference.log", *words)
