"""The command `smartml`, run as a user runs it."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

from smartml import Client, Dataset, __version__
from smartml.cli import main
from smartml.store.module import MODULE_VARIABLE as VARIABLE
from smartml.store.module import find_module

needs_zarr = pytest.mark.skipif(find_spec("zarr") is None, reason="the package 'zarr' is not installed")


def run(*arguments, check=True, environment=None):
    command = [sys.executable, "-m", "smartml", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | (environment or {}))
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def database(tmp_path):
    """The folder of a database that was started from the shell."""
    run("db", "start", "--port", "0", "--path", str(tmp_path))
    yield tmp_path
    run("db", "stop", "--path", str(tmp_path), check=False)


def status(path):
    return json.loads(run("db", "status", "--path", str(path), "--json").stdout)


def test_help_lists_every_command_with_the_first_sentence_of_its_own_help():
    shown = " ".join(run("--help").stdout.split())
    for name in main.list_commands(None):
        sentence = main.get_command(None, name).get_short_help_str(limit=200)
        assert f"{name} {sentence}" in shown, "the list is made without importing the command, and differs from it"


def test_unknown_command_is_refused():
    done = run("dbb", check=False)
    assert done.returncode == 2 and "No such command 'dbb'" in done.stderr


def test_module_and_command_are_the_same():
    assert run("--version").stdout.strip() == f"smartml, version {__version__}"
    installed = subprocess.run([Path(sys.executable).with_name("smartml"), "--version"], capture_output=True, text=True)
    assert installed.stdout.strip() == f"smartml, version {__version__}"


def test_started_database_answers_until_it_is_stopped(database):
    address = status(database)["address"]
    with Client(address=address) as client:
        client.put_tensor("x", np.arange(3))

    assert status(database)["keys"] == 1
    assert f"at {address} has been stopped" in run("db", "stop", "--path", str(database)).stdout


def is_alive(pid):
    """Tell whether a process runs; one that ended but was not yet collected does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def cluster(tmp_path):
    """The folder of a cluster that was started from the shell."""
    run("db", "start", "--port", "0", "--db-nodes", "3", "--path", str(tmp_path))
    yield tmp_path
    run("db", "stop", "--path", str(tmp_path), check=False)


def test_a_cluster_is_started_looked_into_and_stopped_though_a_node_has_died(cluster, eventually):
    facts = status(cluster)
    with Client(cluster=True, address=facts["address"]) as client:
        client.put_tensors({f"x_{number}": np.zeros(number) for number in range(10)})

    assert (facts["status"], facts["serves all"]) == ("Running", "yes")
    assert len(facts["address"].split(",")) == len(facts["nodes"]) == 3
    assert status(cluster)["keys"] == 10
    assert len(json.loads(run("db", "keys", "x_*", "--path", str(cluster), "--json").stdout)) == 10

    os.kill(facts["nodes"][1]["pid"], signal.SIGKILL)
    eventually(lambda: status(cluster)["status"] == "Failed")
    shown = run("db", "status", "--path", str(cluster)).stdout.splitlines()
    assert [line.split()[2] for line in shown if line.startswith(" orchestrator_")] == [
        "Running",
        "Completed",
        "Running",
    ]
    assert status(cluster)["serves all"] == "no"
    run("db", "stop", "--path", str(cluster))
    assert not any(is_alive(node["pid"]) for node in facts["nodes"])


def test_two_nodes_are_refused_in_one_sentence(tmp_path):
    done = run("db", "start", "--db-nodes", "2", "--path", str(tmp_path), check=False)

    assert done.returncode == 1
    assert done.stderr == "Error: db_nodes=2: a Redis Cluster needs at least three nodes: use 1 or 3\n"


def test_restarts_need_somebody_who_sees_the_end(tmp_path):
    done = run("db", "start", "--restarts", "2", "--persistence", "aof", "--path", str(tmp_path), check=False)

    assert done.returncode == 2
    assert "--restarts needs --foreground" in done.stderr


def test_how_programs_find_a_database_is_told_when_it_starts(tmp_path):
    told = run("db", "start", "--port", "0", "--path", str(tmp_path)).stdout
    run("db", "stop", "--path", str(tmp_path))

    assert re.search(r"export SSDB=127\.0\.0\.1:\d+ SR_DB_TYPE=Standalone\n", told)


