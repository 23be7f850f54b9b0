"""What a worker runs, and what it says when it cannot."""

import functools
import io
import pickle

import numpy as np
import pytest
import redis

from smartml import Orchestrator
from smartml.errors import StoreReplyError
from smartml.inference import InferenceWorker, settings_for

from .conftest import Threads
from .doubling import doubling_model

torch = pytest.importorskip("torch", reason="the package 'torch' is not installed")
# Networks need it.
from torchscript import saved  # noqa: E402

from .networks import AddsInPlace, PositiveOnly, Product, Same, Sums, Times  # noqa: E402

X = np.arange(6, dtype="f4").reshape(2, 3)


def test_a_model_of_pytorch_runs_on_tensors_of_the_database(run, raw, client):
    assert raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", saved(Sums())) == b"OK"

    assert run("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 2 sum count", x=X) == b"OK"

    np.testing.assert_array_equal(client.get_tensor("sum"), [[3], [12]])
    assert client.get_tensor("sum").dtype == "f4"
    assert run("AI.MODELRUN m INPUTS x OUTPUTS sum count") == b"OK"


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "i2", "i4", "i8", "u1", "?"])
def test_a_tensor_of_each_dtype_passes_through(run, raw, client, dtype):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", saved(Same()))
    array = np.array([[0, 1], [1, 0]], dtype)

    run("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y", x=array)

    np.testing.assert_array_equal(client.get_tensor("y"), array, strict=True)


def test_a_model_that_is_stored_anew_is_what_runs_from_then_on(run, raw, client):
    for factor in (2, 3, 2):
        model = saved(Times(factor))
        raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", model)
        run("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y", x=X)
        np.testing.assert_array_equal(client.get_tensor("y"), factor * X)


def test_a_model_may_write_into_what_it_gets_and_the_stored_input_stays(run, raw, client):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", saved(AddsInPlace()))

    run("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y", x=X)

    np.testing.assert_array_equal(client.get_tensor("y"), X + 1)
    np.testing.assert_array_equal(client.get_tensor("x"), X)


def test_functions_of_a_script_take_tensors_one_by_one_or_as_a_list(run, raw, client):
    source = """
def both(a, b):
    return a + b, a - b

def total(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * int(args[0]) + len(keys)
"""
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", source)

    run("AI.SCRIPTRUN s both INPUTS x y OUTPUTS sum difference", x=X, y=2 * X)
    run("AI.SCRIPTEXECUTE s total KEYS 2 k l INPUTS 1 x ARGS 1 5 OUTPUTS 1 total")

    np.testing.assert_array_equal(client.get_tensor("sum"), 3 * X)
    np.testing.assert_array_equal(client.get_tensor("difference"), -X)
    np.testing.assert_array_equal(client.get_tensor("total"), 5 * X + 2)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (
            "AI.MODELEXECUTE m INPUTS 1 bad OUTPUTS 1 y",
            "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x2 an",
        ),
        ("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 2 y z", "it answers with 1 tensors, the call names 2 outputs"),
        (
            "AI.MODELEXECUTE m INPUTS 2 x x OUTPUTS 1 y",
            "RuntimeError: forward() expected at most 2 argument(s) but rece",
        ),
        ("AI.SCRIPTRUN s nothing INPUTS x OUTPUTS y", "Function nothing does not exist in the given script."),
        ("AI.SCRIPTRUN s text INPUTS x OUTPUTS y", "a model or function must answer with tensors, not with str"),
        ("AI.SCRIPTRUN s f INPUTS x x OUTPUTS y", "RuntimeError: f() expected at most 1 argument(s) but received 2"),
        ("AI.SCRIPTEXECUTE e f INPUTS 1 x OUTPUTS 1 y", "Function f does not exist in the given script."),
    ],
)
def test_the_last_line_of_the_traceback_reaches_the_caller(raw, error_of, command, text):
    model = saved(Product())
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", model)
    source = "def f(x):\n    return x\n\ndef text(x):\n    return 'text'\n"
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", source)
    raw.execute_command("AI.SCRIPTSTORE", "e", "CPU", "ENTRY_POINTS", 1, "text", "SOURCE", source)

    assert error_of(command, x=X, bad=X[:, :2]).startswith(text)
    assert not raw.exists("y")


def test_what_cannot_be_loaded_is_told_to_whoever_runs_it(raw, error_of):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"this is no model")
    raw.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", "def f(x):\n    return nonsense(x)\n")

    assert error_of("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y", x=X).startswith("these bytes are no TorchScript model")
    assert error_of("AI.SCRIPTRUN s f INPUTS x OUTPUTS y").endswith("undefined value nonsense:")


