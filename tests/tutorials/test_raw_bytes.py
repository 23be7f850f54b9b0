"""The tutorial of raw bytes as people run it, with fewer files and passes."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

# It trains for a minute, and more on busy cores.
pytestmark = pytest.mark.long

FOLDER = Path(__file__).parents[2] / "tutorials/08_raw_bytes"

for package in ("pydantic", "sklearn", "tokenizers", "torch"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package!r} is not installed", allow_module_level=True)


def load(name):
    spec = importlib.util.spec_from_file_location(f"raw_bytes_tutorial_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    collect = load("collect")
    if sum(len(paths) >= collect.FEWEST for paths, _ in collect.kinds().values()) < 2:
        pytest.skip("this system has files of fewer than two kinds")
    folder = tmp_path_factory.mktemp("tutorial") / "out"
    command = [sys.executable, "run.py", "--output", str(folder), "--files", "30", "--epochs", "4"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_kinds_are_told_apart_better_than_by_chance(run):
    folder, said = run
    assert (folder / "raw_bytes.png").read_bytes().startswith(b"\x89PNG")
    [line] = [line for line in said.splitlines() if line.startswith("accuracy")]
    assert float(line.split(": ")[1].split(";")[0]) > 0.25, said


def test_its_checkpoint_answers(run):
    from smartml.training import load_run

    [checkpoint] = (run[0] / "runs" / "raw_bytes" / "saved_models").glob("*.pt")
    [answer] = load_run(checkpoint).predict([{"piece": Path(__file__).read_bytes()[500:600]}])
    assert sum(answer["file"]["kind"].values()) == pytest.approx(1)


def test_no_file_that_is_held_out_has_a_piece_to_train_on(run):
    data = run[0] / "data"
    held_out = {one.rsplit("_", 1)[0] for one in (data / "held_out.txt").read_text().split()}
    pieces = {path.stem.rsplit("_", 1)[0]: path for path in (data / "pieces").iterdir()}
    trained = set(pieces) - held_out
    assert held_out and trained and held_out < set(pieces)
    contents = {path.read_bytes() for path in (data / "pieces").iterdir()}
    assert len(contents) > 0.99 * len(list((data / "pieces").iterdir()))
