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


def run(code, folder, *by):
    script = folder / "snippet.py"
    script.write_text(code)
    command = [sys.executable, *by, script.name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


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


def test_launching_snippet_starts_each_program_when_its_time_has_come(folder):
    prelude = """
from smartml import Experiment
exp = Experiment("online-training")
put = "import numpy as np; from smartml import Client; Client().put_tensor('points_0', np.zeros(3))"
get = "from smartml import Client; assert Client().tensor_exists('points_0'); print('there')"
settings, train_settings = (exp.create_run_settings("python", ["-c", code]) for code in (put, get))
db, report = exp.create_database(port=0), exp.create_model("report", exp.create_run_settings("python", ["-c", ""]))
"""

    done = run(f"{prelude}{snippet_with('start_after')}print(exp.summary())\n", folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Completed") == 3
    assert (folder / "online-training/trainer/trainer.out").read_text() == "there\n"


def test_cluster_snippet_runs_its_members_as_jobs_of_slurm(folder, slurm):
    (folder / "simulation.py").write_text("print('simulated')\n")

    prelude = "from smartml import Experiment\n"
    done = run(f"{prelude}{snippet_with('set_array')}print(exp.get_status(sweep))\n", folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("STATUS_COMPLETED") == 2, done.stdout
    assert (folder / "sweep/sweep/sweep_1/sweep_1.out").read_text() == "simulated\n"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the snippet pins a database to two CPUs")
def test_database_snippet_reaches_both_databases(folder):
    prelude = """
from smartml import Experiment
exp = Experiment("databases")
code = "from smartml import Client; print(Client().database.address != Client(db_identifier='inner').database.address)"
model = exp.create_model("model", exp.create_run_settings("python", ["-c", code]))
"""
    start = "exp.start(db, model)\nexp.stop()\n"

    done = run(prelude + snippet_with("colocate_db_tcp") + start, folder)

    assert done.returncode == 0, done.stderr
    assert (folder / "databases/model/model.out").read_text() == "True\n", done.stderr


def test_solver_snippet_reads_its_answer(folder):
    prelude = """
import numpy as np
from smartml import Client, Orchestrator
db = Orchestrator(port=0)
db.start()
client, rank, iteration, states = Client(address=db.address), 0, 0, np.zeros((4, 2))
client.put_tensor("later_0_0", states + 1)
"""

    done = run(
        f"{prelude}{snippet_with('later_{rank}')}print(later.sum(), client.tensor_exists('later_0_0'))\n", folder
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "8.0 False\n"


def test_streaming_snippet_gets_samples(folder):
    pytest.importorskip("websockets", reason="needs the package websockets")
    pytest.importorskip("msgspec", reason="needs the package msgspec")
    pytest.importorskip("pybase64", reason="needs the package pybase64")

    done = run(f"{snippet_with('WebSocketSource')}print(x.shape, y > 0)\n", folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "(3, 8, 8) True\n"


def test_records_snippet_reads_what_it_logged(folder):
    pytest.importorskip("grpc", reason="needs the package grpcio")

    done = run(snippet_with("RecordServer"), folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1000,)\n"


def test_models_snippet_runs_a_script_and_a_network(folder):
    pytest.importorskip("torch", reason="needs the package torch")

    done = run(snippet_with("set_model"), folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "(4, 1)\n"


def test_smartsim_snippet_runs_as_it_is(folder):
    done = run(snippet_with("from smartsim"), folder, "-m", "smartml", "compat", "run")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Completed"
    assert (folder / "lid-driven/producer/producer.out").is_file()


def test_no_snippet_is_left_out():
    tested = [
        *map(
            snippet_with,
            ("start_after", "set_array", "colocate_db_tcp", "later_{rank}", "WebSocketSource", "RecordServer"),
        ),
        *FILES.values(),
        snippet_with("import keras"),
        snippet_with("producers_done"),
        snippet_with("feed.state_dict"),
        snippet_with("feed.stream"),
        snippet_with("set_model"),
        snippet_with("from smartsim"),
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
