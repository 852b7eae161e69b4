"""BER-TLV: exact bytes survive, everything malformed is a CodecError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import tlv
from esim_bench.errors import CodecError

TAGS = st.sampled_from([0x80, 0x5A, 0x30, 0xA0, 0xBF36, 0x5F37, 0x9F70, 0xBF8101])


@given(TAGS, st.binary(max_size=70_000 // 100))
def test_what_is_encoded_is_parsed(tag: int, value: bytes) -> None:
    raw = tlv.encode(tag, value)
    parsed = tlv.parse(raw)
    assert (parsed.tag, parsed.value, parsed.raw) == (tag, value, raw)


@pytest.mark.parametrize(
    ("length", "coded"),
    [(0, "00"), (127, "7F"), (128, "8180"), (255, "81FF"), (256, "820100"), (65535, "82FFFF"), (65536, "83010000")],
)
def test_lengths_are_as_short_as_der_wants(length: int, coded: str) -> None:
    assert tlv.length_bytes(length).hex().upper() == coded


def test_a_path_of_tags() -> None:
    raw = bytes.fromhex("BF3111A00C5A0A980010325476981032148101FF")
    assert tlv.parse(raw).get(0xA0, 0x5A).value.hex() == "98001032547698103214"
    assert tlv.parse(raw).find(0xA0, 0x4F) is None
    with pytest.raises(CodecError, match="expected A0/4F"):
        tlv.parse(raw).get(0xA0, 0x4F)


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ("", "truncated"),
        ("BF", "truncated tag"),
        ("5A", "a length after tag 5A"),
        ("5A0A98", "expected 10 bytes, found 1"),
        ("5A80", "indefinite length"),
        ("5A85FFFFFFFFFF", "length too long"),
        ("5A82FF", "truncated length"),
        ("BFFFFFFFFF01", "tag too long"),
        ("5A0100FF", "1 bytes after the end"),
    ],
)
def test_malformed_objects_are_named(raw: str, complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint):
        tlv.parse(bytes.fromhex(raw))


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        objects = tlv.parse_all(data)
    except CodecError:
        return
    assert b"".join(item.raw for item in objects) == data


def test_nesting_is_checked_all_the_way_down() -> None:
    inner = tlv.encode(0x30, tlv.encode(0xA0, tlv.encode(0x80, b"abc")), tlv.encode(0x81, b""))
    tlv.check_nesting(inner)
    for position, length in ((1, 8), (1, 10), (3, 8), (5, 4), (10, 1)):
        broken = bytearray(inner)
        broken[position] = length
        with pytest.raises(CodecError, match="truncated"):
            tlv.check_nesting(bytes(broken), "in a message")


def test_nesting_has_a_limit() -> None:
    nested = b""
    for _ in range(tlv.MAX_DEPTH):
        nested = tlv.encode(0x30, nested)
    tlv.check_nesting(nested)
    with pytest.raises(CodecError, match="too deeply"):
        tlv.check_nesting(tlv.encode(0x30, tlv.encode(0x30, nested)))
