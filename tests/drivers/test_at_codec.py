"""AT lines and answers: what a modem may send, in any chunks, with anything in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esim_bench.codec import at
from esim_bench.errors import CodecError

ANSWER = b'\r\n+CGLA: 8,"01029000"\r\n\r\nOK\r\n'
URCS = ("+QIND: SMS DONE", "RDY", "+CPIN: READY", "+CFUN: 1", "+QUSIM: 1", "+CREG: 1", "RING", "NORMAL POWER DOWN")


def classify(command: str, lines: list[str]) -> tuple[at.Answer, list[at.LineKind]]:
    answer = at.Answer(command, ("+QIND:", "+QUSIM:", "NORMAL POWER DOWN"))
    return answer, [answer.feed(line) for line in lines]


@given(
    st.lists(st.sampled_from([ANSWER, b"AT\r\r\nOK\r\n", b"\0\xff\r\n", b"\r\n+CME ERROR: 13\r\n", b"1\r\n"])),
    st.data(),
)
def test_any_chunking_of_the_bytes_gives_the_same_lines(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    whole = at.LineReader().feed(stream)
    reader, lines, rest = at.LineReader(), [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        lines += reader.feed(rest[:size])
        rest = rest[size:]
    assert lines == whole


def test_lines_end_with_cr_or_lf_and_nul_bytes_are_noise() -> None:
    assert at.LineReader().feed(b"\0\0AT\r\r\nOK\r\n\n\rRDY\n") == ["AT", "OK", "RDY"]


def test_an_endless_line_is_cut() -> None:
    lines = at.LineReader().feed(b"A" * (at.MAX_LINE + 10) + b"\r")
    assert [len(line) for line in lines] == [at.MAX_LINE, 10]


@given(st.lists(st.sampled_from(URCS), max_size=6), st.data())
def test_unsolicited_lines_anywhere_never_corrupt_an_answer(urcs: list[str], data: st.DataObject) -> None:
    command = 'AT+CGLA=5,10,"80E2910000"'
    lines = [command, '+CGLA: 8,"01029000"', "OK"]
    for urc in urcs:
        lines.insert(data.draw(st.integers(0, lines.index("OK"))), urc)
    answer, kinds = classify(command, lines)
    assert answer.lines == ['+CGLA: 8,"01029000"']
    assert answer.final == "OK"
    assert kinds.count(at.LineKind.URC) == len(urcs)
    assert at.apdu_answer(answer.lines, "+CGLA") == bytes.fromhex("01029000")


def test_an_echo_broken_by_an_unsolicited_line_is_still_an_echo() -> None:
    answer, kinds = classify("AT+CPIN?", ["AT+CP", "+QIND: PB DONE", "IN?", "+CPIN: READY", "OK"])
    assert answer.lines == ["+CPIN: READY"]
    assert [kind.name for kind in kinds] == ["ECHO", "URC", "ECHO", "INFORMATION", "FINAL"]


@pytest.mark.parametrize(
    ("command", "line", "kind"),
    [
        ("AT+CPIN?", "+CPIN: READY", "INFORMATION"),
        ("AT+CFUN?", "+CPIN: READY", "URC"),
        ("AT", "+CPIN: READY", "URC"),
        ("ATI", "Quectel", "INFORMATION"),
        ("AT+CGSN", "352906110000018", "INFORMATION"),
        ('AT+CCHO="A000"', "1", "INFORMATION"),
        ("AT+CICCID", "+ICCID: 8944", "INFORMATION"),
        ("AT+CIMI", "+CME ERROR: 10", "FINAL"),
        ("AT+CIMI", "+CME ERROR: SIM not inserted", "FINAL"),
        ("AT+CMGS=1", "+CMS ERROR: 500", "FINAL"),
        ("ATD*99#", "NO CARRIER", "FINAL"),
        ("AT+CIMI", "NO CARRIER", "INFORMATION"),
        ("AT+CIMI", "ok", "FINAL"),
    ],
)
def test_what_a_line_is(command: str, line: str, kind: str) -> None:
    _, kinds = classify(command, [line])
    assert [k.name for k in kinds] == [kind]


def test_after_the_final_result_code_everything_is_unsolicited() -> None:
    _, kinds = classify("AT", ["OK", "OK", "+CGLA: 1"])
    assert [kind.name for kind in kinds] == ["FINAL", "URC", "URC"]


# --------------------------------------------------------------------------------------------------------- formats


def test_the_length_counts_hexadecimal_characters() -> None:
    assert at.csim_command(bytes.fromhex("0070000001")) == 'AT+CSIM=10,"0070000001"'
    assert at.cgla_command("000000000385a7cf", b"\x80\xe2\x91\x00") == 'AT+CGLA=000000000385a7cf,8,"80E29100"'
    assert at.ccho_command(bytes.fromhex("A000000559")) == 'AT+CCHO="A000000559"'
    assert at.cchc_command("1") == "AT+CCHC=1"


@given(st.binary(min_size=4, max_size=261), st.sampled_from(["1", "000000000385a7cf"]))
def test_what_one_side_writes_the_other_side_reads(apdu: bytes, handle: str) -> None:
    line = at.cgla_command(handle, apdu)
    assert at.apdu_parameters(line.removeprefix("AT+CGLA="), session=True) == (handle, apdu)
    line = at.csim_command(apdu)
    assert at.apdu_parameters(line.removeprefix("AT+CSIM="), session=False) == ("", apdu)


@given(st.integers(60, 600))
def test_an_apdu_of_the_room_fits_the_line(limit: int) -> None:
    assert len(at.csim_command(bytes(min(261, at.csim_room(limit))))) <= limit
    assert len(at.cgla_command("123", bytes(min(261, at.cgla_room(limit, 3))))) <= limit


@pytest.mark.parametrize("line", ['+CSIM: 4,"9000"', "+CSIM: 4,9000", "+CSIM:4,9000", '+csim: 4, "9000"'])
def test_answers_are_quoted_or_not(line: str) -> None:
    assert at.apdu_answer([line], "+CSIM") == b"\x90\x00"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('+CSIM: 6,"9000"', "length 4"),
        ('+CSIM: 4,"90"', "length 2"),
        ('+CSIM: 4,"90zz"', "hexadecimal"),
        ('+CSIM: 2,"90"', "status word"),
        ("+CSIM: 4", "length and hexadecimal text"),
        ('+CSIM: 4,"9000', "paired quotes"),
        ("+CGLA: 4,9000", "a line +CSIM"),
        ("9000", "a line +CSIM"),
    ],
)
def test_malformed_answers_say_what_was_expected(line: str, message: str) -> None:
    with pytest.raises(CodecError, match=message.replace("+", r"\+")):
        at.apdu_answer([line], "+CSIM")


@pytest.mark.parametrize("line", ["+CCHO: 000000000385a7cf", "000000000385a7cf", '+CCHO: "000000000385a7cf"'])
def test_a_session_handle_is_opaque_text(line: str) -> None:
    assert at.ccho_answer([line]) == "000000000385a7cf"


def test_no_session_handle_is_an_error() -> None:
    with pytest.raises(CodecError, match="a session handle"):
        at.ccho_answer([])


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters='"', categories=["L", "N", "P", "Zs"]))))
def test_fields_are_split_outside_of_quotes(values: list[str]) -> None:
    text = ",".join(at.quote(value) for value in values)
    assert at.fields(text) == (values or [""])


@pytest.mark.parametrize(
    ("final", "code"),
    [
        ("+CME ERROR: 13", 13),
        ("+CME ERROR: SIM failure", 13),
        ("+CME ERROR: SIM BUSY", 14),
        ("ERROR", None),
        ("+CME ERROR: ?", None),
    ],
)
def test_cme_errors_are_numbers_or_words(final: str, code: int | None) -> None:
    assert at.cme_code(final) == code
