"""Trained models: loaded without executing anything, asked from threads, telling what they take."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from smartml.errors import CheckpointError, SampleError
from smartml.training import load_run, train


@pytest.fixture
def checkpoint(task):
    return train(task.configuration("globals.basic_experiment.n_epochs=1")).checkpoints[0]


def test_a_run_that_has_moved_answers_as_before(checkpoint, task):
    before = load_run(checkpoint).predict([{"raw": b"abc"}])
    moved = task.folder / "elsewhere"
    shutil.move(task.run, moved)
    shutil.rmtree(task.folder / "data")

    assert load_run(moved / "saved_models" / checkpoint.name).predict([{"raw": b"abc"}]) == before


def test_a_model_tells_what_it_takes_and_answers(checkpoint):
    model = load_run(checkpoint)

    assert model.inputs["raw"].describe() == {"type": "bytes", "max_length": 32}
    assert model.outputs["verdict"].describe() == {
        "type": "tabular",
        "columns": {"Outcome": {"type": "category", "values": ["bad", "good"]}},
    }
    assert not model.needs_generation


def test_a_batch_is_answered_as_its_samples_are_alone_and_from_many_threads(checkpoint):
    model = load_run(checkpoint)
    samples = [{"raw": bytes([97 + number]) * number} for number in range(40)]
    together = model.predict(samples)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda sample: model.predict([sample])[0], samples))

    for one, other in zip(together, alone, strict=True):
        assert one["verdict"]["Outcome"] == pytest.approx(other["verdict"]["Outcome"], abs=1e-5)


@pytest.mark.parametrize(
    ("sample", "field", "words"),
    [
        ({}, "raw", "sample 1: 'raw' is missing"),
        ({"raw": "text"}, "raw", "sample 1: 'raw': is str, not bytes"),
        ({"raw": b"", "more": 1}, "more", "sample 1: 'more' is no input of this model; its inputs are raw"),
    ],
)
def test_a_sample_that_does_not_fit_is_named_with_its_field(checkpoint, sample, field, words):
    with pytest.raises(SampleError) as raised:
        load_run(checkpoint).predict([{"raw": b"a"}, sample])
    assert (str(raised.value), raised.value.sample, raised.value.field) == (words, 1, field)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.sample, again.field) == (words, 1, field)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize("content", ["pickle", "torn", "empty", "list"])
def test_a_file_that_is_no_checkpoint_is_refused_and_not_executed(checkpoint, content):
    if content == "pickle":
        torch.save({"weight": Evil()}, checkpoint)
    elif content == "torn":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-200])
    elif content == "empty":
        checkpoint.write_bytes(b"")
    else:
        torch.save([1, 2], checkpoint)
    with pytest.raises(CheckpointError, match="checkpoint"):
        load_run(checkpoint)


def test_what_is_missing_of_a_run_is_named(checkpoint, task):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_run(task.run / "saved_models" / "none.pt")
    (task.run / "serializations" / "transformers" / "verdict" / "Outcome.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"Outcome\.json"):
        load_run(checkpoint)
    shutil.rmtree(task.run / "serializations")
    with pytest.raises(CheckpointError, match="with all of 'serializations'"):
        load_run(checkpoint)
