"""The tutorial of a stream learned from by YAML files, as people run it, shorter."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tutorials/09_yaml_streaming"


def load(name):
    spec = importlib.util.spec_from_file_location(f"yaml_streaming_tutorial_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_heart_follows_what_its_owner_does():
    simulation = load("simulation")

    rates = simulation.rates(60, ["rest", "run", "run", "run", "run", "run", "run", "rest", "rest"])

    assert rates[0] == 60
    assert rates[1:7] == sorted(rates[1:7])
    assert rates[6] in (149, 150)
    # Of 90 beats above rest, exp(-1 / 2) are left after a minute.
    assert rates[7] == pytest.approx(60 + 90 * 0.6065, abs=1)
    assert [sample[2] for sample in simulation.samples(2, 7)] == ["7_0", "7_1"]
    assert list(simulation.samples(3, 7)) == list(simulation.samples(3, 7)) != list(simulation.samples(3, 8))


def test_a_model_learns_from_the_server(tmp_path):
    for package in ("pydantic", "tokenizers", "torch", "websockets"):
        pytest.importorskip(package)
    command = [sys.executable, "run.py", "--output", str(tmp_path / "out"), "--samples", "8100"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stderr
    # Of 8100 samples, 100 are held out.
    assert done.stdout.startswith("250 batches")
    assert (tmp_path / "out" / "yaml_streaming.png").read_bytes().startswith(b"\x89PNG")
    run = tmp_path / "out" / "runs" / "heart_rates"
    assert (run / "results/heart/heart/samples/250/auto/0_generated.txt").exists()
    assert (run / "results/heart/heart/samples/250/manual/3_generated.txt").exists()
