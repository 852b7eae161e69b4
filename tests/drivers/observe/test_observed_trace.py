"""What was heard beside the bench's own link, in the trace: kept, told apart, masked, counted, shown."""

import json
import math
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.cli.main import invoke
from esim_bench.events import (
    ApduEvent,
    AtrEvent,
    Event,
    MarkEvent,
    PowerAction,
    PowerEvent,
    SampleEvent,
    SniffedApduEvent,
    SniffEvent,
    SniffKind,
    UartEvent,
)
from esim_bench.trace import Journal, Reader, SecretMask, pcapng, records
from esim_bench.trace.decode import ApduDecoder
from esim_bench.trace.export import Format, export
from esim_bench.trace.samples import samples
from esim_bench.trace.show import document, kind_of, line
from esim_bench.trace.stats import stats

T0 = 1_767_225_600_000_000_000
MS = 1_000_000
SNIFFER, UART, METER = "simtrace usb:1-1.4", "uart usb:1-1.3:1.0", "scpi psu"
ISD_R = "A0000005591010FFFFFFFF8900000100"


def sniffed(at_ms: int, command: str, response: str, flaws: str = "") -> SniffedApduEvent:
    return SniffedApduEvent(T0 + at_ms * MS, bytes.fromhex(command), bytes.fromhex(response), 0, SNIFFER, flaws)


def own(at_ms: int, command: str, response: str) -> ApduEvent:
    return ApduEvent(T0 + at_ms * MS, bytes.fromhex(command), bytes.fromhex(response), 2 * MS)


EVENTS: list[Event] = [
    MarkEvent(T0, "step boot"),
    UartEvent(T0 + 1, UART, "[0.00] \udcff boot"),
    SampleEvent(T0 + 2, METER, 0.25, 3.8),
    SniffEvent(T0 + 3, SniffKind.RESET, SNIFFER),
    SniffEvent(T0 + 4, SniffKind.ATR, SNIFFER, bytes.fromhex("3B00"), "T=0"),
    # The module reads the ICCID by itself while the bench talks to the ISD-R on a channel of its own.
    sniffed(5, "00A40004022FE2", "6120"),
    own(6, f"01A4040010{ISD_R}", "9000"),
    sniffed(7, "00C0000020", "62" + "1E" + "00" * 30 + "9000"),
    own(8, "81E2910006BF3E035C015A", "6115"),
    sniffed(9, "00B000000A", "98441000000000000010" + "9000"),
    own(10, "01C0000015", "BF3E125A1089049032123451234512345678901235" + "9000"),
    SampleEvent(T0 + 11 * MS, METER, 0.75, None),
    MarkEvent(T0 + 12 * MS, "step boot: PASS"),
    sniffed(13, "00A4000402", "", "incomplete"),
    SniffEvent(T0 + 14 * MS, SniffKind.NOISE, SNIFFER, b"\x00\xa4", "incomplete"),
    UartEvent(T0 + 15 * MS, UART, "x" * 8, ended=False, cut=100),
    SampleEvent(T0 + 16 * MS, METER, 0.001),
]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "B1.pcapng"
    with Journal.create(path, slot="B1") as journal:
        for event in EVENTS:
            journal.emit(event)
        assert journal.apdus == 3
    return path


def test_all_is_read_as_it_was_written(trace: Path) -> None:
    with Reader(trace) as reader:
        assert [record.event for record in reader] == EVENTS
        assert reader.apdus() == 3


def test_the_module_s_own_traffic_does_not_confuse_the_meaning_of_ours(trace: Path) -> None:
    with Reader(trace) as reader:
        meanings = {record.event.at_ns - T0: record.comment for record in reader}
    assert meanings[5 * MS] == "sniffed: SELECT EF.ICCID -> 6120 32 bytes of response wait"
    assert meanings[7 * MS] == "sniffed: GET RESPONSE of SELECT EF.ICCID -> 9000"
    assert meanings[8 * MS].startswith("ES10c.GetEID block 0 (last)")
    assert meanings[9 * MS] == "sniffed: READ BINARY EF.ICCID = 89440100000000000001 -> 9000"
    assert meanings[10 * MS].startswith("ES10c.GetEID -> 8904")
    assert meanings[13 * MS].endswith("(incomplete)")
    assert meanings[15 * MS] == "xxxxxxxx [100 bytes more]"
    assert meanings[11 * MS] == "750.0 mA"


