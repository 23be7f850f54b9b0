"""Compile the tensor module.

`setup.py` runs this file by its path, before smartml can be imported: it uses the standard library alone.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = (
    "layout.c",
    "models.c",
    "names.c",
    "redis_api.c",
    "spawn.c",
    "arguments.c",
    "values.c",
    "calls.c",
    "costs.c",
    "inference.c",
    "model_commands.c",
    "run_commands.c",
    "module.c",
)
FILE_NAME = "smartml_tensors.so"

_FLAGS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
_COMPILERS = ("cc", "gcc", "clang")


class CompileError(Exception):
    """There is no compiler, or it failed; the message says which, and how."""


def compile_module(target: Path, extra_flags: Sequence[str] = ()) -> None:
    """Compile the module with the compiler that `CC` names, else the first of cc, gcc and clang on the PATH.

    A file that is there is replaced as a whole: a server that has it loaded goes on with the former one.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    command = [*_find_compiler(), *_FLAGS, *extra_flags, "-o", str(draft), *(str(FOLDER / name) for name in SOURCES)]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise CompileError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")
        os.replace(draft, target)
    except OSError as error:
        raise CompileError(f"{target} cannot be written by {command[0]}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _find_compiler() -> list[str]:
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        if shutil.which(named[0]) is None:
            raise CompileError(f"the compiler that CC names is not found: {named[0]}")
        return named
    for name in _COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise CompileError(
        f"no C compiler is found (none of {', '.join(_COMPILERS)} is on the PATH): install one "
        "(`apt-get install gcc`, `conda install gcc`), load its module, or name one by CC"
    )
