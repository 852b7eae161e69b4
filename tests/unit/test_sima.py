"""simaResponse: what an eUICC says of profile elements (SAIP 8.11)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec.sima import PE_STATUS, PeStatus, pe_statuses
from esim_bench.codec.tlv import encode
from esim_bench.errors import CodecError


def test_success():
    assert pe_statuses(bytes.fromhex("3007A0053003800100")) == [PeStatus(0)]


def test_a_refused_element():
    (status,) = pe_statuses(bytes.fromhex("300FA00B300980010381010883010C8100"))
    assert (status.name, status.identification, status.info, status.offset) == ("bad-values", 8, None, 12)
    assert str(status) == "bad-values at element 8, byte 12"


def test_several_responses_with_several_statuses():
    one = "300FA00D 3003800100 3006800101810108"
    found = pe_statuses(bytes.fromhex(one + "3007A0053003800100"))
    assert [(status.name, status.identification) for status in found] == [
        ("ok", None),
        ("pe-not-supported", 8),
        ("ok", None),
    ]


@pytest.mark.parametrize(("code", "name"), [(0x6A84, "status 6A84"), (0xA001, "status A001"), *PE_STATUS.items()])
def test_names(code, name):
    value = code.to_bytes(code.bit_length() // 8 + 1, "big")
    (status,) = pe_statuses(encode(0x30, encode(0xA0, encode(0x30, encode(0x80, value)))))
    assert (status.code, status.name) == (code, name)


@pytest.mark.parametrize("data", ["3000", "31020000", "3004A0023000", "3006A00430028000", "3007A00530038001"])
def test_malformed(data):
    with pytest.raises(CodecError):
        pe_statuses(bytes.fromhex(data))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data):
    try:
        found = pe_statuses(data)
    except CodecError:
        return
    assert all(status.name for status in found)
