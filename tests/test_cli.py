"""The command `smartml`, run as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smartml import Client, Dataset, __version__


def run(*arguments, check=True):
    done = subprocess.run([sys.executable, "-m", "smartml", *arguments], capture_output=True, text=True)
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
