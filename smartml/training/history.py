"""What a run has measured, iteration by iteration: CSV files, curves, and records for live pages."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from smartml.errors import CheckpointError
from smartml.training.curves import Curve, draw_curve
from smartml.training.monitoring import Log, log_nothing
from smartml.training.run_folder import RunFolder

# What a CSV file calls its first column.
_ITERATION = "iteration"


class History:
    """One CSV file: an iteration and numbers in each row. Rows reach the disk when they are flushed."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, list(columns)
        self.iterations: list[int] = []
        self.rows: list[list[float]] = []
        # Rows that the file has.
        self._written = 0

    def append(self, iteration: int, values: Mapping[str, float]) -> None:
        self.iterations.append(iteration)
        self.rows.append([values[column] for column in self.columns])

    def flush(self) -> None:
        """Add what is new to the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow([_ITERATION, *self.columns])
            rows = zip(self.iterations[self._written :], self.rows[self._written :], strict=True)
            writer.writerows([iteration, *row] for iteration, row in rows)
        self._written = len(self.rows)

    def go_back(self, iteration: int) -> None:
        """Take up the file as it was at an iteration, and forget what came after it."""
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                header, *rows = list(csv.reader(file))
            if header != [_ITERATION, *self.columns]:
                raise CheckpointError(f"{self.path}: has the columns {header}, this run {[_ITERATION, *self.columns]}")
            # The last line may be torn.
            whole = [row for row in rows if len(row) == len(header)]
            kept = [(int(row[0]), [float(value) for value in row[1:]]) for row in whole if int(row[0]) <= iteration]
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path}: the history of the run cannot be read: {error}") from error
        self.iterations, self.rows = [one for one, _ in kept], [row for _, row in kept]
        self.path.unlink()
        self._written = 0
        self.flush()

    def curve(self, column: str) -> tuple[list[int], list[float]]:
        place = self.columns.index(column)
        return self.iterations, [row[place] for row in self.rows]


class RunHistory:
    """All histories of a run: averages, and each target of each output.

    measured: names of the metrics of each target, by output and target.
    """

    def __init__(self, run: RunFolder, measured: Mapping[tuple[str, str], Sequence[str]], *, has_targets: bool) -> None:
        self._run = run
        # Told of everything that is added.
        self.log: Log = log_nothing
        self._averages = {
            "train": History(run.history("train"), ["loss-average"]),
            "validation": History(run.history("validation"), ["loss-average", "perf-average"]),
        }
        self._targets = {}
        for (output, target), kinds in measured.items() if has_targets else ():
            named = {"train": ["loss"], "validation": sorted(kinds)}
            for split, own in named.items():
                columns = [f"{output}_{target}_{kind}" for kind in own]
                self._targets[split, output, target] = History(run.target_history(split, output, target), columns)

    @property
    def _all(self) -> list[History]:
        return [*self._averages.values(), *self._targets.values()]

    def add(
        self,
        split: str,
        iteration: int,
        averages: Mapping[str, float],
        targets: Mapping[tuple[str, str], Mapping[str, float]],
    ) -> None:
        """Note what was measured: the averages, and for each output and target its metrics by name."""
        self._averages[split].append(iteration, averages)
        self.log(split, {"iteration": iteration, **averages})
        for (output, target), values in targets.items():
            self.log(f"{split}/{output}/{target}", {"iteration": iteration, **values})
            if history := self._targets.get((split, output, target)):
                history.append(iteration, {f"{output}_{target}_{kind}": value for kind, value in values.items()})

    def flush(self) -> None:
        for history in self._all:
            history.flush()

    def go_back(self, iteration: int) -> None:
        """Take up the histories of a run that is resumed."""
        for history in self._all:
            history.go_back(iteration)

    def draw(self, skip: int, *, with_targets: bool) -> None:
        """Draw the training curves, as EIR names them, of what came after the iteration `skip`."""
        for column in ("loss-average", "perf-average"):
            path = self._run.path / f"training_curve_{column.upper()}.pdf"
            draw_curve(path, column, self._lines(column, "", "", skip))
        for split, output, target in self._targets if with_targets else ():
            if split == "validation":
                prefix = f"{output}_{target}_"
                for column in self._targets[split, output, target].columns:
                    kind = column.removeprefix(prefix)
                    path = self._run.target(output, target) / f"training_curve_{kind.upper()}.pdf"
                    draw_curve(path, kind, self._lines(column, output, target, skip))

    def _lines(self, column: str, output: str, target: str, skip: int) -> list[Curve]:
        lines = []
        for split in ("train", "validation"):
            history = self._targets[split, output, target] if output else self._averages[split]
            if column in history.columns:
                points = [
                    (iteration, value)
                    for iteration, value in zip(*history.curve(column), strict=True)
                    if iteration > skip and math.isfinite(value)
                ]
                lines.append(Curve(split, [x for x, _ in points], [y for _, y in points]))
        return lines
