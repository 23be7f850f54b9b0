"""Samples in files: found, joined by id, held out; what is wrong is named with its file."""

import numpy as np
import pytest

from smartml.errors import DataError
from smartml.training.config import BasicExperiment
from smartml.training.sources import hold_out, read_files, read_values


def refused(task, *overrides):
    with pytest.raises(DataError) as raised:
        read_files(task.configuration(*overrides))
    return str(raised.value)


def test_files_in_folders_are_samples_called_after_their_stems(task):
    deeper = task.folder / "data" / "deeper"
    deeper.mkdir()
    (task.folder / "data" / "s01.bin").rename(deeper / "s01.bin")

    samples = read_files(task.configuration())

    assert [sample.id for sample in samples][:3] == ["s00", "s01", "s02"]
    assert read_values(samples[1]).inputs["raw"] == (deeper / "s01.bin").read_bytes()
    assert samples[1].targets == {"verdict": {"Outcome": "bad"}}


def test_samples_without_a_label_are_left_out_and_counted(task, caplog):
    (task.folder / "data" / "extra.bin").write_bytes(b"x")

    assert len(read_files(task.configuration())) == 80
    assert "1 of 81 samples have no input, or no target" in caplog.text


def test_a_text_file_may_list_the_paths(task):
    listed = task.folder / "listed.txt"
    listed.write_text("\n".join(str(task.folder / "data" / f"s{number:02}.bin") for number in range(20)))

    assert len(read_files(task.configuration(f"input.input_info.input_source={listed}"))) == 20
    listed.write_text("nothing.bin")
    assert "lists 'nothing.bin', which is no file" in refused(task, f"input.input_info.input_source={listed}")


def test_sequences_and_columns_come_from_tables(task):
    (task.folder / "texts.csv").write_text('ID,Sequence\ns00,"one, two"\ns01,three\n')
    task.files["note"] = {
        "input_info": {"input_source": str(task.folder / "texts.csv"), "input_name": "note", "input_type": "sequence"}
    }
    task.files["columns"] = {
        "input_info": {"input_source": str(task.folder / "labels.csv"), "input_name": "c", "input_type": "tabular"},
        "input_type_info": {"input_con_columns": ["Share"]},
    }
    paths = task.write()
    inputs = [*paths["input_configs"], paths["output_configs"].pop(), paths["output_configs"].pop()]
    from smartml.training import read_configuration

    samples = read_files(read_configuration(**{**paths, "input_configs": inputs}))

    assert samples[0].inputs["note"] == "one, two"
    assert "note" not in samples[2].inputs
    assert float(samples[0].inputs["c"]["Share"]) > 0


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("ID,Outcom\ns00,good\n", "has no column 'Outcome', perhaps 'Outcom' is meant"),
        ("Outcome\ngood\n", "has no column 'ID'"),
        ("ID,Outcome\ns00,good\ns00,bad\n", "line 3: the id 's00' is that of line 2, too"),
        ("ID,Outcome\ns00\n", "line 2: has no id, or another number of columns"),
        ("ID,Outcome\ns00,good,more\n", "line 2: has no id, or another number of columns"),
        ("", "has no column 'ID'; it has none"),
        ("ID,Outcome\nother,good\n", "no sample has both an input and a target"),
        ('ID,Outcome\ns00,"good\n', "is no CSV file that can be read"),
        ("\ufffe\x00", "has no column"),
    ],
)
def test_a_table_that_is_damaged_is_named_with_its_line(task, table, words):
    (task.folder / "labels.csv").write_text(table)
    message = refused(task)
    assert words in message
    assert str(task.folder) in message or "no sample has both" in message


def test_two_files_with_one_id_are_an_error(task):
    (task.folder / "data" / "s00.txt").write_text("x")
    assert "have the same id 's00': rename one" in refused(task)


@pytest.mark.parametrize("source", ["nowhere", "ftp://here/data"])
def test_a_source_that_is_not_there_is_named(task, source):
    assert source in refused(task, f"input.input_info.input_source={source}")


def test_arrays_are_read_without_executing_anything(task):
    path = task.folder / "data" / "s00.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for file in (task.folder / "data").glob("*.bin"):
        file.unlink()
    samples = read_files(task.configuration("input.input_info.input_type=array", "input.input_type_info={}",
                                            "input.model_config={}"))  # fmt: skip
    with pytest.raises(DataError, match=r"s00\.npy: cannot be read as array"):
        read_values(samples[0])


def test_what_is_held_out_is_drawn_by_the_seed(task):
    samples = read_files(task.configuration())

    def held(**changes):
        basic = BasicExperiment(output_folder="x", batch_size=8, **changes)
        training, validation = hold_out(samples, basic)
        assert len(training) + len(validation) == 80
        return [sample.id for sample in validation]

    assert len(held(valid_size=0.1)) == 8
    assert len(held(valid_size=20)) == 20
    assert held(valid_size=20) == held(valid_size=20) != held(valid_size=20, seed=1)
    (task.folder / "ids.txt").write_text("s03\ns01\n")
    assert held(manual_valid_ids_file=str(task.folder / "ids.txt")) == ["s01", "s03"]
    (task.folder / "ids.txt").write_text("s03\nnobody\n")
    with pytest.raises(DataError, match="1 ids that no sample has, such as 'nobody'"):
        held(manual_valid_ids_file=str(task.folder / "ids.txt"))
    with pytest.raises(DataError, match="leaves 4 to train on and 76 to validate with"):
        held(valid_size=76)
