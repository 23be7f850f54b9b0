"""The picture of a run: what was learned from the stream, and how fast the stream was."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.figure import Figure

TITLE = "A live feed through shuffle, async_map and batched into a training loop"
INK, FAINT, BLUE, RED, ORANGE = "#1c2430", "#8a94a3", "#0b6e99", "#c4443c", "#e08a1e"


def draw(progress: Path, file: Path) -> dict[str, Any]:
    """Draw the picture from the trainer's records; return the last one."""
    records = [json.loads(line) for line in progress.read_text(encoding="utf-8").splitlines()]
    with mpl.rc_context({"font.size": 9.5, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT}):
        figure = Figure(figsize=(12.5, 4.6), dpi=110)
        learned, passed = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.065, right=0.925, bottom=0.12, top=0.79, wspace=0.3)
        _draw_learning(learned, records)
        _draw_rates(passed, records)
        figure.text(0.015, 0.93, TITLE, fontsize=14, weight="bold")
        figure.savefig(file)
    return records[-1]


def _column(records, *names: str) -> list[float]:
    values = []
    for record in records:
        for name in names:
            record = record.get(name, float("nan")) if isinstance(record, dict) else record
        values.append(record)
    return values


def _draw_learning(axis, records) -> None:
    seconds = _column(records, "seconds")
    for name, colour in (("damping", ORANGE), ("frequency", BLUE)):
        errors = _column(records, name)
        axis.plot(seconds, errors, color=colour, lw=2)
        axis.annotate(
            f"{name}\n{errors[-1]:.3g} %", (seconds[-1], errors[-1]), (5, 0), textcoords="offset points",
            color=colour, weight="bold", va="center",
        )  # fmt: skip
    peak = records[-1]["peak"]
    axis.plot([0, seconds[-1]], [peak, peak], color=FAINT, ls="--", lw=1)
    axis.annotate(
        f"highest value of the spectrum: {peak:.3g} %", (0, peak), (3, -11),
        textcoords="offset points", color=FAINT, fontsize=8.5,
    )  # fmt: skip
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axis.set_xlim(0, seconds[-1] * 1.17)
    axis.set_xlabel("seconds of training")
    axis.set_ylabel("median relative error (%)")
    _finish(axis, "what was learned: recordings that were never seen")


def _draw_rates(axis, records) -> None:
    seconds = _column(records, "seconds")
    for place, colour, style in (("before", RED, "-"), ("after", BLUE, "--")):
        axis.plot(
            seconds, _column(records, "rates", f"{place} async_map: IOPS number/s"), style, color=colour, lw=2,
            label=f"{place} async_map (left)",
        )  # fmt: skip
    axis.set_ylim(0)
    axis.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    axis.set_xlim(0, seconds[-1] * 1.02)
    axis.set_xlabel("seconds of training")
    axis.set_ylabel("samples per second in the chain")
    arrived = axis.twinx()
    arrived.plot(seconds, _column(records, "arrived"), color=FAINT, lw=2, label="arrived from producers (right)")
    arrived.set_ylim(0)
    arrived.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    arrived.set_ylabel("samples that have arrived")
    arrived.spines[["top", "left"]].set_visible(False)
    lines = [*axis.get_lines(), *arrived.get_lines()]
    axis.legend(lines, [line.get_label() for line in lines], loc="lower right", frameon=False, fontsize=8.5)
    _finish(axis, "how fast: what monitor told, and how the stream grew")


def _finish(axis, title: str) -> None:
    axis.set_title(title, fontsize=10.5, loc="left", pad=12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", which="major", color=FAINT, alpha=0.2, lw=0.6)
