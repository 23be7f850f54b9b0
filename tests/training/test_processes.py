"""Several processes that torchrun starts, training one model."""

import os
import subprocess
import sys

import pytest
import torch

from smartml.errors import ConfigError
from smartml.training import train

TRAINER = """
import sys
from smartml.training import read_configuration, train
outcome = train(read_configuration(*([path] for path in sys.argv[1:5])))
print(outcome.reason, outcome.iterations)
"""


def test_two_processes_train_one_model(task):
    names = [str(path) for paths in task.write().values() for path in paths]
    script = task.folder / "trainer.py"
    script.write_text(TRAINER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*command, *names], capture_output=True, text=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )

    # 64 samples in batches of 8: 4 for each of the two in a pass.
    assert done.stdout.split() == ["done", "8"] * 2, done.stderr
    state = torch.load(task.run / "resume" / "state.pt", weights_only=True)
    assert state["position"]["iteration"] == 8
    assert len(state["random"]) == 2
    assert not torch.equal(state["random"][0]["cpu"], state["random"][1]["cpu"])
    assert len((task.run / "train_average_history.log").read_text().splitlines()) == 9


def test_devices_that_torchrun_did_not_start_are_refused(task):
    with pytest.raises(ConfigError, match=r"devices=2, num_nodes=1, but there are 1 processes here"):
        train(task.configuration("globals.accelerator.devices=2"))
