"""Run the tutorial: two producers, and a trainer that reads their stream through a chain of the pipeline.

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
PRODUCERS, BATCHES, BATCH_SIZE, LOOKS = 2, 400, 32, 50


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when the trainer came to its end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--seconds", type=float, default=30, help="how long producers work (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other recordings and weights (%(default)s)")
    options = parser.parse_args(argv)
    for package, extra in (("torch", "torch"), ("matplotlib", "tutorials")):
        if not find_spec(package):
            parser.error(f'{package} is not installed: pip install "smartml[{extra}]"')
    folder = (options.output or Path(f"pipeline-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("pipeline", exp_path=folder)
    database = Orchestrator(port=0)
    seconds, seed = ["--seconds", str(options.seconds)], ["--seed", str(options.seed)]

    def create(name: str, arguments: list[str]):
        settings = experiment.create_run_settings("python", arguments, env_vars={"OMP_NUM_THREADS": "1"})
        model = experiment.create_model(name, settings)
        model.attach_generator_files(to_copy=[HERE / arguments[0], HERE / "vibration.py"])
        return model

    size = ["--batches", str(BATCHES), "--batch-size", str(BATCH_SIZE)]
    producers = [
        create(f"producer_{number}", ["producer.py", *size, *seconds, *seed, "--number", str(number)])
        for number in range(PRODUCERS)
    ]
    trainer = create("trainer", ["trainer.py", *seconds, *seed, "--looks", str(LOOKS)])
    for producer in producers:
        # Each one's list bears its name; the trainer is told whom to read.
        producer.enable_key_prefixing()
        trainer.register_incoming_entity(producer)
    print(f"training while {PRODUCERS} producers work; follow it by  tail -f {folder}/trainer/progress.jsonl")
    try:
        experiment.start(database, *producers, trainer, block=False)
        experiment.wait(trainer)
        print(experiment.summary())
    finally:
        experiment.stop()
    if experiment.get_status(trainer) != ["Completed"]:
        print(f"the trainer failed; its output is in {trainer.path}")
        return 1
    # Only now: it takes a second, in which the producers would have run already.
    sys.path.insert(0, str(HERE))
    from picture import draw

    last = draw(Path(trainer.path) / "progress.jsonl", folder / "pipeline.png")
    print(f"{last['step']} batches of a stream of {last['arrived']} samples")
    print(f"frequency: {last['frequency']:.2f} % off in the median, {last['peak']:.2f} % read off the highest value")
    print(f"damping:   {last['damping']:.1f} % off in the median")
    print(f"picture and numbers are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
