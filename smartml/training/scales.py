"""Columns of tables: names of categories to numbers, and numbers to the scale of their deviation; and back."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartml.errors import CheckpointError, DataError, SampleError
from smartml.training.values import read_category


def column_file(folder: Path, owner: str, column: str) -> Path:
    """Return where the state of a column of an input or output lies below `serializations`."""
    return folder / "transformers" / owner / f"{column}.json"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _read(path: Path, kind: str, keys: Sequence[str]) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["type"] != kind:
            raise CheckpointError(f"{path}: holds a {content['type']}, not a {kind}")
        return [content[key] for key in keys]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: a file of the run cannot be read: {error}") from error


@dataclass(frozen=True)
class Categories:
    """The categories of a column, in sorted order."""

    name: str
    names: list[str]

    def code(self, value: Any) -> int:
        """Return the place of a category, -1 for none; raises SampleError for one that is not known."""
        category = read_category(value)
        if category is None:
            return -1
        try:
            return self.names.index(category)
        except ValueError:
            known = ", ".join(map(repr, self.names[:20])) + (", …" if len(self.names) > 20 else "")
            raise SampleError(f"column {self.name!r}: unknown category {category!r:.80}; known are {known}") from None

    def save(self, folder: Path, owner: str) -> None:
        _write(column_file(folder, owner, self.name), {"type": "LabelEncoder", "classes": self.names})

    @classmethod
    def load(cls, folder: Path, owner: str, name: str) -> "Categories":
        return cls(name, *_read(column_file(folder, owner, name), "LabelEncoder", ["classes"]))

    @classmethod
    def fit(cls, name: str, values: Iterable[Any]) -> "Categories":
        return cls(name, sorted({category for category in map(read_category, values) if category is not None}))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a column."""

    name: str
    mean: float
    deviation: float

    def scaled(self, value: float) -> float:
        return (value - self.mean) / self.deviation

    def unscaled(self, value: Any) -> Any:
        return value * self.deviation + self.mean

    def save(self, folder: Path, owner: str) -> None:
        content = {"type": "StandardScaler", "mean": self.mean, "scale": self.deviation, "var": self.deviation**2}
        _write(column_file(folder, owner, self.name), content)

    @classmethod
    def load(cls, folder: Path, owner: str, name: str) -> "Scale":
        return cls(name, *_read(column_file(folder, owner, name), "StandardScaler", ["mean", "scale"]))


def fit_scale(name: str, values: Sequence[float]) -> Scale:
    """Make the scale of a column; NaN stands for what is missing."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        raise DataError(f"column {name!r} holds no number in any training sample")
    deviation = float(known.std())
    mean = float(known.mean())
    return Scale(name, mean, deviation if deviation > 1e-12 * max(1.0, abs(mean)) else 1.0)
