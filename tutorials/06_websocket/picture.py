"""The picture of a run: how far off the forecasts were while the stream went on, and some of them at its end."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

TITLE = "Trained on a stream over WebSocket, each patient seen once"
INK, FAINT, SEEN, FORECAST = "#1c2430", "#8a94a3", "#0b6e99", "#c4443c"
SHOWN = 3


def draw(trainer: Path, file: Path) -> dict[str, float]:
    """Draw the picture from the trainer's folder; return its last record."""
    records = [json.loads(line) for line in (trainer / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    with np.load(trainer / "forecasts.npz") as found:
        seen, truth, forecast = found["seen"], found["truth"], found["forecast"]
    with mpl.rc_context({"font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT}):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        figure.suptitle(TITLE, fontsize=13)
        grid = figure.add_gridspec(SHOWN, 2, width_ratios=(1, 1.15))
        _draw_error(figure.add_subplot(grid[:, 0]), records)
        # Patients whose rate changes most are the most to look at.
        chosen = np.argsort(np.ptp(np.hstack([seen, truth]), axis=1))[::-1][: 4 * SHOWN : 4]
        shared = None
        for row, patient in enumerate(chosen):
            axes = shared = figure.add_subplot(grid[row, 1], sharex=shared)
            _draw_patient(axes, seen[patient], truth[patient], forecast[patient])
            axes.tick_params(labelbottom=row == SHOWN - 1)
            if row == 0:
                axes.set_title("patients that were never trained on", fontsize=10)
                axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=3)
        axes.set_xlabel("seconds")
        figure.savefig(file, dpi=110)
    return records[-1]


def _draw_error(axes: mpl.axes.Axes, records: list[dict[str, float]]) -> None:
    trained = [record["trained"] for record in records]
    axes.plot(trained, [record["error"] for record in records], color=FORECAST)
    axes.axhline(records[0]["standstill"], color=FAINT, linestyle="--")
    axes.annotate(
        "the last rate, forever",
        (trained[-1], records[0]["standstill"]),
        (0, 5),
        textcoords="offset points",
        ha="right",
        color=FAINT,
    )
    axes.set(
        xlabel="patients trained on",
        ylabel="error of the forecast (beats per minute)",
        ylim=(0, 1.2 * records[0]["standstill"]),
    )
    axes.set_title("16 seconds foretold from 64", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_patient(axes: mpl.axes.Axes, seen: np.ndarray, truth: np.ndarray, forecast: np.ndarray) -> None:
    before, after = np.arange(len(seen)), len(seen) + np.arange(len(truth))
    axes.plot(before, seen, color=SEEN, linewidth=1, label="seen")
    axes.plot(after, truth, color=FAINT, linewidth=1.6, label="what came")
    axes.plot(after, forecast, color=FORECAST, linewidth=1.6, label="foretold")
    axes.axvline(len(seen) - 0.5, color=FAINT, linewidth=0.6)
    axes.set_ylim(None, 1.08 * max(seen.max(), truth.max()))
    axes.set_ylabel("beats/min")
    axes.spines[["top", "right"]].set_visible(False)