def test_pickled_code_is_not_run(raw, error_of, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "it was run"), "w")

    saved = io.BytesIO()
    torch.save({"x": Evil()}, saved)
    for content in (saved.getvalue(), pickle.dumps(Evil())):
        raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", content)
        error_of("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y", x=X)
    assert not (tmp_path / "it was run").exists()


def test_a_gpu_that_is_not_there_is_named(raw, error_of):
    raw.execute_command("AI.MODELSTORE", "m", "TORCH", f"GPU:{torch.cuda.device_count()}", "BLOB", saved(Sums()))

    assert "is not there: the inference worker's torch sees" in error_of(
        "AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 2 y z", x=X
    )


@pytest.fixture
def run_together(raw, database, client):
    """Store a model that waits for `samples`, and run it on each of these arrays at once; return what each was told."""

    def run_together(network, arrays, samples, outputs):
        options = ("BATCHSIZE", 64, "MINBATCHSIZE", samples, "MINBATCHTIMEOUT", 20_000)
        raw.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", *options, "BLOB", saved(network))
        told = {}

        def ask(number):
            names = [f"{name}{number}" for name in outputs]
            with redis.Redis(port=database.port) as own:
                try:
                    own.execute_command(
                        "AI.MODELEXECUTE", "m", "INPUTS", 1, f"x{number}", "OUTPUTS", len(names), *names
                    )
                    told[number] = "fine"
                except redis.ResponseError as error:
                    told[number] = str(error)

        for number, array in enumerate(arrays):
            client.put_tensor(f"x{number}", array)
        Threads(*(functools.partial(ask, number) for number in range(len(arrays)))).run()
        return [told[number] for number in range(len(arrays))]

    return run_together


def test_concurrent_calls_run_in_one_forward_pass(run_together, client):
    assert run_together(Sums(), [X + number for number in range(8)], 16, ["s", "c"]) == ["fine"] * 8

    # Two samples of each, and every one saw all sixteen.
    for number in range(8):
        np.testing.assert_array_equal(client.get_tensor(f"c{number}"), [[16], [16]])
        np.testing.assert_array_equal(client.get_tensor(f"s{number}"), (X + number).sum(axis=1, keepdims=True))


def test_one_bad_call_of_a_batch_fails_alone(run_together):
    told = run_together(PositiveOnly(), [np.full((1, 3), 2 - number, "f4") for number in range(4)], 4, ["y"])

    assert told[:3] == ["fine"] * 3
    assert "negative" in told[3]


def test_calls_whose_shapes_differ_are_not_joined(run_together, client):
    assert run_together(Sums(), [np.ones((1, 3), "f4"), np.ones((1, 5), "f4")], 2, ["s", "c"]) == ["fine"] * 2

    assert [client.get_tensor(f"s{number}").item() for number in range(2)] == [3, 5]
    assert [client.get_tensor(f"c{number}").item() for number in range(2)] == [1, 1]


def test_a_model_in_onnx_runs(run, raw, client, error_of):
    pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")
    raw.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", doubling_model())

    run("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y", x=X)

    np.testing.assert_array_equal(client.get_tensor("y"), 2 * X, strict=True)
    assert error_of("AI.MODELEXECUTE m INPUTS 2 x x OUTPUTS 1 y") == "the model has 1 inputs (x), got 2"
    assert "Got: 2 Expected: 3" in error_of("AI.MODELEXECUTE m INPUTS 1 z OUTPUTS 1 y", z=X[:, :2])


# A minute of importing on a small machine, twice.
@pytest.mark.long
def test_a_frozen_graph_of_tensorflow_runs(run, raw, client):
    tf = pytest.importorskip("tensorflow", reason="the package 'tensorflow' is not installed")
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, (None, 3), name="x")
        tf.multiply(x, 2.0, name="double")
        tf.reduce_sum(x, axis=1, name="sum")
    names = ("INPUTS", 1, "x", "OUTPUTS", 2, "double", "sum:0")
    raw.execute_command("AI.MODELSTORE", "m", "TF", "CPU", *names, "BLOB", graph.as_graph_def().SerializeToString())

    run("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 2 double sum", x=X)

    np.testing.assert_array_equal(client.get_tensor("double"), 2 * X, strict=True)
    np.testing.assert_array_equal(client.get_tensor("sum"), [3, 12])


def test_a_server_without_the_module_wants_no_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("SMARTML_TENSOR_MODULE", "none")
    with (
        Orchestrator(port=0) as plain,
        InferenceWorker(settings_for(plain.address)) as worker,
        pytest.raises(StoreReplyError, match="unknown command"),
    ):
        worker.run()
