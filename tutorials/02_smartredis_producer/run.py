"""Run the tutorial: two programs that know only SmartRedis produce, a trainer of smartml learns.

usage: python run.py [--db-nodes 1|3] [--output FOLDER] [--seconds S] [--seed N]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from smartml import Experiment, Orchestrator

HERE = Path(__file__).resolve().parent
PRODUCERS = 2
# Patterns per producer and second of training.
PATTERNS_PER_SECOND = 0.6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when the surrogate was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--db-nodes", type=int, default=1, help="3 or more: a cluster (%(default)s)")
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--seconds", type=float, default=60, help="how long to train (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other patterns and weights (%(default)s)")
    options = parser.parse_args(argv)
    for package, extra in (("smartredis", "smartredis"), ("torch", "torch"), ("matplotlib", "tutorials")):
        if not find_spec(package):
            hint = " (there is none for Python 3.12 or later)" if package == "smartredis" else ""
            parser.error(f'{package} is not installed: pip install "smartml[{extra}]"{hint}')
    folder = (options.output or Path(f"smartredis-producer-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("smartredis_producer", exp_path=folder)
    database = Orchestrator(port=0, db_nodes=options.db_nodes)
    patterns = max(2, round(options.seconds * PATTERNS_PER_SECOND))
    seed = str(options.seed)
    producers = []
    for number in range(PRODUCERS):
        arguments = ["producer.py", str(number), "--patterns", str(patterns), "--seed", seed]
        settings = experiment.create_run_settings("python", arguments)
        producer = experiment.create_model(f"producer_{number}", settings)
        producer.attach_generator_files(to_copy=[HERE / "producer.py", HERE / "gray_scott.py"])
        producers.append(producer)
    arguments = ["trainer.py", "--seconds", str(options.seconds), "--seed", seed]
    # One thread leaves a core to the simulations.
    settings = experiment.create_run_settings("python", arguments, env_vars={"OMP_NUM_THREADS": "1"})
    trainer = experiment.create_model("trainer", settings)
    trainer.attach_generator_files(to_copy=[HERE / "trainer.py", HERE / "gray_scott.py"])
    print(f"training for {options.seconds:g} s; follow it by  tail -f {folder}/trainer/trainer.out")
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

    last = draw(Path(trainer.path), folder / "smartredis_producer.png")
    print(f"error in patterns never seen, after {last['epoch']} epochs over up to {last['samples']} samples:")
    print(f"  surrogate    {last['error']:.4f}")
    print(f"  persistence  {last['baseline']:.4f}  (predict that nothing changes)")
    print(f"picture, numbers, weights and what the programs wrote are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