def test_a_reset_of_the_sniffed_card_ends_its_conversations_and_not_ours() -> None:
    decoder = ApduDecoder()
    for event in (own(1, f"01A4040010{ISD_R}", "9000"), own(2, "81E2910006BF3E035C015A", "6115"),
                  sniffed(3, "00A40004022FE2", "9000"), SniffEvent(T0, SniffKind.RESET, SNIFFER)):  # fmt: skip
        decoder.observe(event)
    assert "EF.ICCID" not in decoder.observe(sniffed(4, "00B000000A", "6986")).text
    assert decoder.observe(own(5, "01C0000015", "BF3E125A1089049032123451234512345678901235" + "9000")).function == (
        "ES10c.GetEID"
    )


def test_functions_that_were_heard_are_rows_of_their_own(trace: Path) -> None:
    with Reader(trace) as reader:
        rows = {row.function: row.count for row in stats(reader)}
    assert rows["ES10c.GetEID"] == 1
    assert rows["sniffed SELECT"] == 2
    assert rows["SELECT"] == 1


def test_least_mean_and_greatest_current_of_each_step(trace: Path) -> None:
    with Reader(trace) as reader:
        boot, outside = (row.document() for row in samples(reader))
    assert boot == {
        "slot": "B1", "source": METER, "step": "boot", "samples": 2,
        "amperes": {"min": 0.25, "avg": 0.5, "max": 0.75}, "volts": {"min": 3.8, "avg": 3.8, "max": 3.8},
    }  # fmt: skip
    assert (outside["step"], outside["samples"], outside["volts"]) == (None, 1, None)


