"""The picture of a run: how accuracy rose, and which kinds of files are taken for which."""

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

TITLE = "Kinds of files told apart by 64 raw bytes from their middle"
INK, FAINT, BLUE, RED = "#1c2430", "#8a94a3", "#0b6e99", "#c4443c"


def history(run: Path) -> tuple[list[int], list[float]]:
    """Read the accuracy of every validation."""
    path = run / "results" / "file" / "kind" / "validation_kind_history.log"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [int(row["iteration"]) for row in rows], [float(row["file_kind_acc"]) for row in rows]


def accuracy(run: Path) -> float:
    """Return the best accuracy of a run."""
    return max(history(run)[1])


def draw(run: Path, baseline: float, file: Path) -> None:
    """Draw the picture."""
    iterations, accuracies = history(run)
    best = iterations[int(np.argmax(accuracies))]
    table = run / "results" / "file" / "kind" / "samples" / str(best) / "predictions.csv"
    with table.open(newline="", encoding="utf-8") as source:
        pairs = [(row["True_Label"], row["Predicted"]) for row in csv.DictReader(source)]
    kinds = sorted({kind for pair in pairs for kind in pair})
    counts = np.zeros((len(kinds), len(kinds)))
    for true, said in pairs:
        counts[kinds.index(true), kinds.index(said)] += 1
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with mpl.rc_context({"font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT}):
        figure = Figure(figsize=(12.5, 5.6), dpi=110)
        rise, confusion = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.065, right=0.975, bottom=0.2, top=0.86, wspace=0.28)
        rise.plot(iterations, accuracies, "o-", color=BLUE, label=f"local transformer, at best {max(accuracies):.3f}")
        rise.axhline(baseline, color=RED, linestyle="--", label=f"logistic regression on bytes counted, {baseline:.3f}")
        rise.set(xlabel="batches of 64 pieces", ylabel="accuracy on files held out")
        rise.legend(loc="lower right")
        rise.grid(alpha=0.25)
        rise.spines[["top", "right"]].set_visible(False)
        confusion.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        confusion.set_xticks(range(len(kinds)), kinds, rotation=90)
        confusion.set_yticks(range(len(kinds)), kinds)
        confusion.set(xlabel="taken for", ylabel="is")
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.01:
                colour = "white" if share > 0.5 else INK
                confusion.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=7, color=colour)
        figure.text(0.015, 0.93, TITLE, fontsize=14, weight="bold")
        figure.savefig(file)
