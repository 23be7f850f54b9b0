"""What to beat: logistic regression on how often each byte occurs, by scikit-learn.

usage: python baseline.py FOLDER   (the folder that collect.py has filled)

It sees as many bytes as the model, learns from four windows of every piece, and is given the best of several settings,
chosen on the very pieces that it is judged by, which flatters it.
"""

import argparse
import csv
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

# As in input.yaml.
WINDOW = 64
# Of each piece, evenly spread.
WINDOWS = 4


def frequencies(windows: list[bytes]) -> np.ndarray:
    """Return the share of each byte in each window: (windows, 256)."""
    return np.stack([np.bincount(np.frombuffer(one, np.uint8), minlength=256) / len(one) for one in windows])


def accuracies(folder: Path) -> dict[str, float]:
    """Return the accuracy on the pieces held out, by setting."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        labels = {row["ID"]: row["kind"] for row in csv.DictReader(file)}
    held_out = set((folder / "held_out.txt").read_text(encoding="utf-8").split())
    train, train_labels, test, test_labels = [], [], [], []
    for one, label in labels.items():
        piece = (folder / "pieces" / f"{one}.bin").read_bytes()
        if one in held_out:
            test.append(piece[:WINDOW])
            test_labels.append(label)
        else:
            windows = [piece[place : place + WINDOW] for place in range(0, len(piece), len(piece) // WINDOWS)]
            train += windows
            train_labels += [label] * len(windows)
    features, held = frequencies(train), frequencies(test)
    found = {}
    for name, change in (("shares", None), ("roots of shares", np.sqrt)):
        for strength in (0.01, 0.1, 1.0):
            model = make_pipeline(
                FunctionTransformer(change), StandardScaler(), LogisticRegression(C=strength, max_iter=200)
            )
            with warnings.catch_warnings():
                # Where the steps are used up, more of them change the accuracy by nothing that can be seen.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(features, train_labels)
            found[f"{name}, C={strength:g}"] = float(model.score(held, test_labels))
    return found


def main() -> None:
    """Print how good each setting is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for setting, accuracy in accuracies(parser.parse_args().folder).items():
        print(f"{setting:25} {accuracy:.4f}")


if __name__ == "__main__":
    main()
