"""Values as columns: shapes, types and bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.monitor import columns

LOW, HIGH = -(2**63), 2**63 - 1


def there_and_back(values):
    column, data = columns.encode(values)
    assert columns.flaw([column], len(values), len(data)) is None
    [decoded] = columns.decode([column], len(values), data)
    return decoded, len(data)


@given(st.lists(st.integers(LOW, HIGH) | st.integers(-3, 3), min_size=1, max_size=40))
def test_integers_come_back_as_they_were(values):
    decoded, _ = there_and_back(np.array(values, "int64"))
    assert decoded.dtype == np.int64
    assert decoded.tolist() == values


@given(st.integers(LOW, HIGH), st.integers(-(2**40), 2**40), st.integers(1, 20))
def test_ranges_of_integers_come_back_as_they_were(first, step, count):
    values = [first + step * number for number in range(count)]
    kept = [value for value in values if LOW <= value <= HIGH]
    assert there_and_back(np.array(kept, "int64"))[0].tolist() == kept


@given(st.lists(st.floats(width=64), min_size=1, max_size=40), st.sampled_from(["float32", "float64"]))
def test_floats_come_back_bit_by_bit(values, dtype):
    with np.errstate(over="ignore"):
        written = np.array(values).astype(dtype)
    decoded, _ = there_and_back(written)
    assert decoded.dtype == dtype
    # Which of the many NaNs it is, nobody asks.
    assert np.array_equal(decoded, written, equal_nan=True)
    assert np.array_equal(np.signbit(decoded[decoded == 0]), np.signbit(written[written == 0]))


@pytest.mark.parametrize(
    ("values", "length"),
    [
        (np.arange(1000), 0),
        (np.arange(0, -5000, -5), 0),
        (np.full(1000, 2**62), 1),
        (np.full(1000, np.nan), 4),
        (np.arange(1000) % 256 + 2**60, 1000),
        (np.random.default_rng(0).random(1000).astype("float32").astype("float64"), 4000),
        (np.random.default_rng(0).random(1000), 8000),
    ],
)
def test_what_can_be_told_in_few_bytes_takes_few(values, length):
    decoded, taken = there_and_back(values)
    assert np.array_equal(decoded, values, equal_nan=True)
    assert taken == length


def test_minus_zero_stays_beside_zero():
    decoded, _ = there_and_back(np.array([0.0, -0.0, 0.0]))
    assert np.signbit(decoded).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("given_value", "dtype"),
    [
        (True, "int64"),
        ([True, False], "int64"),
        (np.uint8(3), "int64"),
        (2**63 - 1, "int64"),
        (np.array([1], "uint64"), "int64"),
        ([], "int64"),
        (1.5, "float64"),
        ([1, 2.5], "float64"),
        (np.float16(1.5), "float32"),
        (np.float32(1.5), "float32"),
    ],
)
def test_every_number_is_stored_in_one_of_three_types(given_value, dtype):
    array = columns.host_array("loss", "x", given_value)
    assert array.dtype == dtype
    assert array.tolist() == np.asarray(given_value).tolist()


@pytest.mark.parametrize("value", [2**63, [1, 2**64], np.array([2**63], "uint64"), -(2**63) - 1])
def test_an_integer_too_large_is_refused(value):
    with pytest.raises(ArgumentValueError, match=r"field 'x' of 'loss' has the integer -?\d+"):
        columns.host_array("loss", "x", value)


@pytest.mark.parametrize("value", ["a", None, 1j, [[1], [1, 2]], object()])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="field 'x' of 'loss'"):
        columns.host_array("loss", "x", value)


@pytest.mark.parametrize(
    ("shapes", "together"),
    [
        ([(), (4,)], (1, 4)),
        ([(4,), (3, 4)], (3, 4)),
        ([(), (3, 1)], (3, 1)),
        ([(1, 10), (3, 10)], (3, 10)),
        ([(), (5,), (5,)], (1, 5)),
        ([(0,), (0,)], (1, 0)),
        ([(), ()], (1, 1)),
    ],
)
def test_fields_are_broadcast_to_index_and_point(shapes, together):
    assert columns.broadcast_shape("a", dict(zip("xyz", shapes, strict=False))) == together


def test_shapes_that_do_not_fit_are_all_named():
    with pytest.raises(ArgumentValueError, match=r"'a' do not broadcast against each other: x \(3,\), y \(4,\)"):
        columns.broadcast_shape("a", {"x": (3,), "y": (4,)})
    with pytest.raises(ArgumentValueError, match=r"field 'y' of 'a' has shape \(1, 2, 3\)"):
        columns.broadcast_shape("a", {"x": (), "y": (1, 2, 3)})
