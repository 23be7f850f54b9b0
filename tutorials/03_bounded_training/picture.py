"""The picture of a run: three memories of the same stream, and what was learned from each."""

import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure
from oscillator import STIFFNESS

TITLE = "One stream, a tenth of it in memory: who stays decides what is learned"
INK, FAINT = "#1c2430", "#8a94a3"
COLOURS = {"fifo": "#c4443c", "reservoir": "#0b6e99", "firo": "#e08a1e"}
KEEPS = {"fifo": "the newest", "reservoir": "a uniform sample of all", "firo": "each until used"}
BINS = 40


def draw(trained: dict[str, Path], file: Path) -> dict[str, dict[str, float]]:
    """Draw the picture from the folders of the trainers, by policy; return the last record of each."""
    progress = {
        policy: [json.loads(line) for line in (folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
        for policy, folder in trained.items()
    }
    with mpl.rc_context({"font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT}):
        figure = Figure(figsize=(12.5, 4.9), dpi=110)
        grid = figure.add_gridspec(
            3, 2, width_ratios=(1.25, 1), left=0.065, right=0.985, bottom=0.11, top=0.81, wspace=0.12, hspace=0.42
        )
        _draw_learning(figure.add_subplot(grid[:, 0]), progress)
        memory = [figure.add_subplot(grid[row, 1]) for row in range(3)]
        _draw_memory(memory, trained)
        figure.text(0.015, 0.93, TITLE, fontsize=14, weight="bold")
        figure.savefig(file)
    return {policy: records[-1] for policy, records in progress.items()}


def _draw_learning(axis, progress) -> None:
    for policy, records in progress.items():
        seconds, error = ([record[name] for record in records] for name in ("seconds", "error"))
        axis.plot(seconds, error, color=COLOURS[policy], lw=2)
        axis.annotate(
            f"{policy} {error[-1]:.3f}", (seconds[-1], error[-1]), (5, 0), textcoords="offset points",
            color=COLOURS[policy], weight="bold", va="center",
        )  # fmt: skip
    longest = max(records[-1]["seconds"] for records in progress.values())
    records = next(iter(progress.values()))
    ended = next(record["seconds"] for record in records if record["arrived"] == records[-1]["arrived"])
    axis.axvspan(0, ended, color=FAINT, alpha=0.12, lw=0)
    axis.text(
        ended, 0.99, "the simulation runs ", transform=axis.get_xaxis_transform(), color=FAINT, ha="right", va="top"
    )
    axis.set_xlim(0, longest * 1.28)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.set_xlabel("seconds of training")
    axis.set_ylabel("mean error over all stiffnesses")
    axis.set_title("what was learned: states of all stiffnesses, none seen before", fontsize=10.5, loc="left", pad=20)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", which="both", color=FAINT, alpha=0.2, lw=0.6)


def _draw_memory(axes, trained) -> None:
    edges = np.linspace(*STIFFNESS, BINS + 1)
    title = "at the end: what is in memory (bars), error by stiffness (lines)"
    axes[0].set_title(title, fontsize=10.5, loc="left", pad=20)
    loaded = {policy: dict(np.load(folder / "errors.npz")) for policy, folder in trained.items()}
    smoothed = {policy: found["error"].reshape(64, -1).mean(1) for policy, found in loaded.items()}
    highest = max(error.max() for error in smoothed.values())
    for axis, (policy, found) in zip(axes, loaded.items(), strict=True):
        counts, _ = np.histogram(found["held"], edges)
        axis.bar(edges[:-1], counts / counts.max(), np.diff(edges), align="edge", color=COLOURS[policy], alpha=0.25)
        axis.set_ylim(0, 1.25)
        axis.set_yticks([])
        axis.set_xlim(STIFFNESS)
        error = axis.twinx()
        error.plot(np.linspace(*STIFFNESS, 64), smoothed[policy], color=COLOURS[policy], lw=2)
        error.set_ylim(0, highest * 1.1)
        error.tick_params(colors=FAINT, length=2)
        axis.text(
            0.005, 1.03, f"{policy}: {KEEPS[policy]}", transform=axis.transAxes, color=COLOURS[policy], weight="bold"
        )
        for spines in (axis.spines, error.spines):
            spines[["top"]].set_visible(False)
        if axis is not axes[-1]:
            axis.set_xticklabels([])
    axes[-1].set_xlabel("stiffness: the simulation goes from left to right")
