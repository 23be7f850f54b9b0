"""The runs of an experiment as a table, and what a start is about to begin."""

import io
import shlex
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from smartml.errors import ArgumentValueError
from smartml.experiment.entities import Entities
from smartml.experiment.runs import Row
from smartml.experiment.schedulers.local import command_line

COLUMNS = ("Name", "Entity-Type", "JobID", "RunID", "Time", "Status", "Returncode")

STYLES = {"github": box.MARKDOWN, "simple": box.SIMPLE, "rounded": box.ROUNDED}


def summary_table(rows: Iterable[Row], style: str) -> str:
    """Return the table of runs; Time is in seconds."""
    if style not in STYLES:
        raise ArgumentValueError(f"table style {style!r} is unknown; there are: {', '.join(STYLES)}")
    table = Table("", *COLUMNS, box=STYLES[style])
    for index, row in enumerate(rows):
        job = row.job
        known = (None, None, None) if job is None else (job.id, f"{job.runtime_s:.4f}", job.returncode)
        cells = (row.name, row.kind, known[0], row.number, known[1], row.status.value, known[2])
        table.add_row(str(index), *map(str, cells))
    # Wide enough for any name: a line is never broken.
    console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())


def row_facts(row: Row) -> dict[str, Any]:
    """Return a line of the table, in terms of JSON."""
    job = row.job
    # Where nobody noted the end, nobody knows when it was.
    is_timed = job is not None and (not job.has_ended or job.returncode is not None or job.reason)
    return {
        "name": row.name,
        "kind": row.kind,
        "run": row.number,
        "status": row.status.value,
        "id": None if job is None else job.id,
        "seconds": round(job.runtime_s, 3) if job is not None and is_timed else None,
        "returncode": None if job is None else job.returncode,
        "reason": row.reason if job is None else job.reason,
    }


def launch_summary(name: str, exp_path: str, launcher: str, chosen: Entities) -> str:
    """Return what an experiment is about to start, in some lines."""
    commands = {model.name: command_line(model.run_settings, model.path) for model in chosen.models}
    lines = [
        "=== Launch Summary ===",
        f"Experiment: {name}",
        f"Experiment Path: {exp_path}",
        f"Launcher: {launcher}",
        *(f"Database: {database.name} ({database.status})" for database in chosen.databases),
        *(f"Ensemble: {ensemble.name} ({len(ensemble)} members)" for ensemble in chosen.ensembles),
        *(f"Model: {model}: {shlex.join(command)}" for model, command in commands.items()),
    ]
    return "\n".join(lines)
