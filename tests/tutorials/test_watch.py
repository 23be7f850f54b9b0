"""The seventh tutorial as people run it, shorter: the first one's job, recorded, and the page that shows it."""

import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tutorials/07_watch"
SECONDS = 5
# What this test needs is some framework.
FRAMEWORK = "torch" if find_spec("torch") else "keras"


def test_a_run_is_recorded_and_shown(tmp_path):
    for package in (FRAMEWORK, "grpc", "tornado", "bokeh"):
        pytest.importorskip(package, reason=f"the package {package!r} is not installed")
    from smartml.monitor import script
    from smartml.monitor.pages import assets

    if not assets.are_there():
        pytest.skip("uPlot is not there: run `smartml monitor assets`, which needs npm")
    folder = tmp_path / "what it leaves"
    command = [sys.executable, FOLDER / "run.py", "--output", folder, "--seconds", str(SECONDS)]
    command += ["--framework", FRAMEWORK]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        told = run.stdout.readline()
        assert told == f"watch it:  smartml watch {folder}\n"
        # As told, while it runs.
        watch = subprocess.Popen([sys.executable, "-m", "smartml", "watch", folder], stdout=subprocess.PIPE, text=True)
        address = watch.stdout.readline().split()[-1]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.status == 200
        watch.terminate()
        watch.communicate(timeout=20)
        printed, _ = run.communicate(timeout=200)
    finally:
        run.kill()
        run.communicate()

    assert run.returncode == 0, printed
    names = script.names(folder / "records", "online_surrogate/trainer")
    assert {"feed/arrived", "feed/used", "error/unseen", "error/training", "field/simulated", "field/predicted"} <= {
        *names
    }
    assert {"states/trainer", "database/orchestrator/memory"} <= {*script.names(folder / "records", "online_surrogate")}
    errors = script.export(folder / "records", "online_surrogate/trainer", "error/unseen")
    assert (next(iter(errors.values()))["y"] < 1).all()
