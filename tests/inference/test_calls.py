"""What a worker and the server say to each other, and which calls run as one."""

import numpy as np
import pytest

from smartml import tensors
from smartml.inference.calls import CallKind, Result, fit_together, join, read_calls, split

ONE, TWO = np.ones((1, 3), "f4"), np.full((2, 3), 2, "f4")


def value_of(array):
    payload, description = tensors.encode(array)
    return bytes(payload) + description


def calls_with(*inputs):
    """Return calls as they are read, each with these inputs."""
    return read_calls(
        [number, 0, b"m", 7, None, [], [], 1, [value_of(array) for array in arrays]]
        for number, arrays in enumerate(inputs)
    )


def test_a_call_is_read_from_the_servers_reply():
    reply = [[5, 2, b"s\xff", 7, b"f", [b"k"], [b"a", b"b"], 2, [value_of(TWO)]]]

    (call,) = read_calls(reply)

    assert (call.id, call.kind, call.model, call.version) == (5, CallKind.ENTRY_POINT, b"s\xff", 7)
    assert (call.function, call.keys, call.arguments, call.output_count) == ("f", ("k",), ("a", "b"), 2)
    np.testing.assert_array_equal(call.inputs[0], TWO, strict=True)
    assert call.samples == 2


def test_a_result_is_outputs_or_an_error():
    words = Result(5, (ONE, TWO), duration_us=9).words()
    assert words[:3] == [b"5", b"9", b"2"]
    assert [bytes(payload) + end for payload, end in words[3:]] == [value_of(ONE), value_of(TWO)]
    assert Result(5, error="no").words() == [b"5", b"0", b"-1", b"no"]


def test_calls_that_differ_in_their_number_of_samples_alone_fit_together():
    assert fit_together(calls_with([ONE, ONE], [TWO, TWO]))


@pytest.mark.parametrize(
    "other",
    [[], [ONE, ONE], [ONE[:, :2]], [ONE.astype("f8")], [np.float32(1).reshape(())]],
    ids=["no input", "more inputs", "another shape", "another dtype", "no axis 0"],
)
def test_calls_that_differ_otherwise_do_not(other):
    assert not fit_together(calls_with([ONE], other))


def test_inputs_that_disagree_about_the_samples_are_not_joined():
    assert not fit_together(calls_with([ONE, TWO], [ONE, TWO]))


def test_each_call_gets_back_its_own_rows():
    calls = calls_with([ONE], [TWO], [ONE])
    (joined,) = join(calls)
    assert joined.shape == (4, 3)

    parts = split([joined + 1, joined[:, 0]], calls)

    for call, (doubled, first) in zip(calls, parts, strict=True):
        np.testing.assert_array_equal(doubled, call.inputs[0] + 1)
        np.testing.assert_array_equal(first, call.inputs[0][:, 0])


@pytest.mark.parametrize("output", [np.ones(5), np.ones(())], ids=["other length", "no axis"])
def test_an_output_that_is_not_one_row_a_sample_cannot_be_given_back(output):
    calls = calls_with([ONE], [TWO])

    assert split([np.ones((3, 1)), output], calls) is None
