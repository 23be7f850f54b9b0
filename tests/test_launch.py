"""launch/: every job script is started, by the scheduler it is for or by one that is played."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import wait_until
from slurm import PBS_PLUGIN

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
PLAYED = ROOT / "tests" / "schedulers" / "played.py"

# Each rank puts one tensor of its own.
PRODUCER = """
import os, sys
import numpy as np
from smartml import Client
# Within mpirun, Slurm counts what that has started.
ranks = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
rank = sys.argv[1] if len(sys.argv) > 1 else next(os.environ[name] for name in ranks if name in os.environ)
with Client() as client:
    client.put_tensor(f"x_{rank}", np.full(3, float(rank)))
"""

TRAINER = """
import os
from smartml import Client
with Client() as client:
    names = os.environ["SSKEYIN"].split(",")
    for number in range(2):
        # Of one name with many ranks, or of many names.
        client.set_data_source(names[number % len(names)])
        client.poll_tensor(f"x_{number}", 100, 400)
        print(client.get_tensor(f"x_{number}").tolist(), flush=True)
"""

EXPECTED = "[0.0, 0.0, 0.0]\n[1.0, 1.0, 1.0]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with programs to run, and an environment in which this Python, its commands and smartml are found."""
    (tmp_path / "producer.py").write_text(PRODUCER)
    (tmp_path / "trainer.py").write_text(TRAINER)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "smartml").write_text(f'#!/bin/sh\nexec {sys.executable} -m smartml "$@"\n')
    (tmp_path / "bin" / "smartml").chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    own = f"{tmp_path / 'bin'}:{os.path.dirname(sys.executable)}"
    monkeypatch.setenv("PATH", f"{own}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    python = sys.executable
    monkeypatch.setenv("PRODUCER", f"{python} {tmp_path / 'producer.py'}")
    monkeypatch.setenv("TRAINER", f"{python} {tmp_path / 'trainer.py'}")
    for name, value in (("RANKS", "2"), ("INTERFACE", "lo")):
        monkeypatch.setenv(name, value)
    for name in ("SSDB", "SSKEYIN", "SSKEYOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mpirun(monkeypatch):
    if not Path(sys.executable).with_name("mpirun").exists():
        pytest.skip("no mpirun of its own: pip install mpich")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")


def test_the_laptop_s_script_runs(folder):
    done = subprocess.run(["bash", LAUNCH / "laptop.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert EXPECTED in done.stdout
    assert "has been stopped" in done.stdout


def test_a_script_ends_with_what_fails_and_leaves_nothing(folder, monkeypatch):
    monkeypatch.setenv("TRAINER", "false")
    monkeypatch.setenv("PRODUCER", "sleep 100")
    done = subprocess.run(["bash", LAUNCH / "laptop.sh"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "has been stopped" in done.stdout


def test_the_script_of_mpirun_runs(folder, mpirun):
    done = subprocess.run(["bash", LAUNCH / "mpirun.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert EXPECTED in done.stdout


def test_slurm_accepts_its_script(slurm):
    done = slurm.ask("sbatch", "--test-only", str(LAUNCH / "slurm.sh"))
    assert done.returncode == 0 and "to start at" in done.stderr, done.stderr


def test_slurm_runs_its_script(slurm, folder):
    job = slurm.run("sbatch", "--parsable", str(LAUNCH / "slurm.sh")).strip()
    wait_until(lambda: not slurm.jobs(), 60)
    output = (folder / f"slurm-{job}.out").read_text()
    assert EXPECTED in output and "has been stopped" in output, output
    assert "JobState=COMPLETED" in slurm.run("scontrol", "show", "job", job)


def test_torque_runs_the_script_of_pbs(slurm, folder, mpirun):
    if not shutil.which("qsub") or not PBS_PLUGIN.exists():
        pytest.skip("no qsub of Torque: apt-get install slurm-wlm-torque")
    files = ["-o", str(folder / "out"), "-e", str(folder / "err")]
    slurm.run("qsub", *files, str(LAUNCH / "pbs.sh"))
    wait_until(lambda: not slurm.jobs(), 60)
    assert EXPECTED in (folder / "out").read_text(), (folder / "err").read_text()


def test_lsf_runs_its_script(folder, mpirun, monkeypatch):
    (folder / "queue").mkdir()
    (folder / "bin" / "bsub").write_text(f'#!/bin/sh\nexec {sys.executable} {PLAYED} lsf bsub "$@"\n')
    (folder / "bin" / "bsub").chmod(0o755)
    monkeypatch.setenv("PLAYED_QUEUE", str(folder / "queue"))
    with open(LAUNCH / "lsf.sh") as script:
        subprocess.run(["bsub"], stdin=script, check=True, stdout=subprocess.DEVNULL)
    wait_until(lambda: '"ended": true' in next((folder / "queue").glob("*.job")).read_text(), 60)
    (output,) = folder.glob("online-training.*.out")
    assert EXPECTED in output.read_text(), output.with_suffix(".err").read_text()
