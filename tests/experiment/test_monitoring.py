"""An experiment that logs itself, and whose programs find its record server."""

import os
import signal
import subprocess
import sys

import pytest

from smartml.experiment import Experiment
from smartml.monitor import DataLogger, open_records, script

PROGRAM = """
import sys, time
from smartml.monitor import DataLogger
with DataLogger(flush_every=0.05) as log:
    for step in range(100):
        log.write("loss", x=step, y=1 / (step + 1))
sys.exit(int(sys.argv[1]))
"""

SCRIPT = """
import sys
from smartml.experiment import Experiment
exp = Experiment("watched", exp_path=sys.argv[1])
sleeper = exp.create_model("sleeper", exp.create_run_settings("sleep", "100"))
exp.start(sleeper, block=False, monitor=True)
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def watched(tmp_path, monkeypatch):
    for variable in ("SMARTML_MONITOR", "SMARTML_MONITOR_SCOPE", "SMARTML_ENTITY"):
        monkeypatch.delenv(variable, raising=False)
    exp = Experiment("watched", exp_path=tmp_path)
    yield exp
    if exp.monitoring is not None:
        exp.monitoring.close()


def program(exp, name, code):
    settings = exp.create_run_settings(sys.executable, ["-c", PROGRAM, str(code)])
    return exp.create_model(name, settings)


def last_states(exp, path):
    [config] = script.config(path, "watched")["watched"]
    names = {number: status for status, number in config["states"].items()}
    found = script.export(path, "watched")
    return {
        name.removeprefix("states/"): [names[number] for number in fields["y"].tolist()]
        for (_, name, _), fields in found.items()
        if name.startswith("states/")
    }


def test_programs_find_the_server_and_states_are_logged(watched, tmp_path):
    db = watched.create_database(port=0)
    watched.start(db, program(watched, "good", 0), program(watched, "bad", 3), monitor=True)
    address = watched.monitoring.address
    assert os.environ["SMARTML_MONITOR"] == address
    watched.stop()
    watched.monitoring.close()

    assert "SMARTML_MONITOR" not in os.environ
    folder = tmp_path / "records"
    assert set(script.scopes(folder)) == {"watched", "watched/good", "watched/bad"}
    assert script.counts(folder)["watched/good", "loss", 0] == 100
    states = last_states(watched, folder)
    assert states["good"][-1] == "Completed"
    assert states["bad"][-1] == "Failed"
    assert states["orchestrator"][0] == "Running"
    memory = script.export(folder, "watched", "database/orchestrator/memory")
    assert next(iter(memory.values()))["y"][0] > 100_000


def test_another_run_begins_anew(watched, tmp_path):
    watched.start(program(watched, "one", 0), monitor=True)
    watched.monitoring.close()
    again = Experiment("watched", exp_path=tmp_path)
    again.start(program(again, "other", 0), monitor=True)
    again.monitoring.close()
    assert set(script.scopes(tmp_path / "records")) == {"watched", "watched/other"}


def test_a_server_that_was_killed_comes_back_and_nothing_is_lost(watched, tmp_path, eventually):
    watched.start(
        watched.create_model("sleeper", watched.create_run_settings("sleep", "100")), block=False, monitor=True
    )
    address = watched.monitoring.address
    with DataLogger("own", grpc_uri=address, flush_every=0.05) as log:
        for step in range(100):
            log.write("loss", x=step)
            if step == 50:
                assert log.flush(20)
                [server] = [pid for pid in children(os.getpid()) if "grpc_server" in pid[1]]
                os.kill(server[0], signal.SIGKILL)
        assert log.flush(30)
    assert script.counts(address)["own", "loss", 0] == 100
    watched.stop()


def children(pid):
    import psutil

    return [(child.pid, " ".join(child.cmdline())) for child in psutil.Process(pid).children()]


def test_the_server_ends_with_a_script_that_was_killed(tmp_path, eventually, alive):
    done = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.readline() == "started\n"
    [server] = [pid for pid, command in children(done.pid) if "grpc_server" in command]
    done.kill()
    done.communicate()
    eventually(lambda: not alive(server))
    source = open_records(tmp_path / "records")
    assert source.scopes() == ["watched"]
    source.close()
