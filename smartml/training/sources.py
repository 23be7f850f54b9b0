"""Samples in files: folders, lists of paths and CSV tables, joined by their ids."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartml.errors import DataError
from smartml.store.similar import nearest_names
from smartml.training.batches import Sample
from smartml.training.config import BasicExperiment
from smartml.training.config_files import Configuration
from smartml.training.input_config import InputConfig
from smartml.training.output_config import OutputConfig

logger = logging.getLogger(__name__)

_ID, _SEQUENCE = "ID", "Sequence"
# Only what is no path can look like this.
_ADDRESS = "://"


@dataclass(frozen=True)
class Stored:
    """A value that is a file."""

    path: Path
    type: str

    def read(self) -> Any:
        """Read the file as its type of input or output wants it. Raises DataError."""
        try:
            if self.type == "array":
                return np.load(self.path, allow_pickle=False)
            content = self.path.read_bytes()
            return content.decode("utf-8") if self.type == "sequence" else content
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.path}: cannot be read as {self.type}: {error}") from error


def read_files(configuration: Configuration) -> list[Sample]:
    """List the samples of a run in the order of their ids; what is in files of its own is read later.

    A sample has at least one input and one target; what else there is of it is counted in the log.
    """
    inputs = {config.name: read_source(config, config.source) for config in configuration.inputs}
    targets = {config.name: read_source(config, config.source) for config in configuration.outputs}
    known = set().union(*inputs.values()) if inputs else set().union(*targets.values())
    ids = sorted(known.intersection(set().union(*targets.values())))
    if not ids:
        raise DataError(
            f"no sample has both an input and a target: ids of inputs are such as {_some(known)}, of targets "
            f"{_some(set().union(*targets.values()))}"
        )
    left_out = len(known.union(*targets.values())) - len(ids)
    if left_out:
        logger.warning("%d of %d samples have no input, or no target, and are left out", left_out, left_out + len(ids))
    return [Sample(one, _of(inputs, one), _of(targets, one)) for one in ids]


def _some(ids: set[str]) -> str:
    return ", ".join(map(repr, sorted(ids)[:3])) or "none"


def _of(values: Mapping[str, Mapping[str, Any]], one: str) -> dict[str, Any]:
    return {name: by_id[one] for name, by_id in values.items() if one in by_id}


def read_values(sample: Sample) -> Sample:
    """Return the sample with all that lies in files."""
    inputs, targets = (
        {name: value.read() if isinstance(value, Stored) else value for name, value in part.items()}
        for part in (sample.inputs, sample.targets)
    )
    return Sample(sample.id, inputs, targets)


def read_source(config: InputConfig | OutputConfig, source: str) -> dict[str, Any]:
    """Return the values of one input or output by sample id, from its source or another one like it."""
    path, kind = Path(source), config.type
    if _ADDRESS in source:
        raise DataError(
            f"{config.name!r}: {source} is an address of no known kind: there are ws://, wss:// and redis://"
        )
    if not path.exists():
        raise DataError(f"{config.name!r}: its source {source} does not exist")
    if kind == "tabular":
        return _read_columns(config, path)
    if path.is_dir():
        return _by_stem(config, sorted(file for file in path.rglob("*") if file.is_file()), kind)
    if path.suffix.lower() == ".csv" and kind == "sequence":
        return {one: row[_SEQUENCE] for one, row in read_table(path, [_SEQUENCE])}
    return _by_stem(config, _listed(path), kind)


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no folder, and no list of paths that can be read: {error}") from error
    files = [Path(line.strip()) for line in lines if line.strip()]
    for file in files:
        if not file.is_file():
            raise DataError(f"{path}: lists {str(file)!r}, which is no file")
    return files


def _by_stem(config: InputConfig | OutputConfig, files: Sequence[Path], kind: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for file in files:
        if file.stem in values:
            raise DataError(
                f"{config.name!r}: {values[file.stem].path} and {file} have the same id {file.stem!r}: rename one"
            )
        values[file.stem] = Stored(file, kind)
    return values


def _read_columns(config: InputConfig | OutputConfig, path: Path) -> dict[str, Any]:
    info = config.input_type_info if isinstance(config, InputConfig) else config.output_type_info
    side = "input" if isinstance(config, InputConfig) else "target"
    columns = [*getattr(info, f"{side}_cat_columns"), *getattr(info, f"{side}_con_columns")]
    return dict(read_table(path, columns))


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Read id and columns of each row of a CSV file. Raises DataError naming file and line."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a CSV file with the columns {_ID}, {', '.join(columns)}")
    seen: dict[str, int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restval=None, strict=True)
            for name in (_ID, *columns):
                _check_column(path, name, list(rows.fieldnames or []))
            for row in rows:
                one = row[_ID]
                if None in row.values() or None in row or not one:
                    raise DataError(
                        f"{path}, line {rows.line_num}: has no id, or another number of columns than line 1"
                    )
                if one in seen:
                    raise DataError(f"{path}, line {rows.line_num}: the id {one!r} is that of line {seen[one]}, too")
                seen[one] = rows.line_num
                yield one, {name: row[name] for name in columns}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is no CSV file that can be read: {error}") from error


def _check_column(path: Path, name: str, there: list[str]) -> None:
    if name not in there:
        near = nearest_names(name, there)
        hint = f", perhaps {near[0]!r} is meant" if near else ""
        raise DataError(f"{path}: has no column {name!r}{hint}; it has {', '.join(map(repr, there)) or 'none'}")


def hold_out(samples: Sequence[Sample], basic: BasicExperiment) -> tuple[list[Sample], list[Sample]]:
    """Split samples in the order of their ids into those to train on and those to validate with.

    The split is drawn at random by the seed, or given by a file of ids.
    """
    samples = sorted(samples, key=lambda it: it.id)
    if basic.manual_valid_ids_file is not None:
        held = _listed_ids(Path(basic.manual_valid_ids_file), {it.id for it in samples})
    else:
        number = int(basic.valid_size) if basic.valid_size >= 1 else round(basic.valid_size * len(samples))
        order = np.random.default_rng(basic.seed).permutation(len(samples))
        held = {samples[place].id for place in order[:number]}
    training = [it for it in samples if it.id not in held]
    validation = [it for it in samples if it.id in held]
    if not validation or len(training) < basic.batch_size:
        raise DataError(
            f"of {len(samples)} samples, valid_size={basic.valid_size:g} leaves {len(training)} to train on and "
            f"{len(validation)} to validate with: at least a batch ({basic.batch_size}) and one are needed"
        )
    return training, validation


def _listed_ids(path: Path, known: set[str]) -> set[str]:
    try:
        ids = {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"manual_valid_ids_file: {path} cannot be read: {error}") from error
    if unknown := sorted(ids - known):
        raise DataError(
            f"manual_valid_ids_file: {path} names {len(unknown)} ids that no sample has, such as {unknown[0]!r}"
        )
    return ids
