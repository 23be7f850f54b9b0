"""Trained models answer in Python."""

import math
import threading

import numpy as np
import pytest

from smartml.errors import ArgumentValueError, CheckpointError, PredictionError, SampleError
from smartml.serving import Predictor

from .models import TorchModel, make_predictor, make_sample
from .runs import SHAPE, Run, sample_for


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = Run(tmp_path_factory.mktemp("run"))
    made.save(10, 0.25, seed=1)
    made.save(20, 0.5, seed=2)
    made.save(30, 0.125, seed=3)
    return made


def test_a_checkpoint_answers_samples_with_everything_that_its_outputs_have(run):
    predictor = Predictor.load(run.folder.checkpoint(10, 0.25))

    answers = predictor.predict([sample_for(run.inputs, number) for number in range(3)])

    assert len(answers) == 3
    for answer in answers:
        assert set(answer) == {"verdict", "later"}
        assert set(answer["verdict"]["Outcome"]) == {"bad", "good"}
        assert math.isclose(sum(answer["verdict"]["Outcome"].values()), 1, rel_tol=1e-6)
        assert isinstance(answer["verdict"]["speed"]["speed"], float)
        assert answer["later"].shape == SHAPE and answer["later"].dtype == np.float32
    assert answers[0]["verdict"] != answers[1]["verdict"]


def test_of_a_run_folder_the_best_checkpoint_answers(run):
    assert Predictor.load(run.folder.path).name == "run_checkpoint_20_perf-average=0.5000.pt"


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_the_size_of_batches_changes_no_answer(run, size):
    predictor = Predictor.load(run.folder.path)
    samples = [sample_for(run.inputs, number) for number in range(5)]

    expected = [predictor.predict([sample])[0] for sample in samples]

    for answer, alone in zip(predictor.predict(samples, batch_size=size), expected, strict=True):
        np.testing.assert_allclose(answer["later"], alone["later"], rtol=1e-4)


def test_generated_text_is_answered_and_asks_for_its_beginning(tmp_path):
    run = Run(tmp_path, inputs=("note",), outputs=("story",))
    predictor = Predictor.load(run.save(10, 0.5))

    assert set(predictor.description.inputs) == {"note", "story"}
    (answer,) = predictor.predict([{"note": "note 1", "story": ""}])
    assert isinstance(answer["story"], str)
    with pytest.raises(SampleError, match="'story' is missing"):
        predictor.predict([{"note": "note 1"}])


def test_no_samples_have_no_answers(run):
    assert Predictor.load(run.folder.path).predict([]) == []


def test_a_sample_that_cannot_be_taken_is_named(run):
    samples = [sample_for(run.inputs, number) for number in range(70)]
    samples[67]["field"] = np.zeros((2, 2), np.float32)

    with pytest.raises(SampleError, match=r"sample 67: 'field'") as caught:
        Predictor.load(run.folder.path).predict(samples, batch_size=64)
    assert (caught.value.sample, caught.value.field) == (67, "field")


def test_what_is_no_checkpoint_is_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        Predictor.load(run.folder.saved_models / "none.pt")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        Predictor.load(tmp_path)
    damaged = run.folder.saved_models / "damaged.pt"
    damaged.write_bytes(run.folder.checkpoint(10, 0.25).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        Predictor.load(damaged)


def test_batches_have_at_least_one_sample():
    with pytest.raises(ArgumentValueError, match="batch_size"):
        make_predictor().predict([make_sample()], batch_size=0)


def test_a_model_that_fails_is_named_with_its_reason():
    class Failing(TorchModel):
        def forward(self, batch):
            raise ZeroDivisionError("by zero")

    with pytest.raises(PredictionError, match="network 0 failed: ZeroDivisionError: by zero"):
        make_predictor(model=Failing()).predict([make_sample()])


def test_threads_take_turns():
    class Watched(TorchModel):
        inside, most = 0, 0

        def forward(self, batch):
            self.inside += 1
            self.most = max(self.most, self.inside)
            answer = super().forward(batch)
            self.inside -= 1
            return answer

    model = Watched()
    predictor = make_predictor(model=model)
    threads = [
        threading.Thread(target=lambda: [predictor.predict([make_sample(it)]) for it in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(model.batches) == 200 and model.most == 1


def test_of_requests_that_are_answered_together_only_the_wrong_one_fails():
    model = TorchModel()
    model.refused = "red"
    outcomes = make_predictor(model=model).answer([[make_sample(number)] for number in range(12)])
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, SampleError) == (number % 3 == 2)
