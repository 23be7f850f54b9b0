"""The picture of a run: how the loss fell while samples arrived, and one answer beside the truth."""

import csv
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

TITLE = "Heart rates written by a model that learned from a WebSocket stream"
INK, FAINT, BLUE, ORANGE = "#1c2430", "#8a94a3", "#0b6e99", "#e08a1e"


def column(path: Path, number: int) -> tuple[list[int], list[float]]:
    """Read iterations and a column of one of the run's histories."""
    with path.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    return [int(row[0]) for row in rows], [float(row[number]) for row in rows]


def draw(folder: Path, judged: dict[str, Any], file: Path) -> None:
    """Draw the picture."""
    run = folder / "runs" / "heart_rates"
    with mpl.rc_context({"font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT}):
        figure = Figure(figsize=(12.5, 4.6), dpi=110)
        loss, heart = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.085, right=0.975, bottom=0.13, top=0.8, wspace=0.2)
        loss.plot(*column(run / "train_average_history.log", 1), color=FAINT, label="training, smoothed")
        loss.plot(*column(run / "validation_average_history.log", 1), "o-", color=BLUE, label="held out")
        loss.set(yscale="log", xlabel="batches of 32 samples", ylabel="loss of the next token")
        loss.legend()
        resting, *activities = judged["minutes"].replace(":", "").split()
        minutes = range(1, len(activities) + 1)
        heart.plot(minutes, [int(word) for word in judged["true"].split()], "o-", color=FAINT, label="simulated", ms=9)
        said = [int(word) for word in judged["said"].split() if word.isdecimal()][: len(activities)]
        heart.plot(range(1, len(said) + 1), said, "x", color=ORANGE, label="written by the model", ms=8, mew=2)
        heart.set_xticks(minutes, activities, rotation=35)
        heart.set(ylabel="beats per minute", title=f"a new person, {resting} at rest: ten minutes")
        heart.legend()
        for axis in (loss, heart):
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(alpha=0.25)
        figure.text(0.015, 0.93, TITLE, fontsize=14, weight="bold")
        figure.savefig(file)
