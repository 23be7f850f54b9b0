"""Every snippet of the README runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import smartml

README = Path(__file__).parent.parent / "README.md"
# The code behind "`producer.py`, the simulation:", and so on.
FILES = dict(re.findall(r"^`(\w+\.py)`.*?```python\n(.*?)```", README.read_text(), re.MULTILINE | re.DOTALL))
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def snippet_with(text):
    return next(snippet for snippet in SNIPPETS if text in snippet)


def run(code, folder):
    script = folder / "snippet.py"
    script.write_text(code)
    return subprocess.run([sys.executable, script.name], cwd=folder, capture_output=True, text=True, timeout=240)


def test_quickstart_learns_from_all_that_its_producer_puts(folder):
    pytest.importorskip("torch", reason="needs the package torch")

    done = run(FILES["experiment.py"], folder)

    assert done.returncode == 0, done.stderr
    last_line = (folder / "quickstart/trainer/trainer.out").read_text().splitlines()[-1]
    assert "epoch 19: 3200 samples" in last_line
    assert done.stdout.count("Completed") == 2


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_keras_snippet_trains_on_every_backend(folder, monkeypatch, backend):
    pytest.importorskip("keras", reason="needs the package keras")
    pytest.importorskip(backend, reason=f"needs the package {backend}")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    (folder / "trainer.py").write_text(snippet_with("import keras"))

    done = run(FILES["experiment.py"], folder)

    assert done.returncode == 0, done.stderr
    assert "Epoch 20/20" in (folder / "quickstart/trainer/trainer.out").read_text()
    assert done.stdout.count("Completed") == 2


def test_epochs_snippet_ends_with_its_producer(folder):
    (folder / "trainer.py").write_text(snippet_with("producers_done") + "print(feed.num_samples, 'samples')\n")

    done = run(FILES["experiment.py"], folder)

    assert done.returncode == 0, done.stderr
    assert (folder / "quickstart/trainer/trainer.out").read_text() == "3200 samples\n"


def test_checkpoint_snippet_can_be_gone_on_with(folder):
    pytest.importorskip("torch", reason="needs the package torch")
    resume = re.search(r"`(feed\.load_state_dict.*?)`", README.read_text())[1]
    check = "print(feed.epoch, feed.num_samples > 0, next(iter(feed))[0].shape)\n"
    (folder / "trainer.py").write_text(f"{snippet_with('feed.state_dict')}\n{resume}\n{check}")

    done = run(FILES["experiment.py"], folder)

    assert done.returncode == 0, done.stderr
    written = (folder / "quickstart/trainer/trainer.out").read_text()
    assert written.startswith("-1 True torch.Size([32,"), (folder / "quickstart/trainer/trainer.err").read_text()


def test_pipeline_snippet_serves_all_that_its_producer_puts(folder):
    (folder / "trainer.py").write_text(snippet_with("feed.stream") + "print(feed.num_samples, 'samples')\n")

    done = run(FILES["experiment.py"], folder)

    assert done.returncode == 0, done.stderr
    written = (folder / "quickstart/trainer/trainer.out").read_text()
    assert "async_map" in written
    assert "3200 samples" in written, (folder / "quickstart/trainer/trainer.err").read_text()


def test_no_snippet_is_left_out():
    tested = [
        *FILES.values(),
        snippet_with("import keras"),
        snippet_with("producers_done"),
        snippet_with("feed.state_dict"),
        snippet_with("feed.stream"),
    ]
    assert sorted(tested) == sorted(SNIPPETS)


def test_names_of_the_moving_table_exist():
    for line in re.findall(r"^\| `from smart.*", README.read_text(), re.MULTILINE):
        before, after = (re.search(r"from (\S+) import (.*?)`", cell) for cell in line.split("|")[1:3])
        names = before[2] if after[2] == "…" else after[2]
        if after[1].endswith((".keras", ".torch")):
            continue  # Imported by the tests of the feeds, where the frameworks are.
        code = f"from {after[1]} import {names}"
        exec(compile(code, "README.md", "exec"), {})


def test_make_targets_named_in_the_readme_exist():
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"[`^]make ([\w-]+)", README.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_version_is_in_the_changelog():
    assert f"## {smartml.__version__}" in (README.parent / "CHANGELOG.md").read_text()
    assert os.access(README.parent / ".ci/run", os.X_OK)
