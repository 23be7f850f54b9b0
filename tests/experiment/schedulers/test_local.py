"""Command lines and environments of programs on this machine."""

import os
import shutil

from smartml.experiment.schedulers.local import child_environment, command_line
from smartml.experiment.schedulers.settings import RunSettings


def test_the_command_line_begins_with_the_run_command():
    settings = RunSettings("true", "a", run_command="nice", run_args={"-n": 5, "--x": None})
    assert command_line(settings) == (shutil.which("nice"), "-n", "5", "--x", shutil.which("true"), "a")
    assert command_line(RunSettings("true", "a", run_command="auto")) == (shutil.which("true"), "a")


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
