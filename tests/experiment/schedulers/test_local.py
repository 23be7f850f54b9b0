"""Run settings, command lines and environments of programs on this machine."""

import os
import shutil
import sys

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, ProgramNotFoundError
from smartml.experiment.schedulers.local import child_environment, command_line
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


def test_the_command_line_begins_with_the_run_command():
    settings = RunSettings("true", "a", run_command="nice", run_args={"-n": 5, "--x": None})
    assert command_line(settings) == (shutil.which("nice"), "-n", "5", "--x", shutil.which("true"), "a")
    assert command_line(RunSettings("true", "a", run_command="auto")) == (shutil.which("true"), "a")


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


def test_the_environment_names_the_databases():
    got = child_environment({"HOME": "/h"}, {"orchestrator": ["h:1"], "b": ["h:2", "h:3"]}, ["p", "q"], "me")
    assert got["HOME"] == "/h"
    assert (got["SSDB"], got["SR_DB_TYPE"]) == ("h:1", "Standalone")
    assert (got["SSDB_b"], got["SR_DB_TYPE_b"]) == ("h:2,h:3", "Clustered")
    assert (got["SSKEYIN"], got["SSKEYIN_b"], got["SSKEYOUT"], got["SSKEYOUT_b"]) == ("p,q", "p,q", "me", "me")


def test_slow_writes_are_not_sent_again_nor_are_attempts_endless():
    got = child_environment({}, {"orchestrator": ["h:1"]})
    attempts = int(got["SR_CMD_TIMEOUT"]) * 1000 // int(got["SR_CMD_INTERVAL"]) + 1
    assert int(got["SR_SOCKET_TIMEOUT"]) == 600_000
    assert attempts == 31


def test_the_type_of_an_inherited_database_is_told_by_its_addresses():
    assert child_environment({"SSDB": "h:1"}, {})["SR_DB_TYPE"] == "Standalone"
    assert child_environment({"SSDB": "h:1,h:2"}, {})["SR_DB_TYPE"] == "Clustered"
    assert child_environment({"SSDB": "h:1", "SR_DB_TYPE": "Clustered"}, {})["SR_DB_TYPE"] == "Clustered"
    assert "SR_DB_TYPE" not in child_environment({}, {})


def test_the_caller_s_patience_is_kept_and_its_prefixes_are_not():
    caller = {"SR_SOCKET_TIMEOUT": "5", "PYTHONUNBUFFERED": "", "SSKEYIN": "a", "SSKEYOUT_b": "c", "SSKEYS": "mine"}
    got = child_environment(caller, {"orchestrator": ["h:1"]})
    assert (got["SR_SOCKET_TIMEOUT"], got["PYTHONUNBUFFERED"], got["SSKEYS"]) == ("5", "", "mine")
    assert not {"SSKEYIN", "SSKEYOUT_b"} & got.keys()


def test_the_caller_s_own_environment_is_not_changed():
    before = dict(os.environ)
    child_environment(os.environ, {"orchestrator": ["h:1"]}, own={"A": "1"})
    assert dict(os.environ) == before
