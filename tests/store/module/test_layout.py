"""The pure part of the module, tested in C under the address and undefined-behaviour sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from smartml.store import module

HERE = Path(__file__).parent
SOURCES = Path(module.__file__).parent
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc (apt-get install gcc)")


def test_the_laws_of_the_layout_hold(tmp_path):
    program = tmp_path / "layout_test"
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Werror")
    sources = (str(HERE / "layout_test.c"), str(SOURCES / "layout.c"))
    subprocess.run(["gcc", *warnings, *SANITIZERS, f"-I{SOURCES}", *sources, "-o", str(program)], check=True)

    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "all laws hold\n", "")
