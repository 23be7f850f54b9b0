"""Run settings: what all kinds share."""

import shutil
import sys

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, ProgramNotFoundError
from smartml.experiment.schedulers.settings import RunSettings


def test_a_program_is_looked_up_on_the_path_at_once():
    assert RunSettings("sleep").exe == [shutil.which("sleep")]


@pytest.mark.parametrize("name", ["python", "python3"])
def test_python_is_the_interpreter_that_runs_the_script(name, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert RunSettings(name).exe == [sys.executable]


def test_a_relative_program_becomes_absolute_and_links_stay(tmp_path, monkeypatch):
    (tmp_path / "run").symlink_to(shutil.which("sleep"))
    monkeypatch.chdir(tmp_path)
    assert RunSettings("./run").exe == [str(tmp_path / "run")]


def test_programs_that_cannot_run_say_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.sh").write_text("")
    with pytest.raises(ProgramNotFoundError, match="is not found in the PATH: install it"):
        RunSettings("no-such-program")
    with pytest.raises(FileNotFoundError, match=f"is not found in {tmp_path}"):
        RunSettings("./no-such-program")
    with pytest.raises(ProgramNotFoundError, match="chmod"):
        RunSettings("./script.sh")
    with pytest.raises(ProgramNotFoundError, match="is a folder"):
        RunSettings(".")
    with pytest.raises(ArgumentTypeError, match="got list"):
        RunSettings(["sleep"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, []),
        ("a b", ["a", "b"]),
        ("--title 'two words'", ["--title", "two words"]),
        (["two words", "b"], ["two words", "b"]),
        (("a",), ["a"]),
    ],
)
def test_arguments_are_words(given, words):
    settings = RunSettings("true", given)
    settings.add_exe_args("last")
    assert settings.exe_args == [*words, "last"]


def test_arguments_that_cannot_be_words_are_refused():
    for wrong in (5, [5], {"a": "b"}):
        with pytest.raises(ArgumentTypeError):
            RunSettings("true", wrong)
    with pytest.raises(ArgumentValueError, match="No closing quotation"):
        RunSettings("true", "it's")


def test_environment_values_become_text():
    settings = RunSettings("true", env_vars={"A": 1, "B": True, "C": 0.5, "D": None})
    settings.update_env({"A": "2"})
    assert settings.env_vars == {"A": "2", "B": "True", "C": "0.5", "D": None}
    with pytest.raises(ArgumentTypeError):
        settings.update_env({"A": [1]})
    with pytest.raises(ArgumentTypeError):
        settings.update_env(["A"])
    with pytest.raises(ArgumentValueError):
        settings.update_env({"A=B": "1"})


def test_options_of_a_command_that_is_not_known_stay_as_they_are(caplog):
    settings = RunSettings("true", run_command="nice", run_args={"-n": 5})
    settings.set("--adjust")
    settings.set("-x", 0)
    settings.set("-y", 1, condition=False)
    assert settings.format_run_args() == ["-n", "5", "--adjust", "-x", "0"]
    settings.set_nodes(2)
    settings.set_mpmd_preamble([])
    settings.make_mpmd(RunSettings("true"))
    assert settings.mpmd == []
    assert caplog.text.count("RunSettings has no option for") == 3