def test_commands_show_what_was_heard_and_what_the_bench_sent(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["trace", "show", str(trace), "--apdu-only"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert invoke(["trace", "show", str(trace), "--kind", "sniff", "--kind", "wire"]) == 0
    out = capsys.readouterr().out
    assert [text.split()[2] for text in out.splitlines()] == ["wire", "wire", *["sniff"] * 4, "wire"]
    assert invoke(["trace", "show", str(trace), "--kind", "smoke"]) == 2
    assert "apdu, atr" in capsys.readouterr().err
    assert invoke(["trace", "stats", str(trace), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"][0]["step"] == "boot"
    assert invoke(["trace", "stats", str(trace)]) == 0
    assert "500.000" in capsys.readouterr().out


def test_documents_name_the_source(trace: Path) -> None:
    with Reader(trace) as reader:
        shown = [document(record) for record in reader]
        assert all(line(record).isprintable() for record in reader)
    json.dumps(shown)
    heard = [one for one in shown if one["kind"] in ("sniff", "wire", "uart", "meter")]
    assert {one["source"] for one in heard} == {SNIFFER, UART, METER}
    assert shown[2]["amperes"] == 0.25


@pytest.mark.parametrize("form", list(Format))
def test_an_export_holds_all_of_it(trace: Path, tmp_path: Path, form: Format) -> None:
    copy = tmp_path / f"copy.{form.value}"
    assert export(trace, form, copy) == len(EVENTS)
    if form is Format.PCAPNG:
        with Reader(copy) as reader:
            kinds = [kind_of(record) for record in reader]
        with Reader(trace) as reader:
            assert kinds == [kind_of(record) for record in reader]
    else:
        assert "sniffed: SELECT EF.ICCID" in copy.read_text()


# ------------------------------------------------------------------------------------------------------------- secrets


def masked(*events: Event) -> list[Event]:
    mask = SecretMask(["QZ7-MATCH"])
    return [mask.apply(event)[0] for event in events]


def test_secrets_in_sniffed_exchanges_are_hidden_like_ours() -> None:
    verify, authenticate, answer = masked(
        sniffed(1, "0020000108" + "31323334FFFFFFFF", "9000"),
        sniffed(2, "0088008122" + "10" + "11" * 16 + "10" + "22" * 16, "6135"),
        sniffed(3, "00C0000035", "DB" + "33" * 52 + "9000"),
    )
    assert isinstance(verify, SniffedApduEvent)
    assert verify.command == bytes.fromhex("0020000108") + b"*" * 8
    assert isinstance(authenticate, SniffedApduEvent)
    assert authenticate.command[5:] == bytes.fromhex("10" + "11" * 16 + "10" + "22" * 16)
    assert isinstance(answer, SniffedApduEvent)
    assert answer.response == b"*" * 53 + b"\x90\x00"


def answer_of(*before: Event) -> bytes:
    """Mask an answer that comes after events."""
    *_, event = masked(*before, sniffed(9, "00C0000004", "AABBCCDD9000"))
    assert isinstance(event, SniffedApduEvent)
    return event.response[:-2]


def test_an_answer_whose_command_was_not_heard_may_be_a_secret() -> None:
    atr = SniffEvent(T0, SniffKind.ATR, SNIFFER, b"\x3b\x00")
    authenticate = sniffed(2, "0088008122" + "11" * 34, "6104")
    select, garbled = sniffed(2, "00A40004022FE2", "6104"), sniffed(2, "00A40004022FE2", "6104", "overrun")
    silence = SniffEvent(T0, SniffKind.TIMEOUT, SNIFFER)
    noise = SniffEvent(T0, SniffKind.NOISE, SNIFFER, b"")
    hidden, open_ = b"****", bytes.fromhex("AABBCCDD")
    assert answer_of() == hidden  # the sniffer began in the middle
    assert answer_of(atr) == open_
    assert answer_of(select) == open_
    assert answer_of(atr, garbled) == hidden
    assert answer_of(atr, noise) == hidden
    assert answer_of(atr, garbled, select) == open_
    assert answer_of(atr, authenticate, silence) == hidden  # silence changes nothing


def test_the_rest_of_a_chain_whose_beginning_was_lost_is_hidden() -> None:
    *_, rest = masked(sniffed(1, "81E2110003BF3800", "9000", "parity"), sniffed(2, "81E2910104AABBCCDD", "9000"))
    assert isinstance(rest, SniffedApduEvent)
    assert rest.command == bytes.fromhex("81E2910104") + b"****"


def test_answers_in_a_log_belong_to_the_command_before_them() -> None:
    authenticate = "0188008122" + "11" * 34
    _, answer, other = masked(
        UartEvent(T0, UART, f'< AT+CSIM={len(authenticate)},"{authenticate}"'),
        UartEvent(T0, UART, '> +CSIM: 12,"DB0811229000"'),
        UartEvent(T0, UART, "+CSQ: 12,99"),
    )
    assert isinstance(answer, UartEvent)
    assert answer.line == '> +CSIM: 12,"********9000"'
    assert isinstance(other, UartEvent)
    assert other.line == "+CSQ: 12,99"


def test_a_module_s_conversation_and_ours_are_masked_apart() -> None:
    """The answer that comes next on our link is not that to the module's AUTHENTICATE."""
    _, ours = masked(sniffed(1, "0088008122" + "11" * 34, "6135"), own(2, "00C0000002", "AABB9000"))
    assert isinstance(ours, ApduEvent)
    assert ours.response == bytes.fromhex("AABB9000")


@pytest.mark.parametrize("flaws", ["overrun", "malformed", "incomplete, parity"])
def test_where_bytes_were_lost_all_is_hidden(flaws: str) -> None:
    event, noise = masked(
        sniffed(1, "31323334FFFFFFFF", "9000", flaws), SniffEvent(T0, SniffKind.NOISE, SNIFFER, b"1234", flaws)
    )
    assert isinstance(event, SniffedApduEvent)
    assert (event.command, event.response) == (b"*" * 8, b"\x90\x00")
    assert isinstance(noise, SniffEvent)
    assert noise.data == b"****"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('[12.5] atcmd: AT+CPIN="1234"', '[12.5] atcmd: AT+CPIN="****"'),
        ("rx AT+CLCK=\"SC\",1,\"4711\"", 'rx AT+CLCK="**",*,"****"'),
        ("+CPIN: READY", "+CPIN: READY"),
        ('> AT+CSIM=26,"0020000108' + "31323334FFFFFFFF" + '"', '> AT+CSIM=26,"0020000108' + "*" * 16 + '"'),
        ("UIM TX 00 20 00 01 08 31 32 33 34 FF FF FF FF", "UIM TX 00 20 00 01 08 ** ** ** ** ** ** ** **"),
        ("apdu:002c000110" + "31" * 16, "apdu:002c000110" + "*" * 32),
        ("code QZ7-MATCH used", "code ********* used"),
        ("00 20 00 01 02", "00 20 00 01 02"),
        ("LPA ok", "LPA ok"),
    ],
)  # fmt: skip
def test_secrets_in_the_lines_of_a_uart(said: str, kept: str) -> None:
    (event,) = masked(UartEvent(T0, UART, said))
    assert isinstance(event, UartEvent)
    assert event.line == kept


def test_a_secret_in_a_line_that_comes_in_pieces_is_hidden() -> None:
    pieces = masked(
        UartEvent(T0, UART, 'AT+CPIN="12', ended=False), UartEvent(T0, UART, '34"'), UartEvent(T0, UART, "34")
    )
    assert [piece.line for piece in pieces if isinstance(piece, UartEvent)] == ['AT+CPIN="**', '**"', "34"]


def test_the_journal_notes_what_was_hidden(tmp_path: Path) -> None:
    path = tmp_path / "B1.pcapng"
    with Journal.create(path, slot="B1", mask=SecretMask()) as journal:
        journal.emit(sniffed(1, "0020000108" + "31323334FFFFFFFF", "9000"))
        journal.emit(UartEvent(T0, UART, "AT+CPIN=4711"))
    assert b"1234" not in path.read_bytes()
    assert b"4711" not in path.read_bytes()
    with Reader(path) as reader:
        pin, uart = reader
        assert pin.masked == ((5, 8),)
        assert pin.comment == "sniffed: VERIFY PIN1 -> 9000 [masked]"
        assert uart.masked == ((8, 4),)
        assert uart.comment == "AT+CPIN=**** [masked]"


# ------------------------------------------------------------------------------------------------------ the file format

texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.binary(max_size=20).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
stamps = st.integers(0, 2**63 - 1)
observed = st.one_of(
    st.builds(
        SniffedApduEvent, stamps, st.binary(max_size=270), st.binary(max_size=260), st.integers(0, 2**40), texts, texts
    ),
    st.builds(SniffEvent, stamps, st.sampled_from(SniffKind), texts, st.binary(max_size=40), texts),
    st.builds(UartEvent, stamps, texts, texts, st.booleans(), st.integers(0, 2**40)),
    st.builds(
        SampleEvent, stamps, texts, st.none() | st.floats(allow_nan=False), st.none() | st.floats(allow_nan=False)
    ),
)


@given(observed)
def test_every_event_comes_back(event: Event) -> None:
    packet = records.apdu_packet(event) if isinstance(event, SniffedApduEvent) else None
    value = (
        records.apdu_detail(event, packet, ()) if isinstance(event, SniffedApduEvent) else records.detail(event)
    )  # fmt: skip
    assert records.parse(event.at_ns, value, packet or b"") == (event, ())
    assert ApduDecoder().observe(event).text is not None
    hidden, spans = SecretMask(["abc"]).apply(event)
    assert type(hidden) is type(event)
    assert all(start >= 0 and size > 0 for start, size in spans)


@given(st.integers(6, 9), st.binary(max_size=60))
def test_a_damaged_record_is_an_error_of_its_own_kind(kind: int, garbage: bytes) -> None:
    value = struct.pack("<4sBBH", records.MAGIC, kind, 0, 0) + garbage
    from esim_bench.errors import CodecError

    try:
        event, _ = records.parse(0, value, b"")
    except CodecError:
        return
    assert event.at_ns == 0


def test_a_measured_value_keeps_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "B1.pcapng"
    with Journal.create(path, slot="B1") as journal:
        journal.emit(SampleEvent(T0, METER, 0.1 + 0.2, math.pi))
    with Reader(path) as reader:
        assert reader[0].event == SampleEvent(T0, METER, 0.1 + 0.2, math.pi)


def test_a_power_cut_ends_what_was_sniffed_before() -> None:
    decoder = ApduDecoder()
    for event in (sniffed(1, "00A40004022FE2", "9000"), PowerEvent(T0, PowerAction.OFF)):
        decoder.observe(event)
    assert "EF.ICCID" not in decoder.observe(sniffed(2, "00B000000A", "6986")).text


# ------------------------------------------------------------------------------------------------------ the packet tool


@pytest.fixture(scope="session")
def tshark() -> str:
    found = shutil.which("tshark")
    if found is None:
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail("CI needs tshark: apt-get install --no-install-recommends tshark")
        pytest.skip("tshark is not installed")
    return found


def fields(tshark: str, path: Path, shown: str, *names: str) -> list[list[str]]:
    command = [tshark, "-r", str(path), "-Y", shown, "-T", "fields", "-E", "separator=/t"]
    command += ["-o", "ip.check_checksum:TRUE"]
    for name in names or ("frame.number",):
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_a_packet_tool_decodes_sniffed_apdus_and_tells_them_apart(tshark: str, trace: Path) -> None:
    assert len(fields(tshark, trace, "gsm_sim")) == 6
    assert fields(tshark, trace, "_ws.malformed || ip.checksum.status == Bad") == []
    rows = fields(tshark, trace, "gsm_sim && ip.src == 127.0.0.2", "gsm_sim.apdu.ins", "frame.comment")
    assert [int(ins, 16) for ins, _ in rows] == [0xA4, 0xC0, 0xB0]
    assert all(comment.startswith("sniffed: ") for _, comment in rows)
    assert len(fields(tshark, trace, "gsm_sim && ip.src == 127.0.0.1")) == 3


def test_lines_and_samples_are_text_for_a_packet_tool(tshark: str, trace: Path) -> None:
    done = subprocess.run([tshark, "-r", str(trace), "-Y", "gsmtap_log"], capture_output=True, text=True, check=True)
    for text in ("boot", "250.0 mA, 3.800 V", "reset asserted", "ATR 3B00, T=0"):
        assert text in done.stdout
    assert len(done.stdout.splitlines()) == len(EVENTS) - 6


def test_a_journal_of_a_bench_that_knew_nothing_of_this_reads_as_before(tmp_path: Path) -> None:
    """The bytes of old kinds have not changed: a record of each, as they were written before."""
    old = {
        "65534231000000000000000000000000404B4C000000000005000000": ApduEvent(
            T0, bytes.fromhex("80F2000C00"), b"\x90\x00", 5_000_000
        ),
        "6553423101000000" + "0100000000000000" + "02000000" + "3B00": AtrEvent(T0, b"\x3b\x00", True),
        "6553423105000000" + "04000000" + "6D61726B": MarkEvent(T0, "mark"),
    }
    for raw, event in old.items():
        packet = bytes.fromhex("80F2000C00" + "9000") if isinstance(event, ApduEvent) else b""
        assert records.parse(T0, bytes.fromhex(raw), packet) == (event, ())
        written = records.apdu_detail(event, packet, ()) if isinstance(event, ApduEvent) else records.detail(event)
        assert written == bytes.fromhex(raw)
    plain = pcapng.PacketWriter(pcapng.TYPE_SIM).headers(1)[-16:]
    assert plain == bytes.fromhex("02040400" + "00" * 12)
