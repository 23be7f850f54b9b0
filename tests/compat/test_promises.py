"""What the table says works unchanged is there for programs under `smartml compat run`."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from smartml.compat.table import HOMES, NAMES, Verdict
from smartml.errors import StoreReplyError
from smartml.store.module import find_module

PROMISED = [
    name
    for name in NAMES
    if name.startswith(("smartsim", "smartredis")) and "(" not in name and NAMES[name].verdict is not Verdict.MISSING
]
FRAMEWORKS = {"smartsim.tf": "tensorflow", "smartsim.ml.tf": "tensorflow", "smartsim.ml.torch": "torch"}

# Looks for each name on its class, or on an object, for what only those have.
PROGRAM = """
import importlib, json, sys
from importlib.util import find_spec

def objects():
    from smartredis import Client, ConfigOptions, Dataset, DatasetConverter, LogContext, SRObject
    from smartsim import Experiment
    from smartsim.database import Orchestrator
    from smartsim.ml import DataDownloader, DataInfo, TrainingDataUploader
    from smartsim.settings import BsubBatchSettings, QsubBatchSettings, RunSettings, SbatchSettings
    from smartsim.settings import SgeQsubBatchSettings, Singularity, SrunSettings

    exp = Experiment("exp")
    settings = RunSettings(sys.executable)
    uploader = TrainingDataUploader("promised", cluster=False, rank=0)
    uploader.publish_info()
    uploader.put_batch(__import__("numpy").zeros((64, 2)), __import__("numpy").zeros((64, 2)))
    made = [
        exp, exp.create_model("model", settings), settings, Orchestrator(port=0), Client(False), Dataset("d"),
        exp.create_ensemble("ensemble", run_settings=settings, replicas=1), uploader, DataInfo("promised"),
        DataDownloader("promised", cluster=False), ConfigOptions.create_from_environment(""), LogContext("x"),
        Singularity("image"), SbatchSettings(), QsubBatchSettings(nodes=1), BsubBatchSettings(), SgeQsubBatchSettings(),
        DatasetConverter(), SrunSettings(sys.executable),
    ]
    return made

def is_there(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:-1]:
            value = getattr(value, part)
        last = parts[-1]
        if length == len(parts) or hasattr(value, last):
            return True
        return isinstance(value, type) and any(hasattr(one, last) for one in made if isinstance(one, value))
    return False

made = objects()
json.dump([name for name in json.load(open(sys.argv[1])) if not is_there(name)], open(sys.argv[2], "w"))
"""


def run_in_compat(folder, *options):
    (folder / "program.py").write_text(PROGRAM)
    asked, answered = folder / "names.json", folder / "missing.json"
    absent = [module for module, package in FRAMEWORKS.items() if find_spec(package) is None]
    names = [name for name in (*PROMISED, *HOMES) if not name.startswith(tuple(absent))]
    asked.write_text(json.dumps(names))
    command = [sys.executable, "-m", "smartml", "compat", "run", *options, "program.py", str(asked), str(answered)]
    # `srun` is on few machines, and its settings are not made without.
    (folder / "srun").write_text("#!/bin/sh\n")
    (folder / "srun").chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(answered.read_text())


@pytest.mark.usefixtures("client")
def test_names_that_work_unchanged_are_there(tmp_path):
    assert run_in_compat(tmp_path, "--no-real-smartredis") == []


@pytest.mark.skipif(find_module() is None, reason="needs the tensor module (smartml module build)")
def test_commands_of_redisai_that_work_unchanged_are_those_of_the_module(client):
    for name in (name for name in NAMES.values() if name.theirs.startswith("AI.")):
        [known] = client.database.command("COMMAND", "INFO", name.theirs)
        if name.verdict is Verdict.UNCHANGED:
            assert known is not None, name.theirs
        else:
            with pytest.raises(StoreReplyError):
                client.database.command(name.theirs)


def test_what_scripts_are_told_to_call_instead_of_smart_is_there():
    command = [sys.executable, "-m", "smartml", "compat", "smart", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    told = [name.ours.split()[-1] for name in NAMES.values() if name.ours.startswith("smartml compat smart ")]
    assert told and [word for word in told if f"  {word} " not in shown] == []
