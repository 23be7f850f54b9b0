"""The tutorial of streaming as people run it, shorter."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "tutorials/06_websocket"
SECONDS = 5


def test_simulated_hearts_beat_as_hearts_do():
    spec = importlib.util.spec_from_file_location("websocket_tutorial_heart", FOLDER / "heart.py")
    heart = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(heart)
    rates = np.stack([heart.heart_rate(np.random.default_rng(seed), 80) for seed in range(200)])
    assert rates.shape == (200, 80)
    assert 35 < rates.min() < 60 and 110 < rates.max() < 140
    first, second = (list(heart.patients(3, 1e6, 1e-5)) for _ in range(2))
    assert [patient["sample_id"] for patient in first] == [f"patient_{n}" for n in range(10)]
    assert (first[9]["inputs"]["heart_rate"] == second[9]["inputs"]["heart_rate"]).all()


def test_a_trainer_learns_from_the_stream_alone(tmp_path):
    for package in ("torch", "matplotlib", "websockets", "pybase64"):
        pytest.importorskip(package)
    folder = tmp_path / "what it leaves"
    command = [sys.executable, FOLDER / "run.py", "--output", str(folder), "--seconds", str(SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr

    records = [json.loads(line) for line in (folder / "trainer/progress.jsonl").read_text().splitlines()]
    assert records[-1]["trained"] == 800 * SECONDS - 256
    assert records[-1]["error"] < 0.9 * records[-1]["standstill"]
    assert (folder / "websocket.png").read_bytes().startswith(b"\x89PNG")
