"""Everything that reads text, against whatever may come: activation codes, AT lines, JSON bodies, TOML files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from esim_bench.codec import at, es9, es10, identifiers
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip.build import build_profile
from esim_bench.data import profile_file, rack_file
from esim_bench.errors import BenchError, CodecError, ConfigError, RspError
from esim_bench.profile_file import load_profile
from esim_bench.rack.model import load_rack

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
any_text = st.text(st.characters(exclude_categories=()), max_size=60)
"""Surrogates too: JSON has them, and so do file names."""


def read(reader: Callable[..., Any], *arguments: Any) -> None:
    """Read; an error of the bench's tree is as good, if it can be shown."""
    try:
        reader(*arguments)
    except BenchError as exc:
        str(exc).encode()


# ------------------------------------------------------------------------------------------------- activation codes

hosts = st.from_regex(r"[A-Za-z0-9._-]{1,30}(:[0-9]{1,4})?", fullmatch=True)
matching_ids = st.from_regex(r"[A-Za-z0-9-]{0,30}", fullmatch=True)
oids = st.none() | st.from_regex(r"[0-2](\.[0-9]{1,5}){1,5}", fullmatch=True)


@QUICK
@given(st.builds(ActivationCode, hosts, matching_ids, oids, st.booleans()))
def test_an_activation_code_is_read_as_it_was_written(code: ActivationCode) -> None:
    assert ActivationCode.parse(str(code)) == code
    assert ActivationCode.parse(f" {str(code)[4:]}\n") == code


@QUICK
@given(any_text | any_text.map(lambda text: f"LPA:1${text}"))
def test_any_text_is_an_activation_code_or_refused(text: str) -> None:
    read(lambda: ActivationCode.parse(text).masked.encode())


@QUICK
@given(st.builds(ActivationCode, hosts, matching_ids, oids, st.booleans()), st.data())
def test_a_spoiled_activation_code_never_shows_its_matching_id(code: ActivationCode, data: st.DataObject) -> None:
    if len(code.matching_id) < 6 or code.matching_id in str(code).replace(f"${code.matching_id}", "$", 1):
        return
    at_character = data.draw(st.integers(0, len(str(code))))
    spoiled = str(code)[:at_character] + data.draw(st.sampled_from("$ \x00é１")) + str(code)[at_character:]
    message = ""
    try:
        ActivationCode.parse(spoiled)
    except CodecError as exc:
        message = str(exc)
    assert code.matching_id not in message


def test_a_dollar_too_many_does_not_show_the_matching_id() -> None:
    for code in ("LPA:1$host.example$$SECRET-1", "LPA:1$host.example$$$SECRET-1"):
        with pytest.raises(CodecError) as caught:
            ActivationCode.parse(code)
        assert "SECRET" not in str(caught.value)


# ------------------------------------------------------------------------------------------------- identifiers

digits = st.text("0123456789", min_size=0, max_size=25)


@QUICK
@given(st.from_regex(r"[0-9]{18,20}", fullmatch=True))
def test_an_iccid_is_read_as_it_was_written(text: str) -> None:
    assert identifiers.iccid_to_text(identifiers.iccid_to_bytes(text)) == text


@QUICK
@given(st.from_regex(r"[0-9]{6,15}", fullmatch=True))
def test_an_imsi_is_read_as_it_was_written(text: str) -> None:
    assert identifiers.imsi_to_text(identifiers.imsi_to_bytes(text)) == text


@QUICK
@given(any_text | digits)
def test_any_text_is_an_identifier_or_refused(text: str) -> None:
    read(identifiers.iccid_to_bytes, text)
    read(identifiers.imsi_to_bytes, text)


# ------------------------------------------------------------------------------------------------- names that go out


@QUICK
@example("half a pair: \ud800")
@given(any_text)
def test_any_nickname_or_name_is_encoded_or_refused(text: str) -> None:
    read(es10.set_nickname, bytes(10), text)
    read(es10.set_default_dp_address, text)
    metadata = Metadata(iccid=bytes(10), service_provider=text, profile_name=text, profile_class="operational")
    try:
        raw = metadata.encode()
    except CodecError as exc:
        str(exc).encode()
    else:
        assert Metadata.parse(raw) == metadata


