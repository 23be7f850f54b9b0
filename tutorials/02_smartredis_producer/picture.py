"""The picture of a run: patterns that the surrogate never saw, and how its error fell while samples arrived."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from gray_scott import HORIZON, error, persistence
from matplotlib.figure import Figure

TITLE = "A network learns from programs that know only SmartRedis"
INK, FAINT, BLUE, ORANGE = "#1c2430", "#8a94a3", "#0b6e99", "#e08a1e"
COLUMNS = 4


def draw(trained: Path, file: Path) -> dict[str, float]:
    """Draw the picture from what the trainer left in its folder; return its last record."""
    progress = [json.loads(line) for line in (trained / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    with np.load(trained / "unseen.npz") as unseen, mpl.rc_context({"font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(12.5, 5.4), dpi=110)
        patterns, learning = figure.subfigures(1, 2, width_ratios=(2, 1))
        _draw_patterns(patterns, unseen["samples"], unseen["targets"], unseen["predicted"])
        _draw_learning(learning, progress)
        figure.text(0.015, 0.945, TITLE, fontsize=14, weight="bold")
        figure.savefig(file)
    return progress[-1]


def _draw_patterns(figure, samples, targets, predicted) -> None:
    # The first moment of each of some patterns: no choice is made by how well they came out.
    every = len(samples) // COLUMNS
    axes = figure.subplots(
        3,
        COLUMNS,
        gridspec_kw={"left": 0.1, "right": 0.99, "bottom": 0.02, "top": 0.84, "wspace": 0.06, "hspace": 0.06},
    )
    names = ("now", f"{HORIZON} time units\nlater: simulated", "predicted by\nthe surrogate")
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name, fontsize=10)
    for column, index in zip(axes.T, range(0, every * COLUMNS, every), strict=True):
        sample, target, guess = samples[index], targets[index], predicted[index]
        limit = target[..., 1].max()
        for axis, field in zip(column, (sample, target, guess), strict=True):
            axis.imshow(field[..., 1], "magma", vmin=0, vmax=limit, interpolation="bicubic")
            axis.set_xticks([])
            axis.set_yticks([])
        ours, theirs = error(guess, target), error(persistence(sample), target)
        column[0].set_title(f"error {ours:.3f} (persistence {theirs:.3f})", fontsize=8.5)


def _draw_learning(figure, progress) -> None:
    axis = figure.subplots(gridspec_kw={"left": 0.17, "right": 0.84, "bottom": 0.11, "top": 0.84})
    seconds = [record["seconds"] for record in progress]
    axis.plot(seconds, [record["error"] for record in progress], color=BLUE, lw=2, label="surrogate, unseen patterns")
    axis.axhline(progress[-1]["baseline"], color=FAINT, ls="--", lw=1, label="persistence")
    axis.set_ylim(0, 1.35 * progress[-1]["baseline"])
    axis.set_xlabel("seconds since the first samples")
    axis.set_ylabel("root mean square error of the second substance")
    held = axis.twinx()
    held.fill_between(seconds, [record["samples"] for record in progress], color=ORANGE, alpha=0.15, lw=0)
    held.set_ylim(0)
    held.set_ylabel("samples in the training set", color=ORANGE)
    held.tick_params(colors=ORANGE)
    axis.set_zorder(1)
    axis.patch.set_visible(False)
    axis.legend(frameon=False, loc="upper right", fontsize=8.5)
    axis.spines["top"].set_visible(False)
    held.spines["top"].set_visible(False)
