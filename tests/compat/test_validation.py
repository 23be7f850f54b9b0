"""What scripts call as `smart`, by `smartml compat smart`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import smartml
from smartml.cli import main
from smartml.store.module import find_module


def smart(*arguments, code=0):
    done = CliRunner().invoke(main, ["compat", "smart", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_a_machine_that_can_run_databases_is_validated():
    assert "came back" in smart("validate", "--device", "cpu")


def test_a_machine_that_cannot_is_told_by_the_exit_code(monkeypatch):
    monkeypatch.setenv("SMARTML_REDIS_SERVER", "/nowhere/redis-server")
    assert "/nowhere/redis-server" in smart("validate", code=70)


@pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")
def test_a_build_names_the_module_that_is_there():
    assert str(find_module()) in smart("build", "--device", "cpu", "--skip-tensorflow", "-v")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 64, "Usage"),
        (("clean",), 0, "nothing was built"),
        (("clobber",), 0, "nothing was built"),
        (("teardown", "--dragon"), 0, "nothing of Dragon"),
        (("build", "--keydb"), 1, "--keydb"),
        (("dashboard", "start", "-d", "x"), 78, "smartml watch"),
    ],
)
def test_what_scripts_ask_for_is_answered_with_the_codes_of_smart(arguments, code, said):
    assert said in smart(*arguments, code=code)


def test_paths_are_those_of_this_installation():
    assert Path(smart("site").strip()) == Path(smartml.__file__).parent
    assert Path(smart("dbcli").strip()).is_file()
    assert smartml.__version__ in smart("info")
