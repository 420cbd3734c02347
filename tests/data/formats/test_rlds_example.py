"""The protobuf wire format and TFRecord's framing, below the level of datasets."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from tfds_writer import encode_example, encode_feature, frame, span, varint

from fastki.data.formats.tf_example import Example, count_values
from fastki.data.formats.tfrecord import count_records, masked_checksum, open_shard, read_record, walk
from fastki.errors import DataError

PACKED = pytest.mark.parametrize("packed", [True, False])


def crc32c(data: bytes) -> int:
    """The CRC-32C, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_checksum_is_a_masked_crc32c():
    assert crc32c(b"123456789") == 0xE3069283  # The check value that the CRC's definition gives.
    for data in (b"", b"123456789", bytes(range(256))):
        crc = crc32c(data)
        assert masked_checksum(data) == ((crc >> 15 | crc << 17) % 2**32 + 0xA282EAD8) % 2**32


def test_records_are_found_and_read(tmp_path):
    records = [b"", b"one", bytes(5000), b"four"]
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(map(frame, records)))
    with open_shard(path) as file:
        places = list(walk(file, path))
    assert [place.length for place in places] == [0, 3, 5000, 4]
    assert [place.offset for place in places] == [0, 16, 35, 5051]
    assert [read_record(path, place) for place in places] == records
    assert count_records(path) == 4
    path.write_bytes(b"")
    assert count_records(path) == 0


def test_a_length_beyond_the_file_is_no_allocation(tmp_path):
    length = struct.pack("<Q", 2**62)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(length + struct.pack("<I", masked_checksum(length)) + b"data")
    with pytest.raises(DataError, match=r"a\.tfrecord, record 0 \(byte 0\): the file ends within it"):
        count_records(path)


@PACKED
@pytest.mark.parametrize("values", [[], [0], [1, 0, 127], [128, -1, 2**63 - 1, -(2**63), 300, -300, 0, 2**35]])
def test_whole_numbers(values, packed):
    array = np.array(values, dtype=np.int64)
    example = Example(encode_example({"x": array}, packed=packed), where="here")
    np.testing.assert_array_equal(example.values("x"), array)
    if values:
        assert example.values("x").dtype == np.int64


@PACKED
def test_many_random_whole_numbers(packed):
    rng = np.random.default_rng(0)
    array = rng.integers(-(2**63), 2**63 - 1, 2000) >> rng.integers(0, 63, 2000)
    feature = encode_feature(array, packed=packed)
    assert count_values(io.BytesIO(feature), 0, len(feature), where="here") == 2000
    example = Example(encode_example({"x": array}, packed=packed), where="here")
    np.testing.assert_array_equal(example.values("x"), array)


@PACKED
def test_fractions_and_bytes(packed):
    features = {"f": np.array([0.5, -1e30, 3.25], np.float32), "b": [b"", b"one", bytes(300)], "none": []}
    example = Example(encode_example(features, packed=packed), where="here")
    np.testing.assert_array_equal(example.values("f"), features["f"])
    assert [bytes(value) for value in example.values("b")] == features["b"]
    assert list(example.values("none")) == []
    assert "f" in example
    assert "g" not in example
    for name, count in (("f", 3), ("b", 3), ("none", 0)):
        feature = encode_feature(features[name], packed=packed)
        assert count_values(io.BytesIO(feature), 0, len(feature), where="here") == count
    with pytest.raises(DataError, match="here has no feature 'g'"):
        example.values("g")


def test_fields_in_any_order_and_unknown_ones():
    value = encode_feature(np.array([7, 8], np.int64))
    unknown = (
        varint(9 << 3) + varint(2**40) + span(15, b"x") + varint(12 << 3 | 1) + bytes(8) + varint(3 << 3 | 5) + bytes(4)
    )
    entry = unknown + span(2, value) + span(1, b"x")  # The value before its name.
    other = span(1, span(1, b"y") + span(2, encode_feature([b"z"]) + value))  # Of two lists the last counts.
    example = Example(unknown + span(1, span(1, entry)) + span(1, other + unknown), where="here")
    assert example.values("x").tolist() == [7, 8]
    assert example.values("y").tolist() == [7, 8]


@pytest.mark.parametrize(
    "record",
    [
        b"\x0a",  # A length is missing.
        b"\x0a\x05abc",  # It is longer than the record.
        b"\x0b\x00",  # Groups are not in use.
        b"\xff" * 12,  # A tag that never ends.
        span(1, span(1, span(1, b"n" * 5000) + span(2, b""))),  # No name is that long.
    ],
)
def test_what_is_no_example(record):
    with pytest.raises(DataError, match=r"^here is damaged, not a tf\.train\.Example"):
        Example(record, where="here")


@pytest.mark.parametrize(
    "payload", [span(2, span(1, b"abc")), span(3, span(1, b"\x80")), span(3, span(1, b"\x80" * 11 + b"\0"))]
)
def test_values_that_are_cut(payload):
    example = Example(span(1, span(1, span(1, b"x") + span(2, payload))), where="here")
    with pytest.raises(DataError, match="here is damaged"):
        example.values("x")
