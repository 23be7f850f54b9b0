"""Run the job of the first tutorial, and record all that it goes through, to be watched meanwhile.

usage: python run.py [--framework torch|keras] [--output FOLDER] [--seconds S] [--seed N]

As soon as it runs, in another terminal: smartml watch FOLDER
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from smartml import Experiment, Model, Orchestrator

HERE = Path(__file__).resolve().parent
# The programs of the first tutorial, whose trainer is replaced by one that tells what it does.
JOB = HERE.parent / "01_online_surrogate"
PRODUCERS = 2
# Samples from each channel; channels per producer and second of training.
PAIRS, RUNS_PER_SECOND = 12, 0.5


def create_producer(experiment: Experiment, number: int, seconds: float, seed: int) -> Model:
    """Describe a producer, which knows nothing of being watched."""
    runs = max(1, round(seconds * RUNS_PER_SECOND))
    arguments = [str(number), "--runs", str(runs), "--pairs", str(PAIRS), "--seed", str(seed)]
    settings = experiment.create_run_settings("python", ["producer.py", *arguments])
    producer = experiment.create_model(f"producer_{number}", settings, enable_key_prefixing=True)
    producer.attach_generator_files(to_copy=[JOB / name for name in ("producer.py", "cases.py", "simulation.py")])
    return producer


def create_trainer(experiment: Experiment, options: argparse.Namespace) -> Model:
    """Describe the trainer."""
    arguments = ["--framework", options.framework, "--seconds", str(options.seconds), "--seed", str(options.seed)]
    threads = str(min(4, max(1, len(os.sched_getaffinity(0)) - PRODUCERS)))
    environment = {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if not find_spec("tensorflow"):
        environment["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND", "torch")
    settings = experiment.create_run_settings("python", ["trainer.py", *arguments], env_vars=environment)
    trainer = experiment.create_model("trainer", settings)
    names = (f"surrogate_{options.framework}.py", "cases.py", "simulation.py")
    trainer.attach_generator_files(to_copy=[HERE / "trainer.py", *(JOB / name for name in names)])
    return trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when the surrogate was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--seconds", type=float, default=110, help="how long to train (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="draws other channels and weights (%(default)s)")
    options = parser.parse_args(argv)
    folder = (options.output or Path(f"smartml-watch-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("online_surrogate", exp_path=folder)
    producers = [create_producer(experiment, number, options.seconds, options.seed) for number in range(PRODUCERS)]
    trainer = create_trainer(experiment, options)
    for producer in producers:
        trainer.register_incoming_entity(producer)
    try:
        # The one argument: states and databases are recorded, and programs find where to log.
        experiment.start(Orchestrator(port=0), *producers, trainer, block=False, monitor=True)
        print(f"watch it:  smartml watch {folder}", flush=True)
        experiment.wait(trainer)
        print(experiment.summary())
    finally:
        experiment.stop()
    return 0 if experiment.get_status(trainer) == ["Completed"] else 1


if __name__ == "__main__":
    sys.exit(main())
