"""Run the tutorial: collect pieces of files, train on their bytes, and compare with what counts bytes.

usage: python run.py [--output FOLDER] [--files N] [--epochs N] [--seed N]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial; return 0 when the model was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="a new folder for all that the run leaves")
    parser.add_argument("--files", type=int, default=250, help="of each kind at most (%(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the pieces (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="draws other files and weights (%(default)s)")
    options = parser.parse_args(argv)
    for package in ("pydantic", "sklearn", "torch"):
        if not find_spec(package):
            parser.error(f'{package} is not installed: pip install "smartml[training]"')
    folder = (options.output or Path(f"raw-bytes-{time.strftime('%Y%m%d-%H%M%S')}")).resolve()
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"{folder} is not empty: name another --output")
    sys.path.insert(0, str(HERE))
    from baseline import accuracies
    from collect import collect
    from picture import accuracy, draw

    pieces = collect(folder / "data", options.files, options.seed)
    if len(pieces) < 2:
        parser.error(f"there are files of {len(pieces)} kinds here, which is nothing to tell apart")
    outcome = learn(folder, options.epochs, options.seed)
    best = max(accuracies(folder / "data").items(), key=lambda item: item[1])
    reached = accuracy(folder / "runs" / "raw_bytes")
    draw(folder / "runs" / "raw_bytes", best[1], folder / "raw_bytes.png")
    print(f"{sum(pieces.values())} pieces of {len(pieces)} kinds of files; {outcome.iterations} batches learned from")
    print(f"{outcome.model_s / outcome.loop_s:.0%} of the loop's time in the model, {outcome.loop_s:.0f} s in all")
    print(f"accuracy on files held out: {reached:.4f}; logistic regression on bytes counted: {best[1]:.4f} ({best[0]})")
    print(f"the checkpoint to serve is {outcome.checkpoints[0]}")
    return 0


def learn(folder: Path, epochs: int, seed: int):
    """Train as the files here say, on the data in this folder."""
    from smartml.training import read_configuration, train

    data = folder / "data"
    configuration = read_configuration(
        *([HERE / f"{name}.yaml"] for name in ("globals", "input", "fusion", "output")),
        overrides=[
            f"globals.basic_experiment.output_folder={folder / 'runs' / 'raw_bytes'}",
            f"globals.basic_experiment.manual_valid_ids_file={data / 'held_out.txt'}",
            f"globals.basic_experiment.n_epochs={epochs}",
            f"globals.basic_experiment.seed={seed}",
            f"input.input_info.input_source={data / 'pieces'}",
            f"output.output_info.output_source={data / 'labels.csv'}",
        ],
    )
    return train(configuration)


if __name__ == "__main__":
    sys.exit(main())
