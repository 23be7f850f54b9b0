"""Real servers and processes for the tests of experiments."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from servers import KINDS, server_program, wait_until

from smartml import experiment
from smartml.experiment import Experiment, Model


def is_alive(pid):
    """Tell whether a process runs; one that ended but was not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def alive():
    return is_alive


@pytest.fixture
def read_eventually():
    """Return the words of a file as soon as it holds that many."""

    def read(file, count=1):
        def words():
            found = Path(file).read_text().split("\n")[:-1] if Path(file).exists() else []
            return found if len(found) >= count else None

        return wait_until(words)

    return read


@pytest.fixture(params=KINDS)
def each_server(request, monkeypatch):
    """Run the test with each kind of server."""
    found = server_program(request.param)
    monkeypatch.setenv("SMARTML_REDIS_SERVER", found)
    return found


@pytest.fixture
def odd_path(tmp_path):
    path = tmp_path / 'it\'s "odd" ü #1;\n$HOME'
    path.mkdir()
    return path


@pytest.fixture
def exp(tmp_path, monkeypatch):
    """An experiment whose folder does not exist yet; all that it started is stopped in the end."""
    monkeypatch.chdir(tmp_path)
    made = Experiment("exp")
    yield made
    made.stop()


@pytest.fixture
def program(exp):
    """Describe a model that runs a piece of Python."""

    def describe(code, name="program", *args, **env_vars) -> Model:
        return exp.create_model(name, exp.create_run_settings("python", ["-c", code, *args], env_vars=env_vars))

    return describe


@pytest.fixture
def script(tmp_path):
    """Run a launch script in a process of its own, as users do; its lines come as it prints them."""
    running = []

    def run(code):
        (tmp_path / "launch.py").write_text(code)
        process = subprocess.Popen(
            [sys.executable, "-u", "launch.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Tests that run in the background of a shell have Ctrl-C switched off, and would hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


# A program that starts two more, one of them in a session of its own, and writes the three pids.
FAMILY = """
import os, subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(100)"]
near = subprocess.Popen(sleep)
far = subprocess.Popen(sleep, start_new_session=True)
bare = subprocess.Popen(sleep, env={})
with open("pids.tmp", "w") as file:
    print(os.getpid(), near.pid, far.pid, bare.pid, sep="\\n", file=file)
os.rename("pids.tmp", "pids")
near.wait()
"""


@pytest.fixture
def family():
    return FAMILY


@pytest.fixture
def package_folder():
    return Path(experiment.__file__).parent
