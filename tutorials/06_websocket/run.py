"""Run the tutorial: a simulator of hearts that serves its stream over WebSocket, and a trainer that reads it.

usage: python run.py [--output FOLDER] [--seconds S] [--seed N]
"""

import argparse
import socket
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from smartml import Experiment

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when both programs came to their end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--seconds", type=float, default=30, help="how long to simulate (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other patients and weights (%(default)s)")
    options = parser.parse_args(argv)
    for package, extra in (("torch", "torch"), ("matplotlib", "tutorials"), ("websockets", "streaming")):
        if not find_spec(package):
            parser.error(f'{package} is not installed: pip install "smartml[{extra}]"')
    folder = (options.output or Path(f"websocket-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("websocket", exp_path=folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    seed = ["--seed", str(options.seed)]

    def create(name: str, arguments: list[str], *files: str):
        settings = experiment.create_run_settings(
            "python", [f"{name}.py", *arguments], env_vars={"OMP_NUM_THREADS": "1"}
        )
        model = experiment.create_model(name, settings)
        model.attach_generator_files(to_copy=[HERE / file for file in (f"{name}.py", *files)])
        return model

    simulator = create("simulator", ["--port", port, "--seconds", str(options.seconds), *seed], "heart.py")
    # It waits for the server, whichever of the two is up first.
    trainer = create("trainer", [f"ws://127.0.0.1:{port}/ws", *seed])
    print(f"training while hearts are simulated; follow it by  tail -f {folder}/trainer/progress.jsonl")
    try:
        experiment.start(simulator, trainer, block=False)
        experiment.wait(trainer, simulator)
        print(experiment.summary())
    finally:
        experiment.stop()
    for program in (simulator, trainer):
        if experiment.get_status(program) != ["Completed"]:
            print(f"the {program.name} failed; its output is in {program.path}")
            return 1
    sys.path.insert(0, str(HERE))
    from picture import draw

    last = draw(Path(trainer.path), folder / "websocket.png")
    print(f"{last['trained']} patients, each trained on once, in {last['seconds']:.0f} s")
    print(f"forecast: {last['error']:.2f} beats per minute off; the last rate forever: {last['standstill']:.2f}")
    print(f"picture and numbers are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
