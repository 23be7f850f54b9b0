"""Pictures of a run: training curves, and how answers compare with the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import metrics

from smartml.training.run_folder import write_whole

# Metrics for which more is worse.
_LOWER_IS_BETTER = ("loss", "loss-average", "mae", "mape", "rmse")
_COLORS = {"train": "#7f7f7f", "validation": "#1f77b4"}
# A curve of more points is drawn by so many means.
_MOST_POINTS = 2000
# Classes whose names still fit beside a matrix.
_NAMED_CLASSES = 40


@dataclass(frozen=True)
class Curve:
    """One line: a metric against iterations."""

    split: str
    x: Sequence[int]
    y: Sequence[float]


def draw_curve(path: Path, kind: str, curves: Sequence[Curve]) -> None:
    """Draw a metric, with the best validation named; draws nothing where there is no point yet."""
    if not any(len(curve.x) for curve in curves):
        return
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="iteration", ylabel=kind)
    for curve in curves:
        if not len(curve.x):
            continue
        x, y = _thinned(curve)
        # A line of one point would not be seen.
        axes.plot(x, y, label=curve.split, color=_COLORS[curve.split], marker="o" if len(x) == 1 else None)
        if curve.split == "validation":
            place = int(np.argmin(curve.y) if kind in _LOWER_IS_BETTER else np.argmax(curve.y))
            words = f"best: {curve.y[place]:.4f} at {curve.x[place]}"
            axes.axhline(curve.y[place], linestyle="--", linewidth=1, color=_COLORS[curve.split], label=words)
    values = np.concatenate([curve.y for curve in curves])
    if kind not in _LOWER_IS_BETTER and values.min() >= 0 and values.max() <= 1:
        axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def _thinned(curve: Curve) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(curve.x), np.asarray(curve.y)
    width = -(-len(x) // _MOST_POINTS)
    if width == 1:
        return x, y
    whole = len(x) // width * width
    return x[:whole].reshape(-1, width).mean(1), y[:whole].reshape(-1, width).mean(1)


def draw_classes(folder: Path, names: Sequence[str], truth: NDArray[Any], shares: NDArray[Any]) -> None:
    """Draw confusion matrix and curves of true classes (n,) and their probabilities (n, classes)."""
    _draw_confusion(folder / "confusion_matrix.pdf", names, truth, shares.argmax(1))
    prefix = "bin" if len(names) == 2 else "mc"
    shown = [number for number in range(len(names)) if 0 < (truth == number).sum() < len(truth)]
    if prefix == "bin":
        # The other class's curves are its mirror image.
        shown = shown[-1:]
    roc = [metrics.roc_curve(truth == number, shares[:, number])[:2] for number in shown]
    _draw_lines(folder / f"{prefix}_roc_curve.pdf", ("false positive rate", "true positive rate"), names, shown, roc)
    both = [metrics.precision_recall_curve(truth == number, shares[:, number])[:2] for number in shown]
    swapped = [(recall, precision) for precision, recall in both]
    _draw_lines(folder / f"{prefix}_pr_curve.pdf", ("recall", "precision"), names, shown, swapped)
    if prefix == "bin":
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot(xlabel=f"probability of {names[1]!r}", ylabel="samples")
        axes.hist([shares[truth == number, 1] for number in (0, 1)], bins=20, range=(0, 1), label=list(names))
        axes.legend()
        save(figure, folder / "positive_prediction_distribution.pdf")


def _draw_confusion(path: Path, names: Sequence[str], truth: NDArray[Any], said: NDArray[Any]) -> None:
    counts = metrics.confusion_matrix(truth, said, labels=range(len(names)))
    size = 3.2 + 0.45 * min(len(names), _NAMED_CLASSES)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot(xlabel="predicted", ylabel="true")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _NAMED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    save(figure, path)


def _draw_lines(
    path: Path, labels: tuple[str, str], names: Sequence[str], shown: Sequence[int], lines: Sequence[Any]
) -> None:
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    for number, (x, y) in zip(shown, lines, strict=True):
        axes.plot(x, y, label=names[number])
    axes.grid(alpha=0.3)
    if 0 < len(shown) <= _NAMED_CLASSES:
        axes.legend(fontsize=8)
    save(figure, path)


def draw_numbers(path: Path, name: str, true: NDArray[Any], said: NDArray[Any]) -> None:
    """Draw answers against the truth, in the units of the data."""
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.add_subplot(xlabel=f"true {name}", ylabel=f"predicted {name}")
    axes.scatter(true, said, s=8, alpha=0.6)
    ends = [min(true.min(), said.min()), max(true.max(), said.max())]
    axes.plot(ends, ends, color="black", linewidth=1, linestyle="--")
    axes.grid(alpha=0.3)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture of the kind that the path's ending says."""
    write_whole(path, lambda file: figure.savefig(file, format=path.suffix[1:]))
