"""msgpack with arrays in it: openpi's form to the byte, and nothing of it believed before it is checked."""

from __future__ import annotations

import tracemalloc

import msgpack
import numpy as np
import pytest

from fastki.errors import DataError
from fastki.serving.messages import pack, unpack


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int32", "int64", "float16", "float32", ">f8"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 5)])
def test_arrays_come_back_as_they_were(dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    (found,) = unpack(pack([array]))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array, strict=True)


def test_the_form_is_openpis():
    plain = msgpack.unpackb(pack({"a": np.array([[1.5, 2]], np.float32), "n": np.uint8(7)}))
    array = {b"__ndarray__": True, b"data": np.float32([1.5, 2]).tobytes(), b"dtype": "<f4", b"shape": [1, 2]}
    assert plain == {"a": array, "n": {b"__npgeneric__": True, b"data": 7, b"dtype": "|u1"}}


def test_plain_values_and_numbers_of_numpy_come_back():
    value = {"text": "é", "list": [1, 2.5, None, True], "map": {"bytes": b"\x00"}, "number": np.int16(-3)}
    found = unpack(pack(value))
    assert found == value
    assert found["number"].dtype == np.int16


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([None]), np.array([1j]), object(), {1, 2}, 1 << 80])
def test_what_is_no_plain_value_is_not_sent(value):
    with pytest.raises(DataError, match="this can't be sent"):
        pack({"x": value})


def array_of(data=bytes(8), dtype="<f4", shape=(2,)):
    return msgpack.packb({"x": {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}})


BAD = {
    "too short": (array_of(bytes(7)), r"says <f4 \[2\], which is 8 bytes, and has 7 bytes"),
    "too long": (array_of(bytes(9)), "and has 9 bytes"),
    "a petabyte": (array_of(shape=(1 << 20, 1 << 30)), "4503599627370496 bytes, and has 8"),
    "overflowing": (array_of(shape=(1 << 30, 1 << 30, 1 << 30)), "and has 8 bytes"),
    "a side of 2**63": (array_of(b"", shape=(0, 1 << 63)), "an array has the shape"),
    "negative": (array_of(shape=(-2, -1)), "an array has the shape"),
    "nine dimensions": (array_of(shape=(1,) * 9), "an array has the shape"),
    "a shape of floats": (array_of(shape=(2.0,)), "an array has the shape"),
    "a shape of booleans": (array_of(bytes(4), shape=(True,)), "an array has the shape"),
    "no shape": (array_of(shape=None), "an array has the shape None"),
    "objects": (array_of(dtype="|O"), r"an array is of type '\|O'"),
    "text": (array_of(dtype="<U2"), "is of type '<U2'"),
    "records": (array_of(dtype="f4,f4"), "is of type 'f4,f4'"),
    "dates": (array_of(dtype="<M8[s]"), "is of type"),
    "no type": (array_of(dtype=None), "is of type None"),
    "text as data": (array_of("ab"), "has no bytes"),
    "a number of objects": (msgpack.packb({b"__npgeneric__": True, b"data": 3, b"dtype": "O"}), "is of type 'O'"),
    "no number": (msgpack.packb({b"__npgeneric__": True, b"data": "3", b"dtype": "<f4"}), "no number in it"),
    "too large": (msgpack.packb({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}), "has 300 in it"),
    "cut off": (pack({"x": np.zeros(4)})[:-1], "not msgpack"),
    "more than one": (pack(1) + pack(2), "not msgpack"),
    "nothing": (b"", "not msgpack"),
    "no msgpack": (b"\xc1", "not msgpack"),
    "pickled": (b"\x80\x04\x95\x00", "not msgpack"),
    "an extension": (msgpack.packb(msgpack.ExtType(5, b"abc")), "not msgpack"),
    "a list as key": (b"\x81\x91\x01\x01", "not msgpack"),
    "a number as key": (b"\x81\x01\x01", "not msgpack"),
    "no UTF-8": (b"\xa1\xff", "not msgpack"),
    "a long text": (msgpack.packb("x" * 70_000), "not msgpack"),
    "a long list": (msgpack.packb([0] * 5000), "not msgpack"),
    "a list that says it is long": (b"\xdd\xff\xff\xff\xff", "not msgpack"),
    "a deep list": (b"\x91" * 2000 + b"\x01", "not msgpack|more than 1024 lists"),
    "many lists": (msgpack.packb([[[]] * 1000] * 3), "more than 1024 lists and maps"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_message_is_refused_in_one_line(case):
    message, said = BAD[case]
    with pytest.raises(DataError, match=said) as caught:
        unpack(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("case", ["a petabyte", "a list that says it is long", "many lists", "a deep list"])
def test_little_memory_is_taken_for_one_that_claims_much(case):
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            unpack(BAD[case][0])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_damage_anywhere_is_refused_or_is_another_message(observation):
    whole = bytearray(pack({"a": np.arange(6, dtype=np.int16).reshape(2, 3), "n": np.float32(2), "p": "text"}))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        try:
            unpack(bytes(damaged))
        except DataError:
            continue