# ------------------------------------------------------------------------------------------------- AT


@QUICK
@given(any_text)
def test_any_line_is_an_at_answer_or_refused(line: str) -> None:
    at.name_of(line)
    at.is_final(line)
    at.cme_code(line)
    for reader in (at.fields, at.quote):
        read(reader, line)
    read(at.parameters, line, "+CSIM")
    read(at.apdu_answer, [line, f"+CSIM: {line}"], "+CSIM")
    read(at.apdu_answer, [f'+CSIM: 4,"{line}"'], "+CSIM")
    read(at.ccho_answer, [line])
    read(lambda: at.apdu_parameters(line, session=True))
    read(lambda: at.apdu_parameters(line, session=False))
    read(at.cgla_command, line, b"\x00")
    at.Answer("AT+CSIM=2").feed(line)


@QUICK
@example(digits="9" * 5000)
@given(digits=st.text("0123456789²١", min_size=1, max_size=20))
def test_any_number_is_a_length_or_refused(digits: str) -> None:
    read(at.apdu_answer, [f'+CSIM: {digits},"9000"'], "+CSIM")
    read(_csim, f'{digits},"9000"')
    read(at.cme_code, f"+CME ERROR: {digits}")


def _csim(text: str) -> None:
    at.apdu_parameters(text, session=False)


@QUICK
@given(st.binary(min_size=1, max_size=255))
def test_apdus_come_through_at_as_they_are(apdu: bytes) -> None:
    line = at.csim_command(apdu)
    assert at.apdu_parameters(line.partition("=")[2], session=False) == ("", apdu)
    line = at.cgla_command("7", apdu)
    assert at.apdu_parameters(line.partition("=")[2], session=True) == ("7", apdu)


# ------------------------------------------------------------------------------------------------- JSON of ES9+

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.sampled_from(("AA", "qg==", "Failed")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        *("header", "functionExecutionStatus", "status", "statusCodeData", "subjectCode", "reasonCode", "message"),
        *("subjectIdentifier", "transactionId", "boundProfilePackage", "smdpAddress", "euiccChallenge"),
    ]
)
bodies = st.recursive(json_values, lambda inner: st.dictionaries(names, inner, max_size=6), max_leaves=12)


@QUICK
@example(body={"header": {"functionExecutionStatus": {"status": "Failed", "statusCodeData": {"message": "\ud800"}}}})
@example(body={"header": {"functionExecutionStatus": {"status": "\ud800"}}})
@given(body=bodies)
def test_any_json_is_an_es9_message_or_refused(body: Any) -> None:
    raw = json.dumps(body).encode()
    for name in es9.FUNCTIONS:
        read(es9.decode_response, name, raw)
        read(es9.decode_request, name, raw)


@QUICK
@example(raw=b"9" * 5000)
@example(raw=b'{"header":' + b"9" * 100_000 + b"}")
@example(raw=b"[" * 100_000)
@example(raw=b'{"a":' * 200 + b"1" + b"}" * 200)
@example(raw=b'{"header":NaN}')
@given(raw=st.binary(max_size=100))
def test_any_bytes_are_an_es9_message_or_refused(raw: bytes) -> None:
    for name in es9.FUNCTIONS:
        read(es9.decode_response, name, raw)
        read(es9.decode_request, name, raw)


def fields_of(coding: Any) -> st.SearchStrategy[dict[str, Any]]:
    kinds = {"text": st.text(max_size=20), "base64": st.binary(max_size=20), "hexadecimal": st.binary(min_size=1)}
    return st.fixed_dictionaries({name: kinds[kind] for name, kind in coding.items()})


