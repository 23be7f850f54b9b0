"""Run the tutorial: a server that simulates hearts, and a model that learns to write their rates.

usage: python run.py [--output FOLDER] [--samples N] [--seed N]
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from smartml import Experiment

HERE = Path(__file__).resolve().parent
# New people to judge by, after the training.
JUDGED = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when the model was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--samples", type=int, default=32_000, help="that the server simulates (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other samples and weights (%(default)s)")
    options = parser.parse_args(argv)
    for package, extra in (("pydantic", "training"), ("torch", "training"), ("websockets", "streaming")):
        if not find_spec(package):
            parser.error(f'{package} is not installed: pip install "smartml[{extra}]"')
    folder = (options.output or Path(f"heart-rates-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    folder.mkdir(parents=True, exist_ok=True)

    experiment = Experiment("heart_rates", exp_path=folder)
    words = ["server.py", "--port", "0", "--samples", str(options.samples), "--seed", str(options.seed)]
    settings = experiment.create_run_settings("python", words)
    server = experiment.create_model("server", settings)
    server.attach_generator_files(to_copy=[HERE / "server.py", HERE / "simulation.py"])
    experiment.start(server, block=False)
    try:
        outcome = learn(folder, address(Path(server.path) / "server.out"), options.seed)
    finally:
        experiment.stop()
    sys.path.insert(0, str(HERE))
    from picture import draw

    judged = judge(outcome.checkpoints[0])
    draw(folder, judged, folder / "yaml_streaming.png")
    print(f"{outcome.iterations} batches, {outcome.model_s / outcome.loop_s:.0%} of the loop's time in the model")
    print(f"{judged['whole']:.0%} of {JUDGED} answers to new people are right in every minute")
    print(
        f"heart rate: {judged['error']:.2f} beats per minute off, {judged['baseline']:.1f} at what activities ask for"
    )
    print(f"picture, model and all else are in {folder}")
    return 0


def address(output: Path) -> str:
    """Wait for the address that the server prints first."""
    deadline = time.monotonic() + 60
    while not output.exists() or not output.read_text(encoding="utf-8").endswith("\n"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server does not start; see {output} and the file beside it")
        time.sleep(0.05)
    return output.read_text(encoding="utf-8").strip()


def learn(folder: Path, url: str, seed: int):
    """Train as the files here say, from this server and into this folder."""
    from smartml.training import read_configuration, train

    configuration = read_configuration(
        *([HERE / f"{name}.yaml"] for name in ("globals", "input", "fusion", "output")),
        overrides=[
            f"globals.basic_experiment.output_folder={folder / 'runs' / 'heart_rates'}",
            f"globals.basic_experiment.seed={seed}",
            f"input.input_info.input_source={url}",
            f"output.output_info.output_source={url}",
        ],
    )
    return train(configuration)


def judge(checkpoint: Path) -> dict[str, float]:
    """Ask a trained model about people that nobody simulated before."""
    from simulation import ABOVE_REST, draw

    from smartml.training import load_run

    random_numbers = random.Random("judged")
    people = [draw(random_numbers) for _ in range(JUDGED)]
    asked = [{"minutes": minutes, "heart": ""} for minutes, _ in people]
    answers = [answer["heart"] for answer in load_run(checkpoint).generate(asked, seed=1)]
    errors, baseline = [], []
    for (minutes, heart), answer in zip(people, answers, strict=True):
        true = [int(word) for word in heart.split()]
        said = [int(word) for word in answer.split() if word.isdecimal()]
        # A rate that is not there counts as 0.
        said = (said + [0] * len(true))[: len(true)]
        errors += [abs(a - b) for a, b in zip(true, said, strict=True)]
        resting, *activities = minutes.replace(":", "").split()
        baseline += [abs(a - int(resting) - ABOVE_REST[b]) for a, b in zip(true, activities, strict=True)]
    whole = sum(heart == answer for (_, heart), answer in zip(people, answers, strict=True)) / JUDGED
    found = {"whole": whole, "error": sum(errors) / len(errors), "baseline": sum(baseline) / len(baseline)}
    return found | {"minutes": people[0][0], "true": people[0][1], "said": answers[0]}


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
