"""Samples that arrive while a model learns: from a database that simulations fill, and from servers."""

import importlib.util
import json
import threading

import numpy as np
import pytest

from smartml import Client
from smartml.errors import ConfigError
from smartml.training import load_run, train


@pytest.fixture
def live(task, client, server):
    """The task of a surrogate whose samples are in the database: a curve of 8 points to its mean and its slope."""
    address = f"redis://{server.address}"
    task.files["globals"]["basic_experiment"] |= {"valid_size": 20, "n_epochs": 10}
    task.files["globals"]["data_preparation"] = {"streaming_setup_samples": 100, "streaming_wait_timeout_s": 30}
    task.files["globals"]["evaluation_checkpoint"] |= {"sample_interval": 20, "checkpoint_interval": 20}
    task.files["globals"]["lr_schedule"] = {"warmup_steps": 10}
    task.files["input"] = {
        "input_info": {"input_source": address, "input_name": "curves", "input_type": "array"},
        "model_config": {"model_type": "linear", "output_dim": 16},
    }
    task.files["output"] = {
        "output_info": {"output_source": address, "output_name": "facts", "output_type": "tabular"},
        "output_type_info": {"target_con_columns": ["mean", "slope"]},
        "model_config": {"model_type": "linear"},
    }
    return task


def curves(number, seed=0):
    draw = np.random.default_rng(seed)
    facts = draw.normal(size=(number, 2)).astype("float32")
    places = np.linspace(-1, 1, 8, dtype="float32")
    return facts[:, :1] + facts[:, 1:] * places + 0.01 * draw.normal(size=(number, 8)).astype("float32"), facts


def put(client, iteration, number=40):
    x, y = curves(number, iteration)
    client.put_tensors({f"curves_{iteration}": x, f"facts_{iteration}": y})


def test_a_model_learns_what_simulations_put_into_a_database(live, client):
    for iteration in range(5):
        put(client, iteration)
    outcome = train(live.configuration())
    model = load_run(outcome.checkpoints[0])
    x, y = curves(1, 99)

    said = model.predict([{"curves": x[0]}])[0]["facts"]

    # 200 samples, of which 20 are held out: 22 batches of 8 in each of 10 passes.
    assert (outcome.reason, outcome.iterations) == ("done", 220)
    assert outcome.best_performance > 0.9
    assert said["mean"]["mean"] == pytest.approx(float(y[0, 0]), abs=0.5)


def test_what_arrives_later_is_learned_from_later(live, client):
    for iteration in range(3):
        put(client, iteration)
    epochs = {}

    def note(progress):
        epochs[progress.epoch] = epochs.get(progress.epoch, 0) + 1
        if progress.iteration == 5:
            with Client() as other:
                put(other, 3)

    train(live.configuration("globals.basic_experiment.n_epochs=3"), report=note)

    assert epochs == {0: 12, 1: 17, 2: 17}


def test_training_waits_for_the_first_samples(live, client):
    later = threading.Timer(1.0, lambda: [put(client, iteration) for iteration in range(3)])
    later.start()
    outcome = train(live.configuration("globals.basic_experiment.n_epochs=1"))
    later.join()
    assert outcome.iterations == 12


def test_what_is_held_out_stays_so_when_a_run_goes_on(live, client):
    for iteration in range(3):
        put(client, iteration)
    configuration = live.configuration("globals.basic_experiment.n_epochs=2")
    left = iter(range(15))
    stopped = train(configuration, stop=lambda: next(left, None) is None)
    done = train(configuration, resume=True)

    assert (stopped.iterations, done.iterations) == (16, 24)
    assert done.best_performance >= stopped.best_performance


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("redis://user:secret@127.0.0.1:1", "no credentials in an address"),
        ("redis://127.0.0.1:1?rank=2", "unknown option 'rank', perhaps 'ranks'"),
        ("redis://127.0.0.1:1?ranks=two", "ranks is 'two', not a number"),
    ],
)
def test_an_address_that_cannot_work_is_refused(live, address, words):
    with pytest.raises(ConfigError) as raised:
        train(
            live.configuration(
                f"input.input_info.input_source={address}", f"output.output_info.output_source={address}"
            )
        )
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)


