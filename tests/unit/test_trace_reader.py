"""The reader: growing files, other people's captures, files that are no traces."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.errors import ConfigError
from esim_bench.events import ApduEvent, AtrEvent, MarkEvent
from esim_bench.trace import pcapng
from esim_bench.trace.foreign import split
from esim_bench.trace.journal import Journal
from esim_bench.trace.reader import Reader

T0 = 1_767_225_600_123_456_789
READ = ApduEvent(T0, bytes.fromhex("00B000000A"), bytes.fromhex("988812010000400310F39000"), 1_000_000)


def test_a_growing_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    with Journal.create(path, slot="A1") as journal, Reader(path) as reader:
        assert len(reader) == 0
        journal.emit(READ)
        assert reader.refresh() == 1
        assert reader.refresh() == 0
        for number in range(10_000):
            journal.emit(MarkEvent(T0 + number, f"mark {number}"))
        assert reader.refresh() == 10_000
        assert reader[9_999].event == MarkEvent(T0 + 9_998, "mark 9998")
        assert reader[-1].event == MarkEvent(T0 + 9_999, "mark 9999")
        assert [record.index for record in reader[5:7]] == [5, 6]
        with pytest.raises(IndexError):
            reader[10_001]


def test_a_file_that_another_process_writes_is_followed_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    script = (
        "import sys\n"
        "from esim_bench.events import MarkEvent\n"
        "from esim_bench.trace.journal import Journal\n"
        "journal = Journal.create(sys.argv[1], slot='A1')\n"
        "for number in range(10**9):\n"
        "    journal.emit(MarkEvent(number, 'x' * (number % 97)))\n"
        "    sys.stdout.write(f'{number}\\n')\n"
        "    sys.stdout.flush()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        with Reader(path) as reader:
            while len(reader) < 300:
                said = process.stdout.readline()
                reader.refresh()
            process.kill()
            # Everything that the process acknowledged before it was killed is there.
            acknowledged = int((said + process.stdout.read()).split("\n")[-2])
            reader.refresh()
            assert len(reader) > acknowledged
            assert all(record.event.at_ns == record.index for record in reader)


def test_an_empty_file_is_a_trace_that_is_about_to_begin(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    path.touch()
    with Reader(path) as reader:
        assert len(reader) == 0
        with Journal.create(tmp_path / "B1.pcapng", slot="B1") as journal:
            journal.emit(READ)
        path.write_bytes((tmp_path / "B1.pcapng").read_bytes())
        assert reader.refresh() == 1
        assert reader[0].event == READ


def test_a_record_of_more_than_a_megabyte_is_read(tmp_path: Path) -> None:
    from esim_bench.events import RspEvent

    path = tmp_path / "A1.pcapng"
    big = RspEvent(T0, "https://dp.example/", bytes(2_000_000), b"\x01" * 1_500_000, "200", 1)
    with Journal.create(path, slot="A1") as journal, Reader(path) as reader:
        journal.emit(READ)
        journal.emit(big)
        journal.emit(READ)
        assert reader.refresh() == 3
        assert [record.event for record in reader] == [READ, big, READ]


def gsmtap(payload: bytes, sub_type: int = 0) -> bytes:
    """An IPv4 datagram as other tools send it, checksums left out."""
    message = bytes((2, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, sub_type, 0, 0, 0)) + payload
    udp = struct.pack(">HHHH", 40000, 4729, len(message) + 8, 0) + message
    return struct.pack(">BBHIBBHII", 0x45, 0, len(udp) + 20, 0, 64, 17, 0, 0x7F000001, 0x7F000001) + udp


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("link_type", "before"), [(228, b""), (101, b""), (1, bytes(12) + b"\x08\x00"), (0, bytes(4))])
def test_a_foreign_pcap_is_read(tmp_path: Path, order: str, link_type: int, before: bytes) -> None:
    path = tmp_path / "foreign.pcap"
    packets = [
        gsmtap(bytes.fromhex("3B9F96801FC78031E073FE211B63E208A8830F900089"), 1),
        gsmtap(bytes.fromhex("00A40004023F00612F")),
        struct.pack(">BBHIBBHII", 0x45, 0, 20, 0, 64, 6, 0, 1, 1),  # TCP: not ours
        gsmtap(bytes.fromhex("00B000000A988812010000400310F39000")),
    ]
    content = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    for number, packet in enumerate(packets):
        packet = before + packet
        content += struct.pack(order + "IIII", 1_767_225_600, number, len(packet), len(packet)) + packet
    path.write_bytes(content + b"\0\0\0")
    with Reader(path) as reader:
        atr, select, read = list(reader)
        assert not reader.own
        assert reader.torn == 3
    assert isinstance(atr.event, AtrEvent)
    assert select.event == ApduEvent(1_767_225_600_000_001_000, bytes.fromhex("00A40004023F00"), b"\x61\x2f", 0)
    assert isinstance(read.event, ApduEvent)
    assert read.event.command == bytes.fromhex("00B000000A")
    assert read.event.response == READ.response


def test_a_foreign_pcapng_of_the_other_byte_order_and_microseconds_is_read(tmp_path: Path) -> None:
    def block(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body) + 12) + body + struct.pack(">I", len(body) + 12)

    packet = bytes(12) + b"\x08\x00" + gsmtap(bytes.fromhex("00A40004023F00612F"))
    stamp = 1_767_225_600_000_001
    body = struct.pack(">IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(packet), len(packet)) + packet
    path = tmp_path / "foreign.pcapng"
    path.write_bytes(
        block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
        + block(1, struct.pack(">HHI", 1, 0, 0))
        + block(6, body + bytes(-len(body) % 4))
    )
    with Reader(path) as reader:
        (record,) = list(reader)
    assert record.event == ApduEvent(stamp * 1000, bytes.fromhex("00A40004023F00"), b"\x61\x2f", 0)


@pytest.mark.parametrize(
    ("command", "response"),
    [
        ("00A40004023F00", "612F"),
        ("00A4040410A0000000871002FF33FF018900000100", "6A82"),
        ("00A4080404 7FFF6F07 00", "62046F028304 9000"),
        ("00B000000A", "988812010000400310F3 9000"),
        ("00B0000000", "988812010000400310F3 9000"),
        ("00B000000A", "6C0A"),
        ("0070000001", "01 9000"),
        ("0070800100", "9000"),
        ("81E2910006BF3E035C015A", "6115"),
        ("81E2910006BF3E035C015A00", "BF3E125A1089049032123451234512345678901235 9000"),
        ("01C0000015", "BF3E125A1089049032123451234512345678901235 9000"),
        ("801200000B", "D009810301010482028182 9000"),
        ("801400000C810301010402028281830100", "9000"),
        ("0020000108 31323334FFFFFFFF", "63C2"),
        ("0088008104 01020304", "610E"),
        ("80F2000000", "9000"),
        ("80F2000C", "9000"),
    ],
)
def test_a_packet_without_our_option_is_split_by_its_lengths(command: str, response: str) -> None:
    packet = bytes.fromhex(command) + bytes.fromhex(response)
    assert packet[: split(packet)] == bytes.fromhex(command)


@given(st.binary(max_size=300))
def test_the_border_always_leaves_a_status_word(packet: bytes) -> None:
    assert 0 <= split(packet) <= max(0, len(packet) - 2)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip", b"\x7fELF" + bytes(100), b"{}", b"\xd4\xc3\xb2\xa1"])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a trace"):
        Reader(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the trace"):
        Reader(tmp_path / "missing.pcapng")
    with pytest.raises(ConfigError, match="cannot read the trace"):
        Reader(tmp_path)


@given(st.data())
def test_a_damaged_file_never_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damage") / "A1.pcapng"
    with Journal.create(path, slot="A1") as journal:
        journal.emit(READ)
        journal.emit(MarkEvent(T0, "mark"))
        journal.emit(AtrEvent(T0, b"\x3b\x00", cold=True))
    content = bytearray(path.read_bytes())
    start = len(pcapng.file_header("A1"))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(start, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with Reader(path) as reader:
        assert len(list(reader)) == len(reader)


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "A1.pcapng"
    with Journal.create(path, slot="A1") as journal:
        journal.emit(READ)
    with Reader(path) as reader:
        path.write_bytes(b"")
        assert reader.refresh() == 0
        assert reader.damage is not None
        with pytest.raises(ConfigError, match="became shorter"):
            reader[0]
