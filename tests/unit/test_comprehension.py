"""Comprehension-TLV: what tells it from BER-TLV."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec.comprehension import first, objects
from esim_bench.errors import CodecError


def test_tags_are_one_byte_and_lose_their_comprehension_bit() -> None:
    assert objects(bytes.fromhex("810301260682028182BF01083F0103")) == [
        (0x01, bytes.fromhex("012606")),
        (0x02, bytes.fromhex("8182")),
        (0x3F, b"\x08"),
        (0x3F, b"\x03"),
    ]
    assert first(bytes.fromhex("BF01083F0103")) == {0x3F: b"\x08"}


def test_a_first_byte_7f_makes_a_tag_of_three() -> None:
    for tag in ("7F0123", "7F8123", "FF0123"):
        assert objects(bytes.fromhex(f"{tag}02AABB")) == [(0x0123, b"\xaa\xbb")]


def test_long_values() -> None:
    assert objects(b"\x36\x81\xc8" + bytes(200)) == [(0x36, bytes(200))]
    assert objects(b"\x36\x82\x01\x00" + bytes(256)) == [(0x36, bytes(256))]


@pytest.mark.parametrize("data", ["81", "8103", "81030126", "8180", "8184000000", "3681", "7F01", "7F0123"])
def test_broken_objects_are_named(data: str) -> None:
    with pytest.raises(CodecError):
        objects(bytes.fromhex(data), "of a test")


@given(st.lists(st.tuples(st.integers(1, 0x7E), st.binary(max_size=200))))
def test_what_is_written_is_read(parts: list[tuple[int, bytes]]) -> None:
    def length(value: bytes) -> bytes:
        return bytes((len(value),)) if len(value) < 128 else bytes((0x81, len(value)))

    data = b"".join(bytes((tag | 0x80,)) + length(value) + value for tag, value in parts)
    assert objects(data) == parts


@given(st.binary(max_size=60))
def test_any_bytes_are_objects_or_an_error(data: bytes) -> None:
    try:
        found = objects(data)
    except CodecError:
        return
    assert sum(len(value) for _, value in found) <= len(data)
