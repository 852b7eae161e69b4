"""Command APDUs of the four cases, logical channels, status words, the ATR."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec.apdu import Command, channel_of, strip_channel, sw_text, with_channel
from esim_bench.codec.atr import Atr, build_atr
from esim_bench.errors import CodecError

BYTE = st.integers(0, 255)


@given(BYTE, BYTE, BYTE, BYTE, st.binary(max_size=255), st.none() | st.integers(1, 256))
def test_commands_survive_the_wire(cla: int, ins: int, p1: int, p2: int, data: bytes, le: int | None) -> None:
    command = Command(cla, ins, p1, p2, data, le)
    assert Command.parse(bytes(command)) == command


@pytest.mark.parametrize(
    ("raw", "data", "le"),
    [
        ("00700000", "", None),
        ("0070000001", "", 1),
        ("00C0000000", "", 256),
        ("00A40004022FE2", "2FE2", None),
        ("81E2910003BF2E0000", "BF2E00", 256),
    ],
)
def test_the_four_cases(raw: str, data: str, le: int | None) -> None:
    command = Command.parse(bytes.fromhex(raw))
    assert (command.data.hex().upper(), command.le) == (data, le)
    assert bytes(command).hex().upper() == raw


@pytest.mark.parametrize("raw", ["", "00A4", "00A40004052FE2", "00A40004022FE20000", "00A4000400000102"])
def test_what_is_no_short_command_is_refused(raw: str) -> None:
    with pytest.raises(CodecError):
        Command.parse(bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("cla", "channel", "moved"), [(0x00, 0, 0x00), (0x80, 1, 0x81), (0x00, 3, 0x03), (0x80, 4, 0xC0), (0x00, 19, 0x4F)]
)
def test_channels_in_the_class_byte(cla: int, channel: int, moved: int) -> None:
    assert with_channel(cla, channel) == moved
    assert channel_of(moved) == channel
    assert strip_channel(moved) == cla


def test_channel_20_does_not_exist() -> None:
    with pytest.raises(CodecError, match=r"0\.\.19"):
        with_channel(0, 20)


@pytest.mark.parametrize(
    ("sw", "text"),
    [
        (0x9000, "ok"),
        (0x6A82, "file or application not found"),
        (0x610C, "12 bytes of response wait"),
        (0x6100, "256 bytes of response wait"),
        (0x910B, "ok, a proactive command of 11 bytes waits"),
        (0x63C2, "verification failed, 2 attempts left"),
        (0x6C0A, "wrong Le, 10 is right"),
    ],
)
def test_status_words_in_words(sw: int, text: str) -> None:
    assert sw_text(sw) == text


@given(st.permutations([0, 1]).map(lambda p: p[:1]) | st.just([0, 1]), st.binary(max_size=15))
def test_an_atr_that_we_build_is_one_that_we_read(protocols: list[int], historical: bytes) -> None:
    atr = Atr.parse(build_atr(protocols, historical))
    assert atr.protocols == tuple(protocols)
    assert atr.historical == historical


def test_a_real_atr() -> None:
    atr = Atr.parse(bytes.fromhex("3B9F96801FC78031A073BE21136743200718000001A5"))
    assert atr.default_protocol == 0
    assert atr.historical.hex().upper() == "8031A073BE211367432007180000 01".replace(" ", "")


@given(st.binary(max_size=40))
def test_any_bytes_are_an_atr_or_refused(data: bytes) -> None:
    with contextlib.suppress(CodecError):
        assert Atr.parse(data).raw == data


def test_a_wrong_check_byte_is_refused() -> None:
    with pytest.raises(CodecError, match="check byte"):
        Atr.parse(bytes.fromhex("3B9F96801FC78031A073BE21136743200718000001A4"))
