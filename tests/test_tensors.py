"""The format of a tensor value, without a server."""

import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from smartml import tensors
from smartml.errors import ArgumentTypeError, ArgumentValueError, MissingDependencyError, TensorFormatError

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# By the code that stands in the value.
CODES = {
    1: "float64",
    2: "float32",
    3: "int8",
    4: "int16",
    5: "int32",
    6: "int64",
    7: "uint8",
    8: "uint16",
    9: "bool",
    10: "uint32",
    11: "uint64",
    12: "float16",
    13: BFLOAT16,
    14: "complex64",
    15: "complex128",
}


def value_of(array):
    payload, description = tensors.encode(array)
    return payload.tobytes() + description


def same(result, array):
    """Compare shape, dtype and every bit (NaN included)."""
    wanted = np.asarray(array)
    little = wanted.dtype.newbyteorder("<")
    return (
        result.dtype == little and result.shape == wanted.shape and result.tobytes() == wanted.astype(little).tobytes()
    )


@st.composite
def arrays(draw):
    """Arrays of every dtype, byte order, shape and memory layout."""
    dtype = np.dtype(draw(st.sampled_from(list(CODES.values()))))
    shape = draw(stn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(np.prod(shape))
    data = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
    if dtype == np.bool_:
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data, np.uint8).view(dtype).reshape(shape)
    if dtype != BFLOAT16 and draw(st.booleans()):
        array = array.astype(dtype.newbyteorder(">"))
    layout = draw(st.sampled_from(["as it is", "Fortran", "transposed", "every other", "reversed", "broadcast"]))
    if layout == "Fortran":
        return np.asfortranarray(array) if array.ndim else array
    if layout == "transposed":
        return array.T
    if layout == "every other":
        return array[(slice(None, None, 2),) * array.ndim]
    if layout == "reversed":
        return array[(slice(None, None, -1),) * array.ndim]
    if layout == "broadcast":
        return np.broadcast_to(array, (2, *array.shape))
    return array


@given(arrays())
def test_any_array_comes_back_as_it_went_in(array):
    assert same(tensors.decode(value_of(array), "k"), array)


@pytest.mark.parametrize(("code", "dtype"), CODES.items())
def test_every_dtype_has_its_code(code, dtype):
    array = np.zeros((2, 3), dtype)

    value = value_of(array)

    assert value[: array.nbytes] == array.tobytes()
    assert value[array.nbytes :] == b"\2" + bytes(7) + b"\3" + bytes(7) + bytes([code]) + b"\2\0\0SMT1"


def test_the_payload_comes_first_in_c_order_and_little_endian():
    array = np.asfortranarray(np.array([[1, 2, 3], [4, 5, 0x1234]], ">i2"))

    assert value_of(array).hex(" ") == (
        "01 00 02 00 03 00 04 00 05 00 34 12 02 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 04 02 00 00 53 4d 54 31"
    )


def test_a_single_number_has_no_dimensions():
    assert value_of(np.array(1.5)).hex(" ") == "00 00 00 00 00 00 f8 3f 01 00 00 00 53 4d 54 31"
    assert value_of(np.float64(1.5)) == value_of(np.array(1.5))


def test_an_array_without_elements_keeps_its_shape():
    assert value_of(np.zeros((0, 3), bool)).hex(" ") == "00 " * 8 + "03 " + "00 " * 7 + "09 02 00 00 53 4d 54 31"


def test_the_memory_of_a_contiguous_array_is_not_copied():
    array = np.arange(6.0).reshape(2, 3)

    payload, _ = tensors.encode(array)

    assert np.shares_memory(np.frombuffer(payload, np.uint8), array)


def test_decoding_gives_a_view_that_can_be_written_where_the_value_can():
    value = bytearray(value_of(np.arange(6)))

    array = tensors.decode(value, "k")
    array[0] = 7

    assert value[0] == 7
    assert not tensors.decode(bytes(value), "k").flags.writeable


@given(st.lists(arrays(), max_size=5), st.data())
def test_many_arrays_are_stored_as_each_alone_would_be(some, data):
    drawn = [array for array in some for _ in range(data.draw(st.integers(1, 3)))]

    values = [payload.tobytes() + end for payload, end in tensors.encode_all(drawn)]

    assert values == [value_of(array) for array in drawn]
    decoded = tensors.decode_all(values, [b"k"] * len(values))
    assert all(same(result, array) for result, array in zip(decoded, drawn, strict=True))


def test_a_damaged_one_among_many_is_named():
    good, other = value_of(np.array([True, False])), value_of(np.array([1, 2], np.int8))
    damaged = b"\2" + good[1:]

    for values in ([good, good, damaged], [other, good, damaged], [other, other, other[:-1]]):
        with pytest.raises(TensorFormatError, match="'third'"):
            tensors.decode_all(values, [b"first", b"second", b"third"])


# Damage


def check(value):
    """The law of decoding: a damaged value gives TensorFormatError, and what decodes is what would be stored."""
    try:
        array = tensors.decode(value, "the key")
    except TensorFormatError as error:
        assert "'the key'" in str(error)
        return None
    assert value_of(array) == bytes(value)
    return array


