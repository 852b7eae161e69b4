"""A UICC on the wire: selection, channels, the manners of T=0 and T=1, proactive commands, and any bytes at all."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec.apdu import Command
from esim_bench.codec.atr import Atr
from esim_bench.errors import CodecError, ConfigError
from esim_drivers.sim.application import Reply
from esim_drivers.sim.fcp import MF, FileHeader
from esim_drivers.sim.filesystem import file_key
from esim_drivers.sim.nvm import Nvm, PowerLost
from esim_drivers.sim.personality import STANDARD, Personality, bit_string, personality
from esim_drivers.sim.pins import Pin, pin_key
from esim_drivers.sim.uicc_card import UiccCard

ISDP = bytes.fromhex("A0000005591010FFFFFFFF8900001000")
USIM = bytes.fromhex("A0000000871002FF49FF0589")
ISIM = bytes.fromhex("A0000000871004FF49FF0589")
STUB = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
ARR = bytes.fromhex("8001019000800102A40683010A950108").ljust(20, b"\xff") + bytes.fromhex(
    "800103A406830101950108"
).ljust(20, b"\xff")
READABLE, WITH_PIN = bytes.fromhex("2F0601"), bytes.fromhex("2F0602")
ICCID = bytes.fromhex("98001032547698103214")


class Stub:
    """An application that answers with as many bytes as it is told, and remembers what happened to it."""

    def __init__(self) -> None:
        self.happened: list[str] = []

    aid = STUB

    def select(self, channel: int) -> Reply:
        self.happened.append(f"select {channel}")
        return Reply(bytes.fromhex("6F128410") + STUB)

    def process(self, command: Command, channel: int) -> Reply:
        self.happened.append(f"{command.cla:02X}{command.ins:02X} on {channel}")
        if command.ins == 0xE2:
            return Reply(bytes(index & 0xFF for index in range(int.from_bytes(command.data, "big"))), seconds=0.5)
        if command.ins == 0xCA:
            return Reply(b"\x5a\x01\x00")
        raise CodecError("nothing that this stub knows")

    def deselect(self, channel: int) -> None:
        self.happened.append(f"deselect {channel}")

    def reset(self) -> None:
        self.happened.append("reset")


def make_card(made: Personality = STANDARD, *, profile: bool = True) -> UiccCard:
    nvm = Nvm()
    for path, header, content in (
        ((MF,), FileHeader("df", MF, arr=READABLE, pins=b"\x01\x0a"), b""),
        ((MF, 0x2F06), FileHeader("linear", 0x2F06, size=40, record_length=20, sfi=6, arr=READABLE), ARR),
        ((MF, 0x2FE2), FileHeader("transparent", 0x2FE2, size=10, sfi=2, arr=READABLE), ICCID),
        ((MF, 0x2F00), FileHeader("linear", 0x2F00, size=6, record_length=2, sfi=30, arr=READABLE), b"aabbcc"),
        ((MF, 0x7F10), FileHeader("df", 0x7F10, arr=READABLE), b""),
        ((MF, 0x7F10, 0x6F01), FileHeader("transparent", 0x6F01, size=600, arr=READABLE), bytes(600)),
        ((MF, 0x7F10, 0x6F02), FileHeader("cyclic", 0x6F02, size=6, record_length=2, arr=WITH_PIN), b"112233"),
        ((MF, 0x7FD0), FileHeader("adf", 0x7FD0, aid=USIM, arr=READABLE), b""),
        ((MF, 0x7FD0, 0x6F07), FileHeader("transparent", 0x6F07, size=9, sfi=7, arr=WITH_PIN), b"imsi56789"),
        ((MF, 0x7FD1), FileHeader("adf", 0x7FD1, aid=ISIM, arr=READABLE), b""),
    ):
        nvm.put(file_key(ISDP, path), header.encode() + content)
    nvm.put(pin_key(ISDP, (MF,), 1), Pin(b"0000\xff\xff\xff\xff", 7, 0, 3, 3).encode())
    nvm.put(pin_key(ISDP, (MF,), 10), Pin(b"55555555", 7, 0, 10, 10).encode())
    if profile:
        nvm.put("euicc/enabled", ISDP)
    card = UiccCard(made, nvm)
    card.add_applications([Stub()])
    card.power_on()
    return card


@pytest.fixture
def card() -> UiccCard:
    """A card with T=1 manners."""
    return make_card()


@pytest.fixture
def t0() -> UiccCard:
    return make_card(personality("4ff"))


def send(card: UiccCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command.replace(" ", "")))[0].hex().upper()


def all_of(card: UiccCard, command: str) -> tuple[str, str]:
    """Send a command as a good T=0 and T=1 terminal does: (data, SW)."""
    answer = send(card, command)
    if answer[-4:-2] == "6C":
        answer = send(card, command.replace(" ", "")[:8] + answer[-2:])
    data = answer[:-4]
    while answer[-4:-2] == "61":
        answer = send(card, f"{int(command[:2], 16) & 0x4F:02X}C00000{answer[-2:]}")
        data += answer[:-4]
    return data, answer[-4:]


# --------------------------------------------------------------------------------------------------------------- power


def test_the_atr_tells_the_protocol(card: UiccCard, t0: UiccCard) -> None:
    assert Atr.parse(card.reset()).default_protocol == 1
    assert Atr.parse(t0.power_on()).default_protocol == 0


def test_a_card_without_power_is_silent(card: UiccCard) -> None:
    card.power_off()
    with pytest.raises(PowerLost):
        card.transmit(bytes.fromhex("00A40004023F00"))
    with pytest.raises(PowerLost):
        card.reset()
    assert card.power_on()
    assert send(card, "00A4000C023F00") == "9000"


def test_a_reset_forgets_ram_and_keeps_memory(card: UiccCard) -> None:
    assert send(card, "0020000108 30303030FFFFFFFF") == "9000"
    assert send(card, "00A4000C027F10") == "9000"
    assert send(card, "0070000001") == "019000"
    card.reset()
    assert send(card, "00A4000C026F01") == "6A82"  # the MF is the current directory again
    assert send(card, "01A4000C023F00") == "6881"
    assert all_of(card, "00A4040C0C" + USIM.hex())[1] == "9000"
    assert send(card, "00B0870000") == "6982"


def test_the_power_may_go_in_the_middle_of_a_command(card: UiccCard) -> None:
    assert send(card, "00A4000C023F00") == "9000"
    card.nvm.cut_before = card.nvm.writes + 1
    with pytest.raises(PowerLost):  # the attempt is counted, then the power goes
        card.transmit(bytes.fromhex("002000010830303030FFFFFFFF"))
    with pytest.raises(PowerLost):
        card.transmit(bytes.fromhex("00A4000C023F00"))
    card.power_on()
    assert send(card, "00200001") == "63C2"


# -------------------------------------------------------------------------------------------------------------- SELECT


@pytest.mark.parametrize(
    ("command", "sw"),
    [
        ("00A4000C023F00", "9000"),
        ("00A4000C022FE2", "9000"),
        ("00A4080C047F106F01", "9000"),  # path from the MF
        ("00A4080C022FE2", "9000"),
        ("00A4090C022FE2", "9000"),  # path from the current DF
        ("00A4010C027F10", "9000"),
        ("00A4010C022FE2", "6A82"),  # not a DF
        ("00A4030C", "6A82"),  # the MF has no parent
        ("00A4000C027FFF", "6A82"),  # no application yet
        ("00A4000C027FD0", "6A82"),  # an ADF is not selected by its temporary identifier
        ("00A4000C026F99", "6A82"),
        ("00A4000C013F", "6700"),
        ("00A4000C043F002FE2", "6700"),
        ("00A4080C043F002FE2", "6A80"),
        ("00A4050C023F00", "6A86"),
        ("00A40010023F00", "6A86"),
        ("00A4040C05A000000099", "6A82"),
        ("00A4040C11" + 17 * "A0", "6700"),
    ],
)
def test_select_answers(card: UiccCard, command: str, sw: str) -> None:
    assert send(card, command) == sw


def test_select_returns_fcp_fci_or_nothing(card: UiccCard) -> None:
    fcp = send(card, "00A40004022FE200")
    assert fcp.startswith("62")
    assert "83022FE2" in fcp
    assert "8002000A" in fcp
    assert "880110" in fcp
    assert send(card, "00A40000022FE200").startswith("6F")
    assert send(card, "00A4000C022FE2") == "9000"
    mf = send(card, "00A40004023F0000")
    assert "C6099001C083010183010A" in mf  # PIN1 and ADM1, both enabled


def test_applications_are_selected_by_the_beginning_of_their_names(card: UiccCard) -> None:
    for which, found in ((0x04, USIM), (0x06, ISIM), (0x07, USIM), (0x05, ISIM), (0x04, USIM)):
        answer = send(card, f"00A404{which:02X}05A00000008700")
        assert found.hex().upper() in answer
    assert send(card, "00A4040605A00000008700").endswith("9000")
    assert send(card, "00A4040605A000000087") == "6A82"  # no third one
    assert send(card, "00A4000C027FFF") == "9000"
    assert send(card, "00A4044C05A000000087") == "6985"  # termination of what is not selected
    assert send(card, "00A4044C0C" + ISIM.hex()) == "9000"
    assert send(card, "00A4000C027FFF") == "6A82"


def test_files_of_an_application_are_seen_as_7fff(card: UiccCard) -> None:
    send(card, "00A4040C0C" + USIM.hex())
    send(card, "0020000108 30303030FFFFFFFF")
    assert send(card, "00A4080C022FE2") == "9000"
    assert send(card, "00A4080C047FFF6F07") == "9000"
    assert bytes.fromhex(send(card, "00B0000000"))[:-2] == b"imsi56789"
    assert send(card, "00A4030C") == "9000"


def test_without_an_enabled_profile_only_the_mf_and_the_applications_are_there() -> None:
    card = make_card(profile=False)
    assert send(card, "00A40004023F0000").startswith("62")
    assert send(card, "00A4000C022FE2") == "6A82"
    assert send(card, "00A4040C07A0000000871002") == "6A82"
    assert send(card, "00A4040C10" + STUB.hex()) == "9000"
    assert send(card, "00CA005A03") == "5A01009000"
    assert send(card, "00A4000C023F00") == "9000"
    assert send(card, "00200001") == "6A88"


# -------------------------------------------------------------------------------------------------------- READ, UPDATE


def test_read_binary_by_offset_and_by_short_identifier(card: UiccCard) -> None:
    assert send(card, "00B0000000") == "6986"
    send(card, "00A4000C022FE2")
    assert send(card, "00B0000000") == ICCID.hex() + "9000"
    assert send(card, "00B0000802") == "32149000"
    assert send(card, "00B0000803") == "6C02"
    assert send(card, "00B0000A01") == "6B00"
    assert send(card, "00B0820402") == ICCID[4:6].hex() + "9000"
    assert send(card, "00B0830000") == "6A82"
    assert send(card, "00B0A20000") == "6A86"
    assert send(card, "00B0860000") == "6981"  # EF.ARR has records


def test_a_long_file_is_read_in_pieces(card: UiccCard) -> None:
    send(card, "00A4080C047F106F01")
    assert len(send(card, "00B0000000")) == 2 * 258
    assert len(send(card, "00B0020000")) == 2 * (600 - 512 + 2)


def test_read_record_absolute_next_previous_and_by_short_identifier(card: UiccCard) -> None:
    assert send(card, "00B201F402") == "61619000"
    assert send(card, "00B2020402") == "62629000"
    assert send(card, "00B2000402") == "6A83"  # no current record yet
    assert send(card, "00B2000202") == "61619000"
    assert send(card, "00B2000202") == "62629000"
    assert send(card, "00B2000402") == "62629000"
    assert send(card, "00B2000302") == "61619000"
    assert send(card, "00B2000302") == "6A83"
    assert send(card, "00B2040402") == "6A83"
    assert send(card, "00B2010403") == "6C02"
    assert send(card, "00B2010500") == "6A86"
    assert send(card, "00B0000000") == "6981"


def test_updates_need_their_key_and_are_one_write_each(card: UiccCard) -> None:
    send(card, "00A4000C022FE2")
    assert send(card, "00D6000001AA") == "6982"
    assert send(card, "0020000A083535353535353535") == "9000"
    before = card.nvm.writes
    assert send(card, "00D6000202AABB") == "9000"
    assert card.nvm.writes == before + 1
    assert send(card, "00B0000005") == "9800AABB54" + "9000"
    assert send(card, "00D6000902AABB") == "6700"
    assert send(card, "00DC01F4024142") == "9000"
    assert send(card, "00DC010403414243") == "6700"
    assert send(card, "00B2010402") == "41429000"
    card.reset()
    assert send(card, "00B2 01F402") == "41429000"


def test_a_cyclic_file_turns(card: UiccCard) -> None:
    send(card, "00A4080C047F106F02")
    assert send(card, "00DC0003023434") == "6982"
    send(card, "0020000108 30303030FFFFFFFF")
    assert send(card, "00DC0003023434") == "9000"
    assert [send(card, f"00B20{n}0402")[:4] for n in (1, 2, 3)] == ["3434", "3131", "3232"]
    assert send(card, "00DC0104023434") == "6981"
    assert send(card, "00B2000302")[:4] == "3232"  # before the first comes the last


def test_verify_counts_down_and_blocks(card: UiccCard) -> None:
    assert send(card, "00200001") == "63C3"
    assert send(card, "0020000108 3131313131313131") == "63C2"
    assert send(card, "0020000107 31313131313131") == "6700"
    assert send(card, "0020000508 3131313131313131") == "6A88"
    assert send(card, "0020010108 3131313131313131") == "6A86"
    assert send(card, "0020000108 3131313131313131") == "63C1"
    assert send(card, "0020000108 3131313131313131") == "63C0"
    assert send(card, "0020000108 30303030FFFFFFFF") == "6983"


# ------------------------------------------------------------------------------------------------------------ channels


def test_channels_have_selections_of_their_own(card: UiccCard) -> None:
    assert send(card, "0070000001") == "019000"
    assert send(card, "0070000300") == "9000"  # a chosen one: nothing to tell
    assert send(card, "0070000300") == "6A86"
    assert send(card, "0070000001") == "029000"
    assert send(card, "0070000001") == "6A81"  # four in all
    assert send(card, "0070000500") == "6881"
    assert send(card, "00A4000C027F10") == "9000"
    assert send(card, "01A4000C026F01") == "6A82"
    assert send(card, "00A4000C026F01") == "9000"
    assert send(card, "03A4040C10" + STUB.hex()) == "9000"
    assert send(card, "83CA005A03") == "5A01009000"
    assert send(card, "80CA005A03") == "6D00"
    assert send(card, "00708003") == "9000"
    assert send(card, "00708003") == "6200"
    assert send(card, "03A4000C023F00") == "6881"
    assert send(card, "00708000") == "6A86"
    assert send(card, "02708000") == "9000"  # its own
    assert send(card, "02A4000C023F00") == "6881"


def test_channels_above_three_have_another_class() -> None:
    card = make_card(personality("isim"))
    assert send(card, "0070001300") == "9000"
    assert send(card, "4FA4040C10" + STUB.hex()) == "9000"
    assert send(card, "CFCA005A03") == "5A01009000"
    assert send(card, "40A4000C023F00") == "6881"
    assert send(card, "4F708013") == "9000"


def test_an_application_hears_what_happens_to_it(card: UiccCard) -> None:
    stub = card.uicc.applications[0]
    assert isinstance(stub, Stub)
    stub.happened.clear()
    send(card, "00A4040C10" + STUB.hex())
    send(card, "80CA005A03")
    send(card, "00A4000C023F00")
    send(card, "0070000001")
    send(card, "01A4040C10" + STUB.hex())
    assert send(card, "01B0000000") == "6F00"  # it failed at that
    send(card, "00708001")
    card.reset()
    assert stub.happened == [
        "select 0",
        "80CA on 0",
        "deselect 0",
        "select 1",
        "00B0 on 1",
        "deselect 1",
        "reset",
    ]


# ----------------------------------------------------------------------------------------------------------- transport


def test_t0_announces_data_and_wants_the_right_length(t0: UiccCard) -> None:
    sw = send(t0, "00A40004022FE2")
    assert sw.startswith("61")
    length = sw[2:]
    assert send(t0, "00C00000FF") == f"6C{length}"
    assert send(t0, f"00C00000{length}").endswith("9000")
    assert send(t0, f"00C00000{length}") == "6985"
    assert send(t0, "00B0000000") == "6C0A"
    assert send(t0, "00B000000A") == ICCID.hex() + "9000"
    assert send(t0, "0070000000") == "6C01"
    assert send(t0, "0070000001") == "019000"  # the one that 6C01 was about, not a second one
    assert send(t0, "0070000001") == "029000"


def test_t0_with_le_in_case_4_is_the_same(t0: UiccCard) -> None:
    assert send(t0, "00A40004022FE200")[:2] == "61"


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_long_answers_come_in_pieces_of_256(protocol: int, size: int) -> None:
    card = make_card(replace(STANDARD, protocol=protocol))
    send(card, "00A4040C10" + STUB.hex())
    expected = bytes(index & 0xFF for index in range(size)).hex().upper()
    for le in ("", "00"):
        assert all_of(card, f"80E2910002{size:04X}{le}") == (expected, "9000")


def test_t1_gives_data_at_once_when_le_asks_for_it(card: UiccCard) -> None:
    send(card, "00A4040C10" + STUB.hex())
    assert send(card, "80E29100020003") == "6103"
    assert send(card, "00C0000003") == "0001029000"
    assert send(card, "80E2910002000300") == "0001029000"
    assert send(card, "80E29100020104" + "00")[-4:] == "6104"


def test_any_other_command_drops_the_answer(t0: UiccCard) -> None:
    send(t0, "00A40004022FE2")
    send(t0, "00200001")
    assert send(t0, "00C0000001") == "6985"


def test_get_response_belongs_to_its_channel(t0: UiccCard) -> None:
    send(t0, "0070000001")
    sw = send(t0, "01A40004023F00")
    assert send(t0, f"00C00000{sw[2:]}") == "6985"
    assert send(t0, f"81C00000{sw[2:]}").endswith("9000")  # of either class


def test_time_is_made_of_command_bytes_and_writes() -> None:
    made = replace(STANDARD, byte_seconds=0.001, write_seconds=1.0, ins_seconds=((0xD6, 10.0),), default_seconds=0.0)
    card = make_card(made)
    assert card.transmit(bytes.fromhex("00A4000C022FE2"))[1] == pytest.approx(0.009)
    card.transmit(bytes.fromhex("0020000A083535353535353535"))
    assert card.transmit(bytes.fromhex("00D6000001AA"))[1] == pytest.approx(10.0 + 1.0 + 0.008)
    send(card, "00A4040C10" + STUB.hex())
    assert card.transmit(bytes.fromhex("80E2910001 03".replace(" ", "")))[1] == pytest.approx(0.5 + 0.008)


# ------------------------------------------------------------------------------------------------------------ terminal


def test_refresh_is_announced_fetched_and_answered(t0: UiccCard) -> None:
    assert send(t0, "80100000 04FFFFFFFF") == "9000"
    assert not t0.cat_busy
    t0.queue_refresh(0x04)
    t0.queue_refresh(0x09)
    assert t0.cat_busy
    assert send(t0, "80F2000C") == "910B"
    sw = send(t0, "00A40004022FE2")  # data first, the announcement at its end
    assert send(t0, f"00C00000{sw[2:]}").endswith("910B")
    assert send(t0, "00A4000C026F99") == "6A82"  # never on an error
    assert send(t0, "8012000000") == "6C0B"
    assert send(t0, "801200000B") == "D009810301010482028182" + "9000"
    assert send(t0, "801200000B") == "6985"
    assert send(t0, "80F2000C") == "9000"
    assert send(t0, "8014000003810301") == "6A80"
    assert send(t0, "801400000C 810301010482028281830100") == "910B"
    assert send(t0, "801200000B") == "D009810302010982028182" + "9000"
    assert send(t0, "801400000C 810302010982028281830100") == "9000"
    assert not t0.cat_busy
    assert send(t0, "801400000C 810302010982028281830100") == "6985"


def test_a_terminal_without_profile_gets_no_proactive_command(card: UiccCard) -> None:
    card.queue_refresh(0x04)
    assert not card.cat_busy
    assert send(card, "80F2000C") == "9000"
    eager = make_card(replace(STANDARD, needs_terminal_profile=False))
    eager.queue_refresh(0x04)
    assert send(eager, "80F2000C") == "910B"
    silent = make_card(personality("no-refresh"))
    send(silent, "8010000001FF")
    silent.queue_refresh(0x04)
    assert send(silent, "80F2000C") == "9000"


def test_terminal_start_up(card: UiccCard) -> None:
    assert send(card, "80AA00000AA9088100820101830107") == "9000"
    assert card.uicc.terminal_capability == bytes.fromhex("8100820101830107")
    assert send(card, "80AA000005A903830107") == "9000"
    assert send(card, "80AA000003A90583") == "6A80"
    assert send(card, "80AA000003AA0183") == "6A80"
    assert send(card, "80F2000000").startswith("62")
    assert send(card, "80F2000100") == "6A82"
    send(card, "00A4040C0C" + USIM.hex())
    assert send(card, "80F2000100") == "840C" + USIM.hex().upper() + "9000"
    assert not card.terminal_profile_seen
    assert send(card, "8010000001FF") == "9000"
    assert card.terminal_profile_seen
    assert send(card, "80C2000003D60119") == "6A81"


def test_another_profile_may_be_mounted_while_an_application_is_selected(card: UiccCard) -> None:
    send(card, "00A4000C027F10")
    send(card, "0070000001")
    send(card, "01A4040C10" + STUB.hex())
    card.mount(None)
    assert send(card, "81CA005A03") == "5A01009000"
    assert send(card, "00A4000C022FE2") == "6A82"
    card.mount(ISDP)
    assert send(card, "00A4000C022FE2") == "9000"


@pytest.mark.parametrize(
    ("command", "sw"),
    [
        ("", "6700"),
        ("00A400", "6700"),
        ("00A4000C023F", "6700"),
        ("00A4000C023F000000", "6700"),
        ("00A4000C0000023F00", "6700"),  # extended length
        ("FFA4000C023F00", "6E00"),
        ("A0A4000C023F00", "6E00"),  # GSM 11.11
        ("80A4000C023F00", "6E00"),
        ("00F2000C", "6E00"),
        ("04A4000C023F00", "6882"),
        ("60A4000C023F00", "6882"),
        ("10A4000C023F00", "6884"),
        ("0088008100", "6985"),  # no application is selected
        ("00FF0000", "6D00"),
        ("80CA005A00", "6D00"),
        ("00C0000000", "6985"),
        ("80F2400000", "6A86"),
    ],
)
def test_what_is_wrong_gets_its_status_word(card: UiccCard, command: str, sw: str) -> None:
    assert send(card, command) == sw
    assert send(card, "00A4000C023F00") == "9000"


HEADERS = st.sampled_from(
    [bytes.fromhex(h) for h in ("00A4000C", "00A40404", "00B08200", "00B20104", "00700000", "00200001", "80AA0000")]
    + [bytes.fromhex(h) for h in ("00D60000", "00DC0003", "80120000", "80140000", "80F20000", "00C00000", "80E29100")]
    + [bytes.fromhex(h) for h in ("00A20104", "80320000", "00040000", "80CB0080", "80DB0080", "00880081", "80780001")]
    + [bytes.fromhex(h) for h in ("00240001", "00269101", "00280001", "002C0001", "80C20000", "80100000", "00A4044C")]
)
APDUS = st.binary(max_size=300) | st.tuples(HEADERS, st.binary(max_size=20)).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(APDUS, max_size=12), st.sampled_from(["standard", "4ff", "isim"]))
def test_any_bytes_are_answered_and_the_card_stays_a_card(commands: list[bytes], name: str) -> None:
    card = make_card(personality(name))
    iccid = file_key(ISDP, (MF, 0x2FE2))
    before = card.nvm.get(iccid)
    for command in commands:
        response, seconds = card.transmit(command)
        assert 2 <= len(response) <= 258
        assert response[-2] & 0xF0 in (0x60, 0x90)
        assert seconds > 0
    assert card.nvm.get(iccid) == before  # no ADM key was known
    assert 0 in card.uicc.channels
    assert len(card.uicc.channels) <= card.personality.channels
    card.reset()
    assert send(card, "00A4000C022FE2") == "9000"


# --------------------------------------------------------------------------------------------------------- personality


def test_an_unknown_personality_names_the_known_ones() -> None:
    assert personality("4FF").protocol == 0
    with pytest.raises(ConfigError, match=r"standard.*mff2"):
        personality("5ff")
    with pytest.raises(ConfigError, match="1 to 20"):
        replace(STANDARD, channels=21)
    with pytest.raises(ConfigError, match="isDiscrete"):
        replace(STANDARD, tre_properties=("discrete",))


def test_form_factors_are_told_by_tre_properties() -> None:
    assert bit_string(["isDiscrete"], ("isDiscrete", "isIntegrated")) == (b"\x80", 1)
    assert personality("isim").tre_properties_bits == (b"\x40", 2)
    assert personality("mff2").tre_properties_bits == (b"\x80", 1)
    bits, count = STANDARD.uicc_capability_bits
    assert (count + 7) // 8 == len(bits)
    assert bits[0] & 0x70 == 0x70  # USIM, ISIM, CSIM


# ------------------------------------------------------------------------------------------------------- many channels


def test_nineteen_channels_each_with_a_file_of_its_own() -> None:
    card = make_card(personality("isim"))
    assert [send(card, "0070000001") for _ in range(19)] == [f"{number:02X}9000" for number in range(1, 20)]
    assert send(card, "0070000001") == "6A81"
    assert send(card, "0070001400") == "6A86"  # there is no channel 20
    classes = [*range(4), *range(0x40, 0x50)]
    paths = ("2FE2", "2F00", "7F106F01")
    for number, cla in enumerate(classes):
        path = paths[number % 3]
        assert send(card, f"{cla:02X}A4080C{len(path) // 2:02X}{path}") == "9000"
    for number, cla in enumerate(classes):
        answer = send(card, f"{cla:02X}B0000001")
        assert answer == ("989000", "6981", "009000")[number % 3]
    for number in range(19, 0, -1):
        assert send(card, f"007080{number:02X}") == "9000"
    assert send(card, "4FA4000C023F00") == "6881"
    assert send(card, "0070000D00") == "9000"  # anew: at the MF, with no EF
    assert send(card, "49B0000001") == "6986"


def test_a_channel_opened_from_another_one_begins_where_that_one_stands() -> None:
    card = make_card(personality("isim"))
    send(card, "0070000500")
    assert send(card, "41A4080C022FE2") == "9000"
    assert send(card, "4170000001") == "019000"
    assert send(card, "01B0000002") == "98009000"
    send(card, "00A4080C022FE2")
    assert send(card, "0070000001") == "029000"  # from the basic channel: at the MF
    assert send(card, "02B0000001") == "6986"
    assert send(card, "41708000") == "9000"  # closes itself
    assert send(card, "41B0000001") == "6881"


def test_the_atr_tells_how_many_channels_there_are() -> None:
    # Third byte of the card capabilities (73): the low bits are 4 y + 2 z + t + 1, and 111 for eight and more.
    for name, low in (("standard", 0x03), ("isim", 0x07)):
        historical = personality(name).historical
        assert historical[historical.index(0x73) + 3] & 0x07 == low
