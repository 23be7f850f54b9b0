"""The tutorial of the pipeline as people run it, shorter, and the examples beside it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "tutorials/05_pipeline"
SECONDS = 6


def load(name):
    spec = importlib.util.spec_from_file_location(f"pipeline_tutorial_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def examples():
    return load("examples")


@pytest.fixture(scope="module")
def vibration():
    return load("vibration")


def test_examples_give_what_their_page_says(examples):
    assert examples.chains() == [[1, 2, 3, 4], [4, 16], [2, 3, 4, 5]]
    assert examples.stores() == (10, [3, 3, 3])
    assert examples.sink_and_prefetch() == [2] * 5
    assert examples.composed() == [("_1", 1), ("_2", 2), ("_3", 3)]
    assert examples.sampled() == 15


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_examples_run_in_other_processes(examples):
    assert examples.in_processes() == [2, 3, 4]
    pytest.importorskip("torch")
    assert examples.loaded(num_workers=2) == list(range(0, 200, 2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("package", "name"), [("distributed", "on_a_cluster"), ("numba", "with_numba")])
def test_examples_run_on_other_executors(package, name, examples):
    pytest.importorskip(package)
    assert getattr(examples, name)() == [2, 3, 4]


def test_two_monitors_give_four_metrics(examples):
    assert examples.monitored() == [
        f"({place} async_map) {name}" for place in ("after", "before") for name in ("IOPS number/s", "throughput MB/s")
    ]


def test_a_vibration_has_its_frequency_and_dies_away(vibration):
    (recording,) = vibration.ring(np.array([10.0]), np.array([0.02]), np.random.default_rng(1))
    spectrum, target = vibration.spectrum((recording, "target"))

    assert target == "target" and spectrum.dtype == np.float32
    assert abs(spectrum.argmax() * vibration.RATE_HZ / vibration.LENGTH - 10) < 0.4
    # After 2.5 s, 25 swings, a share exp(-2 pi 0.02 25) is left.
    assert np.abs(recording[-10:]).max() < 0.04 + 5 * vibration.NOISE < np.abs(recording[:10]).max()


def test_targets_are_frequency_and_damping_scaled(vibration):
    frequencies, dampings = vibration.unscaled(np.array([[-1.0, 1.0], [1.0, -1.0]]))

    assert np.allclose(frequencies, vibration.FREQUENCIES)
    assert np.allclose(dampings, vibration.DAMPINGS[::-1])


def test_a_live_feed_through_a_chain_into_a_training_loop(tmp_path):
    for package in ("torch", "matplotlib"):
        pytest.importorskip(package)
    folder = tmp_path / "what it leaves"
    command = [sys.executable, FOLDER / "run.py", "--output", str(folder), "--seconds", str(SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert run.returncode == 0, run.stdout + run.stderr

    records = [json.loads(line) for line in (folder / "trainer/progress.jsonl").read_text().splitlines()]
    # All that both producers put came, the later part of it while it was trained unless the machine is slow.
    arrived = [record["arrived"] for record in records]
    assert arrived == sorted(arrived) and arrived[-1] == 2 * 400 * 32
    assert records[-1]["frequency"] < records[0]["frequency"]
    names = {
        f"{place} async_map: {name}" for place in ("before", "after") for name in ("IOPS number/s", "throughput MB/s")
    }
    assert set(records[-1]["rates"]) == names
    assert (folder / "pipeline.png").read_bytes().startswith(b"\x89PNG")
