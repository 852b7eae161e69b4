"""The journal: one write per record, the same events the same bytes, a torn tail costs one record at most."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.errors import ConfigError, RigError
from esim_bench.events import ApduEvent, AtEvent, AtrEvent, Event, MarkEvent, PowerAction, PowerEvent, RspEvent
from esim_bench.trace import pcapng, records
from esim_bench.trace.journal import Journal
from esim_bench.trace.mask import SecretMask
from esim_bench.trace.plain import PlainApdus
from esim_bench.trace.reader import Reader
from esim_bench.trace.show import annotated

T0 = 1_767_225_600_000_000_000
SELECT_MF = ApduEvent(T0 + 1, bytes.fromhex("00A40004023F00"), bytes.fromhex("612F"), 1_500_000)
EVENTS: list[Event] = [
    AtrEvent(T0, bytes.fromhex("3B9F96801FC78031E073FE211B63E208A8830F900089"), cold=True),
    SELECT_MF,
    ApduEvent(T0 + 2, bytes.fromhex("00B000000A"), bytes.fromhex("6C0A"), 7, session=3),
    ApduEvent(T0 + 3, bytes.fromhex("00700000"), bytes.fromhex("6881"), 0),
    PowerEvent(T0 + 4, PowerAction.PROOF, "card gone"),
    AtEvent(T0 + 5, ">", 'AT+CSIM=10,"80F2000000"'),
    AtEvent(T0 + 6, "!", "\udc80 line noise \x00"),
    RspEvent(T0 + 7, "https://dp.example/gsma/rsp2/es9plus/getBoundProfilePackage", b"{}", bytes(200_000), "200", 9),
    MarkEvent(T0 + 8, "step switch: PASS – done"),
    ApduEvent(T0 + 9, b"", b"", 0),
]


def write(path: Path, events: list[Event] = EVENTS) -> bytes:
    with Journal.create(path, slot="A1") as journal:
        for event in events:
            journal.emit(event)
    return path.read_bytes()


def test_every_kind_of_event_comes_back_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "A1.pcapng")
    with Reader(tmp_path / "A1.pcapng") as reader:
        assert [record.event for record in reader] == EVENTS
        assert [record.index for record in reader] == list(range(len(EVENTS)))
        assert reader.own
        assert reader.slots == ("A1",)
        assert reader.torn == 0


headers = st.tuples(
    st.sampled_from((0x00, 0x80, 0x81)),
    st.sampled_from((0x12, 0x14, 0x88, 0xA4, 0xB0, 0xE2, 0xC0)),
    st.sampled_from((0x00, 0x04, 0x08)),
    st.integers(0, 255),
).map(bytes)
commands = st.one_of(
    st.binary(max_size=300), headers, st.builds(lambda head, body: head + body, headers, st.binary(max_size=30))
)


@given(st.lists(st.tuples(commands, st.binary(max_size=300), st.integers(0, 2**50), st.integers(0, 300)), max_size=5))
def test_any_exchange_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, exchanges: list[tuple[bytes, bytes, int, int]]
) -> None:
    events: list[Event] = [
        ApduEvent(T0 + number, command, response, duration, session)
        for number, (command, response, duration, session) in enumerate(exchanges)
    ]
    path = tmp_path_factory.mktemp("any") / "A1.pcapng"
    write(path, events)
    with Reader(path) as reader:
        assert [record.event for record in reader] == events


def test_the_same_events_make_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "one.pcapng") == write(tmp_path / "two.pcapng")


def test_apdus_are_counted_as_a_packet_tool_counts_them(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "A1.pcapng", slot="A1") as journal:
        for event in EVENTS:
            journal.emit(event)
        assert journal.apdus == 3  # the one without bytes is kept as a log line
    with Reader(tmp_path / "A1.pcapng") as reader:
        assert reader.apdus() == 3


def test_each_record_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = os.write

    def counting(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", counting)
    with Journal.create(tmp_path / "A1.pcapng", slot="A1") as journal:
        for event in EVENTS:
            journal.emit(event)
        assert len(sizes) == 1 + len(EVENTS)
        assert sum(sizes) == (tmp_path / "A1.pcapng").stat().st_size


def test_the_meanings_come_when_the_journal_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    journal = Journal.create(path, slot="A1", private=True)
    for event in EVENTS:
        journal.emit(event)
    with Reader(path) as live:
        assert not any(record.comment for record in live if isinstance(record.event, ApduEvent))
        meanings = [record.comment for record in annotated(live)]
        journal.close()
        with Reader(path) as closed:
            assert [record.comment for record in closed] == meanings
            assert [record.event for record in closed] == EVENTS
        # Who has the open file open keeps it, and the same numbers mean the same records in both.
        assert [record.event for record in live] == EVENTS
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["A1.pcapng"]


def test_meanings_from_the_middle_of_an_unfinished_journal(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    select = ApduEvent(T0, bytes.fromhex("00A4000C022FE2"), bytes.fromhex("9000"), 0)
    read = ApduEvent(T0 + 1, bytes.fromhex("00B000000A"), bytes.fromhex("988812010000400310F39000"), 0)
    journal = Journal.create(path, slot="A1")
    journal.emit(select)
    journal.emit(read)
    journal.close(comments=False)
    with Reader(path) as reader:
        [record] = annotated(reader, 1)
    assert record.comment == "READ BINARY EF.ICCID = 8988211000000430013 -> 9000"


@given(
    header=st.binary(min_size=4, max_size=4),
    sent=st.binary(min_size=1, max_size=255),
    response=st.binary(max_size=300),
    at_ns=st.integers(0, 2**63),
    duration=st.integers(0, 2**62),
    session=st.integers(0, 2**62),
)
def test_the_short_way_and_the_long_way_make_the_same_block(
    header: bytes, sent: bytes, response: bytes, at_ns: int, duration: int, session: int
) -> None:
    event = ApduEvent(at_ns, header + bytes((len(sent),)) + sent, response, duration, session)
    writer = pcapng.PacketWriter(pcapng.TYPE_SIM)
    block = PlainApdus(writer).block(event)
    assert (block is None) == (len(response) < 2 or header[1] in records.FUSSY)
    if block is not None:
        packet = records.apdu_packet(event)
        assert packet is not None
        assert block == writer.block(at_ns, packet, b"", records.apdu_detail(event, packet, ()))


def test_the_packet_is_udp_with_right_lengths_and_checksum(tmp_path: Path) -> None:
    data = write(tmp_path / "A1.pcapng", [SELECT_MF])
    packet = data[len(pcapng.file_header("A1")) + 28 :]
    total = int.from_bytes(packet[2:4], "big")
    packet = packet[:total]

    def fold(octets: bytes) -> int:
        octets += b"\0" * (len(octets) % 2)
        value = sum(struct.unpack(f">{len(octets) // 2}H", octets))
        while value >> 16:
            value = (value & 0xFFFF) + (value >> 16)
        return value

    udp = packet[20:]
    assert fold(packet[:20]) == 0xFFFF
    assert udp[6:8] == b"\0\0"  # none computed (RFC 768)
    assert int.from_bytes(udp[4:6], "big") == len(udp)
    assert udp[2:4] == (4729).to_bytes(2, "big")
    assert udp[8:12] == bytes((2, 4, 4, 0))
    assert udp[8 + 16 :] == SELECT_MF.command + SELECT_MF.response


def test_a_torn_record_does_not_count_and_is_cut_when_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    whole = write(path)
    whole_again = write(tmp_path / "more.pcapng", [*EVENTS, SELECT_MF])
    for kept in (1, 4, 11, 12, 40, len(whole_again) - len(whole) - 1):
        path.write_bytes(whole_again[: len(whole) + kept])
        with Reader(path) as reader:
            assert len(reader) == len(EVENTS)
            assert reader.torn == kept
            assert reader.damage is None
        with Journal.append(path) as journal:
            assert journal.apdus == 3
            journal.emit(SELECT_MF)
        assert path.read_bytes() == whole_again


def test_pages_of_zeros_after_a_power_failure_of_the_host_are_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    whole = write(path)
    path.write_bytes(whole + bytes(4096))
    with Reader(path) as reader:
        assert (len(reader), reader.torn, reader.damage) == (len(EVENTS), 4096, None)
    Journal.append(path).close()
    assert path.read_bytes() == whole


def test_damage_in_the_middle_is_told_and_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    whole = bytearray(write(path))
    whole[len(pcapng.file_header("A1")) + 5] ^= 0x40
    path.write_bytes(whole)
    with Reader(path) as reader:
        assert len(reader) == 0
        assert reader.damage is not None
    with pytest.raises(ConfigError, match="cannot append"):
        Journal.append(path)
    assert path.read_bytes() == whole


def test_going_on_keeps_the_decoder_s_state(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    select = ApduEvent(T0, bytes.fromhex("00A4000C022FE2"), bytes.fromhex("9000"), 0)
    read = ApduEvent(T0 + 1, bytes.fromhex("00B000000A"), bytes.fromhex("988812010000400310F39000"), 0)
    write(path, [select])
    with Journal.append(path) as journal:
        journal.emit(read)
    with Reader(path) as reader:
        assert reader[-1].comment == "READ BINARY EF.ICCID = 8988211000000430013 -> 9000"


def test_a_full_disk_leaves_a_whole_file_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "A1.pcapng"
    journal = Journal.create(path, slot="A1")
    journal.emit(SELECT_MF)
    before = path.read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:20]))
    with pytest.raises(RigError, match="disk is full"):
        journal.emit(SELECT_MF)
    journal.close(comments=False)
    assert path.read_bytes() == before


def test_a_late_event_after_close_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    journal = Journal.create(path, slot="A1")
    journal.close()
    before = path.read_bytes()
    journal.emit(SELECT_MF)
    assert path.read_bytes() == before


def test_a_new_trace_replaces_the_old_one_but_not_under_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    write(path)
    with Reader(path) as old:
        Journal.create(path, slot="B1").close()
        assert old.refresh() == 0
        assert [record.event for record in old] == EVENTS
    with Reader(path) as new:
        assert (len(new), new.slots) == (0, ("B1",))


def test_a_private_trace_is_for_its_owner_only(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "A1.pcapng", slot="A1", private=True) as journal:
        assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_a_path_that_cannot_be_written_is_the_operator_s_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot write the trace"):
        Journal.create(tmp_path / "file" / "A1.pcapng", slot="A1")


PIN = ApduEvent(T0, bytes.fromhex("0020000108 31323334FFFFFFFF"), bytes.fromhex("9000"), 0)
AUTHENTICATE = ApduEvent(
    T0, bytes.fromhex("0088008122" + "10" + "11" * 16 + "10" + "22" * 16), bytes.fromhex("DB08" + "33" * 8 + "9000"), 0
)


def test_masked_bytes_are_gone_and_the_record_says_where(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    with Journal.create(path, slot="A1", mask=SecretMask(words=["QR-MATCH-1"])) as journal:
        journal.emit(PIN)
        journal.emit(AUTHENTICATE)
        journal.emit(MarkEvent(T0, "download with QR-MATCH-1"))
        journal.emit(AtEvent(T0, ">", 'AT+CPIN="1234"'))
        journal.emit(AtEvent(T0, ">", 'AT+CSIM=26,"0020000108313233 34FFFFFFFF"'.replace(" ", "")))
        journal.emit(SELECT_MF)
    with Reader(path) as reader:
        pin, authenticate, mark, cpin, csim, select = list(reader)
    data = path.read_bytes()
    assert b"31323334" not in data
    assert b"1234FFFF" not in data
    assert bytes.fromhex("31323334FFFFFFFF") not in data
    assert b"QR-MATCH-1" not in data
    assert isinstance(pin.event, ApduEvent)
    assert pin.event.command == bytes.fromhex("0020000108") + b"*" * 8
    assert pin.masked == ((5, 8),)
    assert pin.comment.endswith("[masked]")
    assert isinstance(authenticate.event, ApduEvent)
    assert authenticate.event.response == b"*" * 10 + b"\x90\x00"
    assert authenticate.masked == ((39, 10),)
    assert mark.event == MarkEvent(T0, "download with **********")
    assert cpin.event == AtEvent(T0, ">", 'AT+CPIN="****"')
    assert csim.event == AtEvent(T0, ">", 'AT+CSIM=26,"0020000108****************"')
    assert select.event == SELECT_MF
    assert select.masked == ()


def store_data(blocks: list[bytes]) -> list[ApduEvent]:
    return [
        ApduEvent(
            T0 + number,
            bytes((0x81, 0xE2, 0x91 if number == len(blocks) - 1 else 0x11, number, len(data))) + data,
            b"\x90\x00",
            0,
        )
        for number, data in enumerate(blocks)
    ]


@pytest.mark.parametrize("size", [1, 7, 120, 255])
def test_a_matching_id_is_masked_wherever_the_blocks_are_cut(size: int) -> None:
    inner = bytes.fromhex("A0 10 80 08") + b"SECRET-1" + bytes.fromhex("A1048004 35290611")[:4]
    body = bytes.fromhex("3003 800101") + bytes.fromhex("5F3702 AABB") + bytes.fromhex("0401CC") + b"\x30\x00" + inner
    request = bytes.fromhex("BF38") + bytes((len(body),)) + body
    mask = SecretMask()
    blocks = [request[start : start + size] for start in range(0, len(request), size)]
    sent = b""
    hidden = 0
    for event in store_data(blocks):
        masked, spans = mask.apply(event)
        assert isinstance(masked, ApduEvent)
        sent += masked.command[5:]
        hidden += sum(length for _, length in spans)
    assert sent == request.replace(b"SECRET-1", b"********")
    assert hidden == 8


def test_the_same_secret_inside_an_es9_message_is_masked_too() -> None:
    import base64

    secret = bytes.fromhex("BF2126 3000 0420") + bytes(range(32, 64)) + b"\x30\x00"
    secret = secret[:2] + bytes((len(secret) - 3,)) + secret[3:]
    body = b'{"transactionId":"00","prepareDownloadResponse":"' + base64.b64encode(secret) + b'"}'
    event = RspEvent(T0, "https://dp.example/gsma/rsp2/es9plus/getBoundProfilePackage", body, b"{}", "200", 1)
    masked, spans = SecretMask().apply(event)
    assert isinstance(masked, RspEvent)
    assert len(masked.request) == len(body)
    found = base64.b64decode(masked.request.split(b'"')[-2])
    assert found == secret.replace(bytes(range(32, 64)), b"*" * 32)
    assert spans
