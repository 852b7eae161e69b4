"""The trace, seen by the packet tool that it is made for: every APDU decodes, none is malformed, the rest is text."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from esim_bench.events import ApduEvent, AtEvent, AtrEvent, Event, MarkEvent, PowerAction, PowerEvent, RspEvent
from esim_bench.trace.export import Format, export
from esim_bench.trace.journal import Journal
from esim_bench.trace.reader import Reader

T0 = 1_767_225_600_000_000_000
ISD_R = "A0000005591010FFFFFFFF8900000100"

APDUS = [
    ("00A40004023F00", "612F"),
    ("00C000002F", "62" + "2D" + "00" * 45 + "9000"),
    ("00A40004023F00", "6A82"),
    ("00A4000C022FE2", "9000"),
    ("00A40004", "6A86"),  # case 1
    ("00A4000400", "6F0A82027821" + "83023F00A503" + "9000"),  # case 2
    ("00A4080404 7FFF6F07 00", "62046F028304 9000"),  # case 4
    (f"00A4040410{ISD_R}", "6121"),
    (f"01A4040010{ISD_R}00", "6F128410" + ISD_R + "9000"),
    ("00A4040400", "6A82"),
    ("00B000000A", "988812010000400310F3 9000"),
    ("00B0000000", "988812010000400310F3 9000"),
    ("00B000000A", "6C09"),
    ("00B00000FF", "6982"),
    ("00B00000FF", "0102 6282"),
    ("00B2010426", "61" * 38 + "9000"),
    ("00B2010426", "6A83"),
    ("00DC010402AABB", "9000"),
    ("00D6000002AABB", "6982"),
    ("0070000001", "01 9000"),
    ("0070000001", "6A81"),
    ("00700000", "01 9000"),
    ("00708001", "9000"),
    ("0070800100", "6881"),
    ("80AA000005A903830107", "9000"),
    ("8010000003FFFFFF", "910B"),
    ("801200000B", "D009810301010482028182 9000"),
    ("8012000000", "D009810301010482028182 9000"),
    ("8012000005", "D009810301010482028182 9000"),
    ("801200000B", "6F00"),
    ("801200000B", "6C0C"),
    ("80120000", "6700"),
    ("801400000C810301010482028281830100", "9000"),
    ("80F2000000", "6C1E"),
    ("80F2000C", "9000"),
    ("80F2000C00", "9000"),
    ("80C2000009D607990103820282 81".replace(" ", ""), "9000"),
    ("0020000108FFFFFFFFFFFFFFFF", "63C2"),
    ("0020000100", "63C3"),
    ("00200001", "63C3"),
    ("0088008122" + "10" + "11" * 16 + "10" + "22" * 16, "6135"),
    ("0088008122" + "10" + "11" * 16 + "10" + "22" * 16, "9862"),
    ("0088008111" + "10" + "11" * 16, "610E"),  # GSM context
    ("0088008111" + "10" + "11" * 16 + "00", "04AABBCCDD" + "08" + "33" * 8 + "9000"),
    ("0088008100", "6700"),
    ("00880081", "6700"),
    ("81E2110003BF3E03", "9000"),
    ("81E29101035C015A", "6115"),
    ("01C0000015", "BF3E125A1089049032123451234512345678901235 9000"),
    ("01C0000015", "6F00"),
    ("81E2910006BF3E035C015A00", "BF3E125A1089049032123451234512345678901235 9000"),
    ("81E29100FF" + "AA" * 255 + "00", "BB" * 256 + "9000"),
    ("C0E2910006BF3E035C015A", "6985"),
    ("80CAFF2100", "6A88"),
    ("00840000 08".replace(" ", ""), "1122334455667788 9000"),
    ("00FE0000", "6D00"),
    ("00FE000000", "6D00"),
    ("FFFFFFFF", "6E00"),
]


INSTRUCTIONS = [f"{ins:02X}" for ins in b"\x10\x12\x14\x20\x70\x84\x88\xa2\xa4\xaa\xb0\xb2\xc0\xc2\xca\xd6\xdc\xe2\xf2"]


def events() -> list[Event]:
    listed: list[Event] = [AtrEvent(T0, bytes.fromhex("3B9F96801FC78031E073FE211B63E208A8830F900089"), cold=True)]
    for number, (command, response) in enumerate(APDUS):
        at_ns = T0 + 1_000_001 * (number + 1)
        listed.append(ApduEvent(at_ns, bytes.fromhex(command), bytes.fromhex(response), 500_000))
    listed += [
        PowerEvent(T0 + 10**9, PowerAction.OFF, "cold cut"),
        AtEvent(T0 + 10**9, ">", "AT+CCHO=?"),
        RspEvent(T0 + 10**9, "https://dp.example/gsma/rsp2/es9plus/cancelSession", bytes(100_000), b"{}", "200", 5),
        MarkEvent(T0 + 10**9, "step verify: PASS"),
    ]
    return listed


@pytest.fixture(scope="module")
def tshark() -> str:
    found = shutil.which("tshark")
    if found is None:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail("CI needs tshark: apt-get install --no-install-recommends tshark")
        pytest.skip("tshark is not installed")
    return found


def fields(tshark: str, path: Path, shown: str, *names: str) -> list[list[str]]:
    """Run tshark with a display filter and return columns of the packets that pass."""
    command = [tshark, "-r", str(path), "-Y", shown, "-T", "fields", "-E", "separator=/t"]
    command += ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    for name in names or ("frame.number",):
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "A1.pcapng"
    with Journal.create(path, slot="A1", comment="a trace for a packet tool") as journal:
        for event in events():
            journal.emit(event)
        assert journal.apdus == len(APDUS)
    return path


def test_every_apdu_is_one_gsm_sim_packet_and_none_is_malformed(tshark: str, trace: Path) -> None:
    assert len(fields(tshark, trace, "gsm_sim")) == len(APDUS)
    assert fields(tshark, trace, "_ws.malformed") == []
    assert fields(tshark, trace, "ip.checksum.status != Good || udp.checksum.status == Bad") == []


def test_the_packet_tool_reads_instruction_and_status_word_as_they_were(tshark: str, trace: Path) -> None:
    rows = fields(tshark, trace, "gsm_sim", "gsm_sim.apdu.ins", "gsm_sim.apdu.sw")
    wanted = [(int(command[2:4], 16), int(response[-4:], 16)) for command, response in APDUS]
    assert [(int(ins, 16), int(sw, 16)) for ins, sw in rows] == wanted


def test_the_meaning_is_the_packet_s_comment(tshark: str, trace: Path) -> None:
    comments = [row[0] for row in fields(tshark, trace, "gsm_sim", "frame.comment")]
    assert all(comments)
    assert "SELECT EF.ICCID -> 9000" in comments
    assert any(comment.startswith("ES10c.GetEID") for comment in comments)


def test_all_that_is_no_apdu_is_a_line_of_text(tshark: str, trace: Path) -> None:
    done = subprocess.run([tshark, "-r", str(trace), "-Y", "gsmtap_log"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(events()) - len(APDUS)
    for text in ("cold ATR 3B9F", "power off: cold cut", "> AT+CCHO=?", "ES9+.CancelSession", "step verify: PASS"):
        assert any(text in line for line in lines)


def test_stamps_have_nanoseconds_and_the_interface_is_the_slot(tshark: str, trace: Path) -> None:
    rows = fields(tshark, trace, "gsm_sim", "frame.time_epoch", "frame.interface_name")
    assert rows[0] == ["1767225600.001000001", "A1"]


def test_what_a_packet_had_to_change_is_unchanged_for_the_reader(trace: Path) -> None:
    with Reader(trace) as reader:
        assert [record.event for record in reader] == events()


def test_no_wrong_command_or_short_answer_makes_a_malformed_packet(tshark: str, tmp_path: Path) -> None:
    exchanges = [
        (cla + instruction + parameters + body, answer + sw)
        for cla in ("00", "81")
        for instruction in INSTRUCTIONS
        for parameters in ("0000", "0404", "0804", "8001")
        for body in ("", "00", "05", "FF", "78112233", "02112233", "03112233", "0A" + "3F00" * 5)
        for answer in ("", "1122334455")
        for sw in ("9000", "6A82", "6C05", "6105")
    ]
    path = tmp_path / "A1.pcapng"
    with Journal.create(path, slot="A1") as journal:
        for number, (command, response) in enumerate(exchanges):
            journal.emit(ApduEvent(T0 + number, bytes.fromhex(command), bytes.fromhex(response), 0))
    assert fields(tshark, path, "_ws.malformed") == []
    assert len(fields(tshark, path, "gsm_sim")) == len(exchanges)


def test_an_exported_trace_is_as_good(tshark: str, trace: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pcapng"
    assert export(trace, Format.PCAPNG, copy) == len(events())
    assert len(fields(tshark, copy, "gsm_sim")) == len(APDUS)
    assert fields(tshark, copy, "_ws.malformed") == []
    assert b"*" * 8 in copy.read_bytes()  # the PIN


def test_a_trace_rewritten_by_another_tool_is_still_read(trace: Path, tmp_path: Path) -> None:
    editcap = shutil.which("editcap")
    if editcap is None:
        pytest.skip("editcap is not installed")
    copy = tmp_path / "copy.pcapng"
    subprocess.run([editcap, str(trace), str(copy)], check=True, capture_output=True, timeout=60)
    with Reader(copy) as reader:
        seen = [record.event for record in reader]
    assert len(seen) == len(events())
    assert sum(isinstance(event, ApduEvent) for event in seen) == len(APDUS)