def test_status_of_a_folder_without_database_is_one_sentence(tmp_path):
    done = run("db", "status", "--path", str(tmp_path), check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: no database was started in")
    assert "Traceback" not in done.stderr


def test_keys_are_listed_with_what_they_hold(database):
    with Client(address=status(database)["address"]) as client:
        client.put_tensor("field_0", np.zeros((2, 3), "float32"))
        dataset = Dataset("run")
        dataset.add_meta_string("author", "Ada")
        client.put_dataset(dataset)
        client.append_to_list("runs", dataset)

    found = json.loads(run("db", "keys", "--path", str(database), "--json").stdout)

    assert [(key["key"], key["kind"], key["content"]) for key in found] == [
        ("field_0", "tensor", "float32 of shape (2, 3)"),
        ("runs", "list", "1 entries"),
        ("{run}.meta", "dataset", "2 fields, complete"),
    ]


def test_keys_are_chosen_by_pattern_and_address(database):
    address = status(database)["address"]
    with Client(address=address) as client:
        client.put_tensors({"a_0": np.zeros(1), "b_0": np.zeros(1)})

    listed = run("db", "keys", "b*", "--address", address).stdout

    assert "b_0" in listed
    assert "a_0" not in listed


def test_foreground_database_ends_in_order_when_terminated(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "smartml", "db", "start", "--port", "0", "--path", str(tmp_path), "--foreground"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "answers at" in process.stdout.readline()
    process.terminate()
    process.communicate(timeout=30)

    assert process.returncode == 128 + 15
    assert run("db", "status", "--path", str(tmp_path), check=False).returncode == 1


def test_a_wrong_option_names_the_right_ones():
    done = run("db", "start", "--persistence", "tape", check=False)

    assert done.returncode == 2
    assert "rdb" in done.stderr
    assert "aof" in done.stderr


@needs_zarr
def test_a_stream_is_recorded_and_replayed_into_another_database(database, tmp_path):
    address = status(database)["address"]
    out = tmp_path / "recording"
    with Client(address=address) as client:
        for iteration in range(3):
            client.put_tensors({f"points_{iteration}": np.ones(4), f"values_{iteration}": np.zeros(4)})
        stream = ("--sample-prefix", "points", "--target-prefix", "values")
        recorded = run("record", str(out), *stream, "--path", str(database), "--until-idle", "0.2")
        for key in client.database.scan(b"*"):
            client.delete_tensor(key)
        played = run("replay", str(out), "--address", address, "--speed", "max", "--prefix-entity", "sim")

        assert recorded.stdout == f"recorded 3 batches, 12 samples, 0.0 MB in {out}\n"
        assert played.stdout == "put 3 batches, 12 samples, 0.0 MB\n"
        assert client.get_tensor("sim.values_2").tolist() == [0.0] * 4
    again = run("replay", str(out), "--address", address, "--prefix-entity", "sim", check=False)
    assert again.stderr.startswith("Error: 'sim.points_0' is at")


@needs_zarr
def test_what_cannot_be_recorded_or_replayed_is_one_sentence(database, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (("record", str(tmp_path / "new")), "name either --sample-prefix or --list"),
        (("record", str(tmp_path / "new"), "--list", "x", "--ranks", "2"), "belong to --sample-prefix"),
        (("record", str(tmp_path / "file" / "new"), "--list", "x"), "Not a directory"),
        (("record", str(tmp_path / "new"), "--list", "x", "--until-idle", "0.1"), "nobody published what the list 'x'"),
        (("replay", str(tmp_path / "new")), "there is no recording at"),
        (("replay", str(tmp_path), "--speed", "0"), "speed must be a number above 0"),
    ):
        done = run(*arguments, "--path", str(database), check=False)
        assert done.returncode in (1, 2)
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(find_module() is None, reason="needs the tensor module (apt-get install gcc; smartml module build)")
def test_the_module_is_built_and_found(tmp_path):
    built = tmp_path / "a module.so"
    words = run("module", "build", "--output", str(built)).stdout
    assert words == f"the tensor module is {built}\nfor databases started from here:  export {VARIABLE}='{built}'\n"

    for environment, found in (({VARIABLE: str(built)}, f"{built}\n"), ({}, f"{find_module()}\n")):
        assert run("module", "path", environment=environment).stdout == found
    missing = run("module", "path", environment={VARIABLE: "none"}, check=False)
    assert missing.returncode == 1
    assert missing.stderr == "Error: there is no tensor module: build it by `smartml module build`\n"


def test_training_files_and_overrides_are_taken_as_eir_takes_them(tmp_path):
    for package in ("pydantic", "tokenizers", "sklearn", "torch"):
        pytest.importorskip(package)
    (tmp_path / "data").mkdir()
    rows = ["ID,kind"]
    for number in range(24):
        (tmp_path / "data" / f"s{number}.bin").write_bytes(b"ab"[number % 2 :][:1] * 20)
        rows.append(f"s{number},{'ab'[number % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "g.yaml").write_text(f"basic_experiment: {{output_folder: {tmp_path}/run, batch_size: 4}}\n")
    (tmp_path / "more.yaml").write_text("evaluation_checkpoint: {sample_interval: 2, checkpoint_interval: 2}\n")
    (tmp_path / "i.yaml").write_text(
        f"input_info: {{input_source: {tmp_path}/data, input_name: raw, input_type: bytes}}\n"
        "input_type_info: {max_length: 8}\nmodel_config: {embedding_dim: 16, model_init_config: {num_heads: 2}}\n"
    )
    (tmp_path / "o.yaml").write_text(
        f"output_info: {{output_source: {tmp_path}/labels.csv, output_name: what, output_type: tabular}}\n"
        "output_type_info: {target_cat_columns: [kind]}\n"
    )
    files = [f"{tmp_path}/{name}.yaml" for name in ("g", "more", "i", "o")]
    words = ["--global_configs", *files[:2], "--input_configs", files[2], "--output_configs", files[3]]

    done = run("train", *words, "--g.basic_experiment.n_epochs=1", "i.model_config.window_size=4")
    again = run("train", *words, check=False)
    longer = run("train", "--resume", f"{tmp_path}/run", "global_config.basic_experiment.n_epochs=2")
    wrong = run("train", *words, "g.basic_experiment.n_epoch=1", check=False)

    assert done.stdout.startswith("done after 5 iterations, best perf-average ")
    assert f"best checkpoint:  {tmp_path}/run/saved_models/run_checkpoint_" in done.stdout
    assert "window_size: 4" in (tmp_path / "run" / "configs" / "input_configs.yaml").read_text()
    assert again.stderr.endswith("holds a run already: take another output_folder, or resume that one\n")
    assert longer.stdout.startswith("done after 10 iterations")
    assert "unknown key 'n_epoch', perhaps 'n_epochs'" in wrong.stderr
    assert run("train", check=False).stderr.endswith("give --global_configs and --output_configs, or --resume\n")
