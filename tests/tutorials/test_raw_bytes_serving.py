"""The second half of the eighth tutorial: what was learned from raw bytes is served, and asked by its script."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("torch", "yaml", "tokenizers", "fastapi", "uvicorn", "prometheus_client", "pybase64"):
    pytest.importorskip(package, reason=f"the package {package!r} is not installed")

from smartml.training import read_configuration  # noqa: E402
from smartml.training.checkpoints import save_checkpoint  # noqa: E402
from smartml.training.config_files import write_configuration  # noqa: E402
from smartml.training.inputs import fit_input  # noqa: E402
from smartml.training.model import Model  # noqa: E402
from smartml.training.outputs import fit_output  # noqa: E402
from smartml.training.run_folder import RunFolder  # noqa: E402

TUTORIAL = Path(__file__).parents[2] / "tutorials/08_raw_bytes"
KINDS = ("elf", "python", "text de")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the tutorial's own files that has learned nothing yet."""
    folder = tmp_path_factory.mktemp("runs") / "raw_bytes"
    files = [[TUTORIAL / f"{name}.yaml"] for name in ("globals", "input", "fusion", "output")]
    configuration = read_configuration(*files)
    encoders = {it.name: fit_input(it, [b"some bytes"]) for it in configuration.inputs}
    decoders = {it.name: fit_output(it, [{"kind": kind} for kind in KINDS], []) for it in configuration.outputs}
    made = RunFolder(folder)
    for it in (*encoders.values(), *decoders.values()):
        it.save(made.serializations)
    write_configuration(configuration, made.stripped_configs)
    save_checkpoint(made, Model(encoders, configuration.fusion, decoders), 10, 0.5, keep=1)
    return folder


@pytest.fixture(scope="module")
def url(run):
    """Where `smartml serve` answers."""
    command = [sys.executable, "-m", "smartml", "serve", "--model-path", str(run), "--port", "0", "--threads", "1"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    line = process.stdout.readline()
    yield line.split()[-1]
    process.terminate()
    assert process.wait(20) == 0
    process.stdout.close()


def ask(*arguments):
    command = [sys.executable, TUTORIAL / "ask.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_files_of_any_length_are_asked_about(url, tmp_path):
    (tmp_path / "a short file").write_bytes(b"short")
    (tmp_path / "an empty file").write_bytes(b"")
    done = ask("--url", url, sys.executable, __file__, tmp_path / "a short file", tmp_path / "an empty file")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[2].startswith("a short file")
    for line in lines:
        shares = [float(word) for word in line.replace("%", " ").split() if word.replace(".", "").isdigit()]
        assert abs(sum(shares) - 100) < 0.3 and all(kind in line for kind in KINDS)


def test_a_server_that_is_not_there_is_named():
    done = ask("--url", "http://127.0.0.1:9", __file__)
    assert done.returncode == 1 and "cannot ask http://127.0.0.1:9" in done.stderr


def test_all_pieces_are_answered_and_judged(run, tmp_path):
    (tmp_path / "pieces").mkdir()
    rows = [("ID", "kind")]
    for number in range(6):
        (tmp_path / "pieces" / f"{number}.bin").write_bytes(bytes([number]) * 1024)
        rows.append((str(number), KINDS[number % 3]))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    command = [sys.executable, "-m", "smartml", "predict", "--model-path", str(run), "--threads", "1"]
    command += ["--input", f"piece={tmp_path / 'pieces'}", "--target", f"file={tmp_path / 'labels.csv'}"]
    done = subprocess.run([*command, "--output-folder", str(tmp_path / "answers")], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("file, kind: acc 0.")
    with (tmp_path / "answers/results/file/kind/predictions.csv").open(newline="") as file:
        assert [row["ID"] for row in csv.DictReader(file)] == [str(number) for number in range(6)]
