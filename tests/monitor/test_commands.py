"""`smartml monitor`: what its commands print, and how they end."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from smartml.cli import main
from smartml.monitor import DataLogger, script

SMARTML = [sys.executable, "-m", "smartml", "monitor"]


def run(*arguments, check=True, **environment):
    done = CliRunner().invoke(main, ["monitor", *arguments], env=environment)
    if check:
        assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def filled(server):
    with DataLogger("run 1", grpc_uri=server.address) as log:
        log.write_config({"rate": 0.5})
        log.write("loss", x=[0, 1], y=[1.0, 0.25])
        log.write("field", x=[[7], [8]])
    return server.address


def test_a_server_started_by_the_command_keeps_the_demo_and_is_listed(tmp_path):
    command = [*SMARTML, "grpc-serve", str(tmp_path / "data.log"), "0", "--durability", "0.5"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    address = server.stdout.readline().split()[-1]
    assert server.stdout.readline() == f"for programs:  export SMARTML_MONITOR={address}\n"

    told = run("demo", "run24", "20", SMARTML_MONITOR=address).stdout
    assert told == f"logged 20,086 points to run24 at {address}\n"
    run("demo", address, "run25", "10")
    assert run("scopes", address).stdout == "run24\nrun25\n"
    assert run("names", address, "run24").stdout == "top_left\nmiddle\nloss\ncloud\n"

    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=30)
    assert server.returncode == 0
    assert run("scopes", str(tmp_path / "data.log")).stdout == "run24\nrun25\n"
    gone = run("demo", "run26", "10", SMARTML_MONITOR=address, check=False)
    assert gone.exit_code == 1
    assert gone.stderr.startswith(f"Error: no answer from the record server at {address}")


def test_records_are_counted_and_exported(filled, tmp_path):
    counted = json.loads(run("counts", filled, "--json").stdout)
    assert counted[0] == {"scope": "run 1", "name": "loss", "index": 0, "points": 2}
    assert "loss" in run("counts", filled).stdout
    assert json.loads(run("config", filled).stdout) == {"run 1": [{"rate": 0.5}]}
    assert run("export", filled, "run 1", "loss").stdout.splitlines() == [
        "run 1,loss,0,x=0,y=1.0",
        "run 1,loss,0,x=1,y=0.25",
    ]
    run("export", filled, "--output", str(tmp_path / "all.npz"))
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["run 1/field/1/x"].tolist() == [8]
    assert run("export", filled, "run 1", "los", check=False).stderr.startswith("Error: there is no name 'los'")
    assert run("export", filled, "--output", "x.txt", check=False).exit_code == 2


def test_records_are_deleted_through_the_server(filled):
    run("delete", filled, "run 1", "loss")
    assert run("names", filled, "run 1").stdout == "field\n"
    assert "bytes before" in run("compact", filled).stdout
    assert script.counts(filled) == {("run 1", "field", 0): 1, ("run 1", "field", 1): 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scopes"], "Missing argument 'SOURCE'"),
        (["grpc-serve", "x", "70000"], "70000"),
        (["grpc-serve", "x", "0", "--durability", "often"], "request"),
        (["demo", "a", "many"], "STEPS is a number"),
        (["demo", "a", "1", "2", "3"], "at most"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_misuse_is_told_and_ends_with_2(arguments, words):
    done = run(*arguments, check=False)
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scopes", "nothing"], "there is no store of records at nothing"),
        (["scopes", "127.0.0.1:1"], "no answer from the record server"),
        (["grpc-serve", "x", "0", "--host", "0.0.0.0"], "needs a token file"),
        (["demo", "a", "0"], "STEPS must be 1 or more"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, check=False)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
