"""The runs of an experiment as a table."""

import io
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table

from smartml.errors import ArgumentValueError
from smartml.experiment.job import Job

COLUMNS = ("Name", "Entity-Type", "JobID", "RunID", "Time", "Status", "Returncode")

STYLES = {"github": box.MARKDOWN, "simple": box.SIMPLE, "rounded": box.ROUNDED}


def summary_table(runs: Iterable[tuple[str, int, Job]], style: str) -> str:
    """Return the table of runs: (kind of entity, number of the run, its job); Time is in seconds."""
    if style not in STYLES:
        raise ArgumentValueError(f"table style {style!r} is unknown; there are: {', '.join(STYLES)}")
    table = Table("", *COLUMNS, box=STYLES[style])
    for index, (kind, number, job) in enumerate(runs):
        cells = (job.name, kind, job.id, number, f"{job.runtime_s:.4f}", job.status.value, job.returncode)
        table.add_row(str(index), *map(str, cells))
    # Wide enough for any name: a line is never broken.
    console = Console(file=io.StringIO(), width=10_000, color_system=None, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines() if line.strip())
