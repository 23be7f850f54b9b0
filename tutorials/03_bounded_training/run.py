"""Run the tutorial: one producer, and three trainers that read its stream with a tenth of the memory it would take.

usage: python run.py [--output FOLDER] [--seconds S] [--seed N]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from smartml import Experiment, Orchestrator

HERE = Path(__file__).resolve().parent
POLICIES = ("fifo", "reservoir", "firo")
BATCHES, BATCH_SIZE = 640, 32
# A sample of three numbers and a target of two, 4 bytes each; the memory has room for a tenth of them.
SAMPLE_BYTES = (3 + 2) * 4
CAPACITY_KB = BATCHES * BATCH_SIZE * SAMPLE_BYTES // 10 // 1024
# The simulation is over before the training is.
SHARE_OF_SIMULATION = 0.75


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when all three trainers came to their end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--seconds", type=float, default=50, help="how long to train (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other states and weights (%(default)s)")
    options = parser.parse_args(argv)
    for package, extra in (("torch", "torch"), ("matplotlib", "tutorials")):
        if not find_spec(package):
            parser.error(f'{package} is not installed: pip install "smartml[{extra}]"')
    folder = (options.output or Path(f"bounded-training-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("bounded_training", exp_path=folder)
    database = Orchestrator(port=0)
    seconds, seed = options.seconds, str(options.seed)

    def create(name: str, arguments: list[str]):
        # One thread each, so that three trainers fit on two cores.
        settings = experiment.create_run_settings("python", arguments, env_vars={"OMP_NUM_THREADS": "1"})
        model = experiment.create_model(name, settings)
        model.attach_generator_files(to_copy=[HERE / arguments[0], HERE / "oscillator.py"])
        return model

    length = ["--batches", str(BATCHES), "--batch-size", str(BATCH_SIZE)]
    producer = create(
        "producer", ["producer.py", *length, "--seconds", str(SHARE_OF_SIMULATION * seconds), "--seed", seed]
    )
    memory = ["--capacity", f"{CAPACITY_KB}kb", "--seconds", str(seconds), "--seed", seed]
    trainers = {policy: create(policy, ["trainer.py", policy, *memory]) for policy in POLICIES}
    print(f"training for {seconds:g} s; follow it by  tail -f {folder}/*/progress.jsonl")
    try:
        experiment.start(database, producer, *trainers.values(), block=False)
        experiment.wait(*trainers.values())
        print(experiment.summary())
    finally:
        experiment.stop()

    for trainer in trainers.values():
        if experiment.get_status(trainer) != ["Completed"]:
            print(f"a trainer failed; its output is in {trainer.path}")
            return 1
    # Only now: it takes a second, in which the producer would have run already.
    sys.path.insert(0, str(HERE))
    from picture import draw

    last = draw({policy: Path(trainer.path) for policy, trainer in trainers.items()}, folder / "bounded_training.png")
    print(f"a stream of {BATCHES * BATCH_SIZE} samples, {CAPACITY_KB} kB of memory for it:")
    for policy, record in last.items():
        print(f"  {policy:<10} error {record['error']:.3f}, {record['held']} held of {record['arrived']} arrived")
    print(f"picture and numbers are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
