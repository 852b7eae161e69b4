"""Quick ways through the codecs say the same as the long ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import es10_results, tlv
from esim_bench.codec.schema import RSP
from esim_bench.errors import CodecError

METADATA = tlv.encode(
    0xBF2F,
    tlv.encode(0x80, b"\x00\xff"),
    tlv.encode(0x81, b"\x06\x40"),
    tlv.encode(0x0C, b"smdp.example.com"),
    tlv.encode(0x5A, bytes(10)),
)


@pytest.mark.parametrize("position", range(len(METADATA)))
@given(byte=st.integers(0, 255))
def test_notification_metadata_as_the_schema_reads_it(position, byte):
    raw = METADATA[:position] + bytes((byte,)) + METADATA[position + 1 :]
    usual = es10_results._usual_members(raw)
    if usual is not None:
        assert usual == RSP.decode("NotificationMetadata", raw)


def test_usual_notification_metadata_needs_no_schema():
    assert es10_results._usual_members(METADATA) == RSP.decode("NotificationMetadata", METADATA)
    assert es10_results._usual_members(METADATA[:-1]) is None


def nested(levels, size=300):
    """An object with others in it, one in the other, each as long as a certificate, or longer."""
    raw = tlv.encode(0x04, bytes(size))
    for _ in range(levels):
        raw = tlv.encode(0x30, raw)
    return raw


@pytest.mark.parametrize("size", [3, 200, 300, 800, 1100])
def test_the_limit_of_nesting_does_not_depend_on_lengths(size):
    tlv.check_nesting(nested(tlv.MAX_DEPTH, size))
    with pytest.raises(CodecError, match="nested too deeply"):
        tlv.check_nesting(nested(tlv.MAX_DEPTH + 1, size))


@pytest.mark.parametrize("size", [3, 200, 300, 800, 1100])
def test_a_member_that_is_too_long_is_found_wherever_it_lies(size):
    inner = tlv.encode(0x30, tlv.encode(0x02, b"\x01"), bytes.fromhex("0405AA"))
    broken = tlv.encode(0x30, tlv.encode(0x04, bytes(size)), inner)
    for _ in range(2):
        with pytest.raises(CodecError, match="truncated value of tag 4"):
            tlv.check_nesting(tlv.encode(0x30, broken, tlv.encode(0x02, b"\x01")))


@given(st.binary(max_size=40))
def test_whatever_comes_is_parsed_alike_one_by_one_and_at_once(raw):
    def outcome(parse):
        try:
            return list(parse(raw, "here"))
        except CodecError as exc:
            return str(exc)

    assert outcome(tlv.parse_all) == outcome(tlv.iterate)
