"""What is sent of models and scripts: checked, worded, named."""

import textwrap

import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.store.models import (
    Gpus,
    ModelOptions,
    checked_device,
    checked_source,
    function_source,
    run_command,
    run_script_command,
    store_script_command,
)


def words(options, content=b"0123456789", chunk_size=1000):
    return [bytes(word) for word in options.store_command(b"m", memoryview(content), chunk_size)]


def test_a_model_is_stored_with_what_was_asked_for_and_nothing_else():
    assert words(ModelOptions.check("torch")) == [b"AI.MODELSTORE", b"m", b"TORCH", b"CPU", b"BLOB", b"0123456789"]


def test_options_come_in_the_order_of_redisai():
    options = ModelOptions.check("TF", "gpu:1", 8, 4, 20, "v1", ["x", "y"], "z")

    assert words(options)[2:-2] == [
        *(b"TF", b"GPU:1", b"TAG", b"v1", b"BATCHSIZE", b"8", b"MINBATCHSIZE", b"4", b"MINBATCHTIMEOUT", b"20"),
        *(b"INPUTS", b"2", b"x", b"y", b"OUTPUTS", b"1", b"z"),
    ]


@pytest.mark.parametrize(("size", "chunks"), [(4, [b"0123", b"4567", b"89"]), (5, [b"01234", b"56789"])])
def test_a_model_travels_in_chunks(size, chunks):
    assert words(ModelOptions.check("ONNX"), chunk_size=size)[5:] == chunks


def test_runs_are_worded_as_smartredis_does():
    assert run_command(b"m", [b"a", b"b"], [b"c"], 500) == [
        *(b"AI.MODELEXECUTE", b"m", b"INPUTS", b"2", b"a", b"b", b"OUTPUTS", b"1", b"c", b"TIMEOUT", b"500"),
    ]
    assert run_script_command(b"s", b"f", [b"a", b"b"], [b"c"]) == [
        *(b"AI.SCRIPTRUN", b"s", b"f", b"INPUTS", b"a", b"b", b"OUTPUTS", b"c"),
    ]
    assert store_script_command(b"s", "GPU:1", b"def f(x): return x") == [
        *(b"AI.SCRIPTSET", b"s", b"GPU:1", b"SOURCE", b"def f(x): return x"),
    ]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"backend": "PICKLE"}, ArgumentTypeError),
        ({"backend": None}, ArgumentTypeError),
        ({"device": "TPU"}, ArgumentTypeError),
        ({"device": "CPU:1"}, ArgumentTypeError),
        ({"device": "GPU:x"}, ArgumentTypeError),
        ({"device": 0}, ArgumentTypeError),
        ({"batch_size": -1}, ArgumentValueError),
        ({"batch_size": 1.5}, ArgumentTypeError),
        ({"min_batch_size": 2}, ArgumentValueError),
        ({"batch_size": 4, "min_batch_timeout": 5}, ArgumentValueError),
        ({"tag": b"v1"}, ArgumentTypeError),
        ({"inputs": ["x"], "outputs": ["y"]}, ArgumentValueError),
        ({"backend": "TF"}, ArgumentValueError),
        ({"backend": "TF", "inputs": [""], "outputs": ["y"]}, ArgumentValueError),
        ({"backend": "TF", "inputs": [1], "outputs": ["y"]}, ArgumentTypeError),
        ({"backend": "TF", "inputs": b"x", "outputs": ["y"]}, ArgumentTypeError),
    ],
    ids=str,
)
def test_what_no_model_can_be_run_with_is_refused(arguments, error):
    with pytest.raises(error):
        ModelOptions.check(**{"backend": "TORCH", **arguments})


def test_a_device_may_be_written_small():
    assert [checked_device(one) for one in ("cpu", "gpu", "Gpu:12")] == ["CPU", "GPU", "GPU:12"]


def test_each_gpu_has_a_copy_and_the_plain_name_is_for_any_of_them():
    assert Gpus.check(2, 2).copies(b"m") == {b"m.GPU:2": "GPU:2", b"m.GPU:3": "GPU:3", b"m": "GPU"}


def test_callers_are_spread_over_the_gpus():
    assert [Gpus(2, 3).key(b"m", rank) for rank in range(4)] == [b"m.GPU:2", b"m.GPU:3", b"m.GPU:4", b"m.GPU:2"]


@pytest.mark.parametrize(
    ("first", "number", "error"),
    [(-1, 1, ArgumentValueError), (0, 0, ArgumentValueError), ("0", 1, ArgumentTypeError), (0, 1.0, ArgumentTypeError)],
)
def test_gpus_that_cannot_be_are_refused(first, number, error):
    with pytest.raises(error):
        Gpus.check(first, number)


# Functions


def keep(function):
    return function


@keep
def double(x):
    # Its comment goes with it.
    return 2 * x


def test_the_source_of_a_function_is_what_a_script_of_it_alone_would_be():
    assert function_source(double) == "def double(x):\n    # Its comment goes with it.\n    return 2 * x\n"


def test_a_function_may_be_written_inside_another():
    def triple(x):
        return 3 * x

    assert function_source(triple) == textwrap.dedent(
        """\
        def triple(x):
            return 3 * x
        """
    )


def test_what_is_no_function_of_its_own_is_refused():
    with pytest.raises(ArgumentTypeError, match="function"):
        function_source("def f(x): return x")
    with pytest.raises(ArgumentTypeError, match="function"):
        function_source(len)
    with pytest.raises(ArgumentValueError, match="def"):
        function_source(lambda x: x)


def test_a_function_whose_source_nobody_knows_is_refused():
    namespace = {}
    exec("def f(x): return x", namespace)

    with pytest.raises(ArgumentValueError, match="set_script"):
        function_source(namespace["f"])


@pytest.mark.parametrize(("script", "error"), [(b"def f(): pass", ArgumentTypeError), (" \n", ArgumentValueError)])
def test_a_script_must_be_text_with_something_in_it(script, error):
    with pytest.raises(error):
        checked_source(script)
