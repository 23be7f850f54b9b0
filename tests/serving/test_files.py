"""Whole sets of samples in files are answered, and judged."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from smartml.cli import main
from smartml.errors import ArgumentValueError, DataError, PathExistsError
from smartml.serving import Predictor, predict_files

from .models import make_predictor
from .runs import Run, example


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The examples as files: arrays and raw bytes in folders, tables as CSV."""
    folder = tmp_path_factory.mktemp("some data")
    for name in ("field", "raw"):
        (folder / name).mkdir()
    facts, verdicts = [], []
    for number in range(20):
        one = example(number)
        np.save(folder / "field" / f"s{number:02}.npy", one["field"])
        (folder / "raw" / f"s{number:02}.bin").write_bytes(one["raw"])
        facts.append([f"s{number:02}", *one["facts"].values()])
        verdicts.append([f"s{number:02}", *one["verdict"].values()])
    for name, header, rows in (
        ("facts", ["ID", "color", "height (m)"], facts),
        ("verdict", ["ID", "Outcome", "speed"], verdicts),
    ):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    return folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor.load(Run(tmp_path_factory.mktemp("run")).save(10, 0.5))


def sources(data):
    return {"field": str(data / "field"), "raw": str(data / "raw"), "facts": str(data / "facts.csv")}


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_answers_are_written_as_tables_and_arrays(data, predictor, tmp_path):
    seen = []
    predict_files(
        predictor, sources(data), tmp_path, batch_size=6, report=lambda done, total: seen.append((done, total))
    )

    rows = rows_of(tmp_path / "results/verdict/Outcome/predictions.csv")
    expected = predictor.predict([{name: example(number)[name] for name in sources(data)} for number in range(20)])
    assert [row["ID"] for row in rows] == [f"s{number:02}" for number in range(20)]
    for number, (row, answer) in enumerate(zip(rows, expected, strict=True)):
        shares = answer["verdict"]["Outcome"]
        assert float(row["Probability Class good"]) == pytest.approx(shares["good"], rel=1e-4)
        assert row["Predicted"] == max(shares, key=shares.get)
        array = np.load(tmp_path / f"results/later/later/s{number:02}.npy")
        np.testing.assert_allclose(array, answer["later"], rtol=1e-3, atol=1e-5)
    assert len(rows_of(tmp_path / "results/verdict/speed/predictions.csv")) == 20
    assert seen == [(6, 20), (12, 20), (18, 20), (20, 20)]
    assert not (tmp_path / "calculated_metrics.json").exists()


def test_answers_are_compared_with_what_is_true(data, predictor, tmp_path):
    found = predict_files(predictor, sources(data), tmp_path, targets={"verdict": str(data / "verdict.csv")})

    assert found == json.loads((tmp_path / "calculated_metrics.json").read_text())
    rows = rows_of(tmp_path / "results/verdict/Outcome/predictions.csv")
    truth = {row["ID"]: row["Outcome"] for row in rows_of(data / "verdict.csv")}
    accuracy = sum(row["Predicted"] == truth[row["ID"]] for row in rows) / len(rows)
    assert found["verdict"]["Outcome"]["acc"] == pytest.approx(accuracy)
    assert set(found["verdict"]["speed"]) == {"pcc", "r2"}


def test_texts_are_generated_from_nothing(tmp_path):
    run = Run(tmp_path / "run", inputs=("note",), outputs=("story",))
    (tmp_path / "notes").mkdir()
    for number in range(3):
        (tmp_path / "notes" / f"{number}.txt").write_text(f"note {number}")
    predict_files(Predictor.load(run.save(10, 0.5)), {"note": str(tmp_path / "notes")}, tmp_path / "out")
    assert len(list((tmp_path / "out/results/story/story").glob("*_generated.txt"))) == 3


def test_ids_do_not_lead_out_of_the_folder(tmp_path):
    run = Run(tmp_path / "run", inputs=("facts",), outputs=("later",))
    (tmp_path / "facts.csv").write_text("ID,color,height (m)\n../../out,red,1\na/b,blue,2\n..,blue,2\n")
    predict_files(Predictor.load(run.save(10, 0.5)), {"facts": str(tmp_path / "facts.csv")}, tmp_path / "new")
    assert len(list((tmp_path / "new/results/later/later").glob("*.npy"))) == 3


def test_what_cannot_be_read_or_written_is_said(data, predictor, tmp_path):
    with pytest.raises(ArgumentValueError, match="no source is given for the input 'field'"):
        predict_files(predictor, {"raw": str(data / "raw"), "facts": str(data / "facts.csv")}, tmp_path)
    with pytest.raises(ArgumentValueError, match="'fields' is no input of this model; it has raw, facts, field"):
        predict_files(predictor, sources(data) | {"fields": "x"}, tmp_path)
    with pytest.raises(ArgumentValueError, match="'raw' is no output"):
        predict_files(predictor, sources(data), tmp_path, targets={"raw": "x"})
    with pytest.raises(DataError, match="does not exist"):
        predict_files(predictor, sources(data) | {"raw": str(tmp_path / "none")}, tmp_path)
    with pytest.raises(ArgumentValueError, match="not loaded from a file"):
        predict_files(make_predictor(), {}, tmp_path)
    (tmp_path / "results").mkdir()
    with pytest.raises(PathExistsError, match="results"):
        predict_files(predictor, sources(data), tmp_path)


def test_the_command_answers_and_says_how_right_it_is(data, predictor, tmp_path):
    inputs = [word for name, source in sources(data).items() for word in ("--input", f"{name}={source}")]
    arguments = ["--model-path", predictor.checkpoint, *inputs, "--target", f"verdict={data / 'verdict.csv'}"]
    done = CliRunner().invoke(main, ["predict", *map(str, arguments), "--output-folder", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    assert "verdict, Outcome: acc 0." in done.output and "verdict, speed: pcc" in done.output
    assert (tmp_path / "out/results/verdict/Outcome/predictions.csv").exists()
