"""The sniffer's messages and the exchanges in them: known answers, and whatever the bytes are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.errors import CodecError
from esim_bench.events import MarkEvent, SniffedApduEvent, SniffEvent, SniffKind
from esim_drivers.simtrace.ear import Ear
from esim_drivers.simtrace.messages import (
    SOUND,
    Change,
    ChangeMessage,
    DataMessage,
    FidiMessage,
    Flaw,
    Kind,
    Message,
    Splitter,
    decode,
    encode,
    flaws_text,
)
from esim_drivers.simtrace.tpdu import Apdu, Exchanges, split

ATR_T0 = bytes.fromhex("3B9F96801FC78031E073FE211B63E208A8830F900089")
KNOWN: list[tuple[str, Message]] = [
    ("0300000000000C00 01000000", ChangeMessage(0, Change.INSERT)),
    ("0300010000000C00 0C000000", ChangeMessage(1, Change.RESET | Change.RELEASE)),
    ("0300020000000C00 10000000", ChangeMessage(2, Change.TIMEOUT)),
    ("0301030000000900 96", FidiMessage(3, 0x96)),
    ("0302040000001000 00000000 0200 3B00", DataMessage(4, Kind.ATR, b"\x3b\x00")),
    ("0303050000001200 00000000 0400 FF109679", DataMessage(5, Kind.PPS, bytes.fromhex("FF109679"))),
    ("0304060000001500 00000000 0700 80F2000C00 9000", DataMessage(6, Kind.TPDU, bytes.fromhex("80F2000C009000"))),
    ("0304070000001300 20010000 0500 00A4000402", DataMessage(7, Kind.TPDU, bytes.fromhex("00A4000402"),
                                                             Flaw.INCOMPLETE | Flaw.OVERRUN)),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "message"), KNOWN)
def test_known_messages_both_ways(raw: str, message: Message) -> None:
    assert decode(bytes.fromhex(raw)) == message
    assert encode(message) == bytes.fromhex(raw)


@pytest.mark.parametrize(
    "raw",
    ["0101000000000900 00", "0305000000000900 00", "0000000000000800"],
    ids=["card emulation", "new type", "general"],
)
def test_other_messages_are_passed_over(raw: str) -> None:
    assert decode(bytes.fromhex(raw)) is None


@pytest.mark.parametrize(
    "raw", ["030000", "0300000000000D00 01000000", "0300000000000A00 0100", "0304000000001000 00000000 0900 3B00"]
)
def test_a_message_that_is_not_whole_is_refused(raw: str) -> None:
    with pytest.raises(CodecError, match="sniffer"):
        decode(bytes.fromhex(raw))


def test_flaws_are_named_in_the_order_of_their_bits() -> None:
    assert flaws_text(Flaw.PARITY | Flaw.INCOMPLETE) == "incomplete, parity"


sequences = st.integers(0, 255)
messages = st.one_of(
    st.builds(ChangeMessage, sequences, st.integers(0, 31).map(Change)),
    st.builds(FidiMessage, sequences, st.integers(0, 255)),
    st.builds(
        DataMessage,
        sequences,
        st.sampled_from([Kind.ATR, Kind.PPS, Kind.TPDU]),
        st.binary(max_size=263),
        st.integers(0, 63).map(lambda bits: Flaw(bits << 5)),
    ),
)


@given(st.lists(messages, max_size=12), st.lists(st.integers(1, 70), min_size=1, max_size=5))
def test_messages_come_whole_however_the_transfers_cut_them(sent: list[Message], sizes: list[int]) -> None:
    stream = b"".join(encode(message) for message in sent)
    splitter, got, turn = Splitter(), list[Message](), 0
    while stream:
        size = sizes[turn % len(sizes)]
        got += splitter.feed(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert got == sent
    assert splitter.lost == 0


@given(st.binary(max_size=300), messages)
def test_garbage_never_raises_and_the_stream_is_found_again(garbage: bytes, message: Message) -> None:
    splitter, ear = Splitter(), Ear("s")
    heard = splitter.feed(garbage)
    for one in heard:
        ear.feed(one, 0)
    # Garbage that looks like a header claims at most 512 bytes; then the stream is in step again.
    heard = [one for _ in range(120) for one in splitter.feed(encode(message))]
    assert message in heard


@pytest.mark.parametrize(
    ("tpdu", "command", "response"),
    [
        ("00A4000400 6700", "00A40004", "6700"),  # case 1: P3 is 00
        ("80F2000C00 9000", "80F2000C", "9000"),  # case 1 although STATUS may answer
        ("80F2000000 6C1E", "80F2000000", "6C1E"),  # case 2, Le wrong
        ("00B0000002 9844 9000", "00B0000002", "98449000"),  # case 2
        ("00B0000000" + "AA" * 256 + "9000", "00B0000000", "AA" * 256 + "9000"),  # case 2, Le 256
        ("0070000001 01 9000", "0070000001", "019000"),
        ("0070800100 9000", "00708001", "9000"),
        ("0020000108 31323334FFFFFFFF 9000", "002000010831323334FFFFFFFF", "9000"),  # case 3
        ("0020000108 6983", "0020000108", "6983"),  # case 3, refused before its data
        ("00A4040402 3F00 612F", "00A40404023F00", "612F"),  # case 4, its answer comes by GET RESPONSE
        ("00C0000003 622D00 9000", "00C0000003", "622D009000"),
    ],
)
def test_a_tpdu_is_a_command_and_its_response(tpdu: str, command: str, response: str) -> None:
    assert split(bytes.fromhex(tpdu)) == Apdu(bytes.fromhex(command), bytes.fromhex(response))


def test_a_command_that_6c_asks_for_again_is_of_case_2_whatever_it_is() -> None:
    exchanges = Exchanges()
    assert exchanges.feed(bytes.fromhex("00A4000400 6C03")) == Apdu(bytes.fromhex("00A40004"), bytes.fromhex("6C03"))
    again = bytes.fromhex("00A4000403 620100 9000")
    assert exchanges.feed(again) == Apdu(again[:5], again[5:])
    assert exchanges.feed(again) == Apdu(again[:8], again[8:])


@pytest.mark.parametrize(
    ("tpdu", "command", "response"),
    [
        ("00B0000002 B0 9844 9000", "00B0000002", "98449000"),
        ("00B0000002 60 60 B0 9844 60 9000", "00B0000002", "98449000"),
        ("00B0000002 4F 98 4F 44 9000", "00B0000002", "98449000"),
        ("00A4040402 A4 3F00 60 612F", "00A40404023F00", "612F"),
        ("00A4040402 5B 3F A4 00 612F", "00A40404023F00", "612F"),
    ],
)
def test_procedure_bytes_are_taken_out(tpdu: str, command: str, response: str) -> None:
    assert split(bytes.fromhex(tpdu)) == Apdu(bytes.fromhex(command), bytes.fromhex(response))


@pytest.mark.parametrize(
    ("tpdu", "command", "response"),
    [
        ("00A40004", "00A40004", ""),
        ("0020000108 3132", "0020000108", "3132"),  # not known yet whether that is a status word
        ("0020000108 313233", "0020000108313233", ""),
        ("00B000000A 984410", "00B000000A", "984410"),
    ],
)
def test_what_ends_early_is_kept_and_not_sound(tpdu: str, command: str, response: str) -> None:
    assert split(bytes.fromhex(tpdu)) == Apdu(bytes.fromhex(command), bytes.fromhex(response), sound=False)


@given(st.binary(max_size=270))
def test_no_byte_of_a_tpdu_is_lost_unless_it_is_a_procedure_byte(data: bytes) -> None:
    apdu = split(data)
    assert len(apdu.command) + len(apdu.response) <= len(data)
    assert data.startswith(apdu.command[:5])


@st.composite
def spoken(draw: st.DrawFn) -> tuple[bytes, Apdu]:
    """An exchange with data, and what is on the wire for it: NULLs, all bytes at once or one by one."""
    from_card = draw(st.booleans())
    ins = draw(st.sampled_from(b"\xb0\xb2\xc0\xca" if from_card else b"\xa4\xd6\xdc\xe2\x20\x88"))
    body = draw(st.binary(min_size=1, max_size=255))
    status = draw(st.sampled_from([b"\x90\x00", b"\x61\x10", b"\x91\x0b", b"\x6a\x82", b"\x98\x62"]))
    header = bytes((0x00, ins, 0x00, 0x00, len(body)))
    wire, left = bytearray(), body
    while left:
        wire += b"\x60" * draw(st.integers(0, 2))
        count = 1 if draw(st.booleans()) else len(left)
        wire += bytes((ins ^ 0xFF if count == 1 and len(left) > 1 else ins,)) + left[:count]
        left = left[count:]
    wire += b"\x60" * draw(st.integers(0, 2))
    apdu = Apdu(header, body + status) if from_card else Apdu(header + body, status)
    return header + bytes(wire) + status, apdu


@given(spoken())
def test_every_way_to_speak_t0_gives_the_same_exchange(said: tuple[bytes, Apdu]) -> None:
    raw, apdu = said
    assert split(raw) == apdu
    assert split(apdu.command + apdu.response) == apdu  # as the firmware sends it


def data(kind: Kind, raw: str, flaws: Flaw = SOUND, sequence: int = 0) -> DataMessage:
    return DataMessage(sequence, kind, bytes.fromhex(raw), flaws)


def test_lines_of_the_card_become_events_in_the_order_in_which_they_happened() -> None:
    ear = Ear("simtrace usb:1-1.4")
    events = ear.feed(ChangeMessage(0, Change.RELEASE | Change.RESET), 7)
    assert events == [
        SniffEvent(7, SniffKind.RESET, "simtrace usb:1-1.4"),
        SniffEvent(7, SniffKind.RELEASE, "simtrace usb:1-1.4"),
    ]
    (atr,) = ear.feed(DataMessage(0, Kind.ATR, ATR_T0), 8)
    assert isinstance(atr, SniffEvent)
    assert (atr.kind, atr.data) == (SniffKind.ATR, ATR_T0)
    (pps,) = ear.feed(data(Kind.PPS, "FF109679"), 9)
    assert pps == SniffEvent(9, SniffKind.PPS, "simtrace usb:1-1.4", bytes.fromhex("FF109679"), "T=0, Fi 512, Di 32")
    (speed,) = ear.feed(FidiMessage(0, 0x96), 10)
    assert speed == SniffEvent(10, SniffKind.SPEED, "simtrace usb:1-1.4", b"\x96", "Fi 512, Di 32")


def test_an_overrun_is_told_with_the_exchange_and_counted() -> None:
    ear = Ear("s")
    (event,) = ear.feed(data(Kind.TPDU, "00B0000002 98 9000", Flaw.OVERRUN), 1)
    assert isinstance(event, SniffedApduEvent)
    assert event.flaws == "overrun"
    assert ear.summary() == "s: 1 exchanges heard, 1 overrun"


def test_messages_that_are_missing_are_told_where_they_are_numbered() -> None:
    numbered, bare = Ear("s"), Ear("s")
    status = "80F2000C00 9000"
    told = [event for n in (0, 1, 2, 5) for event in numbered.feed(data(Kind.TPDU, status, sequence=n), n)]
    assert [event.text for event in told if isinstance(event, MarkEvent)] == [
        "s: 2 messages of the sniffer are missing"
    ]
    assert not [1 for n in range(4) for one in bare.feed(data(Kind.TPDU, status), n) if isinstance(one, MarkEvent)]


def test_t1_blocks_are_put_together() -> None:
    ear = Ear("s")
    ear.feed(data(Kind.ATR, "3B800181"), 0)
    # SELECT MF in two chained blocks, R-block of the card, then the answer.
    sent = [block(0x20, "00A400"), block(0x90, ""), block(0x40, "04023F00")]
    events = [event for one in sent for event in ear.feed(DataMessage(0, Kind.TPDU, one), 1)]
    assert events == []
    (event,) = ear.feed(DataMessage(0, Kind.TPDU, block(0x00, "9000")), 2)
    assert event == SniffedApduEvent(2, bytes.fromhex("00A40004023F00"), bytes.fromhex("9000"), 0, "s")
    (noise,) = ear.feed(data(Kind.TPDU, "0040050102"), 3)
    assert isinstance(noise, SniffEvent)
    assert noise.kind is SniffKind.NOISE
    assert "T=1" in noise.detail


def block(pcb: int, information: str) -> bytes:
    body = bytes.fromhex(information)
    raw = bytes((0, pcb, len(body))) + body
    check = 0
    for byte in raw:
        check ^= byte
    return raw + bytes((check,))
