"""Every type of input and output in one model: fitted, saved, loaded, missing, and wrong."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from smartml.errors import DataError, SampleError
from smartml.training import load_run, train


def picture(color):
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (color, 255 - color, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def everything(task):
    """40 samples with a picture, an array, columns, a text and bytes; to learn: a category, a number, an array."""
    draw = np.random.default_rng(1)
    for name in ("pictures", "arrays", "after"):
        (task.folder / name).mkdir()
    columns, texts = ["ID,kind,size"], ["ID,Sequence"]
    for number in range(80):
        one = f"s{number:02}"
        (task.folder / "pictures" / f"{one}.png").write_bytes(picture(3 * number))
        array = draw.normal(size=(2, 6, 5)).astype("float32") + number
        np.save(task.folder / "arrays" / f"{one}.npy", array)
        np.save(task.folder / "after" / f"{one}.npy", array.mean(0))
        columns.append(f"{one},{'xyz'[number % 3]},{number if number % 7 else ''}")
        texts.append(f"{one},word{number % 5} and more")
    (task.folder / "columns.csv").write_text("\n".join(columns) + "\n")
    (task.folder / "texts.csv").write_text("\n".join(texts) + "\n")

    def described(name, kind, source, side="input", **sections):
        info = {f"{side}_source": str(task.folder / source), f"{side}_name": name, f"{side}_type": kind}
        return {f"{side}_info": info, **sections}

    small = {"embedding_dim": 8, "model_init_config": {"num_layers": 1, "num_heads": 2}}
    inputs = {
        "picture": described("picture", "image", "pictures", input_type_info={"size": [8]},
                             model_config={"channels": 4, "output_dim": 8}),
        "field": described("field", "array", "arrays", model_config={"channels": 4, "output_dim": 8}),
        "facts": described("facts", "tabular", "columns.csv",
                           input_type_info={"input_cat_columns": ["kind"], "input_con_columns": ["size"]}),
        "note": described("note", "sequence", "texts.csv", input_type_info={"min_freq": 1}, model_config=small),
    }  # fmt: skip
    task.files["later"] = described("later", "array", "after", "output")
    task.files["output"]["output_type_info"]["target_con_columns"] = ["Share"]
    task.files |= inputs
    paths = task.write()
    from smartml.training import read_configuration

    own = [path for path in paths["output_configs"] if path.stem in inputs]
    outputs = [path for path in paths["output_configs"] if path.stem not in inputs]
    return read_configuration(
        paths["global_configs"], [*paths["input_configs"], *own], paths["fusion_configs"], outputs
    )


SAMPLE = {
    "raw": b"abc",
    "picture": picture(10),
    "field": np.zeros((2, 6, 5)),
    "facts": {"kind": "x", "size": 3.5},
    "note": "word1 and nothing",
}


def test_all_types_are_learned_from_and_answered(everything):
    outcome = train(everything)
    model = load_run(outcome.checkpoints[0])

    [answer, other] = model.predict([SAMPLE, SAMPLE | {"field": np.zeros((2, 6, 5), "<f4").tobytes()}])

    assert set(answer["verdict"]["Outcome"]) == {"bad", "good"}
    assert 0 <= answer["verdict"]["Share"]["Share"] <= 1
    assert len(base64.b64decode(answer["later"])) == 4 * 6 * 5
    assert answer == other, "an array may be given as its bytes"
    kinds = {name: it.describe()["type"] for name, it in model.inputs.items()}
    assert kinds == {"raw": "bytes", "picture": "image", "field": "array", "facts": "tabular", "note": "sequence"}
    assert model.inputs["field"].describe() == {"type": "array", "shape": [2, 6, 5], "dtype": "<f4"}
    assert model.inputs["facts"].describe()["columns"]["kind"] == {"type": "category", "values": ["x", "y", "z"]}


WRONG = (
    ({"picture": b"no picture"}, "is no picture that can be decoded"),
    ({"picture": "text"}, "is str, not the bytes of a file with a picture"),
    ({"field": np.zeros((2, 6, 4))}, "has shape (2, 6, 4), the model's is (2, 6, 5)"),
    ({"field": b"1234"}, "has 4 bytes, float32 of shape (2, 6, 5) has 240"),
    ({"field": np.full((2, 6, 5), np.nan)}, "holds NaN or infinity"),
    ({"field": np.array(["a"])}, "not numbers"),
    ({"facts": {"kind": "x"}}, "column 'size' is missing"),
    ({"facts": {"kind": "x", "size": 1, "siz": 1}}, "unknown column 'siz', perhaps 'size'"),
    ({"facts": {"kind": "w", "size": 1}}, "unknown category 'w'; known are 'x', 'y', 'z'"),
    ({"facts": {"kind": "x", "size": "big"}}, "column 'size': 'big' is no number"),
    ({"facts": [1]}, "is list, not columns with their values"),
    ({"note": 3}, "is int, not text"),
    ({"raw": np.zeros(3)}, "is an array of float64, raw bytes are uint8"),
)


def test_values_that_do_not_fit_are_refused_with_a_reason(everything):
    model = load_run(train(everything).checkpoints[0])
    for change, words in WRONG:
        with pytest.raises(SampleError) as raised:
            model.encode([SAMPLE | change])
        assert words in str(raised.value)
        assert [raised.value.field] == list(change)


def test_one_class_is_nothing_to_learn(task):
    text = (task.folder / "labels.csv").read_text().replace("bad", "good")
    (task.folder / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=r"has the classes \['good'\]: two are needed"):
        train(task.configuration())
