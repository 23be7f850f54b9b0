"""The first tutorial as people run it: shorter, but with its real database, producers and trainer."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import psutil
import pytest

SECONDS = 20
# What these tests need is some framework; the learning of each is tested by its name.
FRAMEWORK = "torch" if find_spec("torch") else "keras"


def start(tutorial, folder, *options):
    command = [sys.executable, tutorial / "run.py", "--output", folder, "--seconds", str(SECONDS), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder.parent)


def finish(run):
    """Wait for the end of a run; return what it printed."""
    with run:
        printed, _ = run.communicate(timeout=200)
    return printed


def children(run, *words, count=1):
    """Wait until so many programs that were started by the run have these words in their command line."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = []
        for process in psutil.Process(run.pid).children(recursive=True):
            try:
                command = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if all(word in command for word in words):
                found.append(process)
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no program with {words} was started")


def wait_for_line(file, text):
    deadline = time.monotonic() + 60
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < deadline, f"{text!r} never came into {file}"
        time.sleep(0.02)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_surrogate_learns_while_the_simulations_run(tutorial, tmp_path, framework):
    pytest.importorskip(framework)
    folder = tmp_path / "what it leaves"

    run = start(tutorial, folder, "--framework", framework)
    printed = finish(run)

    assert run.returncode == 0, printed
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["surrogate_error"] < 0.9 * metrics["persistence_error"]
    assert f"{metrics['surrogate_error']:.3f}" in printed and f"{metrics['persistence_error']:.3f}" in printed
    assert printed.rstrip().endswith(str(folder))
    growth = [record["samples"] for record in metrics["history"]]
    assert growth == sorted(growth) and growth[0] >= 16
    for name in ("online_surrogate.png", "producer_0/producer_0.out", "trainer/unseen.npz"):
        assert (folder / name).stat().st_size > 0
    weights = {"torch": "weights.pt", "keras": "surrogate.weights.h5"}[framework]
    assert (folder / "trainer" / weights).stat().st_size > 100_000


def test_trainer_goes_on_with_what_arrived_when_a_producer_is_killed(tutorial, tmp_path):
    pytest.importorskip(FRAMEWORK)
    run = start(tutorial, tmp_path / "run", "--framework", FRAMEWORK)
    (producer,) = children(run, "producer.py", "1")
    wait_for_line(tmp_path / "run/producer_1/producer_1.out", "iteration 12:")

    producer.kill()
    printed = finish(run)

    assert run.returncode == 0, printed
    assert "producer_1 failed: killed by SIGKILL" in printed
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["samples"] >= 16
    assert metrics["surrogate_error"] < metrics["persistence_error"]


def test_interrupt_leaves_no_process_behind(tutorial, tmp_path):
    pytest.importorskip(FRAMEWORK)
    run = start(tutorial, tmp_path / "run", "--framework", FRAMEWORK)
    (producer,) = children(run, "producer.py", "0")
    wait_for_line(tmp_path / "run/producer_0/producer_0.out", "iteration 0:")
    started = psutil.Process(run.pid).children(recursive=True)

    run.send_signal(signal.SIGINT)
    printed = finish(run)

    assert run.returncode == 130, printed
    assert printed.rstrip().endswith(str(tmp_path / "run"))
    assert producer in started
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_folder_that_holds_something_is_left_alone(tutorial, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine").touch()
    pytest.importorskip(FRAMEWORK)

    run = start(tutorial, tmp_path / "run", "--framework", FRAMEWORK)
    printed = finish(run)

    assert run.returncode == 2
    assert "is not empty" in printed
    assert os.listdir(tmp_path / "run") == ["mine"]
