"""The third tutorial as people run it, shorter: three memories of one stream."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "tutorials/03_bounded_training"
SECONDS = 10


@pytest.fixture(scope="module")
def oscillator():
    spec = importlib.util.spec_from_file_location("oscillator", FOLDER / "oscillator.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_oscillator_at_rest_stays_there(oscillator):
    assert (oscillator.advance(np.zeros((2, 2)), np.array([-1.0, 3.0])) == 0).all()


def test_a_small_swing_is_the_one_of_a_damped_spring(oscillator):
    size, stiffness = 1e-4, 4.0
    frequency = np.sqrt(stiffness - oscillator.DAMPING**2 / 4)
    decay = np.exp(-oscillator.DAMPING / 2 * oscillator.HORIZON)
    phase = frequency * oscillator.HORIZON
    expected = size * decay * (np.cos(phase) + oscillator.DAMPING / 2 / frequency * np.sin(phase))

    ((x, _),) = oscillator.advance(np.array([[size, 0.0]]), np.array([stiffness]))

    assert abs(x - expected) < 1e-5 * size


def test_damping_takes_energy(oscillator):
    states, stiffness = np.random.default_rng(1).uniform(-1, 1, (50, 2)), np.full(50, 2.0)

    def energy(states):
        return states[:, 1] ** 2 / 2 + stiffness * states[:, 0] ** 2 / 2 + oscillator.CUBIC * states[:, 0] ** 4 / 4

    assert (energy(oscillator.advance(states, stiffness)) < energy(states)).all()


def test_the_stiffness_drifts_over_the_campaign(oscillator):
    batches = [samples for samples, _ in oscillator.campaign(np.random.default_rng(1), 4, 100)]

    for number, samples in enumerate(batches):
        assert (samples[:, 2] >= -1 + number / 2 - 1e-6).all() and (samples[:, 2] <= -1 + (number + 1) / 2 + 1e-6).all()
    assert batches[0].shape == (100, 3) and batches[0].dtype == np.float32


def test_three_memories_of_one_stream(tmp_path):
    for package in ("torch", "matplotlib"):
        pytest.importorskip(package)
    folder = tmp_path / "what it leaves"
    command = [sys.executable, FOLDER / "run.py", "--output", str(folder), "--seconds", str(SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr

    last, stiffness = {}, {}
    for policy in ("fifo", "reservoir", "firo"):
        last[policy] = json.loads((folder / policy / "progress.jsonl").read_text().splitlines()[-1])
        with np.load(folder / policy / "errors.npz") as found:
            stiffness[policy] = found["held"]
        assert last[policy]["held"] <= 2048 and last[policy]["bytes"] <= 40 * 1024
    # All came, and a tenth of it is held: the end of the run by the first policy, all of it by the second.
    assert last["fifo"]["arrived"] == last["reservoir"]["arrived"] == 20480
    assert len(stiffness["fifo"]) == 2048
    assert stiffness["fifo"].min() > 5.1
    assert abs(stiffness["reservoir"].mean() - 2) < 0.3
    assert last["reservoir"]["error"] < last["fifo"]["error"]
    assert (folder / "bounded_training.png").read_bytes().startswith(b"\x89PNG")