needs_streaming = pytest.mark.skipif(
    importlib.util.find_spec("smartml.streaming") is None or importlib.util.find_spec("websockets") is None,
    reason="the package 'websockets' is not installed, or smartml.streaming is not there",
)


def texts(number, first=0):
    """Numbers, and their names in reverse."""
    for place in range(first, first + number):
        text = f"{place % 10}{place % 7}"
        yield {"question": text}, {"reply": text[::-1]}, f"sample_{place}"


@pytest.fixture
def asked(task):
    """The task of turning texts around, whose samples a server sends."""

    def described(url):
        small = {"embedding_dim": 32, "model_init_config": {"num_layers": 1, "num_heads": 4}}
        kind = {"tokenizer": "bytes", "split_on": None, "max_length": 4}
        task.files["globals"]["basic_experiment"] |= {"valid_size": 20, "batch_size": 16, "n_epochs": 5}
        task.files["globals"]["data_preparation"] = {"streaming_setup_samples": 100, "streaming_wait_timeout_s": 30}
        task.files["globals"]["evaluation_checkpoint"] = {"sample_interval": 40, "checkpoint_interval": 40}
        task.files["globals"]["optimization"] = {"lr": 0.01}
        task.files["globals"]["lr_schedule"] = {"warmup_steps": 10}
        task.files["fusion"] = {"model_type": "pass-through"}
        task.files["input"] = {
            "input_info": {"input_source": url, "input_name": "question", "input_type": "sequence"},
            "input_type_info": kind,
            "model_config": small,
        }
        task.files["output"] = {
            "output_info": {"output_source": url, "output_name": "reply", "output_type": "sequence"},
            "output_type_info": kind,
            "model_config": small,
            "sampling_config": {
                "n_eval_inputs": 3,
                "generated_sequence_length": 4,
                "top_k": 1,
                "manual_inputs": [{"question": "41", "reply": "1"}],
            },
        }
        return task

    return described


@needs_streaming
def test_a_model_learns_to_write_from_a_server(asked):
    from smartml.streaming import Sample, serve

    with serve([Sample(*it) for it in texts(3000)], port=0) as server:
        task = asked(server.url)
        outcome = train(task.configuration())

    # One pass: the server says when it is over. 20 of 3000 samples are held out.
    assert (outcome.reason, outcome.iterations) == ("done", 186)
    written = task.run / "results" / "reply" / "reply" / "samples" / "160"
    for name, paths in json.loads((written / "meta.json").read_text()).items():
        question = (task.run / paths["inputs"] / "question.txt").read_text()
        assert (task.run / paths["generated"]).read_text() == question[::-1], name
    assert sorted(path.name for path in (written / "manual").iterdir()) == ["3_generated.txt", "3_inputs"]
    model = load_run(outcome.checkpoints[0])
    assert model.needs_generation
    assert model.predict([{"question": "52", "reply": ""}]) == [{"reply": "25"}]


@needs_streaming
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("input.input_info.input_name=questions", "has no 'questions' among its inputs; there are 'question'"),
        ("input.input_info.input_type=bytes", "'question' is sequence, the configuration says bytes"),
    ],
)
def test_a_server_that_sends_something_else_is_compared_with_the_configuration(asked, override, words):
    from smartml.streaming import Sample, serve

    with serve([Sample(*it) for it in texts(200)], port=0) as server:
        task = asked(server.url)
        if "bytes" in override:
            task.files["input"]["input_type_info"] = {"max_length": 4}
        with pytest.raises(ConfigError) as raised:
            train(task.configuration(override))
    assert words in str(raised.value)