@given(st.binary(max_size=300))
def test_random_bytes_give_no_other_error(data):
    check(data)


@given(st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255), st.binary(min_size=2, max_size=2))
def test_random_bytes_that_end_like_a_tensor_give_no_other_error(data, code, ndim, zero):
    check(data + bytes([code, ndim]) + zero + b"SMT1")


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(0, 16), st.binary(max_size=64))
def test_no_dimensions_are_too_large_to_be_refused(dims, code, payload):
    tail = b"".join(dim.to_bytes(8, "little") for dim in dims) + bytes([code, len(dims), 0, 0]) + b"SMT1"
    check(payload + tail)


@given(arrays(), st.data())
def test_a_truncated_value_is_refused(array, data):
    value = value_of(array)
    cut = data.draw(st.integers(0, len(value) - 1))

    assert check(value[:cut]) is None
    assert check(value[len(value) - cut :]) is None


@given(arrays(), st.binary(min_size=1, max_size=40))
def test_a_value_with_bytes_added_is_refused(array, more):
    assert check(value_of(array) + more) is None
    assert check(more + value_of(array)) is None


@given(arrays(), st.data())
def test_a_flipped_bit_gives_no_other_error(array, data):
    value = bytearray(value_of(array))
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    value[bit // 8] ^= 1 << bit % 8

    result = check(value)

    # There is no checksum: what is as long as its description says is taken for good.
    reserved_and_magic = 6
    if bit // 8 >= len(value) - reserved_and_magic:
        assert result is None
    is_payload = bit // 8 < array.nbytes
    if is_payload and result is not None:
        assert (result.dtype.itemsize, result.shape) == (array.dtype.itemsize, array.shape)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "key 'k' does not hold a tensor: 0 bytes are too few"),
        (b"hello world", "key 'k' does not hold a tensor: it ends in b'orld', expected b'SMT1'"),
        (b"\1\0\1\0SMT1", "tensor 'k' is damaged: reserved bytes are 0x0001, expected 0"),
        (bytes(8) + b"\0\0\0\0SMT1", "tensor 'k' is damaged: unknown dtype code 0"),
        (bytes(8) + b"\1\2\0\0SMT1", "tensor 'k' is damaged: 16 bytes cannot hold 2 dimensions"),
        (bytes(400) + b"\1\x21\0\0SMT1", "tensor 'k' is damaged: 33 dimensions, at most 32 are allowed"),
        (bytes(7) + b"\1\0\0\0SMT1", "tensor 'k' is damaged: float64 of shape () takes 16 bytes, the value has 15"),
        (
            b"\xff" * 16 + b"\1\2\0\0SMT1",
            "tensor 'k' is damaged: the shape (18446744073709551615, 18446744073709551615) is larger than any memory",
        ),
        (
            b"\2" + b"\1" + bytes(7) + b"\x09\1\0\0SMT1",
            "tensor 'k' is damaged: bytes of a bool tensor are 0 or 1, not others",
        ),
    ],
)
def test_an_error_says_what_is_wrong(value, reason):
    with pytest.raises(TensorFormatError) as caught:
        tensors.decode(value, "k")

    assert str(caught.value) == reason


# What cannot be stored


class Broken:
    """As torch does for a tensor that needs gradients."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("call detach() first")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "a tensor must be a numpy array, not NoneType: None"),
        ([1, 2], "a tensor must be a numpy array, not list: [1, 2]"),
        (1.5, "a tensor must be a numpy array, not float: 1.5"),
        (np.array(["a"]), "dtype 'str32' cannot be stored as a tensor; these can: float64, "),
        (np.array([None]), "dtype 'object' cannot be stored"),
        (np.zeros(2, "i4,f8"), "cannot be stored"),
        (np.array(["2020-01-01"], "M8[D]"), "dtype 'datetime64[D]' cannot be stored"),
        (np.zeros(2, np.longdouble), "cannot be stored"),
        (np.zeros(2, ml_dtypes.float8_e4m3fn), "dtype 'float8_e4m3fn' cannot be stored"),
        (np.ma.array([1, 2], mask=[0, 1]), "a masked array cannot be stored: call .filled(value)"),
        (Broken(), "Broken cannot be turned into a numpy array: call detach() first"),
    ],
)
def test_what_is_no_tensor_is_refused_with_what_was_given(data, message):
    with pytest.raises(ArgumentTypeError) as caught:
        tensors.encode(data)

    assert message in str(caught.value)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="this numpy makes no array of 33 dimensions")
def test_more_dimensions_than_the_format_has_are_refused():
    with pytest.raises(ArgumentValueError, match="at most 32 dimensions, this array has 33"):
        tensors.encode(np.zeros((1,) * 33))


def test_what_turns_into_an_array_can_be_stored():
    class Convertible:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3)

    assert same(tensors.decode(value_of(Convertible()), "k"), np.arange(3))


def test_reading_bfloat16_without_its_package_says_which_one(monkeypatch):
    value = value_of(np.zeros((7, 1, 7), BFLOAT16))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)

    with pytest.raises(
        MissingDependencyError, match=r'needs the package .ml_dtypes.: pip install "smartml\[bfloat16\]'
    ):
        tensors.decode(value, "k")