@pytest.mark.parametrize("name", es9.FUNCTIONS)
@settings(QUICK, max_examples=15)
@given(data=st.data())
def test_es9_messages_are_read_as_they_were_written(name: str, data: st.DataObject) -> None:
    function = es9.FUNCTIONS[name]
    request, response = data.draw(fields_of(function.request)), data.draw(fields_of(function.response))
    assert es9.decode_request(name, es9.encode_request(name, request)) == request
    assert es9.decode_response(name, es9.encode_response(name, response)) == response


@QUICK
@example("8.2.6", "3.8", "half a pair: \ud800")
@given(any_text, any_text, any_text)
def test_any_refusal_is_passed_on_or_refused(subject: str, reason: str, message: str) -> None:
    error = RspError(subject, reason, message, identifier=message)
    body = es9.encode_failure(error)
    read(lambda: es9.decode_response("cancelSession", body))


# ------------------------------------------------------------------------------------------------- TOML

PROFILE, RACK = profile_file("operational-a").read_text(), rack_file("sim-3").read_text()


@st.composite
def spoiled(draw: st.DrawFn, text: str) -> str:
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[index].partition("=")
        value = draw(
            st.sampled_from(("1", "-1", "1e999", "nan", "true", '""', "[]", "{}", '"\\u0000"', "1979-05-27", "99" * 30))
            | any_text
        )
        kinds = (f"{key}={value}", "", lines[index] * 2, value, lines[index][: len(lines[index]) // 2])
        lines[index] = draw(st.sampled_from(kinds if equals else kinds[1:]))
    return "\n".join(lines)


@settings(QUICK, max_examples=40)
@given(text=spoiled(PROFILE))
def test_a_spoiled_profile_file_is_built_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "spoiled-profile.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read(load_profile, path)


@settings(QUICK, max_examples=60)
@given(text=spoiled(RACK))
def test_a_spoiled_rack_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "spoiled-rack.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read(load_rack, path)


@settings(QUICK, max_examples=40)
@example(raw=b"a = " + b"[" * 50_000)
@example(raw=b"a = " + b"9" * 50_000)
@example(raw=b"a" + b".a" * 5_000 + b" = 1")
@example(raw=b"profile = 0x" + b"f" * 5_000)
@example(raw=b"profile = { name = 0x" + b"f" * 5_000 + b" }\nrack = { name = -0x" + b"f" * 5_000 + b" }")
@given(raw=st.binary(max_size=60))
def test_any_file_is_toml_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(raw)
    for reader in (load_profile, load_rack):
        with pytest.raises(ConfigError):
            reader(path)


@settings(QUICK, max_examples=40)
@given(document=st.dictionaries(st.sampled_from(("profile", "aka", "pin", "puk", "files")), json_values))
def test_any_document_is_a_profile_or_refused(document: dict[str, Any]) -> None:
    read(build_profile, document)


def test_the_files_that_are_spoiled_are_good() -> None:
    assert load_profile(Path(profile_file("operational-a"))).upp
    assert load_rack(rack_file("sim-3")).select()


# ------------------------------------------------------------------------------------------------- once wrong


def test_half_a_surrogate_pair_goes_nowhere() -> None:
    body = b'{"header":{"functionExecutionStatus":{"status":"Failed","statusCodeData":{"message":"\\ud800"}}}}'
    with pytest.raises(CodecError, match="half a surrogate pair"):
        es9.decode_response("cancelSession", body)
    # Both halves are a sign.
    with pytest.raises(RspError, match="\U0001f600"):
        es9.decode_response("cancelSession", body.replace(b"\\ud800", b"\\ud83d\\ude00"))


@pytest.mark.parametrize(("text", "message"), [("9" * 5000, "not valid TOML"), ("0x" + "f" * 5000, "very large")])
def test_numbers_that_python_refuses_to_read_or_write(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "long.toml"
    path.write_text(f"[profile]\nname = {text}\n")
    with pytest.raises(ConfigError, match=message):
        load_profile(path)


def test_a_length_of_thousands_of_digits() -> None:
    with pytest.raises(CodecError, match="length 4"):
        at.apdu_answer([f'+CSIM: {"9" * 5000},"9000"'], "+CSIM")
    assert at.cme_code("+CME ERROR: " + "9" * 5000) is None
