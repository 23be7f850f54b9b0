"""Texts learned from files, and generated."""

import json

import pytest

from smartml.errors import ConfigError, SampleError
from smartml.training import load_run, train


@pytest.fixture
def spelling(task):
    """The task of writing the letters of a word apart, from its bytes."""
    words = [a + b + c for a in "abcd" for b in "efgh" for c in "ijkl"] * 4
    folder = task.folder / "words"
    folder.mkdir()
    rows = ["ID,Sequence"]
    for number, word in enumerate(words):
        (folder / f"w{number:03}.txt").write_text(word)
        rows.append(f"w{number:03},{' '.join(word)}")
    (task.folder / "spelled.csv").write_text("\n".join(rows) + "\n")
    task.files["globals"]["basic_experiment"] |= {"n_epochs": 12, "batch_size": 16}
    task.files["globals"]["evaluation_checkpoint"] = {"sample_interval": 70, "checkpoint_interval": 70}
    task.files["globals"]["optimization"] = {"lr": 0.01}
    task.files["globals"]["training_control"] = {"early_stopping_patience": 0}
    small = {"embedding_dim": 32, "model_init_config": {"num_layers": 1, "num_heads": 4}}
    task.files["input"] = {
        "input_info": {"input_source": str(folder), "input_name": "word", "input_type": "bytes"},
        "input_type_info": {"max_length": 4},
        "model_config": small,
    }
    task.files["fusion"] = {"model_type": "pass-through"}
    task.files["output"] = {
        "output_info": {
            "output_source": str(task.folder / "spelled.csv"),
            "output_name": "letters",
            "output_type": "sequence",
        },
        "output_type_info": {"min_freq": 1, "max_length": "max"},
        "model_config": small,
        "sampling_config": {"n_eval_inputs": 2, "generated_sequence_length": 8, "top_k": 1},
    }
    return task


def test_a_model_learns_to_write(spelling):
    outcome = train(spelling.configuration())
    model = load_run(outcome.checkpoints[0])

    told = model.generate([{"word": b"aei", "letters": ""}, {"word": b"dhl", "letters": "d"}], seed=1)

    assert told == [{"letters": "a e i"}, {"letters": "d h l"}]
    folder = spelling.run / "results/letters/letters"
    last = max((folder / "samples").iterdir(), key=lambda it: int(it.name))
    for one, paths in json.loads((last / "meta.json").read_text()).items():
        word = (spelling.folder / "words" / f"{one}.txt").read_text()
        assert (spelling.run / paths["generated"]).read_text() == " ".join(word)
        assert (spelling.run / paths["inputs"] / "word.bin").read_text() == word
    assert (folder / "training_curve_LOSS.pdf").exists()
    assert outcome.best_performance > 0.9, "1 - loss"
    with pytest.raises(SampleError, match="sample 0: 'letters' is missing"):
        model.predict([{"word": b"aei"}])


def test_a_manual_sample_that_is_wrong_is_said_at_the_first_validation(spelling):
    spelling.files["output"]["sampling_config"]["manual_inputs"] = [{"wrd": "x"}]
    with pytest.raises(ConfigError, match=r"manual_inputs of 'letters': .*'wrd' is no input of this model"):
        train(spelling.configuration())
