"""The picture of a run: flows that the surrogate never saw, what it made of them, and how it came to know."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from cases import HORIZON, error, persistence
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TITLE = "A surrogate learns the flow past obstacles while the simulations run"
INK = "#1c2430"
FAINT = "#8a94a3"
BODY = "#3a4350"
TRAINING, UNSEEN, GROWTH = "#e08a1e", "#0b6e99", "#dfe6ee"
# Vorticity in inflow speeds per channel width, and the error in inflow speeds, where the colours end.
VORTICITY_LIMIT = 25.0
ERROR_LIMIT = 0.6


def vorticity(velocity: np.ndarray) -> np.ndarray:
    """Return dv/dx - du/dy of a field (width, length, 2), in inflow speeds per channel width."""
    along_y, along_x = np.gradient(velocity[..., 0], axis=0), np.gradient(velocity[..., 1], axis=1)
    return (along_x - along_y) * len(velocity)


def draw(unseen: dict[str, np.ndarray], progress: list[dict[str, float]], file: Path) -> None:
    """Draw the picture. `unseen` has samples, targets and predicted of pairs, `progress` one record per epoch."""
    with mpl.rc_context({"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT}):
        figure = Figure(figsize=(15, 5.9), dpi=110)
        left, right = figure.subfigures(1, 2, width_ratios=(2.9, 1))
        _draw_flows(left, unseen)
        _draw_progress(right.subplots(gridspec_kw={"left": 0.17, "right": 0.82, "bottom": 0.1, "top": 0.83}), progress)
        figure.text(0.012, 0.945, TITLE, fontsize=14, weight="bold")
        figure.savefig(file)


def _draw_flows(figure, unseen: dict[str, np.ndarray]) -> None:
    # The first pair of each of three channels: no choice is made by how well they came out.
    step = max(1, len(unseen["samples"]) // 3)
    samples, targets, predicted = (unseen[name][::step][:3] for name in ("samples", "targets", "predicted"))
    axes = figure.subplots(
        4, len(samples), sharex=True, sharey=True, squeeze=False,
        gridspec_kw={"left": 0.085, "right": 0.925, "bottom": 0.075, "top": 0.88, "wspace": 0.04, "hspace": 0.12},
    )  # fmt: skip
    names = ("now", f"{HORIZON} steps later:\nsimulated", "predicted by\nthe surrogate", "error of\nthe surrogate")
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(name, fontsize=10.5, labelpad=8)
    for number, (column, sample, target, guess) in enumerate(zip(axes.T, samples, targets, predicted, strict=True), 1):
        solid = sample[..., 2] > 0
        for axis, velocity in zip(column, (sample[..., :2], target, guess), strict=False):
            swirl = _show(axis, vorticity(velocity), solid, "RdBu_r", -VORTICITY_LIMIT, VORTICITY_LIMIT)
        distance = np.sqrt(((guess - target) ** 2).sum(-1))
        miss = _show(column[3], distance, solid, "magma_r", 0, ERROR_LIMIT)
        ours = error(guess, target, sample)
        theirs = error(persistence(sample), target, sample)
        column[0].set_title(f"unseen {number}:  error {ours:.3f} (persistence {theirs:.3f})", fontsize=9.5)
        column[3].set_xlabel("along the channel (cells)")
    figure.colorbar(swirl, ax=axes[:3], cax=figure.add_axes((0.937, 0.30, 0.009, 0.56))).set_label(
        "vorticity (inflow speed / channel width)"
    )
    figure.colorbar(miss, ax=axes[3], cax=figure.add_axes((0.937, 0.085, 0.009, 0.16))).set_label("inflow speeds")


def _show(axis: Axes, field: np.ndarray, solid: np.ndarray, colours: str, low: float, high: float):
    image = axis.imshow(field, colours, vmin=low, vmax=high, origin="lower", interpolation="bilinear")
    axis.imshow(np.where(solid, 1.0, np.nan), mpl.colors.ListedColormap([BODY]), origin="lower")
    axis.tick_params(colors=FAINT, length=2)
    axis.set_yticks([0, 30, 60])
    return image


def _draw_progress(axis: Axes, progress: list[dict[str, float]]) -> None:
    held = np.array([record["samples"] for record in progress])
    served = np.cumsum(held)
    # The loss is a mean over two components; the root of their sum is the same measure as the error.
    training = np.sqrt(2 * np.array([record["loss"] for record in progress]))
    unseen = np.array([record["error"] for record in progress])
    baseline = progress[-1]["baseline"]

    growth = axis.twinx()
    growth.fill_between(served, held, color=GROWTH, linewidth=0)
    growth.set_ylim(0, held[-1] * 1.6)
    growth.set_ylabel("samples in the training set", color=FAINT)
    growth.tick_params(colors=FAINT, length=2)
    axis.set_zorder(growth.get_zorder() + 1)
    axis.patch.set_visible(False)

    axis.axhline(baseline, color=INK, linestyle="--", linewidth=1.2)
    axis.annotate(f"persistence {baseline:.3f}", (served[-1], baseline), (0, 4), textcoords="offset points", ha="right")
    axis.plot(served, training, color=TRAINING, linewidth=1.6, label="training set")
    axis.plot(served, unseen, color=UNSEEN, linewidth=2, marker="o", markersize=4, label="unseen channels")
    axis.annotate(
        f"{unseen[-1]:.3f}", (served[-1], unseen[-1]), (0, 7), textcoords="offset points",
        ha="right", color=UNSEEN, weight="bold",
    )  # fmt: skip
    axis.set_ylim(0, max(baseline, unseen.max()) * 1.15)
    axis.set_xlim(0, served[-1] * 1.03)
    axis.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    axis.set_xlabel("samples seen (with repetitions)")
    axis.set_ylabel("error of the velocity (inflow speeds)")
    axis.set_title("learning while the simulations run", fontsize=10.5)
    axis.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.8))
    for spines in (axis.spines, growth.spines):
        spines["top"].set_visible(False)
