"""Replicas that torchrun starts: real processes that train one network together."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter

import pytest
from servers import wait_until

from smartml import Client
from smartml.feeds import TrainingDataUploader

from .conftest import numbers

if importlib.util.find_spec("torch") is None:
    pytest.skip("the package 'torch' is not installed", allow_module_level=True)

# Every batch is a step of a network whose gradients all replicas exchange: were one to have a batch less, the others
# would wait for it for ever.
TRAINER = """
import json, os, sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from smartml.feeds.torch import DataLoader, DynamicDataGenerator

folder, workers, start = sys.argv[1], int(sys.argv[2]), os.environ["TORCHELASTIC_RESTART_COUNT"]
# Through a file of each start's own: through its store, torch 2.13 hands the addresses of killed processes to new ones.
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
distributed.init_process_group("gloo", init_method=f"file://{{folder}}/start.{{start}}", rank=rank, world_size=world)
feed = DynamicDataGenerator(
    data_info_or_list_name="training", batch_size=2, seed=1, wait_timeout_s=60, {arguments}
)
loader = DataLoader(feed, num_workers=workers)
model = DistributedDataParallel(nn.Linear(1, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
out = open(f"{{folder}}/{{start}}.{{rank}}", "w")
for _ in feed.epochs(until="producers_done"):
    seen = []
    for batch in loader:
        optimizer.zero_grad()
        model(batch[:, None]).square().mean().backward()
        optimizer.step()
        seen += batch.int().tolist()
    epoch = {{"pid": os.getpid(), "epoch": feed.epoch, "batches": len(loader), "seen": seen}}
    print(json.dumps(epoch), file=out, flush=True)
distributed.destroy_process_group()
"""


@pytest.fixture
def torchrun(tmp_path):
    """Start trainers by torchrun; return the process and a function that reads what each has written so far."""
    started = []

    def start(processes, workers=0, restarts=0, arguments="drop_last=True"):
        script, folder = tmp_path / "train.py", tmp_path / "out"
        script.write_text(TRAINER.format(arguments=arguments))
        folder.mkdir()
        options = [
            "--standalone",
            f"--nproc-per-node={processes}",
            f"--max-restarts={restarts}",
            "--monitor-interval=0.1",
        ]
        command = [sys.executable, "-m", "torch.distributed.run", *options, script, folder, str(workers)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open(tmp_path / "log", "w") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))

        def read(restart=0):
            files = [folder / f"{restart}.{rank}" for rank in range(processes)]
            return [
                [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else [] for file in files
            ]

        def end():
            assert started[-1].wait(timeout=120) == 0, (tmp_path / "log").read_text()[-3000:]

        return read, end

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class UnevenProducer:
    """Puts batches of any size, with the numbers from 0 on."""

    def __init__(self):
        self.uploader = TrainingDataUploader("training", "samples", None)
        self.uploader.publish_info()
        self._random = random.Random(1)
        self.total = 0

    def put(self, batches):
        for _ in range(batches):
            count = self._random.choice([1, 1, 2, 3, 5, 8])
            self.uploader.put_batch(numbers(*range(self.total, self.total + count)))
            self.total += count


@pytest.mark.parametrize(("processes", "workers"), [(2, 0), (4, 0), (2, 2)])
def test_all_replicas_go_through_the_same_epochs_while_the_stream_grows(processes, workers, client, torchrun):
    producer = UnevenProducer()
    producer.put(20)
    read, end = torchrun(processes, workers)
    for done in range(1, 4):
        wait_until(lambda done=done: all(len(epochs) >= done for epochs in read()), deadline_s=120)
        producer.put(7)
    producer.uploader.close()
    end()

    epochs = list(zip(*read(), strict=True))

    assert len(epochs) >= 4
    for number, replicas in enumerate(epochs):
        assert {replica["epoch"] for replica in replicas} == {number}
        assert len({replica["batches"] for replica in replicas}) == 1
        counts = Counter(value for replica in replicas for value in replica["seen"])
        assert set(counts.values()) == {1}
    # No more is left out than makes no batch for all: what one share may have more than another, and a batch of each.
    assert producer.total - len(counts) < processes * max(1, workers) * (8 + 2)


def test_when_one_is_killed_all_are_started_again_and_nothing_is_lost(client, torchrun):
    producer = UnevenProducer()
    producer.put(20)
    read, end = torchrun(2, restarts=1, arguments="drop_last=False")
    wait_until(lambda: all(len(epochs) >= 2 for epochs in read()), deadline_s=120)

    os.kill(read()[1][0]["pid"], signal.SIGKILL)
    wait_until(lambda: all(len(epochs) >= 1 for epochs in read(restart=1)), deadline_s=120)
    producer.put(5)
    producer.uploader.close()
    end()

    last = [replica[-1] for replica in read(restart=1)]
    assert last[0]["batches"] == last[1]["batches"]
    assert {value for replica in last for value in replica["seen"]} == set(range(producer.total))


def test_one_that_is_told_its_rank_is_not_asked_for_another(client, torchrun):
    with Client() as other:
        other.put_tensor("unrelated", numbers(1))
    producer = UnevenProducer()
    producer.put(5)
    producer.uploader.close()
    read, end = torchrun(2, arguments="replica_rank=0, num_replicas=1")
    end()

    first, second = read()
    assert sorted(first[-1]["seen"]) == sorted(second[-1]["seen"])
    assert first[-1]["epoch"] == -1
