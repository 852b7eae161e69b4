"""File commands byte by byte: records, searches, counters, life cycle, BER-TLV objects (TS 102 221 11.1, 11.3)."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_drivers.sim.fcp import MF, FileHeader
from esim_drivers.sim.filesystem import file_key
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.personality import STANDARD, personality
from esim_drivers.sim.pins import Pin, pin_key
from esim_drivers.sim.uicc_card import UiccCard

ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
# 1: read and update by anybody. 2: read by anybody, INCREASE by PIN1. 3: all but update, (de)activation by ADM1.
RULES = ["8001039000", "8001019000 840132A406830101950108", "8001019000 800118A40683010A950108"]
ARR = b"".join(bytes.fromhex(rule.replace(" ", "")).ljust(24, b"\xff") for rule in RULES)
PIN1, ADM1 = "30303030FFFFFFFF", "3535353535353535"
NAMES = b"anna.bob..carl.anna.dora."


def arr(record: int) -> bytes:
    return b"\x2f\x06" + bytes((record,))


def make_card(name: str = "standard") -> UiccCard:
    nvm = Nvm()
    for path, header, content in (
        ((MF,), FileHeader("df", MF, arr=arr(1)), b""),
        ((MF, 0x2F06), FileHeader("linear", 0x2F06, size=72, record_length=24, arr=arr(1)), ARR),
        ((MF, 0x6F01), FileHeader("transparent", 0x6F01, size=10, sfi=1, arr=arr(1)), bytes(range(10))),
        ((MF, 0x6F02), FileHeader("linear", 0x6F02, size=25, record_length=5, sfi=2, arr=arr(1)), NAMES),
        ((MF, 0x6F03), FileHeader("cyclic", 0x6F03, size=9, record_length=3, sfi=3, arr=arr(2)), bytes(9)),
        ((MF, 0x6F04), FileHeader("transparent", 0x6F04, size=4, sfi=4, arr=arr(3)), b"abcd"),
        ((MF, 0x6F05), FileHeader("ber-tlv", 0x6F05, size=700, sfi=5, arr=arr(1)), b""),
        ((MF, 0x6F07), FileHeader("transparent", 0x6F07, size=4, sfi=7, arr=arr(3), life_cycle=0x0C), b"abcd"),
        ((MF, 0x7F10), FileHeader("df", 0x7F10, arr=arr(1)), b""),
        ((MF, 0x7F10, 0x6F08), FileHeader("transparent", 0x6F08, size=4, arr=arr(3), link=(MF, 0x6F04)), b""),
    ):
        nvm.put(file_key(ISDP, path), header.encode() + content)
    nvm.put(pin_key(ISDP, (MF,), 1), Pin(b"0000\xff\xff\xff\xff", 7, 0, 3, 3).encode())
    nvm.put(pin_key(ISDP, (MF,), 10), Pin(b"55555555", 7, 0, 10, 10).encode())
    nvm.put("euicc/enabled", ISDP)
    card = UiccCard(personality(name), nvm)
    card.power_on()
    return card


@pytest.fixture
def card() -> UiccCard:
    return make_card()


def send(card: UiccCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


def check(card: UiccCard, dialogue: Sequence[tuple[str, str]]) -> None:
    """Send commands one after the other: (command, answer)."""
    for index, (command, answer) in enumerate(dialogue):
        assert (index, command, send(card, command)) == (index, command, answer.replace(" ", "").upper())


# ------------------------------------------------------------------------------------------------------------- records


def test_records_are_read_and_updated_in_all_modes(card: UiccCard) -> None:
    check(
        card,
        [
            ("00A4000C026F02", "9000"),
            ("00B2000405", "6A83"),  # no current record yet
            ("00B2000205", f"{b'anna.'.hex()}9000"),  # next: the first
            ("00B2000205", f"{b'bob..'.hex().upper()}9000"),
            ("00B2000405", f"{b'bob..'.hex().upper()}9000"),  # the current one
            ("00DC000205 4D4152492E", "9000"),  # next
            ("00B2030405", "4D4152492E9000"),
            ("00DC000305 4241424121", "9000"),  # previous: the second
            ("00B2020405", "42414241219000"),
            ("00DC000404 42414241", "6700"),
            ("00DC000605 4241424121", "6A86"),  # no such mode
            ("00DC060405 4241424121", "6A83"),
            ("00DC010205 4241424121", "6A86"),  # next needs P1 00
            ("00DC0514054545454545", "9000"),  # by short identifier
            ("00B2050405", "45454545459000"),
            ("00B2050C05", "6981"),  # SFI 1 is transparent
            ("00B205F405", "6A82"),
        ],
    )


def test_a_wrong_length_moves_no_pointer(card: UiccCard) -> None:
    check(
        card,
        [
            ("00A4000C026F02", "9000"),
            ("00B2000205", f"{b'anna.'.hex()}9000"),
            ("00DC0002020000", "6700"),
            ("00B2000405", f"{b'anna.'.hex()}9000"),
            ("00A4000C026F02", "9000"),
            ("00D68100 0B 0000000000000000000000", "6700"),  # SFI 1, too long: EF 6F02 stays current
            ("00B2010405", f"{b'anna.'.hex()}9000"),
        ],
    )


def test_offsets_of_transparent_files(card: UiccCard) -> None:
    check(
        card,
        [
            ("00B0810802", "08099000"),
            ("00B0000902", "6C01"),
            ("00B0000A01", "6B00"),
            ("00D6000902AABB", "6700"),
            ("00D6000901AA", "9000"),
            ("00B0000901", "AA9000"),
            ("00B0C10001", "6A86"),
            ("00B2010400", "6981"),
            ("00A4000C027F10", "9000"),
            ("00B0000001", "6986"),  # no EF is selected any more
            ("00D6000001AA", "6986"),
        ],
    )


# -------------------------------------------------------------------------------------------------------------- search


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("00A2011404 616E6E61 00", "01049000"),  # forward from record 1
        ("00A2021404 616E6E61 00", "049000"),
        ("00A2041504 616E6E61 00", "04019000"),  # backward from record 4
        ("00A2031503 626F62 00", "029000"),
        ("00A2011404 7A7A7A7A 00", "6282"),
        ("00A2061404 616E6E61 00", "6A83"),  # no such record
        ("00A2001404 616E6E61 00", "6A83"),  # no current record
        ("00A2011406 616E6E612E2E 00", "6700"),  # longer than a record
        ("00A2011702 6161 00", "6A86"),
        ("00A2010C02 6161 00", "6981"),
        ("00A201F402 6161 00", "6A82"),
        ("00A2011603 04002E 00", "01020304059000"),  # enhanced, from an offset
        ("00A2011604 0404612E 00", "6700"),
        ("00A2011604 0403612E 00", "0104059000"),
        ("00A2011604 0C6E6E61 00", "01049000"),  # from the first n on
        ("00A2051604 0D6F72 61 00", "059000"),  # backward
        ("00A2001603 06002E 00", "01020304059000"),  # after the current one, of which there is none
        ("00A2001603 07002E 00", "05040302019000"),
        ("00A2011603 06002E 00", "6A86"),
        ("00A2011603 03002E 00", "6A80"),
        ("00A2011602 0400 00", "6700"),
    ],
)
def test_search_record(card: UiccCard, command: str, answer: str) -> None:
    assert send(card, command) == answer


def test_what_is_found_is_the_current_record(card: UiccCard) -> None:
    check(
        card,
        [
            ("00A4000C026F02", "9000"),
            ("00A2020404616E6E6100", "049000"),
            ("00B2000405", f"{b'anna.'.hex()}9000"),
            ("00A2000603 07002E 00", "0302019000"),  # the ones before it
        ],
    )


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=3), st.integers(1, 5), st.booleans())
def test_a_search_finds_just_what_contains_the_string(wanted: bytes, start: int, backward: bool) -> None:
    records = [NAMES[at : at + 5] for at in range(0, 25, 5)]
    numbers = range(start, 0, -1) if backward else range(start, 6)
    expected = bytes(number for number in numbers if wanted in records[number - 1]).hex().upper()
    answer = send(CARD, f"00A2{start:02X}{0x15 if backward else 0x14:02X}{len(wanted):02X}{wanted.hex()}00")
    assert answer == (f"{expected}9000" if expected else "6282")


CARD = make_card()


# ------------------------------------------------------------------------------------------------------------ increase


def test_a_counter_is_increased_with_its_key(card: UiccCard) -> None:
    check(
        card,
        [
            ("8032830003 000001 00", "6982"),
            ("00DC001B03 000001", "6982"),  # UPDATE is allowed to nobody
            (f"0020000108 {PIN1}", "9000"),
            ("0032830003 000001 00", "6E00"),
            ("8032830003 000001 00", "000001 000001 9000"),
            ("8032000002 00FF 00", "000100 00FF 9000"),  # now the current file
            ("00B2010403", "0001009000"),
            ("00B2020403", "0000019000"),
            ("00B2030403", "0000009000"),
            ("8032000003 FFFFFF 00", "9850"),  # it does not fit
            ("00B2010403", "0001009000"),
            ("8032000004 00000001 00", "6700"),
            ("8032000000", "6700"),
            ("8032000103 000001 00", "6A86"),
            ("8032810003 000001 00", "6981"),
            ("80329E0003 000001 00", "6A82"),
        ],
    )


def test_a_counter_survives_a_power_cut_whole(card: UiccCard) -> None:
    send(card, f"0020000108 {PIN1}")
    send(card, "8032830003 000005 00")
    card.nvm.cut_before = card.nvm.writes
    with pytest.raises(PowerLost):
        send(card, "8032830003 000005 00")
    card.power_on()
    assert [send(card, f"00B20{n}1C03") for n in (1, 2, 3)] == ["0000059000", "0000009000", "0000009000"]


# ---------------------------------------------------------------------------------------------------------- life cycle


def test_a_deactivated_file_is_selected_with_a_warning_and_not_used(card: UiccCard) -> None:
    check(
        card,
        [
            ("00A4000C026F04", "9000"),
            ("00040000", "6982"),
            (f"0020000A08 {ADM1}", "9000"),
            ("00040000", "9000"),
            ("00B0000004", "6984"),
            ("00B0840004", "6984"),
            ("00A4000C026F04", "6283"),
            ("00A4080C047F106F08", "6283"),  # a link to it
            ("00B0000004", "6984"),
        ],
    )
    described = send(card, "00A40804026F0400")
    assert "8A0104" in described
    assert described.endswith("6283")
    card.reset()
    check(
        card,
        [
            ("00A4000C026F04", "6283"),
            ("00440000", "6982"),
            (f"0020000A08 {ADM1}", "9000"),
            ("0044000002 6F04", "9000"),
            ("00B0000004", "616263649000"),
            ("0004080004 3F006F04", "6A82"),
            ("0004080002 6F04", "9000"),
            ("0044090002 6F04", "9000"),
            ("0004000002 7F10", "6981"),
            ("0004000002 6FFF", "6A82"),
            ("0004000001 6F", "6700"),
            ("00040100", "6A86"),
            ("00040001", "6A86"),
        ],
    )


def test_t0_tells_the_warning_after_the_data() -> None:
    card = make_card("4ff")
    send(card, f"0020000A08 {ADM1}")
    assert send(card, "0004000002 6F04") == "9000"
    sw = send(card, "00A40004026F04")
    assert sw[:2] == "61"
    assert send(card, f"00C00000{sw[2:]}").endswith("6283")


def test_a_terminated_file_says_so(card: UiccCard) -> None:
    check(card, [("00A4000C026F07", "6285"), ("00B0000001", "6984")])


# ------------------------------------------------------------------------------------------------------------- BER-TLV


def test_objects_are_set_retrieved_replaced_and_deleted(card: UiccCard) -> None:
    check(
        card,
        [
            ("80DB008505 5A03010203", "9000"),
            ("80DB008004 DF0101AA", "9000"),  # now the current file
            ("80CB008001 5A 00", "5A030102039000"),
            ("80CB008002 DF01 00", "DF0101AA9000"),
            ("80DB008003 5A01FF", "9000"),
            ("80CB008001 5A 00", "5A01FF9000"),
            ("80DB008001 5A", "9000"),  # a tag alone deletes
            ("80CB008001 5A 00", "6A88"),
            ("80DB008001 5A", "6A88"),
            ("80DB008002 DF01", "9000"),
            ("80CB008001 5B 00", "6A88"),
            ("80DB008004 5A01FF00", "6A80"),  # more than the object
            ("80DB008003 5A8201", "6A80"),
            ("80DB00800 55A820400FF", "6A84"),  # 1024 bytes do not fit
            ("80DB000003 5A01FF", "6985"),  # no first block
            ("80CB000000", "6985"),
            ("80CB018001 5A 00", "6A86"),
            ("80CB00A001 5A 00", "6A86"),
            ("80CB008101 5A 00", "6981"),
            ("80CB009E01 5A 00", "6A82"),
            ("00CB008001 5A 00", "6E00"),
        ],
    )


def test_long_objects_travel_in_blocks(card: UiccCard) -> None:
    value = bytes(index & 0xFF for index in range(600))
    whole = bytes.fromhex("5A820258") + value
    assert send(card, f"80DB0085FF {whole[:255].hex()}") == "63F1"
    assert send(card, f"80DB0000FF {whole[255:510].hex()}") == "63F1"
    assert send(card, "80CB008001 5A 00") == "6A88"  # not before its last block
    assert send(card, f"80DB00005E {whole[510:].hex()}") == "6985"  # what came in between ended the transfer
    for at, how in ((0, "80"), (255, "00"), (510, "00")):
        block = whole[at : at + 255]
        answer = send(card, f"80DB00{how}{len(block):02X}{block.hex()}")
        assert answer == ("9000" if at == 510 else "63F1")
    received, command = b"", "80CB008001 5A 00"
    for sw in ("62F1", "62F1", "9000"):
        answer = send(card, command)
        assert answer.endswith(sw)
        received += bytes.fromhex(answer[:-4])
        command = "80CB000000"
    assert received == whole
    assert send(card, "80CB000000") == "6985"


def test_a_transfer_ends_with_the_reset(card: UiccCard) -> None:
    assert send(card, "80DB008504 5A050102") == "63F1"
    card.reset()
    assert send(card, "80DB000503 030405") == "6985"


def test_the_simulated_uicc_announces_ber_tlv_files() -> None:
    assert STANDARD.supports("ber-tlv")
