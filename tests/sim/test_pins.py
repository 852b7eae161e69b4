"""PINs and PUKs on the wire (TS 102 221 9.5, 11.1.9 to 11.1.13): counters, the universal PIN, sessions."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_drivers.sim.fcp import MF, FileHeader
from esim_drivers.sim.filesystem import file_key
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.personality import personality
from esim_drivers.sim.pins import Pin, pin_key, puk_key
from esim_drivers.sim.uicc_card import UiccCard

ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
USIM = "A0000000871002FF49FF0589"
ISIM = "A0000000871004FF49FF0589"
ARR = bytes.fromhex("800103A406830101950108").ljust(16, b"\xff") + bytes.fromhex("800103A406830181950108").ljust(
    16, b"\xff"
)
CODE, LOCAL, UNIVERSAL, PUK, WRONG = (
    text.encode().ljust(8, b"\xff") for text in ("0000", "9999", "7777", "12345678", "1")
)
NEW = b"1234".ljust(8, b"\xff")
FIRST, SECOND, STAND_IN, FIXED = 0x01, 0x81, 0x11, 0x02


def make_card(*, stand_in: int = 7) -> UiccCard:
    """PIN1 and PIN2 of a USIM, an ISIM with PIN1 only; a universal PIN; key reference 02 that nobody may change."""
    nvm = Nvm()
    one, two = b"\x2f\x06\x01", b"\x2f\x06\x02"
    for path, header, content in (
        ((MF,), FileHeader("df", MF, arr=one, pins=b"\x01\x11"), b""),
        ((MF, 0x2F06), FileHeader("linear", 0x2F06, size=32, record_length=16, arr=one), ARR),
        ((MF, 0x7FD0), FileHeader("adf", 0x7FD0, aid=bytes.fromhex(USIM), arr=one, pins=b"\x01\x81\x11"), b""),
        ((MF, 0x7FD0, 0x6F07), FileHeader("transparent", 0x6F07, size=2, sfi=7, arr=one), b"im"),
        ((MF, 0x7FD0, 0x6F3B), FileHeader("transparent", 0x6F3B, size=2, sfi=8, arr=two), b"fd"),
        ((MF, 0x7FD1), FileHeader("adf", 0x7FD1, aid=bytes.fromhex(ISIM), arr=one, pins=b"\x01"), b""),
        ((MF, 0x7FD1, 0x6F02), FileHeader("transparent", 0x6F02, size=2, sfi=2, arr=one), b"is"),
    ):
        nvm.put(file_key(ISDP, path), header.encode() + content)
    nvm.put(pin_key(ISDP, (MF,), FIRST), Pin(CODE, 7, 1, 3, 3).encode())
    nvm.put(pin_key(ISDP, (MF,), STAND_IN), Pin(UNIVERSAL, stand_in, 1, 3, 3).encode())
    nvm.put(pin_key(ISDP, (MF,), FIXED), Pin(CODE, 1, 0, 3, 3).encode())
    nvm.put(pin_key(ISDP, (MF, 0x7FD0), SECOND), Pin(LOCAL, 3, 1, 3, 3).encode())
    nvm.put(puk_key(ISDP, 1), Pin(PUK, 1, 0, 10, 10).encode())
    nvm.put("euicc/enabled", ISDP)
    card = UiccCard(personality("isim"), nvm)
    card.power_on()
    return card


@pytest.fixture
def card() -> UiccCard:
    return make_card()


def send(card: UiccCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


def pin(card: UiccCard, ins: int, reference: int, *values: bytes, p1: int = 0, cla: int = 0) -> str:
    data = b"".join(values)
    return send(card, f"{cla:02X}{ins:02X}{p1:02X}{reference:02X}" + (f"{len(data):02X}{data.hex()}" if data else ""))


def select(card: UiccCard, aid: str, cla: int = 0) -> None:
    assert send(card, f"{cla:02X}A4040C0C{aid}") == "9000"


VERIFY, CHANGE, DISABLE, ENABLE, UNBLOCK = 0x20, 0x24, 0x26, 0x28, 0x2C
IMSI, FDN = "00B0870002", "00B0880002"


def test_each_key_opens_what_its_rule_names(card: UiccCard) -> None:
    select(card, USIM)
    assert [send(card, IMSI), send(card, FDN)] == ["6982", "6982"]
    assert pin(card, VERIFY, FIRST, CODE) == "9000"
    assert [send(card, IMSI), send(card, FDN)] == ["696D9000", "6982"]
    assert pin(card, VERIFY, SECOND, LOCAL) == "9000"
    assert send(card, FDN) == "66649000"


def test_attempts_left_are_told_without_data_and_without_spending_one(card: UiccCard) -> None:
    select(card, USIM)
    assert [pin(card, VERIFY, one) for one in (FIRST, SECOND, 0x82, 0x0A)] == ["63C3", "63C3", "6A88", "6A88"]
    assert [pin(card, UNBLOCK, one) for one in (FIRST, FIXED)] == ["63CA", "6A88"]
    assert pin(card, VERIFY, FIRST, WRONG) == "63C2"
    assert pin(card, VERIFY, FIRST) == "63C2"


def test_a_wrong_value_ends_a_verification(card: UiccCard) -> None:
    select(card, USIM)
    pin(card, VERIFY, FIRST, CODE)
    assert pin(card, VERIFY, FIRST, WRONG) == "63C2"
    assert send(card, IMSI) == "6982"


def test_a_blocked_pin_needs_its_puk_and_a_blocked_puk_is_the_end(card: UiccCard) -> None:
    select(card, USIM)
    assert [pin(card, CHANGE, FIRST, WRONG, NEW) for _ in range(3)] == ["63C2", "63C1", "63C0"]
    for ins, values in ((VERIFY, (CODE,)), (CHANGE, (CODE, NEW)), (DISABLE, (CODE,)), (ENABLE, (CODE,))):
        assert pin(card, ins, FIRST, *values) == "6983"
    assert pin(card, UNBLOCK, FIRST, PUK, NEW) == "9000"
    assert send(card, IMSI) == "696D9000"
    assert pin(card, VERIFY, FIRST, NEW) == "9000"
    assert [pin(card, UNBLOCK, FIRST, WRONG, CODE) for _ in range(10)][-1] == "63C0"
    assert pin(card, UNBLOCK, FIRST, PUK, CODE) == "6983"
    card.power_on()
    assert pin(card, UNBLOCK, FIRST) == "6983"
    assert pin(card, VERIFY, FIRST, NEW) == "9000"  # the new value lasts


def test_the_universal_pin_stands_in_for_a_disabled_one(card: UiccCard) -> None:
    select(card, USIM)
    assert pin(card, DISABLE, FIRST, CODE, p1=0x91) == "9000"
    card.reset()
    select(card, USIM)
    assert pin(card, VERIFY, FIRST, CODE) == "6984"
    assert send(card, IMSI) == "6982"
    assert pin(card, VERIFY, STAND_IN, UNIVERSAL) == "9000"
    assert send(card, IMSI) == "696D9000"
    assert pin(card, ENABLE, FIRST, CODE) == "9000"
    card.reset()
    select(card, USIM)
    pin(card, VERIFY, STAND_IN, UNIVERSAL)
    assert send(card, IMSI) == "6982"


def test_the_application_tells_whether_the_universal_pin_stands_in(card: UiccCard) -> None:
    assert "C60F9001E0 830101 830181 950100 830111".replace(" ", "") in send(card, f"00A404040C{USIM}00")
    pin(card, DISABLE, FIRST, CODE, p1=0x91)
    assert "C60F900160 830101 830181 950108 830111".replace(" ", "") in send(card, f"00A404040C{USIM}00")


def test_a_pin_that_is_disabled_for_good_opens_its_files(card: UiccCard) -> None:
    select(card, USIM)
    assert pin(card, DISABLE, FIRST, CODE) == "9000"
    card.reset()
    select(card, USIM)
    assert send(card, IMSI) == "696D9000"


def test_only_an_enabled_universal_pin_stands_in() -> None:
    card = make_card(stand_in=6)
    assert pin(card, DISABLE, FIRST, CODE, p1=0x91) == "6985"
    assert pin(card, DISABLE, FIRST, CODE, p1=0x85) == "6A88"
    assert pin(card, DISABLE, FIRST, CODE, p1=0x01) == "6A86"
    assert pin(card, ENABLE, FIRST, CODE, p1=0x91) == "6A86"
    assert pin(card, VERIFY, FIRST) == "63C3"  # none of them spent an attempt


def test_a_profile_may_forbid_changes(card: UiccCard) -> None:
    select(card, USIM)
    assert pin(card, CHANGE, FIXED, CODE, NEW) == "6985"
    assert pin(card, DISABLE, FIXED, CODE) == "6985"
    assert pin(card, CHANGE, SECOND, LOCAL, NEW) == "9000"
    assert pin(card, DISABLE, SECOND, NEW) == "6985"
    assert pin(card, VERIFY, FIXED) == "63C3"


def test_terminating_the_application_ends_its_verification(card: UiccCard) -> None:
    select(card, USIM)
    pin(card, VERIFY, FIRST, CODE)
    send(card, "0070000001")
    select(card, USIM, cla=1)
    assert send(card, f"00A4044C0C{USIM}") == "9000"
    assert send(card, "01B0870002") == "696D9000"  # it is still active on channel 1
    assert send(card, f"01A4044C0C{USIM}") == "9000"
    select(card, USIM)
    assert send(card, IMSI) == "6982"


def test_a_verified_user_is_known_on_all_channels(card: UiccCard) -> None:
    select(card, USIM)
    assert send(card, "0070001300") == "9000"
    select(card, ISIM, cla=0x4F)
    assert send(card, "4FB0820002") == "6982"
    pin(card, VERIFY, FIRST, CODE)
    assert send(card, "4FB0820002") == "69739000"


def test_pin_commands_count_before_they_compare(card: UiccCard) -> None:
    for ins, values in ((VERIFY, (CODE,)), (CHANGE, (CODE, NEW)), (DISABLE, (CODE,)), (UNBLOCK, (PUK, NEW))):
        card = make_card()
        card.nvm.cut_before = card.nvm.writes + 1  # after the counter, before the result
        with pytest.raises(PowerLost):
            pin(card, ins, FIRST, *values)
        card.power_on()
        assert pin(card, UNBLOCK if ins == UNBLOCK else VERIFY, FIRST) == ("63C9" if ins == UNBLOCK else "63C2")


STEPS = st.lists(
    st.tuples(st.sampled_from([VERIFY, CHANGE, DISABLE, ENABLE, UNBLOCK]), st.sampled_from([CODE, NEW, PUK, WRONG])),
    max_size=14,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_whatever_is_tried_the_counters_tell_the_truth(steps: Sequence[tuple[int, bytes]]) -> None:
    card = make_card()
    value, left, puk_left, enabled = CODE, 3, 10, True
    for ins, tried in steps:
        if ins == UNBLOCK:
            answer = pin(card, ins, FIRST, tried, NEW)
            if puk_left == 0:
                expected = "6983"
            elif tried == PUK:
                value, left, puk_left, enabled, expected = NEW, 3, 10, True, "9000"
            else:
                puk_left -= 1
                expected = f"63C{puk_left:X}"
        else:
            answer = pin(card, ins, FIRST, tried, *((NEW,) if ins == CHANGE else ()))
            if left == 0:
                expected = "6983"
            elif ins in (VERIFY, CHANGE) and not enabled:
                expected = "6984"
            elif (ins == ENABLE and enabled) or (ins == DISABLE and not enabled):
                expected = "6985"
            elif tried != value:
                left -= 1
                expected = f"63C{left}"
            else:
                left, expected = 3, "9000"
                value = NEW if ins == CHANGE else value
                enabled = ins == ENABLE if ins in (ENABLE, DISABLE) else enabled
        assert answer == expected
