"""Every rank of an MPI program is a producer."""

import sys
from pathlib import Path

import numpy as np
import pytest

from smartml import Experiment
from smartml.feeds import DataDownloader

RANKS, ITERATIONS, BATCH = 4, 6, 8

# Each rank knows a quarter of the line that is to be learned.
PRODUCER = f"""
import numpy as np
from mpi4py import MPI
from smartml import Client

rank = MPI.COMM_WORLD.rank
client, random = Client(), np.random.default_rng(rank)
for iteration in range({ITERATIONS}):
    points = random.uniform(rank, rank + 1, ({BATCH}, 1))
    client.put_tensors({{f"points_{{rank}}_{{iteration}}": points, f"values_{{rank}}_{{iteration}}": 3 * points - 1}})
    MPI.COMM_WORLD.Barrier()
"""


@pytest.fixture
def mpirun():
    pytest.importorskip("mpi4py", reason="no mpi4py: pip install mpi4py mpich")
    found = Path(sys.executable).with_name("mpirun")
    if not found.exists():
        pytest.skip("no mpirun beside Python: pip install mpich")
    return str(found)


def test_a_model_learns_from_all_ranks_of_an_mpi_program(mpirun, tmp_path):
    exp = Experiment("mpi", str(tmp_path))
    db = exp.create_database(port=0)
    settings = exp.create_run_settings("python", ["-c", PRODUCER], run_command=mpirun, run_args={"-n": RANKS})
    exp.start(db, exp.create_model("producer", settings), block=False)

    weights = np.zeros(2)
    with DataDownloader(
        sample_prefix="points",
        target_prefix="values",
        uploader_ranks=RANKS,
        batch_size=BATCH,
        address=db.address,
        seed=1,
        wait_timeout_s=60,
    ) as feed:
        while feed.num_samples < RANKS * ITERATIONS * BATCH:
            feed.update_data()
        for _ in range(300):
            for x, y in feed:
                inputs = np.hstack([x, np.ones_like(x)])
                weights -= 0.05 * inputs.T @ (inputs @ weights - y[:, 0]) / len(x)
        quarters = np.bincount(feed.samples.astype(int).ravel(), minlength=RANKS)
    exp.stop()

    # As many samples of every rank, and the line through all of them.
    assert quarters.tolist() == [ITERATIONS * BATCH] * RANKS
    np.testing.assert_allclose(weights, [3, -1], atol=0.01)
