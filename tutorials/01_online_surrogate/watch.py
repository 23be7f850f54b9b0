"""What a run is doing, for people to see: a live table, or a line now and then where there is no terminal."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smartml import Client, Experiment, Model

REFRESH_S = 0.25
# Between lines where there is no terminal.
LINE_S = 5.0


@dataclass
class Watch:
    """Looks at the producers' keys in the store and at the trainer's file; takes no part in the run."""

    experiment: Experiment
    client: Client
    producers: Sequence[Model]
    trainer: Model
    # How many iterations each producer is going to put.
    expected: int
    console: Console = field(default_factory=Console)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._iterations = [0] * len(self.producers)

    def until_trained(self) -> None:
        """Show how the run goes until the trainer has ended."""
        if self.console.is_terminal:
            with Live(console=self.console, get_renderable=self._table, refresh_per_second=1 / REFRESH_S):
                self.experiment.wait(self.trainer)
            return
        has_ended = False
        while not has_ended:
            has_ended = self.experiment.wait(self.trainer, timeout_s=LINE_S)
            self.console.print(self._line(), soft_wrap=True)

    def _count_iterations(self) -> list[int]:
        for i, producer in enumerate(self.producers):
            while self.client.key_exists(f"{producer.name}.targets_{self._iterations[i]}"):
                self._iterations[i] += 1
        return self._iterations

    def _line(self) -> str:
        iterations = " + ".join(map(str, self._count_iterations()))
        parts = [f"{time.monotonic() - self._started:4.0f} s", f"iterations {iterations}", _learnt(self._latest())]
        return ", ".join(part for part in parts if part)

    def _latest(self) -> dict[str, float] | None:
        records = read_progress(Path(self.trainer.path))
        return records[-1] if records else None

    def _table(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for producer, iterations in zip(self.producers, self._count_iterations(), strict=True):
            bar = ProgressBar(total=self.expected, completed=iterations, width=40)
            count = f"{iterations} of {self.expected} iterations"
            table.add_row(producer.name, bar, count, self._status(producer))
        learnt = Text(_learnt(self._latest()) or "waiting for the first samples")
        heading = Text(f"train while the simulation runs   {time.monotonic() - self._started:.0f} s", style="bold")
        return Group(heading, table, Text.assemble(f"{self.trainer.name:12}", learnt))

    def _status(self, model: Model) -> Text:
        status = str(self.experiment.get_status(model)[0])
        return Text(status.lower(), style={"Failed": "bold red", "Completed": "green"}.get(status, ""))


def read_progress(folder: Path) -> list[dict[str, float]]:
    """Return what the trainer has told of its epochs so far."""
    file = folder / "progress.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def _learnt(record: dict[str, float] | None) -> str:
    if record is None:
        return ""
    return (
        f"samples {record['samples']}, epoch {record['epoch']}, loss {record['loss']:.5f}, "
        f"error {record['error']:.3f} (persistence {record['baseline']:.3f})"
    )
