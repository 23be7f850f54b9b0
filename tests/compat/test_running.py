"""What `smartml compat run` puts on the path, for whom, and what it leaves alone."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from smartml.compat import CompatPath
from smartml.errors import MissingDependencyError

needs_smartredis = pytest.mark.skipif(
    find_spec("smartredis") is None, reason="needs SmartRedis (pip install smartredis, up to Python 3.11)"
)
without_smartredis = pytest.mark.skipif(find_spec("smartredis") is not None, reason="SmartRedis is installed")

WHOSE = """
import smartredis, smartsim
for package in (smartsim, smartredis):
    print(package.__name__, "smartml" if "smartml" in package.__file__ else "its own")
"""

CHILD = """
import subprocess, sys
import smartsim
code = "import smartsim, smartredis; print(smartsim.__file__); print(smartredis.__file__)"
subprocess.run([sys.executable, "-c", code], check=True)
"""


def test_without_the_command_the_names_mean_nothing():
    code = "import sys; before = list(sys.path); import smartml.compat, smartml.experiment; print(before == sys.path)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    for package in ("smartsim", "smartredis"):
        found = find_spec(package)
        assert found is None or "compat" not in str(found.origin)


@without_smartredis
def test_both_names_mean_smartml_where_neither_package_is_installed(program):
    assert program(WHOSE) == ["smartsim smartml", "smartredis smartml"]


@needs_smartredis
def test_smartredis_itself_is_taken_where_it_is_installed(program):
    assert program(WHOSE) == ["smartsim smartml", "smartredis its own"]


@needs_smartredis
def test_the_real_smartredis_can_be_asked_for(program):
    assert program(WHOSE, flags=["--real-smartredis"]) == ["smartsim smartml", "smartredis its own"]


def test_smartmls_names_can_be_asked_for_where_smartredis_is_installed(program):
    assert program(WHOSE, flags=["--no-real-smartredis"]) == ["smartsim smartml", "smartredis smartml"]


@without_smartredis
def test_a_package_that_is_asked_for_and_not_installed_is_named(program):
    lines = program(WHOSE, flags=["--real-smartredis"], code=1)
    assert lines[0].startswith("Error: SmartRedis is not installed")
    assert len(lines) == 1


def test_the_real_smartsim_is_asked_for_in_vain_where_it_is_not_installed():
    if find_spec("smartsim") is not None:
        pytest.skip("SmartSim is installed")
    with pytest.raises(MissingDependencyError, match="SmartSim is not installed"):
        CompatPath(real_smartsim=True).enter()


def test_programs_that_it_starts_find_the_same(program):
    smartsim, smartredis = program(CHILD, flags=["--no-real-smartredis"])
    assert smartsim.endswith(os.path.join("compat", "path", "smartsim", "__init__.py"))
    assert smartredis.endswith(os.path.join("compat", "path_smartredis", "smartredis", "__init__.py"))


def test_programs_that_a_driver_launches_find_the_same(program, tmp_path):
    (tmp_path / "child.py").write_text("import smartredis, smartsim.ml; print(smartsim.ml.__file__)")
    lines = program(
        """
        import sys
        from smartsim import Experiment
        exp = Experiment("parent")
        model = exp.create_model("child", exp.create_run_settings(sys.executable, "child.py"))
        model.attach_generator_files(to_copy="child.py")
        exp.generate(model)
        exp.start(model)
        print(exp.get_status(model)[0].value, open(model.path + "/child.out").read(), end="")
        """,
        flags=["--no-real-smartredis"],
    )
    [line] = lines
    assert line.startswith("Completed ") and line.endswith(os.path.join("smartsim", "ml", "__init__.py"))


def test_paths_that_were_there_stay_and_ours_come_once(program, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text("")
    path = os.pathsep.join([str(tmp_path / "own"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    [line] = program(
        """
        import os, sys
        import mine
        from smartml.compat import CompatPath
        CompatPath().enter()
        CompatPath().enter()
        print(sum(folder.endswith(os.path.join("compat", "path")) for folder in sys.path))
        """,
        env={"PYTHONPATH": path},
    )
    assert line == "1"


def test_a_program_gets_its_options_and_its_own_folder(program, tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 7")
    lines = program("import sys, beside; print(sys.argv[1:], beside.VALUE, __name__)", "--steps", "3", "-h")
    assert lines == ["['--steps', '3', '-h'] 7 __main__"]


def test_the_exit_code_is_the_programs(program):
    assert program("import sys; sys.exit(3)", code=3) == []
    assert program("raise SystemExit('no more')", code=1) == ["no more"]
    assert program("import smartsim; smartsim.nothing", code=1)[-1].startswith("AttributeError")
