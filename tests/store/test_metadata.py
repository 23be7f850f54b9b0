"""The bytes of metadata fields, as SmartRedis writes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartml.errors import ArgumentTypeError, MetadataError
from smartml.store.metadata import as_scalar, decode_field, encode_field


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (np.array([1.5, -2.5]), "01 000000000000F83F 00000000000004C0"),
        (np.array([0.5], "f4"), "02 0000003F"),
        (np.array([-3], "i4"), "03 FDFFFFFF"),
        (np.array([-3], "i8"), "04 FDFFFFFFFFFFFFFF"),
        (np.array([3], "u4"), "05 03000000"),
        (np.array([2**64 - 1], "u8"), "06 FFFFFFFFFFFFFFFF"),
        (["hello", ""], "07 0500000000000000 68656C6C6F 0000000000000000"),
        (["ü\0"], "07 0300000000000000 C3BC00"),
        ([], "07"),
        (np.array([], "i4"), "03"),
    ],
)
def test_a_field_is_a_type_and_its_values(values, stored):
    data = bytes.fromhex(stored)

    assert encode_field(values) == data
    read = decode_field(data, "k", "f")
    assert list(read) == list(values)
    assert isinstance(values, list) or read.dtype == values.dtype


@given(st.lists(st.text()))
def test_any_strings_come_back(texts):
    assert decode_field(encode_field(texts), "k", "f") == texts


@given(st.binary(max_size=60))
def test_damaged_bytes_give_an_error_or_what_would_be_written(data):
    try:
        values = decode_field(data, "the key", "the field")
    except MetadataError as error:
        assert str(error).startswith("metadata field 'the field' of 'the key' is damaged: ")
    else:
        assert encode_field(values) == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"\0", "unknown type 0"),
        (b"\x08abc", "unknown type 8"),
        (b"\1abc", "3 bytes are no whole number of float64"),
        (b"\7\1\0\0\0\0\0\0\0", "a string runs past its end"),
        (b"\7\xff\xff\xff\xff\xff\xff\xff\xff", "a string runs past its end"),
        (b"\7\1\0\0", "a string runs past its end"),
        (b"\7\1\0\0\0\0\0\0\0\xff", "no UTF-8: "),
    ],
)
def test_an_error_says_what_is_wrong(data, reason):
    with pytest.raises(MetadataError) as caught:
        decode_field(data, "k", "f")

    assert str(caught.value).startswith(f"metadata field 'f' of 'k' is damaged: {reason}")


@pytest.mark.parametrize(
    ("number", "dtype"),
    [
        (3, "int64"),
        (-(2**63), "int64"),
        (2**63, "uint64"),
        (1.5, "float64"),
        (np.float32(1.5), "float32"),
        (np.array([[3]], ">i4"), "int32"),
        (np.longlong(3), "int64"),
        (np.ulonglong(3), "uint64"),
    ],
)
def test_a_number_keeps_its_type(number, dtype):
    scalar = as_scalar(number)

    assert scalar.dtype == np.dtype(dtype)
    assert scalar.dtype == scalar.dtype.newbyteorder("<")
    assert scalar.tolist() == [np.asarray(number).item()]


@pytest.mark.parametrize(
    "data", [True, np.bool_(True), None, "3", 2**64, 1j, np.float16(1), np.int8(1), [1, 2], [], [[1], [2, 3]], object()]
)
def test_what_is_no_single_number_is_refused(data):
    with pytest.raises(ArgumentTypeError, match=f"metadata takes one number.*not {type(data).__name__}"):
        as_scalar(data)
