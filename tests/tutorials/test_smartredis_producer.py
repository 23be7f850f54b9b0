"""The second tutorial as people run it, shorter: its programs know SmartRedis alone, its trainer learns from them."""

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smartml.store.module import find_module

FOLDER = Path(__file__).parents[2] / "tutorials/02_smartredis_producer"
SECONDS = 15


@pytest.fixture(scope="module")
def gray_scott():
    spec = importlib.util.spec_from_file_location("gray_scott", FOLDER / "gray_scott.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_happens_without_the_second_substance(gray_scott):
    u, v = gray_scott.advance(np.ones((8, 8)), np.zeros((8, 8)), feed=0.03, kill=0.06, time=10)
    assert (u == 1).all() and (v == 0).all()


def test_diffusion_keeps_what_there_is(gray_scott):
    field = np.random.default_rng(1).random((8, 8))
    assert abs(gray_scott.laplacian(field).sum()) < 1e-12
    # Of a wave on the torus: its eigenvalue, 2 cos(2 pi / n) - 2.
    wave = np.tile(np.cos(2 * np.pi * np.arange(8) / 8), (8, 1))
    np.testing.assert_allclose(gray_scott.laplacian(wave), (2 * np.cos(2 * np.pi / 8) - 2) * wave, atol=1e-12)


def test_what_one_substance_loses_in_a_reaction_the_other_gains(gray_scott):
    u, v = np.random.default_rng(1).random((2, 8, 8))
    later_u, later_v = gray_scott.step(u, v, feed=0.0, kill=0.0)
    assert later_u.sum() < u.sum()
    np.testing.assert_allclose(later_u.sum() + later_v.sum(), u.sum() + v.sum())


def test_a_target_is_the_next_sample(gray_scott):
    found = list(gray_scott.pairs(np.random.default_rng(1), 3))
    for (_, target), (sample, _) in itertools.pairwise(found):
        assert (sample[..., :2] == target).all()
    assert found[0][0].shape == (48, 48, 4) and found[0][1].shape == (48, 48, 2)
    assert found[0][0].dtype == np.float32


def test_a_producer_has_never_heard_of_what_learns_from_it():
    for name in ("producer.py", "gray_scott.py"):
        assert "smartml" not in (FOLDER / name).read_text()


@pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")
@pytest.mark.parametrize("nodes", [1, 3])
def test_a_trainer_learns_from_programs_of_smartredis(tmp_path, nodes):
    for package in ("smartredis", "torch", "matplotlib"):
        pytest.importorskip(package)
    folder = tmp_path / "what it leaves"
    options = ["--output", str(folder), "--seconds", str(SECONDS), "--db-nodes", str(nodes)]
    run = subprocess.run([sys.executable, FOLDER / "run.py", *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr

    progress = [json.loads(line) for line in (folder / "trainer/progress.jsonl").read_text().splitlines()]
    # It begins at the baseline; how far it gets from there is a matter of the machine.
    assert progress[-1]["error"] < progress[-1]["baseline"]
    put = [(folder / f"producer_{number}/producer_{number}.out").read_text().count("pattern ") for number in range(2)]
    assert progress[-1]["samples"] == 12 * sum(put) > 0
    assert (folder / "smartredis_producer.png").read_bytes().startswith(b"\x89PNG")
    assert run.stdout.count("Orchestrator") == nodes


def test_a_package_that_is_missing_is_named(tmp_path):
    if importlib.util.find_spec("smartredis"):
        pytest.skip("smartredis is installed")
    run = subprocess.run([sys.executable, FOLDER / "run.py"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 2
    assert 'smartredis is not installed: pip install "smartml[smartredis]"' in run.stderr
