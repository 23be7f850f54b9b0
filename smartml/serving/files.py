"""A predictor for files: whole sets of samples in, tables and files out, and how right the answers are."""

import csv
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from smartml.errors import ArgumentValueError, DataError, PathExistsError
from smartml.serving.description import ArrayField, TabularField, TextField
from smartml.serving.predictor import Predictor
from smartml.training.batches import Sample
from smartml.training.config_files import Configuration, read_written
from smartml.training.metrics import of_categories, of_numbers
from smartml.training.run_folder import run_of
from smartml.training.sources import read_source, read_values
from smartml.training.values import read_category, read_number

logger = logging.getLogger(__name__)


def predict_files(
    predictor: Predictor,
    inputs: Mapping[str, str],
    folder: Path,
    *,
    targets: Mapping[str, str] | None = None,
    batch_size: int = 64,
    report: Callable[[int, int], object] = lambda done, total: None,
) -> dict[str, Any]:
    """Answer all samples of some sources, and write the answers to a new folder.

    `inputs` names a source for each input, as a configuration does: a folder, a list of paths, or a CSV file. Written
    are `results/<output>/<column>/predictions.csv` for tables, `results/<output>/<output>/<id>.npy` for arrays and
    `…/<id>_generated.txt` for texts. With `targets`, sources of true values by output, the metrics that the run was
    judged by are returned, and written to `calculated_metrics.json`: by output, target and name.

    Raises DataError for sources that cannot be read, PathExistsError where the folder holds results.
    """
    if predictor.checkpoint is None:
        raise ArgumentValueError(f"{predictor.name} was not loaded from a file: how its inputs are read is not known")
    configuration = read_written(run_of(predictor.checkpoint).stripped_configs)
    targets = targets or {}
    _check_names(inputs, targets, configuration)
    samples = _read_samples(inputs, targets, configuration)
    results = folder / "results"
    if results.exists():
        raise PathExistsError(f"{results} is there already: remove it, or take another folder")
    answers: list[dict[str, Any]] = []
    # What is generated begins with nothing.
    prompts = {name: "" for name, field in predictor.description.outputs.items() if isinstance(field, TextField)}
    for start in range(0, len(samples), batch_size):
        some = [prompts | dict(read_values(sample).inputs) for sample in samples[start : start + batch_size]]
        answers += predictor.predict(some, batch_size=batch_size)
        report(len(answers), len(samples))
    ids = [sample.id for sample in samples]
    for name, field in predictor.description.outputs.items():
        values = [answer[name] for answer in answers]
        if isinstance(field, TabularField):
            _write_columns(results / name, field, ids, values)
        else:
            _write_values(results / name / name, field, ids, values)
    found = _measure(samples, answers, predictor, configuration) if targets else {}
    if targets:
        (folder / "calculated_metrics.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    return found


def _check_names(inputs: Mapping[str, str], targets: Mapping[str, str], configuration: Configuration) -> None:
    for what, given, known in (
        ("input", inputs, [config.name for config in configuration.inputs]),
        ("output", targets, [config.name for config in configuration.outputs]),
    ):
        for name in given:
            if name not in known:
                raise ArgumentValueError(f"{name!r} is no {what} of this model; it has {', '.join(known)}")
    for config in configuration.inputs:
        if config.name not in inputs:
            raise ArgumentValueError(f"no source is given for the input {config.name!r}")


def _read_samples(inputs: Mapping[str, str], targets: Mapping[str, str], configuration: Configuration) -> list[Sample]:
    """List the samples that have all inputs, in the order of their ids."""
    values = {config.name: read_source(config, inputs[config.name]) for config in configuration.inputs}
    truths = {it.name: read_source(it, targets[it.name]) for it in configuration.outputs if it.name in targets}
    known = set().union(*values.values())
    ids = sorted(known.intersection(*values.values()))
    if not ids:
        raise DataError(f"no sample has all inputs: {', '.join(values)}")
    if len(ids) < len(known):
        logger.warning("%d of %d samples lack an input, and are left out", len(known) - len(ids), len(known))
    return [
        Sample(
            one,
            {name: by_id[one] for name, by_id in values.items()},
            {name: by_id[one] for name, by_id in truths.items() if one in by_id},
        )
        for one in ids
    ]


def _write_columns(folder: Path, field: TabularField, ids: Sequence[str], values: Sequence[Mapping[str, Any]]) -> None:
    for column, classes in field.columns.items():
        answers = [value[column] for value in values]
        if classes is None:
            rows = [[one, answer[column]] for one, answer in zip(ids, answers, strict=True)]
            _write_table(folder / column, ["ID", "Predicted"], rows)
            continue
        header = ["ID", "Predicted", *(f"Probability Class {name}" for name in classes)]
        rows = [
            [one, max(classes, key=answer.__getitem__), *(answer[name] for name in classes)]
            for one, answer in zip(ids, answers, strict=True)
        ]
        _write_table(folder / column, header, rows)


def _write_table(folder: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    folder.mkdir(parents=True)
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_values(folder: Path, field: Any, ids: Sequence[str], values: Sequence[Any]) -> None:
    folder.mkdir(parents=True)
    for one, value in zip(map(_file_name, ids), values, strict=True):
        if isinstance(field, ArrayField):
            np.save(folder / f"{one}.npy", value, allow_pickle=False)
        else:
            (folder / f"{one}_generated.txt").write_text(value, encoding="utf-8")


def _file_name(one: str) -> str:
    """Return an id as a file may be called: ids of tables may hold slashes."""
    return quote(one, safe=" ,;=+@()[]").replace("..", "%2E.")


def _measure(
    samples: Sequence[Sample], answers: Sequence[Mapping[str, Any]], predictor: Predictor, configuration: Configuration
) -> dict[str, Any]:
    """Compare answers with what is true, where that is known: metrics by output and column."""
    settings = configuration.globals.metrics
    found: dict[str, Any] = {}
    for name, field in predictor.description.outputs.items():
        pairs = [
            (sample.targets[name], answer[name])
            for sample, answer in zip(samples, answers, strict=True)
            if name in sample.targets
        ]
        if not pairs or not isinstance(field, TabularField):
            continue
        for column, classes in field.columns.items():
            rows = [(truth[column], answer[column]) for truth, answer in pairs]
            measured: dict[str, float]
            if classes is None:
                true, said = _numbers(column, rows)
                measured = {
                    kind: of_numbers(kind, true, said) for kind in sorted(settings.con_metrics) if kind != "loss"
                }
            else:
                truth, shares = _classes(rows, classes)
                measured = {kind: of_categories(kind, truth, shares) for kind in sorted(settings.cat_metrics)}
            # JSON has no NaN: what cannot be said is null.
            found.setdefault(name, {})[column] = {
                kind: None if math.isnan(value) else value for kind, value in measured.items()
            }
    return found


def _numbers(column: str, rows: Sequence[tuple[Any, Mapping[str, float]]]) -> tuple[Any, Any]:
    values = np.array([(read_number(truth), answer[column]) for truth, answer in rows], np.float64)
    true, said = values[~np.isnan(values).any(1)].T
    return true, said


def _classes(rows: Sequence[tuple[Any, Mapping[str, float]]], classes: Sequence[str]) -> tuple[Any, Any]:
    """Return true classes (n,) and probabilities (n, classes); what is no class of the model's is left out."""
    known = [(read_category(truth), answer) for truth, answer in rows]
    known = [(truth, answer) for truth, answer in known if truth in classes]
    truth = np.array([classes.index(str(truth)) for truth, _ in known], np.int64)
    shares = np.array([[answer[name] for name in classes] for _, answer in known]).reshape(-1, len(classes))
    return truth, shares
