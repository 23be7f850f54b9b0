"""The picture of a run: whose atoms are whose, what the network says of a liquid it never saw, and how it got there."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

TITLE = "A network learns a potential from all ranks of four parallel runs of LAMMPS"
INK, FAINT, BLUE, ORANGE = "#1c2430", "#8a94a3", "#0b6e99", "#e08a1e"
RANKS = (BLUE, ORANGE, "#5a8f3c", "#8c4f9f")


def draw(trained: Path, simulated: Path, file: Path) -> dict[str, float]:
    """Draw the picture from what the trainer and a member of the ensemble left; return the trainer's last record."""
    progress = [json.loads(line) for line in (trained / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    with np.load(trained / "unseen.npz") as unseen, mpl.rc_context({"font.size": 9, "text.color": INK}):
        figure = Figure(figsize=(12.5, 4.6), dpi=110)
        _draw_atoms(figure, simulated)
        _draw_energies(figure.add_axes((0.36, 0.13, 0.25, 0.66)), unseen["targets"], unseen["predicted"], progress[-1])
        _draw_learning(figure.add_axes((0.68, 0.13, 0.26, 0.66)), progress)
        figure.text(0.015, 0.93, TITLE, fontsize=14, weight="bold")
        figure.savefig(file)
    return progress[-1]


def _draw_atoms(figure: Figure, simulated: Path) -> None:
    axis = figure.add_axes((0.0, 0.02, 0.32, 0.84), projection="3d")
    files = sorted(simulated.glob("positions_*.npy"))
    for rank, file in enumerate(files):
        x, y, z = np.load(file).T
        axis.scatter(
            x, y, z, s=26, color=RANKS[rank % len(RANKS)], edgecolor="white", lw=0.3, alpha=1, label=f"rank {rank}"
        )
    axis.set_box_aspect((1, 1, 1), zoom=1.1)
    axis.view_init(elev=22, azim=-55)
    axis.set_axis_off()
    figure.text(0.05, 0.845, "one liquid: whose atoms are whose", fontsize=10)
    axis.legend(frameon=False, loc="lower left", ncols=2, fontsize=8.5)


def _draw_energies(axis, targets: np.ndarray, predicted: np.ndarray, last: dict[str, float]) -> None:
    axis.scatter(targets, predicted, s=5, color=BLUE, alpha=0.35, lw=0)
    limits = (min(targets.min(), predicted.min()), max(targets.max(), predicted.max()))
    axis.plot(limits, limits, color=INK, lw=0.8)
    axis.set_xlabel("energy of an atom, by LAMMPS")
    axis.set_ylabel("by the network")
    axis.set_title(f"a liquid never seen: error {last['error']:.3f}", fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_learning(axis, progress: list[dict[str, float]]) -> None:
    seconds = [record["seconds"] for record in progress]
    axis.plot(seconds, [record["error"] for record in progress], color=BLUE, lw=1.6, label="network")
    axis.axhline(progress[-1]["baseline"], color=FAINT, ls="--", lw=1, label="mean energy for all")
    axis.set_yscale("log")
    axis.set_ylim(top=3 * progress[-1]["baseline"])
    axis.set_xlabel("seconds since the first samples")
    axis.set_title("error in the liquid never seen", fontsize=10, loc="left")
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
