"""Run the tutorial: a database, two producers, and a trainer that learns from them while they run.

usage: python run.py [--framework torch|keras] [--output FOLDER] [--seconds S] [--seed N]
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from smartml import Client, Experiment, Model, Orchestrator

HERE = Path(__file__).resolve().parent
# `smartml demo` runs this file from elsewhere.
sys.path.insert(0, str(HERE))

from watch import Watch, read_progress  # noqa: E402

PRODUCERS = 2
# Samples from each channel; then the next one is simulated.
PAIRS = 12
# Channels per producer and second of training: two producers and a trainer keep two cores busy with so many.
RUNS_PER_SECOND = 0.5
# Channels to judge the surrogate by.
UNSEEN = 6


def create_producer(experiment: Experiment, number: int, runs: int, seed: int) -> Model:
    """Describe a producer that simulates so many channels; its keys begin with its name."""
    arguments = [str(number), "--runs", str(runs), "--pairs", str(PAIRS), "--seed", str(seed)]
    settings = experiment.create_run_settings("python", ["producer.py", *arguments])
    model = experiment.create_model(f"producer_{number}", settings, enable_key_prefixing=True)
    model.attach_generator_files(to_copy=[HERE / name for name in ("producer.py", "cases.py", "simulation.py")])
    return model


def create_trainer(experiment: Experiment, framework: str, seconds: float, seed: int) -> Model:
    """Describe the trainer."""
    arguments = ["--framework", framework, "--seconds", str(seconds), "--unseen", str(UNSEEN), "--seed", str(seed)]
    settings = experiment.create_run_settings("python", ["trainer.py", *arguments], env_vars=framework_environment())
    model = experiment.create_model("trainer", settings)
    names = ("trainer.py", f"surrogate_{framework}.py", "cases.py", "simulation.py")
    model.attach_generator_files(to_copy=[HERE / name for name in names])
    return model


def framework_environment() -> dict[str, str]:
    """Return settings of PyTorch and TensorFlow: as many threads as leave a core to each producer."""
    threads = str(min(4, max(1, len(os.sched_getaffinity(0)) - PRODUCERS)))
    environment = {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if not find_spec("tensorflow"):
        environment["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND", "torch")
    return environment


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when the surrogate was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--seconds", type=float, default=110, help="how long to train (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="draws other channels and weights (%(default)s)")
    options = parser.parse_args(argv)
    for package, extra in (("matplotlib", "tutorials"), (options.framework, options.framework)):
        if not find_spec(package):
            parser.error(f'{package} is not installed: pip install "smartml[{extra}]"')
    folder = (options.output or Path(f"smartml-demo-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("online_surrogate", exp_path=folder)
    database = Orchestrator(port=0)
    runs = max(1, round(options.seconds * RUNS_PER_SECOND))
    producers = [create_producer(experiment, number, runs, options.seed) for number in range(PRODUCERS)]
    trainer = create_trainer(experiment, options.framework, options.seconds, options.seed)
    for producer in producers:
        trainer.register_incoming_entity(producer)
    try:
        experiment.start(database, *producers, trainer, block=False)
        Watch(experiment, Client(address=database.address), producers, trainer, runs * PAIRS).until_trained()
        experiment.stop(*producers)
        print(experiment.summary())
    except KeyboardInterrupt:
        print(f"interrupted; what there was is in {folder}")
        return 130
    finally:
        experiment.stop()

    if experiment.get_status(trainer) != ["Completed"]:
        print(f"the trainer failed; its output is in {trainer.path}")
        return 1
    report(folder, Path(trainer.path), options)
    return 0


def report(folder: Path, trained: Path, options: argparse.Namespace) -> None:
    """Draw the picture, write the numbers, and print what was reached and where everything is."""
    # Only now: it takes a second, in which the producers run already.
    from picture import draw

    progress = read_progress(trained)
    last = progress[-1]
    with np.load(trained / "unseen.npz") as unseen:
        draw(dict(unseen), progress, folder / "online_surrogate.png")
    metrics = {
        "framework": options.framework,
        "seed": options.seed,
        "surrogate_error": last["error"],
        "persistence_error": last["baseline"],
        "samples": last["samples"],
        "epochs": last["epoch"],
        "history": progress,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    print(f"error of the velocity in {UNSEEN} channels never seen, in inflow speeds:")
    print(f"  surrogate    {last['error']:.3f}")
    print(f"  persistence  {last['baseline']:.3f}  (predict that nothing changes)")
    print(f"picture, numbers, weights and what the programs wrote are in {folder}")


if __name__ == "__main__":
    sys.exit(main())
